"""KL(old‖new) of the updates over training, nats: a row per part of training, quantiles over the runs of an arm on a
task.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..arms import NotApplicable, default_arm, need, plain
from ..style import arm_curves, log_axis
from .learning_curves import over_training

TITLE = "What a fixed beta does to the step"
CAPTION = """
KL(old‖new) that each update reached, measured on the full batch after the update: median over seeds, band from the
10th to the 90th percentile. A constraint fixes the step; a fixed β lets it follow the task and the phase.
"""
PART, ORDER = "unit", 10
NEEDS = ("kl_fixed", "trpo")


def numbers(study, runs) -> pd.DataFrame:
    need(plain(runs, "kl_fixed"), "kl_fixed")
    # Mean of the logarithm: one wild update does not hide the others.
    kl = study.curves["kl_after"].to_numpy(dtype=float)
    chosen = pd.concat([plain(runs, "kl_fixed"), default_arm(runs, "trpo")])
    if not (kl[study.curves["run"].isin(chosen.index)] > 0).any():
        raise NotApplicable("no policy moved: the KL of every update is 0")
    log_kl = study.over_training(np.log(np.where(kl > 0, kl, np.nan)))
    rows = []
    for _, group in chosen.groupby(["task", "arm"]):
        kl = np.exp(log_kl[group.index])
        middle, low, high = finite_quantiles(kl, [0.5, 0.1, 0.9])
        rows.append(over_training(study, group, median=middle, low=low, high=high))
    return pd.concat(rows, ignore_index=True)


def finite_quantiles(values, quantiles) -> np.ndarray:
    """[Q, N] quantiles of values [R, N] over the first axis, NaN left out; NaN where nothing is left."""
    result = np.full((len(quantiles), values.shape[1]), np.nan)
    known = np.isfinite(values).any(axis=0)
    if known.any():
        result[:, known] = np.nanquantile(values[:, known], quantiles, axis=0)
    return result


def draw(frame) -> Figure:
    """KL(old||new) of each update over training, per task, for each fixed beta and TRPO."""
    figure, axes = arm_curves(frame, "achieved KL (nats)", "median", sharey=True)
    for ax in axes.values():
        log_axis(ax.yaxis)
    return figure
