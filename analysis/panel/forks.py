"""Return gained under each β from one point of the same runs (question.fork.gains): a row per task, point and β."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..names import task_name
from ..question import fork
from ..style import BETA_RAMP, FAINT, facets, labels, legend_below, log_beta_axis, with_intervals

TITLE = "One beta for all of training?"
CAPTION = """
Return gained when runs continue from one point of training under another beta: mean over seeds with 95 % interval, a
line per point. If one beta served all of training, the lines of a task would peak at the same beta.
"""
PART, ORDER = "within", 10
NEEDS = ()
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    keys, gains = ["task", "advantages", "at", "setting"], fork.gains(study, least=2)
    rows = [
        (*key, *statistics.mean_interval(cell["score"].to_numpy()), len(cell))
        for key, cell in gains.assign(setting=study.runs["setting"]).groupby(keys)
    ]
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "runs"])


def draw(frame) -> Figure:
    """Return gained against beta from each point of training, per task."""
    keys = frame[["task", "advantages"]].drop_duplicates().sort_values(["advantages", "task"])
    figure, axes = facets(
        list(keys.itertuples(index=False, name=None)), columns=3, title=lambda name: f"{task_name(name[0])}, {name[1]}"
    )
    colours = dict(zip(sorted(frame["at"].unique()), BETA_RAMP(np.linspace(0.15, 0.95, frame["at"].nunique()))))
    for (task, advantages, at), curve in frame.groupby(["task", "advantages", "at"]):
        curve, ax = curve.sort_values("setting"), axes[task, advantages]
        label = f"after {at / 1e3:.3g}k steps"
        with_intervals(ax, "setting", curve, color=colours[at], marker="o", ms=3.5, lw=1.2, label=label)
        ax.axhline(0, color=FAINT, lw=0.8, ls=":")
    for ax in axes.values():
        log_beta_axis(ax, frame["setting"])
    labels(axes.values(), "β from that point on", "return gained")
    legend_below(figure, axes.values())
    return figure
