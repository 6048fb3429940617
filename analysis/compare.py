"""Two arms in the mean over tasks, final returns on a scale: untrained policy 0, best arm of a task 1."""

import numpy as np

from . import statistics
from .arms import scale

METRIC = "final return (untrained 0, best arm 1)"
TRAINING = "mean return over training (untrained 0, best arm 1)"


def units_of(runs, tasks) -> dict:
    """{task: (floor, gain)}, in units of return, of the tasks on which something was learned."""
    return {task: unit for task, *unit in zip(tasks, *scale(runs, tasks)) if np.isfinite(unit[1])}


def mean_score(arm, units) -> float:
    """Of an arm in the mean over tasks; units: {task: (floor, gain)}."""
    return statistics.mean(_scores(arm, units))


def _scores(arm, units):
    """List of the arm's scores by task."""
    return [(arm.loc[arm["task"] == task, "score"].to_numpy() - floor) / gain for task, (floor, gain) in units.items()]


def fewest_seeds(units, *arms) -> int:
    """The fewest that any of the arms has on a task."""
    return int(min(arm[arm["task"].isin(units)].groupby("task").size().min() for arm in arms))


def difference(name, x, y, units) -> dict:
    """Of two arms in the mean over tasks, with its interval; NaN where it is one arm or a task is missing."""
    value = low = high = np.nan
    if set(units) <= set(x["task"]) & set(y["task"]) and not x.index.equals(y.index):
        sides = _scores(x, units) + _scores(y, units)
        value, low, high = statistics.stratified_mean(sides, np.repeat([1, -1], len(units)) / len(units))
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def findings(frame, contrasts, column, sign=1):
    """The rows of a table whose difference in `column`, times `sign`, is known, as a report item's findings."""
    ends = ("", "_low", "_high") if sign > 0 else ("", "_high", "_low")
    values = {end: sign * frame[f"{column}{of}"] for end, of in zip(("value", "low", "high"), ends)}
    return frame.assign(contrast=contrasts, metric=METRIC, **values).dropna(subset=["value"])
