"""Where an environment's code comes from: installed packages with versions, a user's own files by their digest."""

import ast
import hashlib
import os
import sys
import sysconfig
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

SUFFIXES = {".py", ".so", ".pyd", ".xml", ".urdf", ".json", ".yaml", ".yml", ".toml"}  # what decides its behaviour
STANDARD = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")}
PACKAGES = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}


def package(name: str) -> str:
    """An installed package and its version."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


@lru_cache(maxsize=1)
def _distributions(folders: tuple) -> dict[str, list[str]]:
    return packages_distributions()  # reads every package's list of files: a third of a second


def distributions() -> dict[str, list[str]]:
    """The packages of each module's first name; read again once a folder of packages has changed."""
    folders = filter(_of_packages, dict.fromkeys(folder or os.curdir for folder in sys.path))
    return _distributions(tuple((folder, os.stat(folder).st_mtime_ns) for folder in folders))


def _of_packages(folder: str) -> bool:
    """Unlike a working folder, whose changes are no reason to look again."""
    try:
        with os.scandir(folder) as files:
            return any(file.name.endswith((".dist-info", ".egg-info")) for file in files)
    except OSError:
        return False


def environment(env: Any, task: Any) -> str:
    """Of a gymnasium environment: the modules of its class and its bases, of its wrappers, of whatever registers it,
    what these import of the user's own, and files that its arguments name.

    A change of its code changes this. Packages come with their versions, all else as one digest.
    """
    classes = [type(env.unwrapped)]
    while env is not env.unwrapped:
        classes.append(type(env))
        env = env.env
    names = {kind.__module__ for each in classes for kind in each.__mro__}
    spec = env.unwrapped.spec
    if spec is not None:
        point = spec.entry_point
        names.add(point.split(":")[0] if isinstance(point, str) else getattr(point, "__module__", ""))
    names.add(task.id.split(":")[0] if ":" in task.id else "")
    packages, own = set(), set()
    _gather(names, packages, own)
    for value in task.kwargs.values():
        if isinstance(value, str) and Path(value).suffix in SUFFIXES and Path(value).is_file():
            own.add(Path(value).resolve())
    words = sorted(map(package, packages))
    if own:
        sha = hashlib.sha256()
        for content in sorted(hashlib.sha256(file.read_bytes()).digest() for file in own):
            sha.update(content)  # wherever the files lie
        words.append(f"own files {sha.hexdigest()[:12]}")
    return ", ".join(words)


def installed(file: Path) -> bool:
    """Whether it belongs to Python or to an installed package, none of the user's own."""
    return _packaged(file) or not STANDARD.isdisjoint(file.parents)


def _packaged(file: Path) -> bool:
    """Also in another environment's folder, whose packages this one takes as well."""
    return not PACKAGES.isdisjoint(file.parents) or not {"site-packages", "dist-packages"}.isdisjoint(file.parts)


def _gather(names: set[str], packages: set[str], own: set[Path]) -> None:
    """Sorts modules and what the user's own among them import into installed packages and files."""
    packaged, seen, waiting = distributions(), set(), sorted(names)
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        if name in seen or module is None or getattr(module, "__file__", None) is None:
            continue
        seen.add(name)
        file, top = Path(module.__file__).resolve(), name.split(".")[0]
        if _packaged(file):
            if name in names:
                packages.update(packaged.get(top, [top])[:1])
        elif not installed(file) and top != "study":
            files = _files(sys.modules[top]) if hasattr(sys.modules.get(top), "__path__") else [file]
            own.update(files)
            for source in files:
                if source.suffix == ".py":
                    waiting += imported(source)


def _files(module: ModuleType) -> list[Path]:
    """Of a whole package."""
    folders = [Path(folder).resolve() for folder in module.__path__]
    found = (file for folder in folders for file in folder.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    return [file for file in found if "__pycache__" not in file.parts]


def imported(file: Path) -> list[str]:
    """Modules that a source file imports, anywhere in it; relative ones lie in its own package and are known."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return []
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
