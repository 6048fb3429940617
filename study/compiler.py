"""torch.compile where it pays and works; elsewhere one line says what was lost."""

import shlex
from collections.abc import Callable
from functools import cache

import torch
from torch.utils import cpp_extension

from study.console import console

FROM = 400_000  # samples of a fleet; below, compiling costs more than it saves (execution.compile=auto)


def wanted(choice: bool | str, samples: int) -> bool:
    """Whether a fleet is compiled: choice is execution.compile, true, false or auto."""
    return (choice is True or (choice == "auto" and samples >= FROM)) and working()


@cache
def working() -> bool:
    """Tries it on next to nothing, once per process."""
    _quote_library_path()
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2))
    except Exception as error:  # no compiler, or one that does not get through: whatever that raises
        reason = " ".join(str(error).split())[:160]
        console.print(
            f"torch.compile does not work here ({reason}): training goes on without, updates take about "
            "three times as long; a C++ compiler (g++) mends it, execution.compile=false hides this",
            highlight=False,
        )
        return False
    return True


def compiled(function: Callable, name: str) -> Callable:
    """torch.compile with R symbolic, so that other widths reuse it.

    The compiler keeps its work per code object and, past eight entries, silently goes on uncompiled. All
    that vmap returns shares one code object, hence a fresh one for each.
    """

    def each(*arguments):
        return function(*arguments)

    each.__code__ = each.__code__.replace(co_name=f"each {name}")
    return torch.compile(each, dynamic=True)


def _quote_library_path() -> None:
    """torch 2.13 quotes the folders it includes but not the one it links: a space in it would end the argument."""
    if " " in cpp_extension.TORCH_LIB_PATH and not cpp_extension.TORCH_LIB_PATH.startswith("'"):
        cpp_extension.TORCH_LIB_PATH = shlex.quote(cpp_extension.TORCH_LIB_PATH)
