"""Two arms in the mean over tasks, scores as shares of the gain: untrained policy 0, best arm of a task 1."""

import numpy as np
import pandas as pd

from . import statistics
from .arms import NotApplicable, default_arm, grid, learned, need, plain, scale
from .names import arm_name


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
        value, error, freedom = statistics.mean_over_tasks_test(gained(x, units), gained(y, units))
        half = statistics.half_width(error, freedom)
        low, high = value - half, value + half
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def compare_two(runs, algorithm, reference) -> tuple:
    """(difference, low, high, number of tasks, names) of two algorithms in the mean over tasks.

    Each at its default; kl_fixed at the beta that is best on average, which flatters it. Raises NotApplicable.
    """
    arms = [representative(runs, name) for name in (algorithm, reference)]
    tasks = sorted(set(arms[0]["task"]) & set(arms[1]["task"]))
    _, gains = scale(runs, tasks)
    learned_tasks = [(task, gain) for task, gain in zip(tasks, gains) if np.isfinite(gain)]
    if not learned_tasks:
        raise NotApplicable(f"needs {algorithm} and {reference} on a task where some arm improved")
    scores = [[arm.loc[arm["task"] == task, "score"].to_numpy() / gain for task, gain in learned_tasks] for arm in arms]
    difference, error, freedom = statistics.mean_over_tasks_test(*scores)
    half = statistics.half_width(error, freedom)
    names = [arm_name(arm["arm"].iloc[0]) for arm in arms]
    for i, arm in enumerate(arms):
        if arm["algorithm"].iloc[0] == "kl_fixed":
            names[i] = f"the best single β ({arm['setting'].iloc[0]:g})"
    return difference, difference - half, difference + half, len(learned_tasks), names


def representative(runs, algorithm) -> pd.DataFrame:
    """Runs of an algorithm's default, or of the fixed beta best in the mean over tasks. Raises NotApplicable."""
    chosen = need(default_arm(runs, algorithm), algorithm)
    if algorithm != "kl_fixed":
        return chosen
    scores = learned(grid(runs, "kl_fixed", runs))
    if not len(scores.settings):
        raise NotApplicable("needs one β that was run on every task")
    best = scores.settings[statistics.seed_means(scores.normalised).mean(0).argmax()]
    return plain(runs, "kl_fixed")[plain(runs, "kl_fixed")["setting"] == best]
