"""python -m study.remove results/NAME COLUMN=VALUE ... [--yes]: takes runs out of a study, keeping a copy.

A run is taken out if every column has one of the values given for it. Without --yes nothing is changed.
"""

import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from study.launch import disk
from study.launch.status import _alive, _read
from study.launch.store import Store
from study.settings import ConfigError

COLUMNS = ("task", "algorithm", "arm", "condition", "seed", "total_steps", "status", "run_id")


def remove(folder: Path, words: list[str], yes: bool = False) -> str:
    """Takes out the runs that the words COLUMN=VALUE name; says which and how many, and where the copy is.

    Without `yes` it only says so. Raises ConfigError where a word names no run, and while the study is being trained.
    """
    store = Store(folder)
    if not store._files("runs"):
        raise ConfigError(f"{folder} holds no runs.parquet: not a study's folder")
    if any(launcher and _alive(launcher) for launcher in map(_read, store.work.glob("launchers/*.json"))):
        raise ConfigError(f"{folder} is being trained; stop that first")
    store.open()
    with store.lock:
        store.merge()  # parts that a killed launcher left
        runs, curves = store.runs(), store.curves()
        out = runs[chosen(runs, words)]
        lines = [f"  {n} of {task} {arm}" for (task, arm), n in out.groupby(["task", "arm"], sort=False).size().items()]
        what = f"{len(out)} of {len(runs)} runs of {folder}"
        if not yes:
            return "\n".join([f"{what} would be taken out:", *lines, "nothing is changed; --yes takes them out"])
        copy = disk.aside(Path("removed"), store.aside)
        gone = curves["run_id"].isin(out["run_id"])
        kept = store.kept(out["run_id"])
        for file in kept:
            content = file.read_bytes()
            disk.write(copy / "policies" / file.name, lambda to, content=content: to.write(content))
        disk.write_table(copy / "curves.parquet", curves[gone].reset_index(drop=True))
        disk.write_table(copy / "runs.parquet", out.reset_index(drop=True))
        disk.write_table(folder / "runs.parquet", runs.drop(out.index).reset_index(drop=True))
        disk.write_table(folder / "curves.parquet", curves[~gone].reset_index(drop=True))
        for file in kept:
            disk.remove(file)
    back = f"python -m study.merge {folder} {copy}"
    return "\n".join([f"{what} are taken out:", *lines, f"a copy is in {copy}; back again: {back}"])


def chosen(runs: pd.DataFrame, words: list[str]) -> pd.Series:
    """[rows] bool. A value is one that the column has, several of them with commas, or a pattern with *."""
    values: dict[str, set[str]] = {}
    for word in words:
        column, equals, value = word.partition("=")
        if not equals or column not in COLUMNS:
            raise ConfigError(f"{word}: must be COLUMN=VALUE, with a column of {', '.join(COLUMNS)}")
        known = set(runs[column].fillna("").astype(str))
        for one in [value] if value in known else value.split(","):
            found = {one} & known or {each for each in known if fnmatchcase(each, one)}
            if not found:
                some = sorted(known)
                there = ", ".join(some[:20]) + (f" and {len(some) - 20} more" if len(some) > 20 else "")
                raise ConfigError(f"{column}={one}: no run there has it; there are {there}")
            values.setdefault(column, set()).update(found)
    if not values:
        raise ConfigError(f"which runs? give COLUMN=VALUE, with a column of {', '.join(COLUMNS)}")
    mask = pd.Series(True, index=runs.index)
    for column, wanted in values.items():
        mask &= runs[column].fillna("").astype(str).isin(wanted)
    if not mask.any():
        raise ConfigError(f"no run there has {' and '.join(words)}")
    return mask


def main(arguments: list[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(given):
        return print(__doc__.strip())
    words = [word for word in given if word != "--yes"]
    if not words or words[0].startswith("-"):
        sys.exit(f"usage: {__doc__.splitlines()[0]}")
    try:
        print(remove(Path(words[0]), words[1:], "--yes" in given), flush=True)
    except (ConfigError, disk.Unwritable) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
