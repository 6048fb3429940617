"""How far a sweep is: live on a terminal, a line a minute elsewhere, and in a file for `python -m study.status`."""

import json
import os
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from study.console import console, duration
from study.launch import disk


@dataclass(frozen=True)
class Progressed:
    """Where one fleet is."""

    fleet: str
    title: str
    iteration: int
    iterations: int
    steps: int  # environment steps since the start, all runs
    since_checkpoint: int  # iterations that would be trained again if all stopped now
    arms: dict[str, tuple[float, float]]  # running means over an arm's runs: return of the last 100 episodes, KL

    @classmethod
    def of(cls, fleet, trainer) -> "Progressed":
        arms = np.array([config.arm for config in fleet.configs])
        returns, kl = trainer.latest("return_last100"), trainer.latest("kl_after")
        iteration, chapter = trainer.iteration, trainer.config.chapter
        means = {arm: (_mean(returns[arms == arm]), _mean(kl[arms == arm])) for arm in dict.fromkeys(arms.tolist())}
        steps = iteration * trainer.config.horizon * len(fleet.configs)
        return cls(fleet.name, fleet.title, iteration, trainer.config.iterations, steps, iteration % chapter, means)


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


class Meter:
    """Progress of the whole sweep."""

    EVERY = 60.0  # seconds between lines where there is no terminal
    BEAT = 2.0  # seconds between writes of the file

    def __init__(self, total: int, launchers: Path):
        self.total, self.workers = total, 1
        self.file = launchers / f"{socket.gethostname()}-{os.getpid()}.json"
        self.running: dict[str, Progressed] = {}
        self.first: dict[str, int] = {}  # steps a resumed fleet had behind it
        self.dropped: set[str] = set()
        self.finished = 0  # steps of fleets that are done
        self.trained = 0  # of these, steps made since we began
        self.began, self.started, self.printed = time.monotonic(), time.time(), time.monotonic()
        self.lock = threading.RLock()
        self.over = threading.Event()

    def __enter__(self):
        self.live = Live(get_renderable=self._panel, console=console, refresh_per_second=2, transient=True)
        if console.is_terminal:
            self.live.start()
        self.thread = threading.Thread(target=self._beat, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.file.unlink(missing_ok=True)
        if console.is_terminal:
            self.live.stop()
        if self.done:
            console.print(self._line())

    def update(self, progressed: Progressed) -> None:
        with self.lock:
            if progressed.fleet in self.dropped:
                return  # the results came first
            self.running[progressed.fleet] = progressed
            chapter_start = progressed.steps * (progressed.iteration - 1) // max(progressed.iteration, 1)
            self.first.setdefault(progressed.fleet, chapter_start)
        if not console.is_terminal and time.monotonic() - self.printed > self.EVERY:
            self._lines()

    def drop(self, fleet, finished: bool) -> None:
        """The fleet is done, by us or by another launcher, or given up."""
        with self.lock:
            seen = self.running.pop(fleet.name, None)
            self.dropped.add(fleet.name)
            if seen:
                self.trained += (fleet.steps if finished else seen.steps) - self.first.pop(fleet.name)
            if finished:
                self.finished += fleet.steps

    @property
    def done(self) -> int:
        with self.lock:
            return self.finished + sum(progressed.steps for progressed in self.running.values())

    @property
    def rate(self) -> float:
        """Environment steps per second since we began."""
        with self.lock:
            made = self.trained + sum(seen.steps - self.first[name] for name, seen in self.running.items())
        return made / (time.monotonic() - self.began)

    @property
    def left(self) -> float:
        """Seconds, NaN if unknown."""
        return (self.total - self.done) / self.rate if self.rate > 0 else float("nan")

    def _arms(self) -> list[tuple[str, int, int, str, float, float]]:
        with self.lock:
            running = sorted(self.running.values(), key=lambda seen: seen.title)
        return [
            (seen.title, seen.iteration, seen.iterations, arm, *means)
            for seen in running
            for arm, means in seen.arms.items()
        ]

    def _line(self) -> str:
        share = self.done / max(self.total, 1)
        left = "done" if self.done >= self.total else f"{duration(self.left)} left"
        return f"{share:4.0%}  {duration(time.monotonic() - self.began)}  {self.rate:.0f} steps/s  {left}"

    def _lines(self) -> None:
        self.printed = time.monotonic()
        console.print(self._line(), highlight=False)
        for name, iteration, iterations, arm, mean, kl in self._arms()[:12]:
            console.print(f"      {name} {iteration}/{iterations}  {arm}: {_pair(mean, kl)}", highlight=False)

    def _panel(self) -> Group:
        bar = Progress(TextColumn("{task.percentage:.0f}%"), BarColumn(), TextColumn("{task.description}"))
        words = f"{duration(time.monotonic() - self.began)}  {self.rate:.0f} steps/s  {duration(self.left)} left"
        bar.add_task(words, total=self.total, completed=self.done)
        table = Table("fleet", "iteration", "arm", "return", "KL", box=None, header_style="dim")
        for name, iteration, iterations, arm, mean, kl in self._arms()[: max(4, console.height - 6)]:
            table.add_row(name, f"{iteration}/{iterations}", arm, f"{mean:.4g}", f"{kl:.3g}")
        return Group(table, bar)

    def _beat(self) -> None:
        while not self.over.wait(self.BEAT if self.file.exists() else 0.1):
            with self.lock:
                state = {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "command": " ".join(sys.argv),
                    "started": self.started,
                    "beat": time.time(),
                    "workers": self.workers,
                    "total": self.total,
                    "done": self.done,
                    "steps_per_second": self.rate,
                    "seconds_left": self.left,
                    "fleets": [asdict(seen) for seen in self.running.values()],
                }
            try:
                text = json.dumps(state).encode()
                disk.write(self.file, lambda file, text=text: file.write(text))
            except (OSError, disk.Unwritable):
                pass  # training does not depend on the status


def _pair(mean: float, kl: float) -> str:
    return f"return {mean:.4g}, KL {kl:.3g}"
