"""The β that the constraint implied over training, per task: rows of kind "curve" (root of the mean square over runs,
NaN where that is not positive) and "grid" (the fixed β that were run).
"""

import matplotlib.lines
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable, default_arm, implied_squares, need, plain
from ..style import DOTTED, FAINT, INK, available, label_ends, log_axis, side_by_side, task_colours

TITLE = "The beta that the constraint implied"
CAPTION = """
The multiplier of TRPO’s constraint, √(gᵀF⁻¹g / 2δ), per task over training; left in the units of the advantages the
algorithm saw, right in those of the raw advantages. Lines that lie apart, or move, would need different betas.

Solid: cross-fitted between two half batches and averaged before the root, which removes the noise floor; gaps where no
signal stands above the noise. Dashed lines: the grid of fixed β.
"""
PART, ORDER = "unit", 30
NEEDS = ("trpo",)

ESTIMATES = {"cross-fitted": "implied_beta_crossfit", "full batch": "implied_beta"}


def numbers(study, runs) -> pd.DataFrame:
    chosen = need(default_arm(runs, "trpo"), "trpo")
    parts = min(study.bins, 10)  # few: the cross-fitted estimate is noisy within one update
    rows = []
    for task, group in chosen.groupby("task"):
        for estimate, column in ESTIMATES.items():
            for units in ("as the algorithm saw it", "raw advantages"):
                squares = implied_squares(study, group, parts, column, raw=units == "raw advantages")
                rows.append(roots(squares, kind="curve", task=task, estimate=estimate, units=units))
    betas = sorted(plain(runs, "kl_fixed")["setting"].unique())
    rows.append(pd.DataFrame({"kind": "grid", "mean": betas}))
    frame = pd.concat(rows, ignore_index=True)
    if frame.loc[frame["kind"] == "curve", "mean"].notna().sum() == 0:
        raise NotApplicable("needs implied_beta in the curves of trpo")
    return frame


def roots(squares, **whose) -> pd.DataFrame:
    """The frame of mean squares [run, part] over training: whose they are, their root and its interval."""
    parts = squares.shape[1]
    ends = dict(zip(("mean", "low", "high"), map(positive_root, statistics.mean_interval(squares))))
    return pd.DataFrame(whose | {"progress": np.arange(1, parts + 1) / parts} | ends | {"runs": len(squares)})


def positive_root(squares):
    """Square root where positive, else NaN: a negative mean square shows no signal above the noise."""
    return np.sqrt(np.where(squares > 0, squares, np.nan))[()]


def draw(frame) -> Figure:
    """The beta that the constraint implied over training, all tasks on one log axis."""
    units = [unit for unit in ("as the algorithm saw it", "raw advantages") if unit in set(frame["units"])]
    figure, axes = side_by_side(len(units), 3.3, sharey=True)
    grid = dict(zip(units, axes))
    colours = task_colours(frame.loc[frame["kind"] == "curve", "task"])
    curves = frame[frame["kind"] == "curve"]
    ends = {unit: {} for unit in units}
    for unit, ax in grid.items():
        ax.set_title(unit)
        for (task, estimate), curve in curves[curves["units"] == unit].groupby(["task", "estimate"]):
            crossfit = estimate == "cross-fitted"
            x = curve["progress"]
            ax.plot(x, curve["mean"], color=colours[task], lw=1.6 if crossfit else 0.9, ls="-" if crossfit else DOTTED)
            if crossfit:
                # An interval that reaches below zero is open at the bottom of a log axis: not drawn there.
                ax.fill_between(x, curve["low"], curve["high"], color=colours[task], alpha=0.13, lw=0)
            known = curve.dropna(subset=["mean"])
            if len(known) and (crossfit or task not in ends[unit]):
                ends[unit][task] = (1.0, known["mean"].iloc[-1], colours[task])
        ax.set_xlim(0, 1)
        ax.set_xlabel("share of training")
    for unit, ax in grid.items():
        log_axis(ax.yaxis)
        label_ends(ax, ends[unit])
        low, high = ax.get_ylim()
        for beta in frame.loc[frame["kind"] == "grid", "mean"]:
            if low < beta < high:
                ax.axhline(beta, color=FAINT, lw=0.8, ls="--", zorder=0)
                ax.annotate(
                    f"β={beta:g}", (0.01, beta), fontsize=6.5, color=FAINT, va="center",
                    bbox={"fc": "#ffffff", "lw": 0, "pad": 0.5},
                )  # fmt: skip
    next(iter(grid.values())).set_ylabel("implied β")
    handles = [
        matplotlib.lines.Line2D([], [], color=INK, lw=1.6, label="cross-fitted (noise removed)"),
        matplotlib.lines.Line2D([], [], color=INK, lw=0.9, ls=DOTTED, label="full batch (noise included)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if available.get() > 5 else 1)
    return figure
