"""Many runs: which are done, which share a fleet, who trains them, and what came of it."""

import multiprocessing
import os
import sys
import time
import traceback
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from study.config import Config, ConfigError

console = Console(stderr=True, soft_wrap=True)


@dataclass(frozen=True)
class Fleet:
    """Runs to be trained together."""

    configs: list[Config]

    @property
    def name(self) -> str:
        return self.configs[0].run_id

    @property
    def steps(self) -> int:
        return sum(config.iterations * config.horizon for config in self.configs)


def run(configs: list[Config]) -> pd.DataFrame:
    """Trains whatever of these runs is not finished and returns their rows of runs.parquet, in order.

    Raises ConfigError before anything is made if a run cannot be. A fleet that raises costs its own runs
    only; they are marked failed, the others go on.
    """
    from study.store import Store

    configs = list({config.run_id: config for config in configs}.values())
    check(configs)
    store = Store(configs[0].study)
    store.open()
    store.merge()  # what an interrupted sweep left
    finished = store.finished()
    todo = [config for config in configs if config.run_id not in finished]
    if len(todo) < len(configs):
        console.print(f"{len(configs) - len(todo)} of {len(configs)} runs are finished already in {store.folder}")
    if todo:
        train(pack(todo), store)
        store.merge()
    rows = store.runs().set_index("run_id", drop=False).loc[[config.run_id for config in configs]]
    for _, failed in rows[rows["status"] == "failed"].iterrows():
        console.print(f"[red]failed:[/] {failed['task']}, {failed['arm']}, seed {failed['seed']}")
    return rows


def check(configs: list[Config]) -> None:
    """Makes each distinct task once, so that a wrong one is refused before anything is written; the device too."""
    import torch

    from study.task import Copies

    for device in {config.execution.device for config in configs}:
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"execution.device={device}: cannot be used here: {reason}") from None
    tasks = {config.task.model_dump_json(): config.task for config in configs}
    for task in tasks.values():
        Copies(task, [0]).close()


def pack(configs: list[Config]) -> list[Fleet]:
    """Runs that can share a fleet do, in fleets of equal width; the longest work first."""
    shared = defaultdict(list)
    for config in configs:
        shared[config.fleet_key].append(config)
    fleets = []
    for runs in shared.values():
        parts = -(-len(runs) // runs[0].execution.fleet_size)
        width = -(-len(runs) // parts)
        fleets += [Fleet(runs[start : start + width]) for start in range(0, len(runs), width)]
    return sorted(fleets, key=lambda fleet: -fleet.steps)


def train(fleets: list[Fleet], store) -> None:
    """Each fleet on a worker process of its own core; a single fleet right here."""
    workers = min(fleets[0].configs[0].execution.workers or os.cpu_count(), len(fleets))
    runs = sum(len(fleet.configs) for fleet in fleets)
    console.print(
        f"training {_count(runs, 'run')} in {_count(len(fleets), 'fleet')} on {_count(workers, 'worker')}; "
        f"results in {store.folder}"
    )
    with Meter(fleets) as meter:
        if workers == 1:
            for fleet in fleets:
                keep(store, fleet, work(fleet, store.work, meter.update))
        else:
            _in_processes(fleets, store, workers, meter)


def _in_processes(fleets: list[Fleet], store, workers: int, meter: "Meter") -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # read when a worker starts
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(workers, mp_context=context) as pool:
        queue = manager.Queue()
        tasks = {pool.submit(work, fleet, store.work, queue.put): fleet for fleet in fleets}
        meter.listen(queue)
        try:
            for task in as_completed(tasks):
                try:
                    keep(store, tasks[task], task.result())
                except BrokenProcessPool:
                    keep(store, tasks[task], [_failed(config) for config in tasks[task].configs])
                    console.print(f"[red]a worker died[/] while {_title(tasks[task])} was under way")
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(pool._processes.values()):
                process.terminate()
            raise


def keep(store, fleet: Fleet, results: list) -> None:
    """Puts a fleet's results aside and drops its checkpoint."""
    store.add(results)
    _checkpoint(store.work, fleet).unlink(missing_ok=True)


def work(fleet: Fleet, folder: Path, report) -> list:
    """Trains one fleet to its end; what a worker process does. A fleet that raises gives failed runs."""
    import torch

    from study.fleet import Trainer

    torch.set_num_threads(1)
    torch._inductor.config.compile_threads = 1
    try:
        trainer = Trainer(fleet.configs)
        return trainer.train(lambda trainer: report(Progressed.of(fleet, trainer)), _checkpoint(folder, fleet))
    except Exception as error:
        lines = traceback.format_exc()
        console.print(f"[red]{_title(fleet)} raised {type(error).__name__}:[/] {error}", highlight=False)
        (folder / f"{fleet.name}.error.txt").write_text(lines)
        console.print(f"the whole trace is in {folder / f'{fleet.name}.error.txt'}")
        return [_failed(config) for config in fleet.configs]


def _checkpoint(folder: Path, fleet: Fleet) -> Path:
    return folder / "checkpoints" / f"{fleet.name}.pt"


def _failed(config: Config):
    from study.fleet import Result

    return Result(config, "failed", float("nan"), float("nan"), float("nan"), None)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _title(fleet: Fleet) -> str:
    first = fleet.configs[0]
    return f"{first.task.name} {first.algorithm.name} ({len(fleet.configs)} runs)"


@dataclass(frozen=True)
class Progressed:
    """One iteration of one fleet is done."""

    fleet: str
    title: str
    steps: int  # environment steps since the start, all runs
    return_last100: float  # means over the fleet's runs
    kl_after: float

    @classmethod
    def of(cls, fleet: Fleet, trainer) -> "Progressed":
        steps = trainer.iteration * trainer.config.horizon * len(fleet.configs)
        returns = trainer.latest("return_last100")
        mean = float(returns[returns == returns].mean()) if (returns == returns).any() else float("nan")
        return cls(fleet.name, _title(fleet), steps, mean, float(trainer.latest("kl_after").mean()))


class Meter:
    """Progress of the whole sweep: a bar with ETA on a terminal, a line a minute elsewhere."""

    EVERY = 60.0  # seconds between lines

    def __init__(self, fleets: list[Fleet]):
        self.total = sum(fleet.steps for fleet in fleets)
        self.done: dict[str, int] = {}
        self.first: dict[str, int] = {}  # steps a resumed fleet had behind it
        self.began = self.printed = time.monotonic()
        columns = ["{task.description}", BarColumn(), "{task.percentage:.0f}%", TimeElapsedColumn(), "left"]
        columns += [TimeRemainingColumn(elapsed_when_finished=False), TextColumn("{task.fields[news]}")]
        self.bar = Progress(*columns, console=console, speed_estimate_period=600)
        self.bar_task = self.bar.add_task("training", total=self.total, news="")

    def __enter__(self):
        if console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_):
        self.bar.stop()
        if not console.is_terminal and self.done:
            self._line("done")

    def listen(self, queue) -> None:
        import threading

        def loop():
            try:
                while True:
                    self.update(queue.get())
            except (EOFError, ConnectionError):
                pass  # the sweep is over

        threading.Thread(target=loop, daemon=True).start()

    def update(self, progressed: Progressed) -> None:
        self.done[progressed.fleet] = progressed.steps
        self.first.setdefault(progressed.fleet, progressed.steps)
        steps = sum(self.done.values())
        news = f"{progressed.title}: return {progressed.return_last100:.4g}, KL {progressed.kl_after:.3g}"
        self.bar.update(self.bar_task, completed=steps, news=news)
        if not console.is_terminal and time.monotonic() - self.printed > self.EVERY:
            self._line(news)

    def _line(self, news: str) -> None:
        self.printed = time.monotonic()
        seconds = self.printed - self.began
        steps = sum(self.done.values())
        rate = (steps - sum(self.first.values())) / seconds
        left = f"{(self.total - steps) / rate / 60:.0f} min left" if rate > 0 else "time left unknown"
        console.print(f"{steps / self.total:4.0%}  {seconds / 60:.1f} min  {rate:.0f} steps/s  {left}  {news}")


def refuse(error: ConfigError) -> None:
    """One line, exit code 2."""
    console.print(f"[red]error:[/] {error}", highlight=False)
    sys.exit(2)
