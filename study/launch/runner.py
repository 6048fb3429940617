"""Trains a list of runs: skips the finished ones, packs the others into fleets, has them trained, stores results."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pandas as pd
from rich.table import Table

from study.config import Config
from study.console import console, counted, hear_gymnasium, said
from study.launch import disk, tracker
from study.launch.cluster import Outcome, Work, engine
from study.launch.plan import Group, Plan
from study.launch.progress import Meter
from study.settings import ConfigError

if TYPE_CHECKING:
    from study.policy import Policy
    from study.task import Probed


class Interrupted(Exception):
    """Ctrl-C or a termination signal; the message says how to continue."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number


def run(configs: list[Config]) -> pd.DataFrame:
    """Trains whatever of these runs is not finished and returns their rows of runs.parquet, in order.

    Raises ConfigError before anything is made if a run cannot be. A run that raises is marked failed, the
    others are trained. Raises disk.Unwritable if nothing more can be written, Interrupted if asked
    to stop; whatever is finished by then is kept.
    """
    apart = defaultdict(list)
    for config in configs:
        apart[config.study, config.execution.model_dump_json()].append(config)
    if len(apart) > 1:  # each run goes into the study, and is computed on the device, that its configuration names
        check(configs)
        return pd.concat([run(some) for some in apart.values()])

    from study.launch.store import Store

    configs = list({config.run_id: config for config in configs}.values())
    store = Store(configs[0].study)  # its folder is fixed now, whatever an environment does
    alone: set[str] = set()
    origins = check(configs, alone)
    configs = each_apart(configs, alone)
    tracker.check(configs[0].execution.tracker)
    if (kind := configs[0].execution.policies) and find_spec("safetensors") is None:
        raise ConfigError(f"execution.policies={kind}: needs safetensors: pip install safetensors")
    store.open()
    store.merge()  # the results of an interrupted sweep
    finished = store.finished()
    tidy(store, finished)
    todo = [config for config in configs if config.run_id not in finished]
    if len(todo) < len(configs):
        console.print(f"{len(configs) - len(todo)} of {len(configs)} runs are finished already in {store.shown}")
        _tell_of_other_origins([config for config in configs if config.run_id in finished], origins, store)
    _tell_of_no_policy([config for config in configs if config.run_id in finished], store)
    if todo:
        sweep = Sweep(store, configs)
        try:
            sweep.train()
        finally:
            store.merge()
        _tell_of_still(sweep.still, len(sweep.trained))
        report(sweep.failed, store)
    rows = store.runs().set_index("run_id", drop=False)
    rows = rows.loc[[config.run_id for config in configs if config.run_id in rows.index]]
    _tell_of_diverged(rows, sweep.causes if todo else {})
    endless = int(((rows["status"] == "complete") & rows["final_return"].isna()).sum())
    if endless:
        console.print(
            f"no episode ended in {counted(endless, 'run')}; final_return cannot be measured: give a time limit, "
            "task.max_episode_steps=N, or task.kwargs",
            highlight=False,
        )
    return rows


def tidy(store, finished: set[str]) -> None:
    """Removes checkpoints that are not needed: of fleets whose results were stored just before their launcher died."""
    entries = Plan(store.work).read().entries
    for checkpoint in store.checkpoints.glob("*.pt"):
        entry = entries.get(checkpoint.stem)
        if entry is not None and (entry.parts is not None or finished.issuperset(entry.runs)):
            disk.remove(checkpoint)


def check(configs: list[Config], alone: set[str] | None = None) -> dict[str, str]:
    """Tries each distinct task, so that a wrong one is refused before anything is written; the device too.

    Returns the origin of every run's environment, by run_id; fills alone, as unusable does.
    """
    origins: dict[str, str] = {}
    for _, reason in unusable(configs, origins, alone):
        raise ConfigError(reason)
    if any(config.fork for config in configs):
        from study.launch import snapshots

        snapshots.check(configs)
    return origins


def each_apart(configs: list[Config], alone: set[str]) -> list[Config]:
    """The runs, those of `alone` in fleets of one; a process trains one fleet after the other."""

    def single(config: Config) -> Config:
        return config.model_copy(update={"execution": config.execution.model_copy(update={"fleet_size": 1})})

    return [single(config) if config.run_id in alone else config for config in configs]


def unusable(
    configs: list[Config],
    origins: dict[str, str] | None = None,
    alone: set[str] | None = None,
    shapes: dict[str, "Policy"] | None = None,
) -> list[tuple[Config, str]]:
    """Runs whose task or device is not available here, or whose algorithm does not start with them, and why; says what
    else the user should know of a task.

    Fills origins, run_id -> packages and versions of the environment, alone with the ids of runs whose environments
    disturb each other in one process, and shapes, run_id -> a linear policy for its observations and actions.
    """
    import torch

    from study.task import probe

    hear_gymnasium()
    reasons: dict[tuple, str | None] = {}
    probed: dict[tuple, Probed] = {}
    refused = []
    several = Counter(map(_task_of, configs))
    for config in configs:
        if (device := ("device", config.execution.device)) not in reasons:
            try:
                torch.zeros(1, device=config.execution.device)
                reasons[device] = None
            except (RuntimeError, AssertionError) as error:
                reason = str(error).splitlines()[0]
                reasons[device] = f"execution.device={config.execution.device}: cannot be used here: {reason}"
        if (task := _task_of(config)) not in reasons:
            try:
                probed[task] = probe(config.task, together=several[task] > 1 and config.execution.fleet_size > 1)
                reasons[task] = None
                for note in _notes(probed[task], config):
                    console.print(f"[yellow]note:[/] {note}", highlight=False)
            except ConfigError as error:
                reasons[task] = str(error)
        if reasons[task] is None and (arm := (task, config.arm)) not in reasons:
            reasons[arm] = _start(config, probed[task].policy)
        if reason := reasons[device] or reasons[task] or reasons[arm]:
            refused.append((config, reason))
            continue
        if origins is not None:
            origins[config.run_id] = probed[task].origin
        if alone is not None and probed[task].shares:
            alone.add(config.run_id)
        if shapes is not None:
            shapes[config.run_id] = probed[task].policy
    return refused


def _task_of(config: Config) -> tuple:
    return "task", config.task_label, config.task.id, config.task.max_episode_steps, str(config.task.kwargs)


def _notes(probed: "Probed", config: Config) -> list[str]:
    """What the user should know of a task, one line each."""
    notes, id = [probed.differs] if probed.differs else [], config.task.id
    if probed.shares:
        notes.append(
            f"task.id={id}: its copies disturb each other, because they share something in their process "
            f"({probed.shares}); so each run is trained in a fleet of its own, as with execution.fleet_size=1"
        )
    if probed.outside:
        notes.append(f"task.id={id}: {probed.outside}; nothing here depends on an observation's bounds")
    if probed.keeps and config.chapter < config.iterations:
        notes.append(
            f"task.id={id}: {' and '.join(probed.keeps)} begins with new statistics whenever environments are made "
            f"anew, every chapter={config.chapter} iterations; chapter={config.iterations} keeps them "
            "(docs/how-to/tasks.md)"
        )
    return notes


def _start(config: Config, policy) -> str | None:
    """Why the run's algorithm does not start with such a policy, if it does not."""
    import torch

    from study import algorithm
    from study.fleet import Fleet

    try:
        fleet = Fleet([config], policy, torch.float64)
        algorithm.page(config.algorithm.name, config.algorithm.module).start(fleet, torch.zeros(1, policy.parameters))
    except ConfigError as error:
        return str(error)
    except Exception:
        return None  # its own runs will fail when they are trained
    return None


def cores() -> int:
    """Cores that this process may use: a batch job's or a container's share, not the whole machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Sweep:
    """One launcher's work on a study."""

    store: object
    configs: list[Config]
    failed: list[tuple[Config, str]] = field(default_factory=list)
    trained: list[Config] = field(default_factory=list)
    causes: dict[str, str] = field(default_factory=dict)  # of diverged runs, by run_id
    still: dict[str, list[Config]] = field(default_factory=dict)  # runs with nothing to learn from, by reason
    untracked: bool = False  # the tracker has failed

    def train(self) -> None:
        """All fleets, each claimed before it is touched; waits for those that other launchers have claimed."""
        store, execution = self.store, self.configs[0].execution
        self.before = dict(store.known())
        self.plan = Plan(store.work)
        with store.lock:
            fleets = self.plan.read().fleets(self.configs, self.before)
            self.plan.write()
        # Fleets with a checkpoint come first: least is lost if the sweep is stopped again
        self.waiting = deque(sorted(fleets, key=lambda fleet: not store.checkpoint(fleet.name).exists()))
        self.running: dict[str, tuple[Group, object]] = {}
        here = execution.cluster == "local"
        workers = min(execution.workers or cores(), len(fleets)) if here else 0
        if workers > 1 and multiprocessing.current_process().daemon:
            workers = 1
            console.print("[yellow]note:[/] a process of a multiprocessing.Pool may start no workers: it trains itself")
        runs = sum(len(fleet.configs) for fleet in fleets)
        where = counted(workers, "worker") if here else "the cluster"
        console.print(
            f"training {counted(runs, 'run')} in {counted(len(fleets), 'fleet')} on {where}; results in {store.shown}"
        )
        self.told = False
        self.meter = Meter(sum(fleet.steps for fleet in fleets), store.work / "launchers")
        with self.meter, _signals() as stop:
            try:
                of = execution.cluster, workers, self.configs
                with engine(*of, self.meter.update, lambda: stop.number) as self.engine:
                    try:
                        while (self.waiting or self.running) and not stop.number:
                            self._hand_out()
                            for fleet, outcome in self.engine.done(timeout=0.5):
                                self._take_in(fleet, outcome)
                    finally:
                        stop.calm()
                        if self.running:
                            self.engine.stop()
                        for _, claim in self.running.values():
                            claim.release()
            except KeyboardInterrupt:
                if not stop.number:
                    raise
            if stop.number:
                raise Interrupted(self._what_is_left(), stop.number)

    def _hand_out(self) -> None:
        slots = self.meter.workers = self.engine.slots()
        for _ in range(len(self.waiting)):
            if len(self.running) >= max(1, slots):
                return
            fleet = self.waiting.popleft()
            claim = self.store.claim(fleet.name)
            if claim is None:  # another launcher has it; if that one dies, its claim falls to us
                self.waiting.append(fleet)
                continue
            with self.store.lock:
                stands = self.plan.read().now(fleet)
                if stands != [fleet]:
                    self.plan.write()
            if stands != [fleet]:  # it raised elsewhere and was split, or not all of its runs are asked for
                claim.release()
                self.waiting.extend(stands)
            elif self._settled(fleet):
                claim.release()
                self.meter.drop(fleet, finished=True)
            else:
                self.running[fleet.name] = fleet, claim
                self.engine.submit(Work(fleet, self.store.checkpoints.absolute(), self.store.token, frozenset(said)))
        if self.waiting and not self.running and not self.told:
            self.told = True
            console.print(f"waiting for {counted(len(self.waiting), 'fleet')} that another process is training")

    def _settled(self, fleet: Group) -> bool:
        """Whether another launcher has trained the fleet since we began."""
        known = self.store.known()
        statuses = [(known.get(config.run_id), self.before.get(config.run_id)) for config in fleet.configs]
        return all(now is not None and (now != "failed" or before != "failed") for now, before in statuses)

    def _take_in(self, fleet: Group, outcome: Outcome) -> None:
        """Stores a fleet's results; without them finds the runs that fail."""
        _, claim = self.running.pop(fleet.name)
        try:
            if outcome.results is not None:
                self._keep(fleet, outcome.results, outcome.policies)
            elif outcome.hopeless:
                raise disk.Unwritable(outcome.error)
            elif outcome.stopped:
                self.waiting.append(fleet)
            else:
                self._split(fleet, outcome)
        finally:
            claim.release()

    def _keep(self, fleet: Group, results: list, kept: dict[str, bytes] | None = None) -> None:
        """Policies first: a run that has a row has its policy, too."""
        for name, content in (kept or {}).items():
            disk.write(self.store.policies / name, lambda file, content=content: file.write(content))
        self.store.add(fleet.name, results)
        for result in results:
            self.trained.append(result.config)
            if result.status == "diverged":
                self.causes[result.config.run_id] = result.cause
            elif (reason := _still(result)) is not None:
                self.still.setdefault(reason, []).append(result.config)
        disk.remove(self.store.checkpoint(fleet.name))
        self.meter.drop(fleet, finished=True)
        if fleet.configs[0].execution.tracker != "none" and not self.untracked:
            try:
                tracker.write(fleet.configs[0].execution.tracker, self.store.folder, results)
            except Exception as error:  # whatever a tracker raises: the results are stored, training goes on
                self.untracked = True
                console.print(
                    f"[yellow]note:[/] {fleet.configs[0].execution.tracker} cannot be written "
                    f"({' '.join(f'{type(error).__name__}: {error}'.split())[:200]}); the results are stored all the "
                    "same, training goes on without it",
                    highlight=False,
                )

    def _split(self, fleet: Group, outcome: Outcome) -> None:
        """Marks the runs failed that raise alone too, and has the others trained again: together if it is known which
        raise, else in halves."""
        alone = outcome.alone if len(fleet.configs) > 1 else {fleet.configs[0].run_id: outcome.error}
        wrong = [config for config in fleet.configs if config.run_id in alone]
        others = [config for config in fleet.configs if config.run_id not in alone]
        if not wrong:
            parts, then = fleet.halves(), "its runs are trained again in two fleets"
        elif not others:
            parts, then = [fleet], "each of its runs raises alone too"
        else:
            parts = [Group.of(others), Group.of(wrong)]
            then = f"of its runs {len(wrong)} raise alone too, the others are trained again"
        trace = self.store.errors / f"{(parts[-1] if wrong else fleet).name}.txt"
        text = f"{fleet.title}: {outcome.error}\n\n{outcome.trace}".encode(errors="backslashreplace")
        disk.write(trace, lambda file: file.write(text))
        console.print(f"[red]{fleet.title}:[/] {outcome.error}", highlight=False)
        if len(fleet.configs) > 1:
            console.print(f"{then}; the whole trace is in {trace}", highlight=False)
        if len(parts) > 1:
            with self.store.lock:
                self.plan.read().split(fleet, parts)
                self.plan.write()
            disk.remove(self.store.checkpoint(fleet.name))
            self.meter.drop(fleet, finished=False)
        if wrong:
            self.failed += [(config, alone[config.run_id]) for config in wrong]
            self._keep(parts.pop(), [_failed(config) for config in wrong])
        self.waiting.extendleft(reversed(parts))

    def _what_is_left(self) -> str:
        finished = self.store.finished()
        done = sum(config.run_id in finished for config in self.configs)
        again = sum(seen.since_checkpoint for seen in self.meter.running.values())
        lost = f"; {counted(again, 'iteration')} since the last checkpoints will be made again" if again else ""
        return (
            f"stopped with {done} of {len(self.configs)} runs finished{lost}. "
            "The same command continues from there, to the same results"
        )


class _Stop:
    """Set by the first signal, which also interrupts what does not end within PATIENCE seconds; the second one
    interrupts at once. An unfinished iteration is no loss: training resumes from checkpoints only."""

    PATIENCE = 1.0

    def __init__(self):
        self.number = 0
        self.timer: threading.Timer | None = None

    def __call__(self, number, frame) -> None:
        if self.number or getattr(sys.modules.get("study.compiler"), "busy", False):
            self.number = self.number or number
            raise KeyboardInterrupt
        self.number = number
        self._again(self.PATIENCE)
        console.print("stopping")

    def _again(self, seconds) -> None:
        if hasattr(signal, "pthread_kill"):
            self.calm()
            self.timer = threading.Timer(seconds, signal.pthread_kill, (threading.main_thread().ident, self.number))
            self.timer.daemon = True
            self.timer.start()

    def unraisable(self, lost) -> None:
        """sys.unraisablehook: an interrupt that falls into a destructor or a weak reference's callback, where Python
        drops whatever is raised, is made again. torch's compiler has many of them."""
        if issubclass(lost.exc_type, KeyboardInterrupt) and self.number:
            self._again(0.01)
        else:
            sys.__unraisablehook__(lost)

    def calm(self) -> None:
        """Training has ended."""
        if self.timer is not None:
            self.timer.cancel()


@contextmanager
def _signals():
    """Ctrl-C, and the termination that a batch system sends before it kills."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    hook, sys.unraisablehook = sys.unraisablehook, stop.unraisable
    try:
        yield stop
    finally:
        sys.unraisablehook = hook
        stop.calm()
        for number, handler in before.items():
            signal.signal(number, handler)


def report(failed: list[tuple[Config, str]], store) -> None:
    """A table of what failed and why."""
    if not failed:
        return
    table = Table("task", "arm", "seed", "reason", title=f"{counted(len(failed), 'run')} failed", box=None)
    for config, reason in failed:
        table.add_row(config.task_label, config.arm, str(config.seed), reason)
    console.print(table)
    console.print(f"whole traces are in {store.errors}; the same command tries these runs again", highlight=False)


def _tell_of_diverged(rows: pd.DataFrame, causes: dict[str, str]) -> None:
    diverged = rows[rows["status"] == "diverged"]
    by_cause = defaultdict(list)
    for row in diverged.itertuples():
        by_cause[causes.get(row.run_id, "")].append(f"{row.task} {row.arm} seed={row.seed}")
    for cause, names in by_cause.items():
        what = "diverged (became non-finite)" + (f", {cause}" if cause else "")
        console.print(f"[yellow]{len(names)} of {counted(len(rows), 'run')} {what}:[/] {_some(names)}", highlight=False)


def _still(result) -> str | None:
    """Why a run had nothing to learn from."""
    if result.curves is None:
        return None
    returns = result.curves["return_mean"].dropna()
    if returns.empty:
        return "saw no episode end: there is no return"
    episodes, several = result.curves["episodes"].sum(), len(returns) > 1  # one iteration has one mean
    last = result.curves["return_last100"].dropna()
    if several and episodes >= 10 and returns.max() == returns.min() and last.nunique() == 1:
        return f"had the same return in every episode ({returns.iloc[0]:g})"
    return None


def _tell_of_still(still: dict[str, list[Config]], trained: int) -> None:
    for reason, configs in still.items():
        names = [f"{config.task_label} {config.arm} seed={config.seed}" for config in configs]
        console.print(f"[yellow]{len(names)} of {counted(trained, 'run')} {reason}:[/] {_some(names)}", highlight=False)


def _tell_of_other_origins(finished: list[Config], origins: dict[str, str], store) -> None:
    """Results made by another version of the environment are kept, and named."""
    made_by = store.runs().set_index("run_id")["environment"].to_dict()
    by_change = defaultdict(list)
    for config in finished:
        before, now = made_by.get(config.run_id), origins[config.run_id]
        if isinstance(before, str) and before and before != now:
            by_change[before, now].append(f"{config.task_label} {config.arm} seed={config.seed}")
    for (before, now), names in by_change.items():
        console.print(
            f"[yellow]{counted(len(names), 'finished run')} made by another version of the environment[/] "
            f"({before}; it is {now} now): {_some(names)}. Another name= trains them again",
            highlight=False,
        )


def _tell_of_no_policy(finished: list[Config], store) -> None:
    """Runs that were trained before their policies were asked for."""
    known, kind = store.known(), finished[0].execution.policies if finished else None
    without = [
        f"{config.task_label} {config.arm} seed={config.seed}"
        for config in finished
        if kind and known[config.run_id] == "complete" and not store.policy(config.run_id, kind).exists()
    ]
    if without:
        console.print(
            f"[yellow]{counted(len(without), 'finished run')} without a policy[/] (trained without "
            f"execution.policies={kind}): {_some(without)}. python -m study.remove lets them be trained again",
            highlight=False,
        )


def _some(names: list[str]) -> str:
    return "; ".join(names[:4]) + (f"; and {len(names) - 4} more" if len(names) > 4 else "")


def _failed(config: Config):
    from study.fleet import Result

    return Result(config, "failed", float("nan"), float("nan"), float("nan"), 1, None, "")


def refuse(error: ConfigError) -> None:
    """One line, exit code 2."""
    console.print(f"[red]error:[/] {error}", highlight=False)
    sys.exit(2)
