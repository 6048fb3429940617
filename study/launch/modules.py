"""Modules of the user's own tasks and algorithms: found here, put where a worker of a cluster finds them."""

import copy
import hashlib
import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from study.config import Config
from study.console import console
from study.origin import imported, installed

OURS = {"study", "analysis", "hydra_plugins"}
LIMIT = 32 * 2**20  # bytes


@dataclass(frozen=True)
class Modules:
    """Top-level modules and packages that are not installed: path below a folder of sys.path -> content."""

    files: dict[str, bytes]

    @cached_property
    def digest(self) -> str:
        sha = hashlib.sha256()
        for path, content in sorted(self.files.items()):
            sha.update(f"{path}\0{len(content)}\0".encode() + content)
        return sha.hexdigest()[:16]

    @property
    def tops(self) -> set[str]:
        return {path.partition("/")[0].partition(".")[0] for path in self.files}


def of(configs: Iterable[Config]) -> Modules:
    """What these runs need of the user's own: the modules of tasks and algorithms, and what they import.

    A package comes with all its files. One that is too large stays, and must be on the workers.
    """
    files: dict[str, bytes] = {}
    seen, waiting = set(OURS), [name for config in configs for name in _named(config)]
    while waiting:
        top = waiting.pop().partition(".")[0]
        if top in seen:
            continue
        seen.add(top)
        found = _files(top)
        if sum(file.stat().st_size for file in found.values()) > LIMIT:
            console.print(
                f"[yellow]note:[/] {top} has more than {LIMIT >> 20} MB and is not sent: workers must have it"
            )
            continue
        files |= {path: file.read_bytes() for path, file in found.items()}
        waiting += [name for file in found.values() if file.suffix == ".py" for name in imported(file)]
    return Modules(files)


def specs(configs: Iterable[Config]) -> list[Any]:
    """Gymnasium's specifications of ids that no module is named for: registered by a plugin, a script or a notebook."""
    import gymnasium

    found = []
    for name in {config.task.id for config in configs}:
        spec = gymnasium.registry.get(name)
        if spec is not None and _registrar(spec).partition(".")[0] != "gymnasium":
            spec = copy.copy(spec)
            module, _, what = str(spec.entry_point).partition(":")
            if module == "__main__":  # sent by value
                spec.entry_point = getattr(sys.modules[module], what)
            found.append(spec)
    return found


def _named(config: Config) -> Iterator[str]:
    """Modules of the algorithm, of the task's id, and of whatever the id stands for."""
    import gymnasium

    module, _, name = config.task.id.rpartition(":")
    spec = gymnasium.registry.get(name)
    points = [] if spec is None else [wrapper.entry_point for wrapper in spec.additional_wrappers]
    yield from filter(None, (config.algorithm.module, module, spec and _registrar(spec)))
    yield from (point.partition(":")[0] for point in points)


def _registrar(spec: Any) -> str:
    point = spec.entry_point
    return point.partition(":")[0] if isinstance(point, str) else getattr(point, "__module__", None) or ""


def _files(top: str) -> dict[str, Path]:
    """Of a top-level module or package; none if it is installed, or nowhere."""
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):  # __main__ of a notebook
        return {}
    if spec is None:
        return {}
    if spec.submodule_search_locations is None:
        return (
            {Path(spec.origin).name: Path(spec.origin)}
            if spec.has_location and not installed(Path(spec.origin).resolve())
            else {}
        )
    files, size = {}, 0
    for folder in map(Path, spec.submodule_search_locations):
        for file in () if installed(folder.resolve() / top) else folder.rglob("*"):
            path = file.relative_to(folder)
            if not any(part.startswith(".") or part == "__pycache__" for part in path.parts) and file.is_file():
                files[f"{top}/{path.as_posix()}"] = file
                size += file.stat().st_size
            if size > LIMIT:
                return files
    return files


_placed = Modules({})


def place(modules: Modules, folder: Path) -> None:
    """Makes this process import these modules, from a folder below the given one, and no others of their names."""
    global _placed
    if modules.digest == _placed.digest:
        return
    home = folder / f"modules-{modules.digest}"
    if not home.exists():
        new = Path(tempfile.mkdtemp(dir=folder))
        for path, content in modules.files.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_bytes(content)
        try:
            new.rename(home)
        except OSError:  # another worker of this folder was faster
            shutil.rmtree(new)
    sys.path[:] = [str(home), *(path for path in sys.path if path != str(folder / f"modules-{_placed.digest}"))]
    importlib.invalidate_caches()
    _forget(modules.tops | _placed.tops)
    _placed = modules


def _forget(tops: set[str]) -> None:
    """Modules that other versions of these have left in this process, with what they have registered."""
    import gymnasium

    from study.launch import checkpoint

    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        del sys.modules[name]
    for name, spec in list(gymnasium.registry.items()):
        if _registrar(spec).partition(".")[0] in tops:
            del gymnasium.registry[name]
    checkpoint.code.cache_clear()


def register(specs: Iterable[Any]) -> None:
    """As they are where they come from: an older one of the same id is none."""
    import gymnasium

    gymnasium.registry.update({spec.id: spec for spec in specs})


def known(name: str) -> bool:
    """Whether this process can import it."""
    try:
        return name in sys.modules or find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def lacking(error: BaseException | None) -> str | None:
    """The module that is not there, if that is why an error was raised."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            top = error.name.partition(".")[0]
            return error.name if known(top) else top
        error = error.__cause__ or error.__context__
    return None
