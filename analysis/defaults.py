"""The libraries' own defaults in place of what the user has set: the same data give the same numbers and figures."""

import warnings
from contextlib import contextmanager
from operator import attrgetter

import numpy as np
import pandas as pd

GROUPS = ("compute", "display", "future", "mode")  # of pandas' options


@contextmanager
def defaults():
    """NumPy's handling of errors and pandas' options as they are out of the box, and no warning is an error.

    Everything is put back afterwards. Matplotlib's settings are those of style.drawn.
    """
    with (
        warnings.catch_warnings(),
        np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
        _options_of_pandas(),
    ):
        calm()
        yield


def calm():
    """Turns filters that make an error of a warning into such that show it."""
    warnings.filters[:] = [("default" if action == "error" else action, *rest) for action, *rest in warnings.filters]
    warnings.simplefilter("default", append=True)  # tells the module of the change, and matches nothing new


@contextmanager
def _options_of_pandas():
    def quietly(do, *given):  # some are deprecated
        with warnings.catch_warnings(action="ignore"):
            return do(*given)

    names = [name for group in GROUPS for name in _names(group)]
    given = {name: quietly(pd.get_option, name) for name in names}
    quietly(pd.reset_option, rf"^({'|'.join(GROUPS)})\.")
    try:
        yield
    finally:
        for name, value in given.items():
            if quietly(pd.get_option, name) != value:
                quietly(pd.set_option, name, value)


def _names(group):
    holder = attrgetter(group)(pd.options)
    for name in dir(holder):
        with warnings.catch_warnings(action="ignore"):
            nested = isinstance(getattr(holder, name), type(pd.options))
        yield from _names(f"{group}.{name}") if nested else [f"{group}.{name}"]
