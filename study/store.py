"""The results of a study on disk: runs.parquet and curves.parquet, always whole.

A finished fleet is first put aside as a part of its own; merging folds all parts into the two files.
Files appear under their names only when complete.
"""

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from study.config import ConfigError
from study.fleet import Result
from study.record import CURVES, RUNS, dtype

ROOT = Path(__file__).parent.parent


class Store:
    """One study's folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.work = folder / ".work"  # parts, checkpoints, the lock: nothing to keep once all is done
        self.parts = self.work / "parts"

    def open(self) -> None:
        """Makes the folder, if need be. Raises ConfigError where nothing can be written."""
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.work):
                pass
        except OSError as error:
            raise ConfigError(
                f"results cannot be written to {self.folder}: {error.strerror} "
                "(name and execution.results say where, conf/config.yaml or the command line)"
            ) from None

    def runs(self) -> pd.DataFrame:
        """All runs known so far, merged or not; the columns of record.RUNS."""
        return self._read("runs", RUNS)

    def curves(self) -> pd.DataFrame:
        return self._read("curves", CURVES)

    def finished(self) -> set[str]:
        """Ids of the runs that need not run again: a diverged run has its result, a failed one has none."""
        runs = self.runs()
        return set(runs["run_id"][runs["status"] != "failed"])

    def add(self, results: list[Result]) -> None:
        """Puts the results of one fleet aside; curves first, so that a run's row means its curve is there."""
        part = results[0].config.run_id
        curves = [result.curves for result in results if result.curves is not None]
        if curves:
            stored = {name: dtype(name) for name in CURVES}
            _write(pd.concat(curves).astype(stored)[list(CURVES)], self.parts / f"{part}.curves.parquet")
        _write(pd.DataFrame([row(result) for result in results])[list(RUNS)], self.parts / f"{part}.runs.parquet")

    def merge(self) -> None:
        """Folds the parts into runs.parquet and curves.parquet."""
        with FileLock(self.work / "lock"):
            parts = sorted(self.parts.glob("*.parquet"))
            if not parts:
                return
            runs = self.runs().sort_values(["task", "algorithm", "arm", "seed", "run_id"], ignore_index=True)
            place = pd.Series(runs.index, index=runs["run_id"])
            curves = self.curves()
            curves = curves.iloc[np.lexsort([curves["iteration"], curves["run_id"].map(place)])]
            _write(curves, self.folder / "curves.parquet")
            _write(runs, self.folder / "runs.parquet")
            for part in parts:
                part.unlink()

    def _read(self, kind: str, columns: dict) -> pd.DataFrame:
        files = [self.folder / f"{kind}.parquet", *sorted(self.parts.glob(f"*.{kind}.parquet"))]
        frames = [pd.read_parquet(file) for file in files if file.exists()]
        if not frames:
            return pd.DataFrame(columns=list(columns))
        frame = pd.concat(frames, ignore_index=True)
        return frame.drop_duplicates(["run_id"] if kind == "runs" else ["run_id", "iteration"], keep="last")


def row(result: Result) -> dict:
    """A run's row of runs.parquet."""
    config = result.config
    numbers = {name: getattr(config.algorithm, name, None) for name in ("beta", "kl_target", "max_kl", "clip_epsilon")}
    return {
        "run_id": config.run_id,
        "task": config.task.name,
        "algorithm": config.algorithm.name,
        "arm": config.arm,
        **{name: np.nan if number is None else number for name, number in numbers.items()},
        "seed": config.seed,
        "total_steps": config.total_steps,
        "status": result.status,
        "final_return": result.final_return,
        "auc_return": result.auc_return,
        "wall_seconds": result.wall_seconds,
        "commit": commit(),
        "config": config.model_dump_json(exclude={"execution"}, serialize_as_any=True),
    }


def _write(frame: pd.DataFrame, path: Path) -> None:
    """Atomically: written beside, flushed to the disk, then renamed."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        frame.to_parquet(file, index=False, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@cache
def commit() -> str:
    """The code's git commit, with + if files had changed; empty outside a checkout."""

    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "study", "conf")
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
