"""How well the adaptive rule holds its target, and where its β goes: per task a row of kind "ratio" (KL / target over
all updates) and rows of kind "beta" (over training).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..arms import default_arm, need
from ..names import task_name
from ..style import FAINT, INK, label_ends, log_axis, side_by_side, task_colours
from .achieved_kl import finite_quantiles

TITLE = "How the adaptive rule behaves"
CAPTION = """
Left: KL of the updates against the target (5th to 95th percentile, quartiles, median); the grey band is the rule’s
tolerance, 1/1.5 to 1.5. Right: the β it chose, median over seeds with 10th to 90th percentile.
"""
PART, ORDER = "within", 30
NEEDS = ("kl_adaptive",)

TOLERANCE = 1.5  # PPO's adaptive rule leaves beta alone within target / 1.5 .. 1.5 target


def numbers(study, runs) -> pd.DataFrame:
    chosen = need(default_arm(runs, "kl_adaptive"), "kl_adaptive")
    parts = min(study.bins, 25)
    beta = study.curves["beta"].to_numpy(dtype=float)
    log_beta = study.over_training(np.log(np.where(beta > 0, beta, np.nan)), parts)
    rows = []
    for task, group in chosen.groupby("task"):
        inside = np.isin(study.curves["run"].to_numpy(), group.index)
        target = study.runs["kl_target"].to_numpy()[study.curves["run"].to_numpy()[inside]]
        ratio = study.curves["kl_after"].to_numpy(dtype=float)[inside] / target
        ratio = ratio[ratio > 0]
        whose = {"task": task, "runs": len(group)}
        if len(ratio):
            quantiles = zip(("low", "p25", "median", "p75", "high"), np.quantile(ratio, [0.05, 0.25, 0.5, 0.75, 0.95]))
            inside = np.mean((ratio >= 1 / TOLERANCE) & (ratio <= TOLERANCE))
            rows.append(whose | {"kind": "ratio", **dict(quantiles), "share_inside": inside})
        quantiles = finite_quantiles(np.exp(log_beta[group.index]), [0.1, 0.5, 0.9])
        for part, (low, middle, high) in enumerate(quantiles.T, 1):
            rows.append(whose | {"kind": "beta", "low": low, "median": middle, "high": high, "progress": part / parts})
    columns = ["kind", "task", "low", "p25", "median", "p75", "high", "share_inside", "runs", "progress"]
    return pd.DataFrame(rows, columns=columns)


def draw(frame) -> Figure:
    """How well the adaptive rule holds its target, and where its beta goes."""
    ratios, betas = frame[frame["kind"] == "ratio"], frame[frame["kind"] == "beta"]
    figure, (left, right) = side_by_side(2, 1.5 + 0.24 * max(4, len(ratios)))
    colours = task_colours(frame["task"])
    left.axvspan(1 / TOLERANCE, TOLERANCE, color=FAINT, alpha=0.25, lw=0)
    for y, row in enumerate(ratios.itertuples()):
        colour = colours[row.task]
        left.plot([row.low, row.high], [y, y], color=colour, lw=1.2)
        left.plot([row.p25, row.p75], [y, y], color=colour, lw=5, alpha=0.6, solid_capstyle="butt")
        left.plot(row.median, y, "o", color=colour, ms=4, mec=INK, mew=0.5)
        left.annotate(
            f"{100 * row.share_inside:.0f} % inside", (1.0, y), xycoords=("axes fraction", "data"), fontsize=6.5,
            va="bottom", ha="right", xytext=(0, 2), textcoords="offset points",
        )  # fmt: skip
    log_axis(left.xaxis)
    left.set_yticks(range(len(ratios)), [task_name(task) for task in ratios["task"]])
    left.set_ylim(len(ratios) - 0.4, -0.7)
    left.set_xlabel("KL of an update / target")
    left.set_title("KL against its target")
    ends = {}
    for task, curve in betas.groupby("task"):
        right.plot(curve["progress"], curve["median"], color=colours[task])
        right.fill_between(curve["progress"], curve["low"], curve["high"], color=colours[task], alpha=0.13, lw=0)
        known = curve.dropna(subset=["median"])
        if len(known):
            ends[task] = (1.0, known["median"].iloc[-1], colours[task])
    right.set_xlim(0, 1)
    log_axis(right.yaxis)
    label_ends(right, ends)
    right.set_xlabel("share of training")
    right.set_title("adaptive β")
    return figure
