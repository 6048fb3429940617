"""The console for messages: standard error, wrapped by the terminal alone."""

import re
import sys
import warnings

from rich.console import Console
from rich.text import Text

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Lines(Console):
    """A console that reads markup at the start of a text alone, "[red]error:[/] ...": a label may hold anything.

    Controls of the terminal and of the direction of writing are named by their numbers: ‹U+001B›.
    """

    def render_str(self, text, **options):
        options |= {"markup": False, "emoji": False}
        text = CONTROLS.sub(lambda found: f"‹U+{ord(found[0]):04X}›", text)
        if not (mark := re.match(r"\[(red|yellow)\](.*?)\[/\]", text, re.DOTALL)):
            return super().render_str(text, **options)
        return Text.assemble((mark[2], mark[1]), super().render_str(text[mark.end() :], **options))


console = Lines(stderr=True, soft_wrap=True, width=None if sys.stderr.isatty() else 120)


def counted(number: int, thing: str) -> str:
    """ "1 run", "3 runs"."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


said: set[str] = set()  # gymnasium's warnings so far, in this process or in the one that sent the work


def hear_gymnasium() -> None:
    """Each of gymnasium's warnings is shown once: not for every copy, nor again by every worker."""
    from gymnasium import logger

    if getattr(logger.warn, "heard", False):
        return
    original = logger.warn

    def warn(msg, *args, stacklevel: int = 1, **options) -> None:
        text = msg % args if args else msg
        if text in said:
            return
        with warnings.catch_warnings(record=True) as heard:  # stays empty where a filter drops the warning
            original(msg, *args, stacklevel=stacklevel + 1, **options)
        if heard:
            said.add(text)
            console.print(f"[yellow]note:[/] gymnasium: {' '.join(text.split())}", highlight=False)

    warn.heard = True
    logger.warn = warn


def printer() -> Console:
    """The console for answers: standard output, 120 columns wide where that is no terminal."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # in a locale without some letters
    return Lines(soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def duration(seconds: float) -> str:
    """34 s, 12 min, 3.4 h; unknown for NaN."""
    if seconds != seconds or seconds == float("inf"):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
