"""Learning curves of every β on raw advantages on the two tasks whose best β differ most, with TRPO for comparison."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..arms import NotApplicable, plain
from ..data import RAW
from ..style import arm_curves
from .learning_curves import over_training

TITLE = "Too small, right and too large: each β on two tasks"
CAPTION = """
Mean return of each β on raw advantages on the two tasks whose best β differ most, and of TRPO at the δ that is best on
average. Bands are the range of the seeds. A β that is too small lets the policy move too far in an update, one that is
too large hardly lets it move; which one is right depends on the task.
"""
PART, ORDER = "overview", 2
NEEDS = ()
WHOLE = True
LEAST = 3  # values


def numbers(study, runs) -> pd.DataFrame:
    betas = study.under(RAW)
    betas = betas[(betas["family"] == "kl_fixed") & betas["learned"]]
    enough = betas.groupby("task")["setting"].nunique() >= LEAST
    betas = betas[betas["task"].isin(enough.index[enough])]
    if betas["task"].nunique() < 2:
        raise NotApplicable(f"needs {LEAST} values of β on raw advantages on two tasks that were learned")
    means = betas.groupby(["task", "setting"])["normalised"].mean().unstack()
    value = means.idxmax(axis=1)
    best = np.log10(value)
    # Of tasks with the same best value those on which the other task's costs most
    cost = {
        (first, second): (best[second] - best[first], means.max(axis=1)[[first, second]].sum()
                          - means.loc[first, value[second]] - means.loc[second, value[first]])
        for first in means.index for second in means.index if first != second
        if np.isfinite([means.loc[first, value[second]], means.loc[second, value[first]]]).all()  # run on both
    }  # fmt: skip
    if not cost:
        raise NotApplicable("needs two tasks on which the best β of either was run")
    pair = max(cost, key=cost.get)
    return pd.concat([_curves(study, betas, pair), _curves(study, _constraint(study, pair), pair)], ignore_index=True)


def _constraint(study, pair):
    """Runs of TRPO at the delta that is best on average over the two tasks, on normalised advantages if it can be."""
    for condition in ("", RAW):
        runs = plain(study.under(condition), "trpo")
        runs = runs[runs["task"].isin(pair)]
        means = runs.groupby(["setting", "task"])["normalised"].mean().unstack().dropna()
        if len(means) and set(means) == set(pair):
            return runs[runs["setting"] == means.mean(axis=1).idxmax()]
    return study.runs.iloc[:0]


def _curves(study, runs, pair):
    returns = pd.DataFrame(study.over_training("return_mean")).ffill(axis=1).to_numpy()
    rows = []
    for task in pair:
        for _, group in runs[runs["task"] == task].groupby("arm"):
            own = returns[group.index]
            ends = {"mean": own.mean(0), "low": own.min(0), "high": own.max(0)}
            rows.append(over_training(study, group, **ends))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def draw(frame) -> Figure:
    """A plot per task; bands are the range of the seeds."""
    return arm_curves(frame, "return", height=2.3)[0]
