"""KL against β, in units of δ and of the implied β: rows of kind "update" (a sample), "median" (in quarter decades) and
"slope" (of the logarithms of a task’s medians, in `kl_over_delta`).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..arms import NotApplicable, need, plain
from ..style import FAINT, INK, beta_colours, facets, labels, legend_below, log_axis

TITLE = "Step size against beta"
CAPTION = """
Each point is one update of a run with fixed β: the KL it reached in units of δ, against the ratio of its β to the
implied one. The quadratic model predicts KL = δ (implied β / β)², slope −2; a flatter course on the left means the step
is limited by the optimiser rather than by the penalty.

Slope: least squares on the medians at β above the implied one.
"""
PART, ORDER = "unit", 50
NEEDS = ("kl_fixed",)

REFERENCE_DELTA = 0.01  # nats; delta of implied_beta for arms without a constraint of their own
POINTS_DRAWN = 2000


def numbers(study, runs) -> pd.DataFrame:
    chosen = need(plain(runs, "kl_fixed"), "kl_fixed")
    curves = study.curves
    rows = np.flatnonzero(np.isin(curves["run"].to_numpy(), chosen.index))
    run = curves["run"].to_numpy()[rows]
    kl, implied = (curves[column].to_numpy(dtype=float)[rows] for column in ("kl_after", "implied_beta"))
    beta = study.runs["setting"].to_numpy()[run]
    known = (kl > 0) & (implied > 0) & np.isfinite(kl * implied)
    if not known.any():
        raise NotApplicable("needs implied_beta in the curves of kl_fixed")
    points = pd.DataFrame(
        {
            "task": study.runs["task"].to_numpy()[run[known]],
            "beta": beta[known],
            "beta_over_implied": beta[known] / implied[known],
            "kl_over_delta": kl[known] / REFERENCE_DELTA,
        }
    )
    shown = max(10, POINTS_DRAWN // points.groupby(["task", "beta"]).ngroups)
    sample = points.groupby(["task", "beta"]).sample(frac=1, random_state=0)
    sample = sample[sample.groupby(["task", "beta"]).cumcount() < shown].assign(kind="update", updates=1)
    # Medians in quarter decades of beta / implied beta.
    step = np.round(4 * np.log10(points["beta_over_implied"])) / 4
    grouped = points.groupby(["task", step.rename("step")])
    medians = grouped["kl_over_delta"].agg(kl_over_delta="median", updates="size").reset_index()
    medians = medians[medians["updates"] >= 5]
    medians = medians.assign(beta_over_implied=10 ** medians.pop("step"), kind="median")
    slopes = []
    for task, group in medians.groupby("task"):
        # The law is for small steps: beta at or above the implied one.
        inside = group[group["beta_over_implied"] >= 1]
        if len(inside) >= 3:
            slope = np.polyfit(np.log(inside["beta_over_implied"]), np.log(inside["kl_over_delta"]), 1)[0]
            slopes.append({"task": task, "kind": "slope", "kl_over_delta": slope})
    return pd.concat([sample, medians, pd.DataFrame(slopes)], ignore_index=True)


def draw(frame) -> Figure:
    """Achieved KL against beta, both in units of the constraint: the quadratic law has slope -2."""
    figure, axes = facets(frame.loc[frame["kind"] != "slope", "task"].unique(), sharex=True, sharey=True)
    updates = frame[frame["kind"] == "update"]
    colours = beta_colours(updates["beta"])
    for beta, colour in colours.items():
        next(iter(axes.values())).plot([], [], "o", ms=4, mew=0, color=colour, label=f"β={beta:g}")
    for task, ax in axes.items():
        for beta, points in updates[updates["task"] == task].groupby("beta"):
            ax.plot(
                points["beta_over_implied"], points["kl_over_delta"], "o", ms=2, mew=0, alpha=0.4, color=colours[beta]
            )  # fmt: skip
        median = frame[(frame["kind"] == "median") & (frame["task"] == task)].sort_values("beta_over_implied")
        ax.plot(median["beta_over_implied"], median["kl_over_delta"], color=INK, lw=1.4, label="median")
        slope = frame[(frame["kind"] == "slope") & (frame["task"] == task)]
        if len(slope):
            ax.annotate(
                f"slope {slope['kl_over_delta'].iloc[0]:.2f}", (0.97, 0.94), xycoords="axes fraction", ha="right",
                va="top", fontsize=7,
            )  # fmt: skip
    x = updates["beta_over_implied"]
    span = np.array([x.min(), x.max()])
    low, high = updates["kl_over_delta"].min() / 2, updates["kl_over_delta"].max() * 2
    for ax in axes.values():
        ax.plot(span, span**-2.0, color=FAINT, lw=1.2, ls="--", zorder=1, label="KL = δ (implied β / β)²")
        ax.set_ylim(low, high)
        log_axis(ax.xaxis, ticks=4)
        log_axis(ax.yaxis)
    labels(axes.values(), "β / implied β", "achieved KL / δ")
    legend_below(figure, axes.values())
    return figure
