"""Return over training, a row per part of training: mean of the runs of an arm on a task, with its 95 % interval
(Student).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import headline
from ..style import arm_curves, possible

TITLE = "Learning curves"
MOST = 16  # arms that a plot has room for
CAPTION = f"""
Mean return of the episodes that ended in each part of training, with 95 % interval over seeds from
three seeds on. A band that leaves the plot goes beyond what single runs returned.

Of more than {MOST} arms those are drawn that have their authors' value of the knob, or whose knob has none; the numbers
below hold all of them.
"""
PART, ORDER = "tuned", 20


def numbers(study, runs) -> pd.DataFrame:
    returns = study.over_training("return_mean")
    # A part of training in which no episode ended shows the last known return.
    returns = pd.DataFrame(returns).ffill(axis=1).to_numpy()
    leading = set(headline(runs)["arm"])
    curves = [
        curve_of(study, group, returns).assign(leading=arm in leading)
        for (_, arm), group in runs.groupby(["task", "arm"])
    ]
    return pd.concat(curves, ignore_index=True)


def curve_of(study, group, returns) -> pd.DataFrame:
    """Mean return of one arm on one task with its interval, and the ends of its single runs."""
    average, low, high = statistics.mean_interval(returns[group.index])
    ends = {"least": np.nanmin(returns[group.index]), "most": np.nanmax(returns[group.index])}
    return over_training(study, group, mean=average, low=low, high=high, **ends)


def over_training(study, group, **columns) -> pd.DataFrame:
    """The frame of one arm on one task over training: columns beside whose they are."""
    first = group.iloc[0]
    whose = {name: first[name] for name in ("task", "arm", "algorithm", "setting")}
    ends = study.steps[first.name] * np.arange(1, study.bins + 1) / study.bins
    return pd.DataFrame(whose | {"env_steps": ends} | columns | {"runs": len(group)})


def draw(frame) -> Figure:
    """Return over training per task; bands are 95 % intervals of the mean (Student)."""
    frame = frame if frame["arm"].nunique() <= MOST else frame[frame["leading"]]
    # The interval of two seeds is about nine times their difference
    figure, axes = arm_curves(frame, "return", alpha=0.15, least=3)
    for task, ax in axes.items():
        possible(ax, frame[frame["task"] == task])
    return figure
