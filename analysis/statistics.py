"""Statistics of a few runs on a few tasks.

Scores travel as a list with one array per task, runs on the last axis: `[n]` for the data,
`[B, n]` for B bootstrap resamples. Every aggregate works on both. Intervals are 95 % percentile
bootstrap intervals, resampled within each task (stratified) by a seeded generator; equal seeds
give common random numbers, so that arms with the same training seeds are compared in pairs.
"""

import numpy as np
from scipy import stats

RESAMPLES = 2000
LEVEL = 0.95


# Aggregates over tasks ------------------------------------------------------------------


def mean(scores):
    """Mean over tasks of the mean over runs."""
    return np.mean([np.mean(task, axis=-1) for task in scores], axis=0)


def median(scores):
    """Median over tasks of the mean over runs."""
    return np.median([np.mean(task, axis=-1) for task in scores], axis=0)


def iqm(scores):
    """Interquartile mean: of the middle half of all runs of all tasks pooled."""
    return stats.trim_mean(np.concatenate(scores, axis=-1), 0.25, axis=-1)


def optimality_gap(scores, target=1.0):
    """How far runs stay below `target` on average; exceeding it does not help."""
    return target - np.mean(np.minimum(np.concatenate(scores, axis=-1), target), axis=-1)


def profile(scores, thresholds):
    """[..., threshold] share of all runs with a score above each threshold."""
    pooled = np.concatenate(scores, axis=-1)
    return np.mean(pooled[..., None, :] > np.asarray(thresholds)[:, None], axis=-1)


def probability_of_improvement(scores_x, scores_y):
    """P(X > Y): mean over tasks of the Mann-Whitney statistic, ties counted half."""
    per_task = []
    for x, y in zip(scores_x, scores_y):
        difference = x[..., :, None] - y[..., None, :]
        per_task.append(np.mean((difference > 0) + 0.5 * (difference == 0), axis=(-2, -1)))
    return np.mean(per_task, axis=0)


# Bootstrap ------------------------------------------------------------------------------


def resample(scores, resamples=RESAMPLES, seed=0):
    """List of [B, n] arrays: `scores` with the runs of each task drawn with replacement."""
    generator = np.random.default_rng(seed)
    drawn = []
    for task in scores:
        task = np.asarray(task)
        drawn.append(task[generator.integers(len(task), size=(resamples, len(task)))])
    return drawn


def interval(samples, level=LEVEL, axis=0):
    """(low, high) percentiles of bootstrap samples."""
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(samples, [tail, 100 - tail], axis=axis)
    return low, high


def bootstrap(aggregate, *scores, resamples=RESAMPLES, seed=0):
    """(value, low, high) of `aggregate(*scores)`; each argument is resampled on its own."""
    samples = aggregate(*[resample(each, resamples, seed + i) for i, each in enumerate(scores)])
    return (aggregate(*scores), *interval(samples))


def mean_interval(values, resamples=RESAMPLES, seed=0):
    """(mean, low, high) over the first axis of `values` [n, ...], NaN left out.

    One run gives no interval: low and high are NaN.
    """
    values = np.asarray(values, dtype=float)
    flat = values.reshape(len(values), -1)
    known = np.isfinite(flat)
    filled = np.where(known, flat, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        average = filled.sum(0) / known.sum(0)
        if len(values) < 2:
            low = high = np.full(flat.shape[1], np.nan)
        else:
            generator = np.random.default_rng(seed)
            draws = generator.integers(len(values), size=(resamples, len(values)))
            counts = np.zeros((resamples, len(values)))
            np.add.at(counts, (np.arange(resamples)[:, None], draws), 1.0)
            low, high = interval((counts @ filled) / (counts @ known))
    shape = values.shape[1:]
    return average.reshape(shape), low.reshape(shape), high.reshape(shape)


# The implied beta -----------------------------------------------------------------------


def signed_square(x):
    """sign(x) x^2: undoes the signed root in which the cross-fitted implied beta is recorded."""
    return np.sign(x) * np.square(x)


def signed_root(x):
    return np.sign(x) * np.sqrt(np.abs(x))


# One number for all tasks ---------------------------------------------------------------


def best_setting(scores, resamples=RESAMPLES, seed=0):
    """(best, low, high): the setting with the highest mean score on one task.

    scores  {setting: [n]}. The interval holds 95 % of the best settings of bootstrap resamples,
    the same resample of seeds for every setting with as many runs.
    """
    settings = np.array(sorted(scores))
    best = settings[np.argmax([np.mean(scores[setting]) for setting in settings])]
    drawn = best_setting_samples(scores, resamples, seed)
    # "inverted_cdf" keeps the ends on the grid.
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return best, low, high


def best_setting_samples(scores, resamples=RESAMPLES, seed=0):
    """[B] best setting in each bootstrap resample."""
    settings = np.array(sorted(scores))
    means = [np.mean(resample([scores[setting]], resamples, seed)[0], axis=-1) for setting in settings]
    return settings[np.argmax(means, axis=0)]
