"""Final return and median KL (nats) on raw advantages by β / c, for rewards multiplied by c: a row per task and arm."""

import pandas as pd
from matplotlib.figure import Figure

from ..arms import NotApplicable
from ..names import task_name
from ..style import available, facets, legend_below, log_axis, log_beta_axis, possible, task_colours, with_intervals
from .reward_scales import mean_returns, rescaled

TITLE = "β in the task’s own unit"
CAPTION = """
Raw advantages, rewards multiplied by c (colours): final return and median KL of an update (geometric mean over runs) of
fixed β against β / c (points) and of TRPO (dashed lines). The penalty’s objective depends on β / c alone, so that
without the value fit points of all colours would lie on one curve. An interval that leaves the plot goes beyond every
single run.
"""
PART, ORDER = "unit", 60
NEEDS = ("kl_fixed", "trpo")


def numbers(study, runs) -> pd.DataFrame:
    chosen = rescaled(study)
    chosen = chosen[chosen["advantages"] == "raw"]
    if chosen.loc[chosen["algorithm"] == "kl_fixed", "reward_scale"].nunique() <= 1:
        raise NotApplicable("needs fixed betas on raw advantages with several values of reward_scale")
    frame = mean_returns(study, chosen, ["task", "algorithm", "setting", "reward_scale"])
    # E[ratio c A - beta KL] = c E[ratio A - (beta / c) KL]: what beta is in the task's own unit.
    penalised = frame["algorithm"] == "kl_fixed"
    return frame.assign(beta_over_unit=(frame["setting"] / frame["reward_scale"]).where(penalised))


def draw(frame) -> Figure:
    """Final return and step on raw advantages against beta / c for rewards multiplied by c, TRPO as a line for each."""
    tasks = sorted(frame["task"].unique())
    rows = {"mean": "final return", "median_kl": "median KL (nats)"}
    if narrow := available.get() < 1.6 * len(tasks):  # a task in each row
        names, columns = [(quantity, task) for task in tasks for quantity in rows], len(rows)
    else:
        names, columns = [(quantity, task) for quantity in rows for task in tasks], len(tasks)
    figure, axes = facets(
        names, columns=columns, title=lambda name: task_name(name[1]) if narrow or name[0] == "mean" else ""
    )
    colours = task_colours(frame["reward_scale"])
    for (task, factor), here in frame.groupby(["task", "reward_scale"]):
        curve = here.dropna(subset=["beta_over_unit"]).sort_values("beta_over_unit")
        x, colour = curve["beta_over_unit"], colours[factor]
        for quantity in rows:
            ax = axes[quantity, task]
            for _, trpo in here[here["algorithm"] == "trpo"].iterrows():
                label = f"TRPO, δ={trpo['setting']:g}, c={factor:g}"
                ax.axhline(trpo[quantity], color=colour, ls="--", lw=1.1, label=label)
            ax.plot(x, curve[quantity], color=colour, marker="o", ms=3.5, lw=1.1, label=f"fixed β, c={factor:g}")
        with_intervals(axes["mean", task], "beta_over_unit", curve, fmt="none", ecolor=colour)
    for (quantity, task), ax in axes.items():
        log_beta_axis(ax, frame["beta_over_unit"].dropna())
        if quantity == "mean":
            possible(ax, frame[frame["task"] == task])
        if quantity == "median_kl":
            log_axis(ax.yaxis)
        if task == tasks[-1] if narrow else quantity == "median_kl":
            ax.set_xlabel("β / c")
        if narrow or task == tasks[0]:
            ax.set_ylabel(rows[quantity])
    legend_below(figure, axes.values(), most=2)
    return figure
