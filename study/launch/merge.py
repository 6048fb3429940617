"""python -m study.merge results/NAME results/OTHER ...: adds other folders' runs to the first; the others stay.

A sweep with the first folder's name then trains only what none of them had.
"""

import sys
from pathlib import Path

import pandas as pd

from study.console import counted
from study.launch import disk
from study.launch.store import KEYS, Store, join, read, without_curve
from study.settings import ConfigError

RESULTS = ["status", "final_return", "auc_return"]  # two rows of one run differ if these do


def merge(folder: Path, other: Path) -> str:
    """Adds the other folder's finished runs to the folder; says in one line what was added, and what differed.

    A run that both have counts once, with the folder's own result; where the other's is different it is named, and the
    other's rows are kept in .work/set-aside. A failed run gives way to a finished one.
    """
    runs, curves = (_table(other, kind) for kind in ("runs", "curves"))
    runs = runs[runs["status"] != "failed"]
    if (
        folder.exists()
        and any(folder.iterdir())
        and not any((folder / own).exists() for own in ("runs.parquet", ".work"))
    ):
        raise ConfigError(f"{folder} holds other files: not a study's folder")
    store = Store(folder)
    store.open()
    store.merge()  # parts that a killed launcher left
    own = store.runs().set_index("run_id")
    own = own[own["status"] != "failed"]
    new = runs[~runs["run_id"].isin(own.index)]
    without = new.loc[without_curve(new, curves), "run_id"].tolist()
    new = new[~new["run_id"].isin(without)]
    both = runs[runs["run_id"].isin(own.index)]
    mine = own.loc[both["run_id"], RESULTS].reset_index(drop=True)
    theirs = both[RESULTS].reset_index(drop=True)
    different = both["run_id"].to_numpy()[((mine != theirs) & ~(mine.isna() & theirs.isna())).any(axis=1)].tolist()

    name = disk.filename(f"from {other.resolve().name}")
    same = both.loc[~both["run_id"].isin(different), "run_id"]
    damaged = _policies(store, Store(other), new["run_id"], same)
    if len(new):
        disk.write_table(store.parts / f"{name}.curves.parquet", curves[curves["run_id"].isin(new["run_id"])])
        disk.write_table(store.parts / f"{name}.runs.parquet", new)
        store.merge()
    line = f"{folder}: {counted(len(new), 'run')} of {other} added, {len(both)} were there already"
    if damaged:
        line += f"; {len(damaged)} policies there are damaged and left out ({', '.join(damaged[:5])})"
    if without:
        line += f"; {len(without)} have no whole curve there and are left out ({', '.join(without[:5])})"
    if different:
        for kind, frame in (("runs", runs), ("curves", curves)):
            kept = disk.aside(Path(f"{name}.{kind}.parquet"), store.aside)
            disk.write_table(kept, frame[frame["run_id"].isin(different)])
        line += f"; {len(different)} have other results there ({', '.join(different[:5])}), kept in {store.aside}"
    return line


def _policies(store: Store, other: Store, new: pd.Series, same: pd.Series) -> list[str]:
    """Copies the kept policies of new runs, and of those that both have where the other alone kept one; returns the
    names of those that are damaged. What a folder still has of a new run belongs to no row, and goes."""
    damaged = []
    for file in store.kept(new):
        disk.remove(file)
    for file in other.kept([*new, *same]):
        if (store.policies / file.name).exists():
            continue
        from study.launch import policies

        try:
            policies.read(file)
        except disk.Damaged:
            damaged.append(file.name)
            continue
        content = file.read_bytes()
        disk.write(store.policies / file.name, lambda out, content=content: out.write(content))
    return damaged


def _table(folder: Path, kind: str) -> pd.DataFrame:
    """Of finished fleets too whose results no launcher has merged yet."""
    files, frames = Store(folder)._files(kind), []
    if not files:
        raise ConfigError(f"{folder} holds no {kind}.parquet: not a study's folder")
    for file in files:
        try:
            frame = read(file, kind)
        except (disk.Damaged, FileNotFoundError) as damage:
            raise ConfigError(f"{folder}: {file.name} {damage}") from None
        earlier = join(frames, kind)
        frames = [earlier[~earlier["run_id"].isin(frame["run_id"])], frame]
    return join(frames, kind).drop_duplicates(KEYS[kind], keep="last", ignore_index=True)


def main(arguments: list[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(given):
        return print(__doc__.strip())
    folders = [Path(word) for word in given]
    if len(folders) < 2:
        sys.exit(f"usage: {__doc__.splitlines()[0]}")
    try:
        for other in folders[1:]:
            if other.resolve() == folders[0].resolve():
                raise ConfigError(f"{other} is the folder that is added to")
            print(merge(folders[0], other), flush=True)
    except (ConfigError, disk.Unwritable) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
