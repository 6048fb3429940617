"""Final return against the value of a method's knob, `of`. Rows of kind "sweep" (a setting), "band" (another algorithm)
and "best" (the setting with the highest mean, in `setting`, and the smallest and largest of those that no other is
shown to beat, in `low` and `high`). Of a setting: whether no other is shown to beat it in final return (not_worse) and
in mean return over training (not_slower). least and most: of the task's single runs.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable, grid, headline, knobs, plain, single_runs, swept_algorithms
from ..names import ALGORITHMS, arm_name, symbol, task_name
from ..style import (
    FIXED,
    arm_styles,
    beta_colours,
    facets,
    labels,
    legend_below,
    log_beta_axis,
    possible,
    with_intervals,
)

TITLE = "One value for all tasks?"
CAPTION = """
Final return against the value of the knob, per task: mean over seeds with 95 % interval; an interval that leaves the
plot goes beyond every single run. One value can be best on every task only where the bars at the bottom overlap.

The bar spans the values that no other is shown to beat (Welch tests at 5 %), which cover the best one in 94 % of
simulated studies or more; the diamond is the value with the highest mean. What a value costs where bars do not overlap
is in the matrix of values tuned elsewhere. Horizontal bands: other algorithms at their authors’ settings, and one’s
own. A knob that was swept over three values or more on every task is in the figure of all methods, but for β.
"""
PART, ORDER = "windows_of_values", 20
NEEDS = ("kl_fixed", "trpo", "kl_adaptive", "clip")


def numbers(study, runs) -> pd.DataFrame:
    elsewhere = [name for name in swept_algorithms(runs, least=3) if name != "kl_fixed"]
    drawn = {name: knob for name, knob in knobs(runs).items() if name not in elsewhere}
    if not drawn:
        raise NotApplicable("needs at least 2 values of a knob")
    return pd.concat(
        [profile_of(_several_values(runs, name), name).assign(knob=knob) for name, knob in drawn.items()],
        ignore_index=True,
    )


def _several_values(runs, name):
    """Without the family's runs on tasks where its knob has one value."""
    values = plain(runs, name).groupby("task")["setting"].nunique()
    return runs[(runs["family"] != name) | runs["task"].isin(values.index[values > 1])]


def profile_of(runs, algorithm) -> pd.DataFrame:
    """algorithm: one that has a knob, or the family of one's own."""
    swept, rows = plain(runs, algorithm), []
    for task, here in runs[runs["task"].isin(swept["task"])].groupby("task"):
        scores = grid(here, algorithm)
        kept = [
            statistics.not_shown_worse(own.values[0]) for own in (scores, grid(here, algorithm, column="auc_score"))
        ]
        for setting, group in plain(here, algorithm).groupby("setting"):
            at = list(scores.settings).index(setting)
            cell = (*statistics.mean_interval(group["score"].to_numpy()), len(group), kept[0][at], kept[1][at])
            rows.append((task, "sweep", algorithm, group["arm"].iloc[0], setting, *cell))
        others = [here[here["algorithm"] == name] for name in ("trpo", "kl_adaptive", "clip") if name != algorithm]
        beside = [group for each in others if len(each) for _, group in headline(each).groupby("family")]
        own = here[~here["algorithm"].isin(ALGORITHMS) & (here["family"] != algorithm)]  # with every value
        for group in [*beside, *(group for _, group in own.groupby("arm"))]:
            cell = (*statistics.mean_interval(group["score"].to_numpy()), len(group), False, False)
            rows.append((task, "band", *group[["algorithm", "arm"]].iloc[0], np.nan, *cell))
        best, low, high = statistics.best_setting(scores.values[0], scores.settings)
        rows.append((task, "best", algorithm, "", best, np.nan, low, high, scores.seeds, False, False))
    columns = ["task", "kind", "algorithm", "arm", "setting", "mean", "low", "high", "runs", "not_worse", "not_slower"]
    return single_runs(pd.DataFrame(rows, columns=columns).assign(of=algorithm), runs)


def draw(frame) -> Figure:
    """A plot per knob and task: final return against its value, other algorithms as bands, the best values below."""
    keys = list(frame[["of", "task"]].drop_duplicates().itertuples(index=False, name=None))
    symbols = {name: symbol(knob) for name, knob in zip(frame["of"], frame["knob"])}
    one = len(symbols) == 1
    figure, axes = facets(
        keys, title=lambda key: task_name(key[1]) if one else f"{task_name(key[1])}: {symbols[key[0]]}"
    )
    for (name, task), ax in axes.items():
        own = frame[(frame["of"] == name) & (frame["task"] == task)]
        label = "fixed β" if name == "kl_fixed" else f"mean by {symbols[name]}"
        draw_profile(ax, own, symbols[name], label, band_styles(frame))
        if not one:
            ax.set_xlabel(symbols[name])
    ((name, number), *others) = symbols.items()
    labels(axes.values(), None if others else "β (fixed)" if name == "kl_fixed" else number, "final return")
    legend_below(figure, axes.values())
    return figure


def band_styles(frame) -> dict:
    """{arm: (colour, line style)} of the other algorithms."""
    return arm_styles(frame[frame["kind"] == "band"])


def draw_profile(ax, here, number, label, styles) -> None:
    """Return against one number, other algorithms as bands, what may be best as a bar below."""
    sweep = here[here["kind"] == "sweep"].sort_values("setting")
    for _, band in here[here["kind"] == "band"].iterrows():
        colour, line = styles[band["arm"]]
        ax.axhspan(band["low"], band["high"], color=colour, alpha=0.13, lw=0)
        ax.axhline(band["mean"], color=colour, ls=line, lw=1.2, label=arm_name(band["arm"]))
    ax.plot(sweep["setting"], sweep["mean"], color=FIXED, lw=1.4, zorder=3, label=label)
    with_intervals(ax, "setting", sweep, fmt="none", ecolor=FIXED, zorder=3)
    for (_, point), colour in zip(sweep.iterrows(), beta_colours(sweep["setting"]).values()):
        ax.plot(point["setting"], point["mean"], "o", ms=4.5, color=colour, mec="#6b2a7a", mew=0.5, zorder=4)
    log_beta_axis(ax, sweep["setting"])
    best = here[here["kind"] == "best"]
    if len(best):
        best = best.iloc[0]
        # In axes height: a bar just above the bottom edge.
        own = {"transform": ax.get_xaxis_transform(), "color": "#6b2a7a"}
        ax.plot([best["low"], best["high"]], [0.03, 0.03], lw=3.5, alpha=0.55, solid_capstyle="round", **own)
        label = f"best {number} (bar: none shown better)"
        ax.plot(best["setting"], 0.03, "D", ms=4, zorder=5, ls="none", label=label, **own)
    possible(ax, here, below=0.14)
