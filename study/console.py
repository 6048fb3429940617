"""Where everything that is said goes: standard error, wrapped by the terminal alone."""

import sys

from rich.console import Console

console = Console(stderr=True, soft_wrap=True, width=None if sys.stderr.isatty() else 120)


def printer() -> Console:
    """For answers, on standard output; wide where nobody says how wide."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
