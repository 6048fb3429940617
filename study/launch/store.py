"""The results of a study on disk: runs.parquet and curves.parquet, always whole.

A finished fleet is first put aside as a part of its own; merging folds all parts into the two files.
Files appear under their names only when complete, and are believed only if their digest agrees (disk.py).
"""

import json
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from study.console import console
from study.files import shown
from study.launch import disk
from study.record import CURVES, RUNS, dtype
from study.settings import ConfigError

ROOT = Path(__file__).parents[2]
COLUMNS = {"runs": list(RUNS), "curves": list(CURVES)}
YOUNGER = ["condition", "overrides", "fleet_runs", "environment"]  # null in older studies
REQUIRED = {
    "runs": [name for name in RUNS if name not in YOUNGER],
    "curves": ["run_id", "iteration", "env_steps", "return_mean", "return_last100", "kl_after"],
}
POLICIES = ("last", "best")  # execution.policies
KEYS = {"runs": ["run_id"], "curves": ["run_id", "iteration"]}


class Store:
    """One study's folder."""

    def __init__(self, folder: Path):
        self.shown, folder = folder, Path(os.path.abspath(folder))  # whatever changes the working folder later
        self.folder = folder
        self.work = folder / ".work"  # can be deleted once all is done
        self.policies = folder / "policies"  # of runs, if they are kept
        self.parts = self.work / "parts"  # results of finished fleets
        self.checkpoints = self.work / "checkpoints"
        self.claims = self.work / "claims"  # one lock per fleet, held by the process that trains it
        self.errors = self.work / "errors"  # traces of fleets that raised
        self.aside = self.work / "set-aside"  # damaged files
        self.lock = FileLock(self.work / "lock", thread_local=False)  # of the files all launchers write
        self._known: tuple = ((), {})
        self._told: set = set()  # files of which a copy is kept

    def open(self) -> None:
        """Makes the folder, if need be. Raises ConfigError where nothing can be written."""
        try:
            for folder in (self.parts, self.checkpoints, self.claims, self.errors):
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.work) as file:
                file.write(bytes(4096))
            with self.lock:
                if not _text(self.work / "token"):
                    if (self.work / "token").exists():
                        disk.set_aside(self.work / "token", "is no token", self.aside)
                    disk.write(self.work / "token", lambda file: file.write(uuid.uuid4().hex.encode()))
        except (OSError, disk.Unwritable) as error:
            raise ConfigError(
                f"results cannot be written to {self.folder}: {getattr(error, 'strerror', None) or error} "
                f"(name and execution.results say where, {shown('config.yaml')} or the command line)"
            ) from None
        for left in [*self.work.rglob("*.tmp"), *self.work.glob("launchers/*.json")]:  # of the killed
            try:
                if time.time() - left.stat().st_mtime > 3600:
                    left.unlink()
            except OSError:  # gone, or a folder
                pass

    @property
    def token(self) -> str:
        """Tells this folder from any other, so that a worker elsewhere knows whether it sees the same."""
        return (self.work / "token").read_text()

    def runs(self) -> pd.DataFrame:
        """All runs known so far, merged or not; the columns of record.RUNS."""
        with self.lock:
            return self._read("runs")

    def curves(self) -> pd.DataFrame:
        with self.lock:
            return self._read("curves")

    def known(self) -> dict[str, str]:
        """run_id -> status. Read anew only where a file has changed, since claims ask often."""
        with self.lock:
            files = self._files("runs")
            signature = tuple((file, file.lstat().st_mtime_ns, file.lstat().st_size) for file in files)
            if signature != self._known[0]:
                runs = self._read("runs")
                self._known = signature, dict(zip(runs["run_id"], runs["status"]))
            return self._known[1]

    def finished(self) -> set[str]:
        """Ids of the runs that need not run again: a diverged run has its result, a failed one has none."""
        return {run_id for run_id, status in self.known().items() if status != "failed"}

    def add(self, name: str, results: list) -> None:
        """Puts the results of one fleet aside; curves first, so that a run's row means its curve is there."""
        curves = [result.curves for result in results if result.curves is not None]
        stored = {column: dtype(column) for column in COLUMNS["curves"]}
        with self.lock:
            if curves:
                disk.write_table(self.parts / f"{name}.curves.parquet", pd.concat(curves)[list(stored)].astype(stored))
            runs = pd.DataFrame([row(result) for result in results])[COLUMNS["runs"]]
            disk.write_table(self.parts / f"{name}.runs.parquet", runs)

    def merge(self) -> None:
        """Folds the parts into runs.parquet and curves.parquet; sets aside what is damaged.

        A run whose curve is missing, cut or damaged loses its row, so that it is trained again. Nothing whole is lost:
        rows that the two files have no place for are kept in set-aside/, and curves are found there again when the rows
        of their runs are back.
        """
        with self.lock:
            files = {kind: self._files(kind) for kind in KEYS}
            replaced = {kind: [] for kind in KEYS}
            runs, curves = (self._read(kind, replaced[kind]) for kind in KEYS)
            lost = without_curve(runs, curves)
            again = self._find(runs[lost])
            if len(again):
                replaced["curves"].append(curves[curves["run_id"].isin(again["run_id"])])
                curves = pd.concat([curves[~curves["run_id"].isin(again["run_id"])], again], ignore_index=True)
                lost = without_curve(runs, curves)
            parts = sorted(self.parts.glob("*.parquet"))
            if not parts and not lost.any() and again.empty:
                return
            for kind, names in COLUMNS.items():
                for file in filter(Path.is_file, files[kind]):
                    if unknown := [name for name in disk.columns(file) if name not in names]:
                        disk.keep_copy(file, f"has columns of its own ({', '.join(unknown)})", self.aside)
            names = ", ".join(runs.loc[lost, "run_id"][:5])
            self._keep("runs", runs[lost], f"have no whole curve ({names}) and are left out, to be trained again")
            runs = runs[~lost].sort_values(["task", "algorithm", "arm", "seed", "run_id"], ignore_index=True)
            place = pd.Series(runs.index, index=runs["run_id"])
            position = curves["run_id"].map(place)
            self._keep("curves", curves[position.isna()], "have no row in runs.parquet; found again when they have one")
            for kind in KEYS:
                self._keep(kind, join(replaced[kind], kind), "are replaced by others of the same runs")
            curves, position = curves[position.notna()], position[position.notna()]
            curves = curves.iloc[np.lexsort([curves["iteration"], position])]
            disk.write_table(self.folder / "curves.parquet", curves.reset_index(drop=True))
            disk.write_table(self.folder / "runs.parquet", runs)
            for part in parts:
                disk.remove(part)

    def _keep(self, kind: str, frame: pd.DataFrame, why: str) -> None:
        """Rows that are about to leave the study's files, in a file of their own in set-aside/."""
        if frame.empty:
            return
        file = self.folder / f"{kind}.parquet"
        kept = disk.aside(file, self.aside)
        disk.write_table(kept, frame.reset_index(drop=True))
        number = frame["run_id"].nunique()
        what = f"{'the curves of ' if kind == 'curves' else ''}{number} run{'' if number == 1 else 's'}"
        console.print(f"[red]warning:[/] {file}: {what} {why}; kept as {kept}", highlight=False)

    def _find(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Whole curves of these runs among the files set aside, the youngest first, if they have the rows' returns."""
        found = []
        files = filter(Path.is_file, self.aside.glob("*curves.parquet*"))
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            if runs.empty:
                break
            try:
                curves = read(file, "curves")
            except disk.Damaged:
                continue
            curves = curves[curves["run_id"].isin(runs["run_id"])]
            curves = curves[~curves.duplicated(KEYS["curves"], keep="last")]
            right = runs[~without_curve(runs, curves) & agrees(runs, curves)]
            found.append(curves[curves["run_id"].isin(right["run_id"])])
            runs = runs[~runs["run_id"].isin(right["run_id"])]
        return join(found, "curves")

    def peek(self) -> pd.DataFrame:
        """runs() for the status: writes nothing, waits for no lock, skips what is damaged."""
        frames = []
        for file in self._files("runs"):
            try:
                frames.append(read(file, "runs"))
            except (FileNotFoundError, disk.Damaged, disk.Unwritable):  # merged just now, or for the next launcher
                pass
        return join(frames, "runs").drop_duplicates("run_id", keep="last", ignore_index=True)

    def claim(self, fleet: str) -> FileLock | None:
        """The lock of a fleet, to be released when it is done; None while another process has it.

        The system drops it when its holder dies, however it dies.
        """
        file = self.claims / f"{fleet}.lock"
        if file.is_dir():
            disk.set_aside(file, "is a folder", self.aside)
        claim = FileLock(file, thread_local=False)
        try:
            claim.acquire(timeout=0)
        except Timeout:
            return None
        return claim

    def checkpoint(self, fleet: str) -> Path:
        return self.checkpoints / f"{fleet}.pt"

    def policy(self, run_id: str, kind: str) -> Path:
        return self.policies / policy_name(run_id, kind)

    def kept(self, run_ids: Iterable[str]) -> list[Path]:
        """The files of these runs' policies that are there."""
        found = [self.policy(run_id, kind) for run_id in run_ids for kind in POLICIES] if self.policies.is_dir() else []
        return [file for file in found if file.is_file()]

    def _files(self, kind: str) -> list[Path]:
        files = [self.folder / f"{kind}.parquet", *sorted(self.parts.glob(f"*.{kind}.parquet"))]
        return [file for file in files if os.path.lexists(file)]

    def _read(self, kind: str, replaced: list | None = None) -> pd.DataFrame:
        """All whole rows, a run's from the last file that has it; those of earlier files, if they differ, go into the
        list `replaced`."""
        frames = []
        for file in self._files(kind):
            try:
                frames.append(self._once(read(file, kind), KEYS[kind], file))
            except disk.Damaged as damage:
                disk.set_aside(file, str(damage), self.aside)
            except FileNotFoundError:
                disk.set_aside(file, "is a link to what is not there", self.aside)
        frames = [frame for frame in frames if len(frame)]
        for place in range(len(frames) - 1):
            later = pd.concat([frame["run_id"] for frame in frames[place + 1 :]])
            if (again := frames[place]["run_id"].isin(later)).any():
                old, new = frames[place][again], join(frames[place + 1 :], kind)
                frames[place] = frames[place][~again]
                if replaced is not None:
                    gone = ~pd.concat([old, new]).duplicated(keep=False)[: len(old)]
                    replaced.append(old[gone & (old["status"] != "failed") if kind == "runs" else gone])
        return join(frames, kind)

    def _once(self, frame: pd.DataFrame, keys: list[str], file: Path) -> pd.DataFrame:
        """Each key once: files joined by hand may have rows twice. Of rows that differ the last stays, and is named."""
        repeated = frame.duplicated(keys, keep="last")
        if not repeated.any():
            return frame
        different = frame[frame.duplicated(keys, keep=False) & ~frame.duplicated(keep=False)]
        if len(different) and (seen := (file, file.lstat().st_mtime_ns)) not in self._told:
            self._told.add(seen)
            names = ", ".join(different["run_id"].unique()[:5])
            disk.keep_copy(
                file, f"has different rows for one {' and '.join(keys)} ({names}): the last is used", self.aside
            )
        return frame[~repeated].reset_index(drop=True)


def policy_name(run_id: str, kind: str) -> str:
    """Of a file: study/launch/policies.py."""
    return f"{run_id}.{kind}.safetensors"


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""


def read(file: Path, kind: str) -> pd.DataFrame:
    """A table with all of its columns, each of its kind. Raises disk.Damaged without what no run is without."""
    frame = disk.read_table(file, COLUMNS[kind], REQUIRED[kind])
    for name in frame:
        frame[name] = _column(frame[name], _dtype(kind, name))
    if (frame[KEYS[kind]].isna()).any(axis=None):
        raise disk.Damaged(f"has rows without {' or '.join(KEYS[kind])}")
    return frame


def _column(values: pd.Series, kind: str) -> pd.Series:
    """The values as a column of str, int or float, as they are if they are such; raises disk.Damaged."""
    if values.dtype == "category":
        values = values.astype(object)
    if kind == "str":
        if values.dtype == "str" or values.map(lambda value: isinstance(value, str) or pd.isna(value)).all():
            return values
        raise disk.Damaged(f"column {values.name} holds {values.dropna().iloc[0]!r} in place of words")
    whole = kind.startswith("int")
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in ("i" if whole else "fi"):
        return values
    try:
        numbers = pd.to_numeric(values).astype("float64")
        if not whole or (numbers == numbers.round()).all():
            return numbers.astype(kind)
    except (ValueError, TypeError):
        pass
    raise disk.Damaged(f"column {values.name} holds what is no {'whole ' if whole else ''}number")


def join(frames: list[pd.DataFrame], kind: str) -> pd.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else _empty(kind)


def _empty(kind: str) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=_dtype(kind, name)) for name in COLUMNS[kind]})


def _dtype(kind: str, name: str) -> str:
    if kind == "curves":
        return dtype(name)
    if name in ("seed", "total_steps"):
        return "int64"
    words = (
        "run_id",
        "task",
        "algorithm",
        "arm",
        "status",
        "environment",
        "commit",
        "config",
        "condition",
        "overrides",
    )
    return "str" if name in words else "float64"


def without_curve(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.Series:
    """Which finished runs lack a row of theirs: iterations are 0, 1, ... to the last."""
    if runs.empty:
        return pd.Series(False, index=runs.index)
    iterations = curves.groupby("run_id")["iteration"].agg(["size", "max"]).reindex(runs["run_id"]).to_numpy(float)
    whole = iterations[:, 0] == iterations[:, 1] + 1
    return (runs["status"] != "failed") & ~pd.Series(whole, index=runs.index)


def agrees(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.Series:
    """Which runs have the mean return that their curve has, to single precision."""
    means = curves.groupby("run_id")["return_mean"].mean().reindex(runs["run_id"]).to_numpy(float)
    close = np.isclose(runs["auc_return"].to_numpy(float), means, rtol=1e-4, atol=1e-4, equal_nan=True)
    return pd.Series(close, index=runs.index)


def row(result) -> dict:
    """A run's row of runs.parquet."""
    config = result.config
    numbers = {name: getattr(config.algorithm, name, None) for name in ("beta", "kl_target", "max_kl", "clip_epsilon")}
    return {
        "run_id": config.run_id,
        "task": config.task_label,
        "algorithm": config.algorithm.name,
        "arm": config.arm,
        "condition": config.condition,
        "overrides": json.dumps(config.overrides),
        **{name: np.nan if number is None else number for name, number in numbers.items()},
        "seed": config.seed,
        "total_steps": config.total_steps,
        "status": result.status,
        "final_return": result.final_return,
        "auc_return": result.auc_return,
        "wall_seconds": result.wall_seconds,
        "fleet_runs": result.fleet_runs,
        "environment": result.environment,
        "commit": commit(),
        "config": config.model_dump_json(exclude={"execution"}, serialize_as_any=True),
    }


@cache
def commit() -> str:
    """The code's git commit, with + if files had changed; empty unless git keeps this very file."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words):
        done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, env=plain)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if not git("ls-files", "--", "study/launch/store.py"):
            return ""
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "study")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except OSError:  # no git here
        return ""
