"""EnvPool, imported in a tenth of the time."""

import importlib
import sys
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from study import origin


@cache
def envpool() -> ModuleType:
    """The package. Its families of environments register their ids now, and are imported when one of them is made: all
    of them, with matplotlib for Jumanji's boards, take a second."""
    families = {} if "envpool" in sys.modules else _families()
    for name, file in families.items():
        sys.modules[name] = module_from_spec(spec_from_file_location(name, file))  # empty, but registration.py is found
    try:
        return importlib.import_module("envpool")
    finally:
        for name in families:
            del sys.modules[name]


def _families() -> dict[str, Path]:
    """The packages whose registration.py EnvPool imports at its start, and their files."""
    spec = find_spec("envpool")
    if spec is None or spec.origin is None or not (entry := Path(spec.origin).with_name("entry.py")).exists():
        return {}
    names = [name.removesuffix(".registration") for name in origin.imported(entry) if name.endswith(".registration")]
    return {name: entry.parent.joinpath(*name.split(".")[1:], "__init__.py") for name in names}
