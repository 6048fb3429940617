"""What a sweep would do, and how long it would take here; trains and writes nothing."""

import heapq
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from study.config import Config
from study.console import counted, duration, printer
from study.launch import disk
from study.launch.plan import Group, Plan
from study.settings import ConfigError

PROTOCOL = ("horizon", "epochs", "minibatch_size", "hidden")  # what a step's cost depends on, besides its arm


def show(configs: list[Config], refused: list[tuple[list[str], str]]) -> bool:
    """Prints the plan of these runs, as a sweep would make it; returns whether it would train them.

    Raises ConfigError if none of them can be trained.
    """
    from study.launch import policies
    from study.launch.runner import cores, each_apart, unusable
    from study.launch.store import Store

    out = printer()
    configs = list({config.run_id: config for config in configs}.values())
    store, alone, shapes = Store(configs[0].study), set(), {}
    wrong = {config.run_id: reason for config, reason in unusable(configs, alone=alone, shapes=shapes)}
    configs = each_apart(configs, alone)
    refused = refused + [
        ([c.task_label, c.arm, f"seed={c.seed}"], wrong[c.run_id]) for c in configs if c.run_id in wrong
    ]
    usable = [config for config in configs if config.run_id not in wrong]
    if not usable:
        raise ConfigError(next(iter(wrong.values())))
    status = store.peek().set_index("run_id")["status"].to_dict()
    finished = {run for run, state in status.items() if state != "failed"}
    fleets = Plan(store.work).read(mend=False).fleets(usable, status)
    speeds = Speeds(Path(configs[0].execution.results))

    rows = defaultdict(lambda: {"runs": 0, "done": 0, "again": 0, "steps": 0, "seconds": 0.0})
    for config in usable:
        row = rows[config.task_label, config.algorithm.name]
        row["runs"] += 1
        row["done"] += config.run_id in finished
        row["again"] += status.get(config.run_id) == "failed"
    for fleet in fleets:
        for config in fleet.configs:
            row = rows[config.task_label, config.algorithm.name]
            row["steps"] += config.iterations * config.horizon
            row["seconds"] += speeds.seconds(config, len(fleet.configs))
    columns = ("task", "algorithm", "runs", "finished", "failed", "steps", "time")
    table = Table(*columns, box=None, header_style="dim")
    for (task, algorithm), row in rows.items():
        numbers = [str(row["runs"]), str(row["done"] or ""), str(row["again"] or "")]
        todo = (f"{row['steps']:,}", _time(row["seconds"])) if row["steps"] else ("", "")
        table.add_row(task, algorithm, *numbers, *todo)
    out.print(table)

    reasons = defaultdict(list)
    for words, reason in refused:
        reasons[reason].append(words)
    for reason, jobs in reasons.items():
        others = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        out.print(f"[red]refused:[/] {reason}\n         {' '.join(jobs[0])}{others}", highlight=False)
    for line in apart(usable, store.peek()):
        out.print(f"[yellow]apart:[/] {line}", highlight=False)
    execution = configs[0].execution
    width = min(execution.workers or cores(), max(len(fleets), 1))
    where = f"{width} worker{'' if width == 1 else 's'}" if execution.cluster == "local" else "the cluster"
    seconds = [sum(speeds.seconds(config, len(fleet.configs)) for config in fleet.configs) for fleet in fleets]
    known = [length for length in seconds if not np.isnan(length)]
    total = makespan(known, width) if known else float("nan")
    least = "at least " if 0 < len(known) < len(fleets) else ""
    todo = sum(len(fleet.configs) for fleet in fleets)
    resumed = sum(store.checkpoint(fleet.name).exists() for fleet in fleets)
    out.print(
        f"{todo} of {len(configs)} runs to train in {len(fleets)} fleet{'' if len(fleets) == 1 else 's'}"
        + (f" of {_widths(fleets)}" if fleets else "")
        + (f" ({resumed} from a checkpoint)" if resumed else "")
        + f" on {where}"
        + (f", time {least}{_time(total)}" if fleets and execution.cluster == "local" else "")
        + f"; results in {store.shown}",
        highlight=False,
    )
    if fleets:
        todo = [(config, len(fleet.configs)) for fleet in fleets for config in fleet.configs]
        out.print(speeds.source(todo), highlight=False)
    if fleets and execution.policies:
        size = sum(len(f.configs) * policies.size(f.configs[0], shapes[f.configs[0].run_id]) for f in fleets)
        out.print(f"the {execution.policies} policy of each is kept: {_size(size)} in {store.shown}/policies")
    return not refused


def apart(configs: list[Config], runs: pd.DataFrame) -> list[str]:
    """A line for each task, protocol and budget that none of the folder's runs of the task has; runs: of `record.RUNS`.

    A report compares runs of one protocol and budget, so such runs would stand apart from those there.
    """
    new = Counter((config.task_label, config.condition, config.total_steps) for config in configs)
    base = {config.task_label: _versionless(config.task.id) for config in configs}
    ids = runs["config"].map(lambda config: _versionless(json.loads(config)["task"]["id"]))
    lines = []
    for (task, condition, steps), count in new.items():
        there = runs[(runs["task"] == task) & runs["condition"].notna()]
        these = f"{counted(count, 'run')} of {task}"
        if there.empty:
            others = sorted(set(runs.loc[ids == base[task], "task"]))
            if others:
                lines.append(f"{these}: another task than {', '.join(others)}, which the folder has")
            continue
        known = there.groupby(["condition", "total_steps"]).size()
        if (condition, steps) in known.index:
            continue
        nearest = known[known.index.get_level_values("condition") == condition]
        theirs, their_steps = (known if nearest.empty else nearest).idxmax()
        pairs = [[own or "the default protocol" for own in (condition, theirs)]]
        pairs.append([f"{own:,} steps" for own in (steps, their_steps)])
        mine, yours = (" and ".join(side) for side in zip(*(pair for pair in pairs if pair[0] != pair[1])))
        most = "those" if len(known) == 1 else "most of those"
        most = f"{most} in the folder ({len(there)} of the task)"
        lines.append(f"{these} with {mine}; {most} have {yours}: a figure shows one of both")
    return lines


def _versionless(environment: str) -> str:
    return re.sub(r"-v\d+$", "", environment)


def _size(number: int) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{max(1, round(number / 1e3))} kB"


def _time(seconds: float) -> str:
    return "unknown" if np.isnan(seconds) else duration(seconds)


def _widths(fleets: list[Group]) -> str:
    """32, 32 and 20 runs: '20 to 32'."""
    widths = [len(fleet.configs) for fleet in fleets]
    return f"{min(widths)} to {max(widths)}" if min(widths) < max(widths) else f"{widths[0]}"


def makespan(seconds: list[float], workers: int) -> float:
    """When the last of the fleets is through, each given to the first worker that is free."""
    free = [0.0] * workers
    for length in seconds:
        heapq.heappush(free, heapq.heappop(free) + length)
    return max(free)


class Speeds:
    """Seconds per environment step, measured: from the wall_seconds of finished runs in the results folder.

    A run's share of its fleet's time depends on how many share it (fleet_runs).
    """

    def __init__(self, results: Path):
        self.samples: dict[tuple, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        columns = ["task", "algorithm", "total_steps", "status", "wall_seconds", "fleet_runs", "config"]
        for file in sorted(results.glob("**/runs.parquet")):
            try:
                runs = disk.read_table(file, columns)
            except (disk.Damaged, FileNotFoundError):
                continue
            runs = runs[(runs["status"] == "complete") & (runs["wall_seconds"] > 0) & runs["fleet_runs"].notna()]
            for run in runs.drop_duplicates(["task", "algorithm", "wall_seconds"]).itertuples():
                key = _key(run.task, run.algorithm, json.loads(run.config))
                self.samples[key][int(run.fleet_runs)].append(run.wall_seconds / run.total_steps)

    def seconds(self, config: Config, width: int) -> float:
        """Of a run in a fleet of this width, from fleets of the nearest; NaN where nothing like it ever ran here."""
        protocol = {name: getattr(config, name) for name in PROTOCOL} | {"hidden": list(config.hidden)}  # as in JSON
        by_width = self.samples.get(_key(config.task_label, config.algorithm.name, protocol))
        if not by_width:
            return float("nan")
        nearest = min(by_width, key=lambda known: abs(np.log(known / width)))
        return float(np.median(by_width[nearest])) * config.iterations * config.horizon

    def source(self, todo: list[tuple[Config, int]]) -> str:
        """What the times are made of."""
        unknown = {f"{c.task_label} {c.algorithm.name}" for c, width in todo if np.isnan(self.seconds(c, width))}
        words = "times are measured: those of finished runs of the same task and algorithm in the results folder"
        if not unknown:
            return words
        return f"{words}; there is none yet of {', '.join(sorted(unknown))}"


def _key(task: str, algorithm: str, config: dict) -> tuple:
    return (task, algorithm, *(str(config.get(name)) for name in PROTOCOL))
