"""What a sweep would do, and how long it would take here; trains and writes nothing."""

import heapq
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from study import disk
from study.config import Config
from study.console import printer
from study.plan import Fleet, Plan
from study.progress import duration

PROTOCOL = ("horizon", "epochs", "minibatch_size", "hidden")  # what a step's cost depends on, besides its arm


def show(configs: list[Config], refused: list[tuple[list[str], str]]) -> None:
    """Prints the plan of these runs, as a sweep would settle it."""
    from study.store import Store
    from study.sweep import cores, unusable

    out = printer()
    configs = list({config.run_id: config for config in configs}.values())
    wrong = {config.run_id: reason for config, reason in unusable(configs)}
    refused = refused + [
        ([c.task.name, c.arm, f"seed={c.seed}"], wrong[c.run_id]) for c in configs if c.run_id in wrong
    ]
    usable = [config for config in configs if config.run_id not in wrong]
    store = Store(configs[0].study)
    status = store.peek().set_index("run_id")["status"].to_dict()
    finished = {run for run, state in status.items() if state != "failed"}
    fleets = Plan(store.work).read(mend=False).settle(usable, finished) if usable else []
    speeds = Speeds(Path(configs[0].execution.results))

    rows = defaultdict(lambda: {"runs": 0, "done": 0, "again": 0, "fleets": [], "steps": 0, "seconds": 0.0})
    for config in usable:
        row = rows[config.task.name, config.algorithm.name]
        row["runs"] += 1
        row["done"] += config.run_id in finished
        row["again"] += status.get(config.run_id) == "failed"
    for fleet in fleets:
        row = rows[fleet.configs[0].task.name, fleet.configs[0].algorithm.name]
        row["fleets"].append(len(fleet.configs))
        row["steps"] += fleet.steps
        row["seconds"] += speeds.seconds(fleet)
    columns = ("task", "algorithm", "runs", "finished", "failed", "fleets", "steps", "time")
    table = Table(*columns, box=None, header_style="dim")
    for (task, algorithm), row in rows.items():
        time = _time(row["seconds"]) if row["fleets"] else ""
        numbers = [str(row["runs"]), str(row["done"] or ""), str(row["again"] or "")]
        table.add_row(
            task, algorithm, *numbers, _widths(row["fleets"]), f"{row['steps']:,}" if row["steps"] else "", time
        )
    out.print(table)

    reasons = defaultdict(list)
    for words, reason in refused:
        reasons[reason].append(words)
    for reason, jobs in reasons.items():
        others = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        out.print(f"[red]refused:[/] {reason}\n         {' '.join(jobs[0])}{others}", highlight=False)
    execution = configs[0].execution
    width = min(execution.workers or cores(), max(len(fleets), 1))
    where = f"{width} worker{'' if width == 1 else 's'}" if execution.cluster == "local" else "the cluster"
    seconds = [speeds.seconds(fleet) for fleet in fleets]
    known = [length for length in seconds if not np.isnan(length)]
    total = makespan(known, width) if known else float("nan")
    least = "at least " if 0 < len(known) < len(fleets) else ""
    todo = sum(len(fleet.configs) for fleet in fleets)
    resumed = sum(store.checkpoint(fleet.name).exists() for fleet in fleets)
    out.print(
        f"{todo} of {len(configs)} runs to train in {len(fleets)} fleet{'' if len(fleets) == 1 else 's'}"
        + (f" ({resumed} from a checkpoint)" if resumed else "")
        + f" on {where}"
        + (f", time {least}{_time(total)}" if fleets and execution.cluster == "local" else "")
        + f"; results in {store.folder}",
        highlight=False,
    )
    if fleets:
        out.print(speeds.source(fleets), highlight=False)


def _time(seconds: float) -> str:
    return "unknown" if np.isnan(seconds) else duration(seconds)


def _widths(widths: list[int]) -> str:
    """3 x 32, 1 x 20."""
    counts = pd.Series(widths, dtype=int).value_counts().sort_index(ascending=False)
    return ", ".join(f"{count} x {width}" for width, count in counts.items())


def makespan(seconds: list[float], workers: int) -> float:
    """When the last of the fleets is through, each given to the first worker that is free."""
    free = [0.0] * workers
    for length in seconds:
        heapq.heappush(free, heapq.heappop(free) + length)
    return max(free)


class Speeds:
    """Seconds per environment step, measured: from the wall_seconds of finished runs in the results folder.

    A run's share of its fleet's time depends on the width of the fleet, which is the number of runs that have
    the same wall_seconds to the last bit: they were trained together.
    """

    def __init__(self, results: Path):
        self.samples: dict[tuple, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.used: set[tuple] = set()
        for file in sorted(results.glob("**/runs.parquet")):
            try:
                runs = disk.read_table(file, ["task", "algorithm", "total_steps", "status", "wall_seconds", "config"])
            except (disk.Damaged, FileNotFoundError):
                continue
            runs = runs[(runs["status"] == "complete") & (runs["wall_seconds"] > 0)]
            for _, together in runs.groupby(["task", "algorithm", "wall_seconds"]):
                first = together.iloc[0]
                key = _key(first["task"], first["algorithm"], json.loads(first["config"]))
                self.samples[key][len(together)].append(first["wall_seconds"] / first["total_steps"])

    def seconds(self, fleet: Fleet) -> float:
        """From fleets of the nearest width; NaN where nothing like it was ever run here."""
        config = fleet.configs[0]
        by_width = self.samples.get(_key(config.task.name, config.algorithm.name, config.model_dump(mode="json")))
        if not by_width:
            return float("nan")
        nearest = min(by_width, key=lambda width: abs(np.log(width / len(fleet.configs))))
        return float(np.median(by_width[nearest])) * fleet.steps

    def source(self, fleets: list[Fleet]) -> str:
        """What the times are made of."""
        unknown = {fleet.configs[0].task.name + " " + fleet.configs[0].algorithm.name
                   for fleet in fleets if np.isnan(self.seconds(fleet))}  # fmt: skip
        words = "times are measured: those of finished runs of the same task and algorithm in the results folder"
        if not unknown:
            return words
        return f"{words}; there is none yet of {', '.join(sorted(unknown))}"


def _key(task: str, algorithm: str, config: dict) -> tuple:
    return (task, algorithm, *(str(config.get(name)) for name in PROTOCOL))
