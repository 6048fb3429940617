"""torch.compile where it pays and works; elsewhere one line says that it does not."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from study.console import console

# Samples of a fleet below which compiling costs more than it saves (execution.compile=auto). It takes 8 to 22 s, which
# fused networks never earn: then only execution.compile=true compiles, and only what fused.cpp does not know.
FROM = 400_000


def wanted(choice: bool | str, samples: int, fused: bool) -> bool:
    """Whether a fleet is compiled: choice is execution.compile, true, false or auto."""
    return choice is True or (choice == "auto" and not fused and samples >= FROM)


def compiled(function: Callable, name: str) -> Callable:
    """torch.compile with R symbolic, so that other widths reuse it; uncompiled where that fails.

    The compiler keeps its work per code object and, past eight entries, silently goes on uncompiled. All
    that vmap returns shares one code object, hence a fresh one for each.
    """

    def each(*arguments):
        return function(*arguments)

    each.__code__ = each.__code__.replace(co_name=f"each {name}")
    use = None

    def run(*arguments):
        nonlocal use
        if use is None:
            use, made = _first(each, arguments)
            return made
        return use(*arguments)

    return run


_lost: list[str] = []  # why it does not work in this process
busy = False  # whether it is compiling; a compiler stopped by Ctrl-C is not a broken one


def _first(function: Callable, arguments: tuple) -> tuple[Callable, Any]:
    """The first call: what to use from now on, and what the call gave."""
    global busy
    while not _lost:
        _quote_library_path()
        busy = True
        try:
            torch._inductor.config.compile_threads = 1  # a fleet has one core
            fast = torch.compile(function, dynamic=True)
            return fast, fast(*arguments)
        except Exception as error:  # no compiler, or one that fails: whatever it raises
            if _removed(error):
                continue
            made = function(*arguments)  # the function's own errors are raised here
            lost(error)
            return function, made
        finally:
            busy = False
    return function, function(*arguments)


def _removed(error: Exception) -> bool:
    """Whether the error is of a library in torch's cache that cannot be loaded, now deleted.

    A linker that is stopped leaves one unfinished, which torch takes for whole: every later load would fail.
    """
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    for name in re.findall(r"(/[^\n:]*?\.so): ", str(error)):
        library = Path(name)
        if library.is_relative_to(cache_dir()) and library.exists():
            library.unlink()
            return True
    return False


def lost(error: Exception) -> None:
    """Says once in a process that something could not be compiled."""
    _lost.append(" ".join(str(error).split())[:160])
    if len(_lost) == 1:
        console.print(
            f"torch.compile does not work here ({_lost[0]}): training continues without, updates take about "
            "three times as long; a C++ compiler (g++) helps, execution.compile=false hides this",
            highlight=False,
        )


def _quote_library_path() -> None:
    """torch 2.13 quotes the folders it includes but not the one it links: a space in it would end the argument."""
    from torch.utils import cpp_extension  # with setuptools: a third of a second

    if " " in cpp_extension.TORCH_LIB_PATH and not cpp_extension.TORCH_LIB_PATH.startswith("'"):
        cpp_extension.TORCH_LIB_PATH = shlex.quote(cpp_extension.TORCH_LIB_PATH)
