"""Claim C: is a fixed beta beaten by a constraint, an adaptive beta or clipping?"""

import numpy as np
import pandas as pd

from .. import statistics
from ..arms import NotApplicable, default_arm, grid, learned, plain, sweep
from ..names import ALGORITHMS, listed
from ..power import imagined, several
from ..rules import ALPHA, MEAN_MARGIN, NOT_SUPPORTED, SUPPORTED, UNDECIDED

FEEDBACK = ("trpo", "kl_adaptive", "clip")  # rivals of a fixed beta, each at its authors' setting

NAME = "C"
CLAIM = "A fixed β optimised with SGD is not sufficient: additional modifications are required."
RULE = f"""
Metric: final return, untrained policy = 0 and best arm = 1 per task, mean over tasks. Supported when TRPO, adaptive β
or clipping (each at its authors' setting) is shown to beat every fixed β by more than {MEAN_MARGIN:g}; not supported
when one fixed β is shown not to be beaten by that much by any of them. One-sided Welch tests stratified by task at
level {ALPHA:g}, Bonferroni over the three.
"""
ORDER = 60
NEEDS = ("kl_fixed", *FEEDBACK)


def judge(study) -> tuple:
    numbers, p_beats, p_enough = compare_with_fixed(study.main, FEEDBACK)
    best = numbers.groupby("beta")["difference"].mean().idxmin()
    against = "; ".join(
        f"{ALGORITHMS[row.rival]} {row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
        for row in numbers[numbers["beta"] == best].itertuples()
    )
    sentence = (
        f"Against the best single β on average, {best:g}, in the mean over tasks (untrained = 0, best arm = 1): "
        f"{against} ({numbers['seeds'].min()} seeds, {numbers['tasks'].min()} tasks). "
    )
    if p_beats.min() <= ALPHA:
        winners = [ALGORITHMS[name] for name in p_beats.index[p_beats <= ALPHA]]
        return (
            SUPPORTED,
            f"{sentence}Every fixed β is beaten by more than {MEAN_MARGIN:g} by {listed(winners)} "
            f"(p = {p_beats.min():.2g}).",
            numbers,
        )
    if p_enough.min() <= ALPHA:
        return (
            NOT_SUPPORTED,
            f"{sentence}β = {listed(p_enough.index[p_enough <= ALPHA])} is not beaten by {MEAN_MARGIN:g} by any "
            "of them.",
            numbers,
        )
    return UNDECIDED, f"{sentence}Neither shown beaten nor shown sufficient.", numbers


def imagine(study, runs) -> tuple:
    _, _, rivals, fixed = beside_fixed(runs, FEEDBACK)

    def judge(seeds, generator):
        *_, p_beats, p_keeps_up = rivalry(
            *([imagined(task, seeds, generator) for task in arms] for arms in (rivals, fixed))
        )
        return tuple((p <= ALPHA).any(-1) for p in contest(p_beats, p_keeps_up))

    return judge, min(several(task) for task in [*rivals, *fixed])


def compare_with_fixed(runs, rivals):
    """(numbers, p_beats by rival, p_enough by beta), see `contest`. Raises NotApplicable."""
    names, betas, theirs, fixed = beside_fixed(runs, rivals)
    difference, error, freedom, p_beats, p_keeps_up = rivalry(theirs, fixed)
    half = statistics.half_width(error, freedom)
    counts = [np.minimum(*np.broadcast_arrays(*(np.isfinite(s).sum(-1) for s in pair))) for pair in zip(theirs, fixed)]
    columns = {
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "p_beats": p_beats,
        "p_keeps_up": p_keeps_up,
        "tasks": np.full(difference.shape, len(fixed)),
        "seeds": np.min(counts, axis=0),
    }
    index = pd.MultiIndex.from_product([names, betas], names=["rival", "beta"])
    numbers = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index).reset_index()
    beats, enough = contest(p_beats, p_keeps_up)
    return numbers, pd.Series(beats, names), pd.Series(enough, betas)


def beside_fixed(runs, rivals):
    """(names of the rivals that were run, betas, rivals' and betas' scores as shares of the gain: a list with one
    array per task, [R, 1, S] and [1, H, S], NaN where a seed was not run)."""
    sweep(runs)
    arms = {name: default_arm(runs, name) for name in rivals}
    arms = {name: arm for name, arm in arms.items() if len(arm)}
    if not arms:
        raise NotApplicable(f"needs one of {', '.join(rivals)}")
    common = set.intersection(*(set(arm["task"]) for arm in [*arms.values(), plain(runs, "kl_fixed")]))
    if not common:
        raise NotApplicable(f"needs kl_fixed and {', '.join(arms)} on the same tasks")
    here = runs[runs["task"].isin(common)]
    scores = learned(grid(sweep(here), "kl_fixed", here))
    if not len(scores.settings):
        raise NotApplicable("needs one β that was run on every task")
    theirs = []
    for task, gain in zip(scores.tasks, scores.gain):
        ours = [arm.loc[arm["task"] == task, "score"].to_numpy() / gain for arm in arms.values()]
        most = max(map(len, ours))
        theirs.append(np.stack([np.pad(run, (0, most - len(run)), constant_values=np.nan) for run in ours])[:, None])
    return list(arms), scores.settings, theirs, [each[None] for each in scores.values / scores.gain[:, None, None]]


def rivalry(rivals, fixed):
    """(differences, standard errors, degrees of freedom, p_beats, p_keeps_up), each [..., R, H], of what
    `beside_fixed` returns: rivals less fixed betas in the mean over tasks, by more and by less than MEAN_MARGIN."""
    difference, error, freedom = statistics.mean_over_tasks_test(rivals, fixed)
    p_beats = statistics.p_greater(difference - MEAN_MARGIN, error, freedom)
    p_keeps_up = statistics.p_greater(MEAN_MARGIN - difference, error, freedom)
    return difference, error, freedom, p_beats, p_keeps_up


def contest(p_beats, p_keeps_up):
    """(p_beats [..., R], p_enough [..., H]) of p-values [..., R, H].

    p_beats   that this rival beats every fixed beta by more than MEAN_MARGIN; Bonferroni over rivals.
    p_enough  that this beta is not beaten by that much by any rival; Bonferroni over betas.
    """
    rivals, betas = p_beats.shape[-2:]
    return np.minimum(1, p_beats.max(-1) * rivals), np.minimum(1, p_keeps_up.max(-2) * betas)
