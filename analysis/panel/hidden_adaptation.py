"""The implied β by phase and the final return by fixed β, on normalised and on raw advantages: rows of kind "implied"
(x is the phase) and "profile" (x is β, scores with the untrained policy at 0, the best arm at 1).
"""

import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable, default_arm, implied_squares, plain, scale
from ..data import PHASES
from ..names import task_name
from ..style import available, legend_below, log_axis, log_beta_axis, task_colours
from .implied_beta import positive_root

TITLE = "Is advantage normalisation the hidden adaptation?"
CAPTION = """
The β that TRPO implied (cross-fitted) in the units of normalised and of raw advantages, and the final return of fixed
betas trained on either. Where the curves of the tasks lie on top of each other, one β can serve them all.

Returns below −1.5 are out of view; with more than 14 tasks neither names nor intervals are drawn.
"""
PART, ORDER = "unit", 20
NEEDS = ("kl_fixed", "trpo")

NAMED = 14  # tasks in the legend
LOWEST = -1.5  # of returns in view, untrained 0, best arm 1


def numbers(study, runs) -> pd.DataFrame:
    raw = study.raw_condition
    if raw is None or raw == study.main_condition:
        raise NotApplicable("needs runs with raw advantages (advantage_normalization=none) beside normalised ones")
    conditions = {"normalised": runs, "raw": study.under(raw)}
    rows = []
    trpo = default_arm(runs, "trpo")
    if len(trpo):
        for advantages in conditions:
            squares = implied_squares(study, trpo, PHASES, raw=advantages == "raw")
            for task in sorted(trpo["task"].unique()):
                group = squares[(trpo["task"] == task).to_numpy()]
                for phase, values in enumerate(group.T):
                    average, low, high = statistics.mean_interval(values)
                    rows.append(
                        ("implied", advantages, task, phase + 1, *map(positive_root, (average, low, high)), len(group))
                    )
    for advantages, here in conditions.items():
        betas = plain(here, "kl_fixed")
        if betas["setting"].nunique() < 2:
            raise NotApplicable("needs kl_fixed with at least 2 values of beta")
        for task, group in betas.groupby("task"):
            (floor,), (gain,) = scale(here, [task])
            for beta, cell in group.groupby("setting"):
                values = (cell["score"].to_numpy() - floor) / gain
                rows.append(("profile", advantages, task, beta, *statistics.mean_interval(values), len(cell)))
    return pd.DataFrame(rows, columns=["kind", "advantages", "task", "x", "mean", "low", "high", "runs"])


def draw(frame) -> Figure:
    """Implied beta, and beta-profiles of all tasks, with normalised and with raw advantages."""
    kinds = [kind for kind in ("implied", "profile") if kind in set(frame["kind"])]
    figure = Figure(figsize=(available.get(), 2.35 * len(kinds) + 0.5), layout="constrained")
    colours = task_colours(frame["task"])
    grid = figure.subplots(len(kinds), 2, sharey="row", squeeze=False)
    named = len(colours) <= NAMED  # more colours cannot be told apart
    for row, kind in enumerate(kinds):
        for ax, advantages in zip(grid[row], ("normalised", "raw")):
            here = frame[(frame["kind"] == kind) & (frame["advantages"] == advantages)]
            for task, curve in here.groupby("task"):
                colour = colours[task]
                ax.plot(
                    curve["x"], curve["mean"], color=colour, marker="o", ms=3, label=task_name(task) if named else None
                )
                if named:
                    ax.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.12, lw=0)
            ax.set_title(f"{advantages} advantages")
            if kind == "implied":
                log_axis(ax.yaxis)
                ax.set_xlabel("fifth of training")
                ax.set_xticks(sorted(here["x"].unique()))
            else:
                log_beta_axis(ax, here["x"])
                ax.set_xlabel("β (fixed)")
        if kind == "profile":
            means = frame.loc[frame["kind"] == kind, "mean"]
            grid[row][0].set_ylim(max(LOWEST, means.min() - 0.1), min(-LOWEST, means.max() + 0.1))
        grid[row][0].set_ylabel("implied β" if kind == "implied" else "final return\n(untrained 0, best arm 1)")
    if named:
        legend_below(figure, grid.flat, most=5)
    return figure
