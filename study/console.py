"""Where everything that is said goes: standard error, wrapped by the terminal alone."""

from rich.console import Console

console = Console(stderr=True, soft_wrap=True)
