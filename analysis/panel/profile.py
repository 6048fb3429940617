"""Final return against the numbers of other methods than the fixed penalty: rows of `beta_profile` by method, `of`."""

import pandas as pd
from matplotlib.figure import Figure

from ..arms import NotApplicable, plain, swept_algorithms
from ..data import KNOBS
from ..names import SYMBOLS, task_name
from ..style import facets, labels, legend_below
from .beta_profile import band_styles, draw_profile, profile_of

TITLE = "Return by value of the number"
CAPTION = """
Final return against the number that was varied, per task: mean over seeds with 95 % interval. The bar at the bottom
spans the values that no other is shown to beat (Welch tests at 5 %), which hold the best one in 94 % of simulated
studies or more; the diamond is the value with the highest mean. Horizontal bands: other algorithms at their authors’
settings, and one’s own.
"""
PART, ORDER = "windows_of_values", 30


def numbers(study, runs) -> pd.DataFrame:
    others = [name for name in KNOBS if name != "kl_fixed" and plain(runs, name)["setting"].nunique() > 1]
    if not others:
        raise NotApplicable("needs a method other than fixed β with at least 2 values of its number")
    if set(others) <= set(swept_algorithms(runs, least=3)):
        raise NotApplicable("its numbers are in the figure of all methods")
    return pd.concat([profile_of(swept(runs, name), name).assign(of=name) for name in others], ignore_index=True)


def swept(runs, name):
    """Without the algorithm's runs on tasks where its number has one value."""
    values = plain(runs, name).groupby("task")["setting"].nunique()
    return runs[(runs["family"] != name) | runs["task"].isin(values.index[values > 1])]


def draw(frame) -> Figure:
    """The same for the numbers of other methods, each on its tasks."""
    keys = list(frame[["of", "task"]].drop_duplicates().itertuples(index=False, name=None))
    symbols = {name: SYMBOLS[KNOBS[name][0]] for name in frame["of"].unique()}
    one = len(symbols) == 1
    figure, axes = facets(
        keys, title=lambda key: task_name(key[1]) if one else f"{task_name(key[1])}: {symbols[key[0]]}"
    )
    for (name, task), ax in axes.items():
        draw_profile(ax, frame[(frame["of"] == name) & (frame["task"] == task)], symbols[name], band_styles(frame))
        ax.set_xlabel(symbols[name])
    labels(axes.values(), None, "final return")
    legend_below(figure, axes.values())
    return figure
