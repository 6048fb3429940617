"""Final return of fixed β and of TRPO when every reward is multiplied by a number: a row per task, arm and number."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from .. import statistics
from ..arms import NotApplicable, log_median_kl, single_runs
from ..names import task_name
from ..style import arm_styles, facets, labels, legend_below, log_axis, possible, with_intervals

TITLE = "Rewards multiplied by a number"
CAPTION = """
Final return when every reward the algorithm sees is multiplied by a number. Only a penalty on raw advantages changes
its step with the number; other arms change through the value fit, whose Adam has a fixed rate. An interval that leaves
the plot goes beyond every single run.
"""
PART, ORDER = "unit", 70
NEEDS = ("kl_fixed", "trpo")


def numbers(study, runs) -> pd.DataFrame:
    arm = ["task", "algorithm", "setting", "advantages"]
    chosen = rescaled(study)
    chosen = chosen[chosen.groupby(arm)["reward_scale"].transform("nunique") > 1]
    if chosen.empty:
        raise NotApplicable("needs runs with several values of reward_scale")
    return mean_returns(study, chosen, [*arm, "reward_scale"])


def rescaled(study) -> pd.DataFrame:
    """TRPO's and fixed betas' runs of the tasks whose rewards were multiplied, with `reward_scale`."""
    everything = study.runs
    factor = [float(own.get("reward_scale", 1.0)) for own in everything["changes"]]
    unlike = everything["changes"].map(lambda own: set(own) - {"reward_scale", "advantage_normalization"})
    chosen = everything.assign(reward_scale=factor)[~unlike.astype(bool)]
    chosen = chosen[chosen["algorithm"].isin(["trpo", "kl_fixed"]) & (chosen["family"] == chosen["algorithm"])]
    return chosen[chosen["task"].isin(chosen.loc[chosen["reward_scale"] != 1, "task"])]


def mean_returns(study, runs, keys) -> pd.DataFrame:
    """Per cell of `keys` the mean final return with its interval, and the median KL (geometric mean over runs)."""
    log_kl = log_median_kl(study)
    rows = [
        (*key, *statistics.mean_interval(cell["score"].to_numpy()), 10 ** log_kl.reindex(cell.index).mean(), len(cell))
        for key, cell in runs.groupby(keys)
    ]
    return single_runs(pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "median_kl", "runs"]), runs)


def draw(frame) -> Figure:
    """Final return when every reward is multiplied by a number; fixed betas against TRPO."""
    figure, axes = facets(
        [(task, advantages) for advantages in ("normalised", "raw") for task in sorted(frame["task"].unique())
         if ((frame["task"] == task) & (frame["advantages"] == advantages)).any()],
        columns=max(1, frame["task"].nunique()), title=lambda name: f"{task_name(name[0])}, {name[1]}",
    )  # fmt: skip
    arms = frame.assign(arm=np.where(frame["algorithm"] == "trpo", "TRPO, δ=", "β="))
    arms["arm"] += arms["setting"].map("{:g}".format)
    styles = arm_styles(arms)
    for (task, advantages, arm), curve in arms.groupby(["task", "advantages", "arm"]):
        colour, line = styles[arm]
        ax = axes[task, advantages]
        with_intervals(ax, "reward_scale", curve, color=colour, ls=line, marker="o", ms=3, label=arm)
        log_axis(ax.xaxis)
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        possible(ax, curve)
    labels(axes.values(), "rewards multiplied by", "final return")
    legend_below(figure, axes.values())
    return figure
