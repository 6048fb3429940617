"""Two arms in the mean over tasks, final returns on a scale: untrained policy 0, best arm of a task 1."""

import numpy as np

from . import statistics
from .arms import scale


def units_of(runs, tasks) -> dict:
    """{task: (floor, gain)}, in units of return, of the tasks on which something was learned."""
    return {task: unit for task, *unit in zip(tasks, *scale(runs, tasks)) if np.isfinite(unit[1])}


def gained(arm, units) -> list:
    """Scores of an arm by task, with the untrained policy at 0; units: {task: (floor, gain)}."""
    return [(arm.loc[arm["task"] == task, "score"].to_numpy() - floor) / gain for task, (floor, gain) in units.items()]


def fewest_seeds(units, *arms) -> int:
    """The fewest that any of the arms has on a task."""
    return int(min(arm[arm["task"].isin(units)].groupby("task").size().min() for arm in arms))


def difference(name, x, y, units) -> dict:
    """Of two arms in the mean over tasks, with its interval; NaN where it is one arm or a task is missing."""
    value = low = high = np.nan
    if set(units) <= set(x["task"]) & set(y["task"]) and not x.index.equals(y.index):
        sides = gained(x, units) + gained(y, units)
        value, low, high = statistics.stratified_mean(sides, np.repeat([1, -1], len(units)) / len(units))
    return {name: value, f"{name}_low": low, f"{name}_high": high}
