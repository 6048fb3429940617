"""Implied β = σ R / √(2δ) in its parts over training: a row per quantity, estimate, task and part of training."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..arms import NotApplicable, default_arm, implied_squares, need
from ..names import task_name
from ..style import DOTTED, legend_below, log_axis, side_by_side, task_colours, task_markers
from .implied_beta import ESTIMATES, roots

TITLE = "Why it moves"
CAPTION = """
Implied β = σ · R / √(2δ): σ is the standard deviation of the raw advantages, R the share of it that the policy’s score
explains. Normalising the advantages sets σ to 1; what moves then is R alone.

Solid: cross-fitted; dotted: full batch, with its noise floor.
"""
PART, ORDER = "unit", 40
NEEDS = ("trpo",)


def numbers(study, runs) -> pd.DataFrame:
    chosen = need(default_arm(runs, "trpo"), "trpo")
    parts = min(study.bins, 10)
    delta = chosen["max_kl"].to_numpy()[:, None]
    variance = study.over_training(np.square(study.curves["sigma_advantage"].to_numpy(dtype=float)), parts)[
        chosen.index
    ]
    quantities = {("sigma", "full batch"): variance}
    for estimate, column in ESTIMATES.items():
        raw = implied_squares(study, chosen, parts, column, raw=True)
        quantities["implied", estimate] = raw
        # implied^2 = sigma^2 R^2 / (2 delta)
        quantities["share", estimate] = 2 * delta * raw / np.where(variance > 0, variance, np.nan)
    rows = []
    for (quantity, estimate), squares in quantities.items():
        for task in sorted(chosen["task"].unique()):
            own = squares[(chosen["task"] == task).to_numpy()]
            rows.append(roots(own, quantity=quantity, estimate=estimate, task=task))
    frame = pd.concat(rows, ignore_index=True)
    if frame.loc[frame["quantity"] == "implied", "mean"].notna().sum() == 0:
        raise NotApplicable("needs implied_beta and sigma_advantage in the curves of trpo")
    return frame


def draw(frame) -> Figure:
    """sigma_A, R and their product over training: implied beta = sigma_A R / sqrt(2 delta)."""
    titles = {
        "sigma": "σ of the advantage",
        "share": "R, share the score explains",
        "implied": "implied β, raw advantages",
    }
    figure, axes = side_by_side(3, 2.7)
    colours, markers = task_colours(frame["task"]), task_markers(frame["task"])
    for (quantity, title), ax in zip(titles.items(), axes):
        ax.set_title(title)
        for (task, estimate), curve in frame[frame["quantity"] == quantity].groupby(["task", "estimate"]):
            solid = estimate == "cross-fitted" or quantity == "sigma"
            ax.plot(
                curve["progress"], curve["mean"], color=colours[task], lw=1.5 if solid else 0.9,
                ls="-" if solid else DOTTED, label=task_name(task) if solid else None,
                marker=markers[task] if solid else "", ms=3.5,
            )  # fmt: skip
            if solid:
                ax.fill_between(curve["progress"], curve["low"], curve["high"], color=colours[task], alpha=0.13, lw=0)
        ax.set_xlim(0, 1)
        ax.set_xlabel("share of training")
        log_axis(ax.yaxis)
    legend_below(figure, figure.axes[:1], most=4)
    return figure
