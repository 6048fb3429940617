"""Median KL of an update with rewards multiplied by c: a row per task, algorithm, setting and c, raw advantages."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..answers import step_changes, steps_in_units
from ..data import KNOBS
from ..names import SYMBOLS, task_name, times
from ..style import facets, labels, legend_below, log_axis, task_colours, task_points

TITLE = "The step in two units of reward"
CAPTION = """
Median KL of an update (geometric mean over seeds) of each task at one β or δ, with its rewards multiplied by c.
Level lines: the number sets the step whatever the unit of reward.
"""
PART, ORDER = "unit", 55
NEEDS = ("kl_fixed", "trpo")


def numbers(study, runs) -> pd.DataFrame:
    return steps_in_units(study)


def draw(frame) -> Figure:
    """A panel per algorithm, at the middle one of its values: a line per task from unit to unit."""
    chosen = {}
    for algorithm, here in frame.groupby("algorithm"):
        settings = np.sort(here["setting"].unique())
        chosen[algorithm] = settings[(len(settings) - 1) // 2]

    def title(algorithm):
        change = step_changes(frame[frame["setting"] == chosen[algorithm]])[algorithm]
        middle, low, high = map(times, statistics.mean_interval(change.to_numpy()))
        name = f"{SYMBOLS[KNOBS[algorithm][0]]} = {chosen[algorithm]:g}"
        return f"{'fixed' if algorithm == 'kl_fixed' else 'TRPO,'} {name}: × {middle} [{low}, {high}]"

    figure, axes = facets(list(chosen), height=2.4, columns=2, title=title, sharey=True)
    tasks = sorted(frame["task"].unique())
    colours, points = task_colours(tasks), task_points(tasks)
    for algorithm, ax in axes.items():
        here = frame[(frame["algorithm"] == algorithm) & (frame["setting"] == chosen[algorithm])]
        for task, line in here.groupby("task"):
            line = line.sort_values("reward_scale")
            ax.plot(
                line["reward_scale"], line["median_kl"], color=colours[task], marker=points[task], ms=4, lw=1.3,
                label=task_name(task),
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(sorted(here["reward_scale"].unique()), [f"{c:g}" for c in sorted(here["reward_scale"].unique())])
        ax.minorticks_off()
        ax.margins(x=0.12)
        log_axis(ax.yaxis)
    labels(axes.values(), "rewards multiplied by c", "median KL (nats)")
    legend_below(figure, axes.values())
    return figure
