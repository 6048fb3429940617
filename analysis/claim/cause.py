"""Is it the beta of the constraint that is better, or its optimiser?"""

import numpy as np

from .. import statistics
from ..arms import default_arm, need, scale
from ..rules import ALPHA, MEAN_MARGIN, NOT_SUPPORTED, SUPPORTED, UNDECIDED
from .c import compare_with_fixed

NAME = "Cause"
CLAIM = "The constraint's advantage is its β, not its optimiser."
RULE = f"""
Supported when a penalty whose β is solved at each update so that KL = δ beats every fixed β (rule C) and TRPO is shown
to be less than {MEAN_MARGIN:g} above it; not supported when TRPO is shown to be further above it or a fixed β to keep
up with it.
"""
ORDER = 80
NEEDS = ("kl_fixed", "trpo", "kl_bisect")


def judge(study) -> tuple:
    runs = study.main
    need(default_arm(runs, "kl_bisect"), "kl_bisect")
    numbers, p_beats, p_enough = compare_with_fixed(runs, ("kl_bisect",))
    bisect, trpo = default_arm(runs, "kl_bisect"), need(default_arm(runs, "trpo"), "trpo")
    tasks = sorted(set(bisect["task"]) & set(trpo["task"]))
    _, gains = scale(runs, tasks)
    scaled = [
        [
            arm.loc[arm["task"] == task, "score"].to_numpy() / gain
            for task, gain in zip(tasks, gains)
            if np.isfinite(gain)
        ]
        for arm in (trpo, bisect)
    ]
    difference, error, freedom = statistics.mean_over_tasks_test(*scaled)
    p_equal = float(statistics.p_greater(MEAN_MARGIN - difference, error, freedom))
    p_behind = float(statistics.p_greater(difference - MEAN_MARGIN, error, freedom))
    sentence = (
        f"A β solved at each update so that KL = δ beats every fixed β by more than {MEAN_MARGIN:g} with "
        f"p = {p_beats.min():.2g}; "
        f"TRPO is {difference:+.2f} ± {error:.2f} (s.e.) above it (p = {p_equal:.2g} for less than {MEAN_MARGIN:g})."
    )
    if p_beats.min() <= ALPHA and p_equal <= ALPHA:
        return SUPPORTED, sentence, numbers
    if p_behind <= ALPHA or p_enough.min() <= ALPHA:
        return NOT_SUPPORTED, sentence, numbers
    return UNDECIDED, sentence, numbers
