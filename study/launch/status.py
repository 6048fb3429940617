"""python -m study.status results/NAME: how far a study is, running or not. Reads; writes and locks nothing."""

import json
import os
import socket
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from study.console import duration, printer
from study.launch.plan import Plan

SILENT = 60.0  # seconds without a beat after which a launcher on another machine counts as dead


def show(folder: Path, out: Console) -> None:
    from study.launch.store import Store

    store = Store(folder)
    runs = store.peek()
    plan = Plan(store.work).read(mend=False)
    launchers = [launcher for launcher in map(_read, sorted(store.work.glob("launchers/*.json"))) if launcher]
    alive = [launcher for launcher in launchers if _alive(launcher)]
    running = {fleet["fleet"]: fleet for launcher in alive for fleet in launcher["fleets"]}

    # Runs
    counts: dict[tuple, Counter] = defaultdict(Counter)
    for task, algorithm, status in runs[["task", "algorithm", "status"]].itertuples(index=False):
        counts[task, algorithm][status] += 1
    known = set(runs["run_id"][runs["status"] != "failed"])
    failed = set(runs["run_id"]) - known
    for name, entry in plan.entries.items():
        if entry.parts is None:
            state = "running" if name in running else "waiting"
            for run, algorithm in zip(entry.runs, entry.algorithms):
                counts[entry.task, algorithm][state] += run not in known and run not in failed
    states = ("complete", "diverged", "failed", "running", "waiting")
    table = Table("task", "algorithm", *states, box=None, header_style="dim")
    for (task, algorithm), count in sorted(counts.items()):
        table.add_row(task, algorithm, *(str(count[state] or "") for state in states))
    out.print(table)

    # Fleets under way
    if running:
        table = Table("fleet", "iteration", "arm", "return", "KL", box=None, header_style="dim")
        for fleet in running.values():
            for arm, (mean, kl) in fleet["arms"].items():
                progress = f"{fleet['iteration']}/{fleet['iterations']}"
                table.add_row(fleet["title"], progress, arm, f"{mean:.4g}", f"{kl:.3g}")
        out.print(table)

    # Launchers
    for launcher in launchers:
        who = f"process {launcher['pid']} on {launcher['host']}"
        if launcher in alive:
            out.print(
                f"{who}: {launcher['done'] / max(launcher['total'], 1):.0%} of its steps, "
                f"{launcher['steps_per_second']:.0f} steps/s on {launcher['workers']} "
                f"worker{'' if launcher['workers'] == 1 else 's'}, {duration(launcher['seconds_left'])} left",
                highlight=False,
            )
        else:
            out.print(f"{who} died {duration(time.time() - launcher['beat'])} ago", highlight=False)
    waiting = sum(count["waiting"] for count in counts.values())
    if not alive and waiting:
        held = len(list(store.checkpoints.glob("*.pt")))
        held = f"{held} fleet has a checkpoint" if held == 1 else f"{held} fleets have checkpoints"
        out.print(f"no process is training; {held}; the same command continues", highlight=False)
    elif not alive:
        out.print("nothing is left to do" if not failed else "the same command tries the failed runs again")

    # Failures
    for trace in sorted(store.errors.glob("*.txt")):
        entry = plan.entries.get(trace.stem)
        if entry is not None and entry.parts is None and failed & set(entry.runs):
            reason = (trace.read_text(errors="replace").splitlines() or [""])[0] if trace.is_file() else ""
            out.print(f"[red]failed:[/] {reason.strip()} ({trace})", highlight=False)


def _read(file: Path) -> dict | None:
    """What a launcher has written; None where that is no such thing."""
    try:
        launcher = json.loads(file.read_text())
        whole = {"pid", "host", "beat", "workers", "total", "done", "steps_per_second", "seconds_left", "fleets"}
        return launcher if whole <= launcher.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _alive(launcher: dict) -> bool:
    if launcher["host"] != socket.gethostname():
        return time.time() - launcher["beat"] < SILENT
    try:
        os.kill(launcher["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        return print(__doc__.strip())
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m study.status results/NAME", file=sys.stderr)
        sys.exit(2)
    folder = Path(sys.argv[1])
    if not (folder / "runs.parquet").exists() and not (folder / ".work").exists():
        print(f"error: {folder} holds no study", file=sys.stderr)
        sys.exit(2)
    show(folder, printer())
