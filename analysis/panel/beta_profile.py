"""Final return against β. Rows of kind "sweep" (a setting), "band" (another algorithm) and "best" (the setting with the
highest mean, in `setting`, and the smallest and largest of those that no other is shown to beat, in `low` and `high`).
Of a setting: whether no other is shown to beat it in final return (not_worse) and in mean return over training
(not_slower).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import default_arm, grid, plain, sweep
from ..names import ALGORITHMS, arm_name
from ..style import FIXED, arm_styles, beta_colours, facets, labels, legend_below, log_beta_axis

TITLE = "One beta for all tasks?"
CAPTION = """
Final return of a fixed penalty coefficient against β, per task: mean over seeds with 95 % interval. A single β can be
best on every task only where the bars at the bottom overlap. The bar spans the β that no other is shown to beat (Welch
tests at 5 %), which hold the best one in 94 % of simulated studies or more; the diamond is the β with the highest mean.
What a β costs where bars do not overlap is in the matrix of values tuned elsewhere. Horizontal bands: other algorithms
at their authors’ settings, and one’s own.
"""
PART, ORDER = "windows_of_values", 20
NEEDS = ("kl_fixed", "trpo", "kl_adaptive", "clip")


def numbers(study, runs) -> pd.DataFrame:
    return profile_of(runs, "kl_fixed")


def profile_of(runs, swept_algorithm) -> pd.DataFrame:
    swept = sweep(runs, swept_algorithm)
    rows = []
    for task, here in runs[runs["task"].isin(swept["task"])].groupby("task"):
        scores = grid(here, swept_algorithm)
        kept = [
            statistics.not_shown_worse(own.values[0])
            for own in (scores, grid(here, swept_algorithm, column="auc_score"))
        ]
        for beta, group in plain(here, swept_algorithm).groupby("setting"):
            at = list(scores.settings).index(beta)
            cell = (*statistics.mean_interval(group["score"].to_numpy()), len(group), kept[0][at], kept[1][at])
            rows.append((task, "sweep", swept_algorithm, group["arm"].iloc[0], beta, *cell))
        beside = [default_arm(here, name) for name in ("trpo", "kl_adaptive", "clip") if name != swept_algorithm]
        own = here[~here["algorithm"].isin(ALGORITHMS)]  # with every value of what was swept
        for group in [*beside, *(group for _, group in own.groupby("arm"))]:
            if len(group):
                cell = (*statistics.mean_interval(group["score"].to_numpy()), len(group), False, False)
                rows.append((task, "band", *group[["algorithm", "arm"]].iloc[0], np.nan, *cell))
        best, low, high = statistics.best_setting(scores.values[0], scores.settings)
        rows.append((task, "best", swept_algorithm, "", best, np.nan, low, high, scores.seeds, False, False))
    columns = ["task", "kind", "algorithm", "arm", "setting", "mean", "low", "high", "runs", "not_worse", "not_slower"]
    return pd.DataFrame(rows, columns=columns)


def draw(frame) -> Figure:
    """Final return against log beta per task, other algorithms as bands, the best betas below."""
    figure, axes = facets(frame["task"].unique())
    for task, ax in axes.items():
        draw_profile(ax, frame[frame["task"] == task], "β", band_styles(frame))
    labels(axes.values(), "β (fixed)", "final return")
    legend_below(figure, axes.values())
    return figure


def band_styles(frame) -> dict:
    """{arm: (colour, line style)} of the other algorithms."""
    return arm_styles(frame[frame["kind"] == "band"])


def draw_profile(ax, here, symbol, styles) -> None:
    """Return against one number, other algorithms as bands, what may be best as a bar below."""
    sweep = here[here["kind"] == "sweep"].sort_values("setting")
    for _, band in here[here["kind"] == "band"].iterrows():
        colour, line = styles[band["arm"]]
        ax.axhspan(band["low"], band["high"], color=colour, alpha=0.13, lw=0)
        ax.axhline(band["mean"], color=colour, ls=line, lw=1.2, label=arm_name(band["arm"]))
    label = "fixed β" if symbol == "β" else f"mean by {symbol}"
    ax.plot(sweep["setting"], sweep["mean"], color=FIXED, lw=1.4, zorder=3, label=label)
    error = np.abs([sweep["mean"] - sweep["low"], sweep["high"] - sweep["mean"]])
    ax.errorbar(sweep["setting"], sweep["mean"], np.nan_to_num(error), fmt="none", ecolor=FIXED, elinewidth=1, zorder=3)
    for (_, point), colour in zip(sweep.iterrows(), beta_colours(sweep["setting"]).values()):
        ax.plot(point["setting"], point["mean"], "o", ms=4.5, color=colour, mec="#6b2a7a", mew=0.5, zorder=4)
    log_beta_axis(ax, sweep["setting"])
    best = here[here["kind"] == "best"]
    if len(best):
        best = best.iloc[0]
        # In axes height: a bar just above the bottom edge.
        transform = ax.get_xaxis_transform()
        ax.plot(
            [best["low"], best["high"]],
            [0.03, 0.03],
            transform=transform,
            color="#6b2a7a",
            lw=3.5,
            alpha=0.55,
            solid_capstyle="round",
        )
        ax.plot(
            best["setting"], 0.03, "D", ms=4, transform=transform, color="#6b2a7a", zorder=5, ls="none",
            label=f"best {symbol} (bar: none shown better)",
        )  # fmt: skip
        ax.margins(y=0.14)
