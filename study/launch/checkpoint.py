"""Checkpoints of a fleet: written at chapters' boundaries, resumed where the code is the same."""

import hashlib
import importlib
import io
import platform
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import torch

from study.launch import disk, snapshots
from study.launch.policies import Keeper

LAUNCH = Path(__file__).parent
RUN = LAUNCH.parent
PACKAGES = ("torch", "numpy", "gymnasium", "envpool", "mujoco")


def train(
    trainer,
    report: Callable | None = None,
    path: Path | None = None,
    study: Path | None = None,
    keeper: Keeper | None = None,
) -> list:
    """trainer.train(report), resumed from the checkpoint `path` if there is one; new checkpoints go there.

    A damaged checkpoint, or one that other code has written, is set aside and not used. Points that forks may begin
    from (execution.snapshots) are kept in the folder `study`. The keeper sees every iteration, those before the
    checkpoint too (execution.policies).
    """
    if path is not None and path.exists():
        try:
            load(trainer, path, keeper)
        except disk.Damaged as damage:
            disk.set_aside(path, str(damage), path.parent.parent / "set-aside")

    def keep(trainer):
        if keeper is not None:
            keeper.see(trainer)
        if path is not None and trainer.iteration % trainer.config.chapter == 0:
            save(trainer, path, keeper)
        if study is not None:
            snapshots.keep(trainer, study)
        if report is not None:
            report(trainer)

    return trainer.train(keep)


def save(trainer, path: Path, keeper: Keeper | None = None) -> None:
    """Atomically, with a digest; nothing that loading would execute."""
    content = io.BytesIO()
    kept = {} if keeper is None else {"policies": keeper.state()}
    torch.save(_belongs(trainer) | trainer.state() | kept, content)
    disk.write_signed(path, content.getvalue())


def load(trainer, path: Path, keeper: Keeper | None = None) -> None:
    """Raises disk.Damaged, and changes nothing, if the checkpoint is damaged or not this fleet's."""
    content = disk.read_signed(path)
    try:
        held = torch.load(content, weights_only=True)
    except Exception as error:  # damaged bytes may raise anything; nothing in them is executed
        raise disk.Damaged(f"cannot be read: {type(error).__name__}") from None
    belongs = _belongs(trainer)
    if held["code"] != belongs["code"]:
        raise disk.Damaged("was written by other code or another torch, whose numbers may differ")
    if held["environment"] != belongs["environment"]:
        was, now = held["environment"], belongs["environment"]
        raise disk.Damaged(f"was written with another version of the environment ({was}; it is {now} now)")
    if held["runs"] != belongs["runs"]:
        raise disk.Damaged("belongs to other runs")
    trainer.go_on_from(held)
    if keeper is not None:
        keeper.go_on_from(trainer, held.get("policies", {}))


def _belongs(trainer) -> dict:
    """What a checkpoint belongs to; it is used only if all of this is the same."""
    modules = {config.algorithm.module for config in trainer.configs} - {None}
    return {
        "code": code(tuple(sorted(modules))),
        "environment": trainer.copies.origin,
        "runs": [config.run_id for config in trainer.configs],
    }


@cache
def code(modules: tuple[str, ...] = ()) -> str:
    """A hash of all that decides a run's numbers besides its configuration: study/ without study/launch/, torch, the
    simulators, and the modules of algorithms of one's own."""
    sha = STUDY.copy()
    for file in _sources(modules):
        sha.update(file.name.encode() + file.read_bytes())
    for package in PACKAGES:
        try:
            sha.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            pass
    return sha.hexdigest()[:16]


def versions() -> dict[str, str]:
    """What two machines that train one study must have in common."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2]), "study": STUDY.hexdigest()[:10]}
    for package in PACKAGES:
        try:
            found[package] = version(package).partition("+")[0]  # without what it was built for
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _study():
    sha = hashlib.sha256()
    for file in sorted(file for kind in ("*.py", "*.cpp", "*.h") for file in RUN.rglob(kind)):
        if not file.is_relative_to(LAUNCH):
            sha.update(file.relative_to(RUN).as_posix().encode() + file.read_bytes())
    return sha


STUDY = _study()  # of the code that this process has loaded, whatever becomes of its files


def _sources(modules: tuple[str, ...]) -> list[Path]:
    """The files of these modules and of what they import that lies beside them, in folders or below."""
    found: dict[Path, None] = {}
    waiting = [importlib.import_module(name) for name in modules]
    homes = {Path(module.__file__).parent for module in waiting}
    while waiting:
        module = waiting.pop()
        file = Path(getattr(module, "__file__", None) or "")
        if file.suffix == ".py" and file not in found and any(home in file.parents for home in homes):
            found[file] = None
            names = {getattr(value, "__module__", None) for value in vars(module).values()}
            waiting += [value for value in vars(module).values() if isinstance(value, ModuleType)]
            waiting += [sys.modules[name] for name in sorted(filter(None, names)) if name in sys.modules]
    return sorted(found)
