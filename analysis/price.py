"""What one value of a number costs: responses smoothed over the number's logarithm, their windows, and prices.

A response is the mean score of a method against the decimal logarithm of its number on one task, as a share of the
gain there (untrained policy 0, best arm 1). Neighbouring values carry information about each other, so a response is
smoothed before its top is looked for: each point is the mean of the values run, weighted by a Gaussian. All of it is
linear in the scores and works on leading axes, so that a thousand simulated studies cost little more than one.
"""

import weakref
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from . import statistics
from .arms import Grid, grid

BANDWIDTH = 0.35  # decades, of the Gaussian; written down before the data
STEP = 0.05  # decades between the points of a response
KEEP = 0.9  # a window holds the values that keep this share of the smoothed best
NEVER = 0.01  # how often a task on which nothing is learned may count as learned, as registered
DRAWS = 1000  # of the seeds, for the interval of an optimum


@dataclass(frozen=True)
class Window:
    """The values of one task's number that are nearly as good as its best."""

    optimum: float
    optimum_low: float  # 95 % interval of the optimum, over seeds
    optimum_high: float
    low: float  # ends of the window
    high: float
    open_low: bool  # the window reaches the end of the values that were run
    open_high: bool
    loss: float  # at the value best in the mean over all tasks, a share of the gain


def points(settings):
    """Decimal logarithms at which responses are looked at, from the smallest to the largest setting."""
    low, high = np.log10(np.min(settings)), np.log10(np.max(settings))
    return np.linspace(low, high, max(2, round((high - low) / STEP) + 1))


def smoother(settings, at, known=None):
    """[..., len(at), H] weights that make a response out of means; 0 for settings not `known` [..., H]."""
    distance = (np.asarray(at)[:, None] - np.log10(settings)) / BANDWIDTH
    weight = np.exp(-0.5 * distance**2)
    if known is not None:
        weight = weight * np.asarray(known)[..., None, :]
    return weight / weight.sum(-1, keepdims=True)


def response(means, settings, at):
    """[..., E, len(at)] of mean scores [..., E, H]; NaN outside of the values that a task was run at."""
    known = np.isfinite(means)
    smooth = (smoother(settings, at, known) @ np.where(known, means, 0.0)[..., None])[..., 0]
    log = np.log10(settings)
    low = np.where(known, log, np.inf).min(-1)[..., None]
    high = np.where(known, log, -np.inf).max(-1)[..., None]
    inside = (at >= low - STEP / 2) & (at <= high + STEP / 2)
    return np.where(inside, smooth, np.nan)


def best_single(responses):
    """[...] index of the point whose mean over tasks [..., E, G] is highest, of the points that every task has."""
    return np.nan_to_num(responses.mean(-2), nan=-np.inf).argmax(-1)


def read(responses, index):
    """[..., E] the responses [..., E, G] at a point per task."""
    return np.take_along_axis(responses, index[..., None], -1)[..., 0]


def prices(values, settings):
    """[..., E] what the best single value costs on each task, in gains: smoothed best less smoothed score there.

    values  [..., E, H, S] scores as shares of the gain, NaN where a seed was not run.
    The single value is the one best in the mean over these tasks, which favours the claim that one value serves all.
    Where each task's best is found and read on the same few seeds, noise makes prices too large; the jackknife takes
    most of that away.
    """
    return less_of_noise(lambda values: _plain_prices(values, settings), values)


def tops(values):
    """[..., E] score of each task's best setting, of scores [..., E, H, S]; not smoothed, freed of what noise adds."""
    return less_of_noise(lambda values: np.nan_to_num(statistics.seed_means(values), nan=-np.inf).max(-1), values)


def less_of_noise(of, values):
    """[..., E] a number of each task by the jackknife (Quenouille 1956), of scores [..., E, H, S], NaN where not run.

    With n seeds, n times the number less n - 1 times its mean with one seed left out. A seed is left out of all tasks.
    """
    ran = np.isfinite(values).any(-2)  # [..., E, S]
    count = ran.sum(-1)
    all_seeds, one_less = of(values), 0.0
    for seed in range(values.shape[-1]):
        without = np.where(np.arange(values.shape[-1]) == seed, np.nan, values)
        without = np.where((ran[..., seed] & (count > 1))[..., None, None], without, values)
        one_less = one_less + np.where(ran[..., seed], of(without), 0.0)
    return count * all_seeds - (count - 1) * one_less / count


def _plain_prices(values, settings):
    smooth = response(statistics.seed_means(values), settings, points(settings))
    single = np.broadcast_to(best_single(smooth)[..., None], smooth.shape[:-1])
    return np.nanmax(smooth, axis=-1) - read(smooth, single)


def windows(scores: Grid, seed=0):
    """(best single value, list with a Window per task) of a grid of one number."""
    settings, at = scores.settings, points(scores.settings)
    values = scores.normalised
    means = statistics.seed_means(values)
    smooth = response(means, settings, at)
    single = best_single(smooth)
    generator = np.random.default_rng(seed)
    made = []
    for task, own in enumerate(smooth):
        top = int(np.nanargmax(own))
        good = own >= KEEP * own[top]
        # The stretch around the top: what lies beyond a dip is another hill.
        low = top - np.argmin(np.append(good[top::-1], False)) + 1
        high = top + np.argmin(np.append(good[top:], False)) - 1
        ran = np.flatnonzero(np.isfinite(own))
        first, last = optimum_interval(values[task], settings, generator)
        made.append(
            Window(
                *(10 ** at[[top]]), *(10.0 ** np.array([first, last])), *(10 ** at[[low, high]]),
                bool(low == ran[0]), bool(high == ran[-1]), float(own[top] - own[single]),
            )
        )  # fmt: skip
    return 10 ** at[single], made


def optimum_interval(values, settings, generator, draws=DRAWS):
    """(low, high) of the logarithm at which the response to values [H, S] is highest; NaN where a seed was not run.

    Percentiles of where it is highest after errors are added to the means. A few seeds know their own spread badly, so
    half of an error's square is the task's. Such a half has four times the degrees of freedom of n seeds, 4 (n - 1)
    (Satterthwaite), and errors are drawn wider by as much as Student's quantile is above the normal one.
    """
    ran = np.isfinite(values).any(-1)
    values, own = values[ran], np.asarray(settings)[ran]
    at = points(settings)
    at = at[(at >= np.log10(own.min()) - STEP / 2) & (at <= np.log10(own.max()) + STEP / 2)]
    count = np.isfinite(values).sum(-1)
    squares = np.nanvar(values, axis=-1) / np.maximum(1, count - 1)  # of the standard error
    pooled = squares[count > 1].mean() if (count > 1).any() else np.nan
    tails = np.array([1 - statistics.LEVEL, 1 + statistics.LEVEL]) / 2
    wider = stats.t.ppf(tails[1], 4 * np.maximum(1, count - 1)) / stats.norm.ppf(tails[1])
    error = wider * np.sqrt((np.where(count > 1, squares, pooled) + pooled) / 2)
    drawn = statistics.seed_means(values) + error * generator.standard_normal((draws, len(own)))
    tops = (drawn @ smoother(own, at).T).argmax(-1)
    return np.quantile(at[tops], tails)


_found = []  # (reference to runs, tasks) of the last frames, since every number of a report asks again


def learned_tasks(runs):
    """(tasks on which some arm learned, the others): the rows' `learned` (`analysis.scale`). Forks do not count."""
    learned = runs[runs["fork"].isna()].groupby("task")["learned"].any()
    return sorted(learned.index[learned]), sorted(learned.index[~learned])


def priced_tasks(runs):
    """Tasks that prices are read on: those learned; of committed studies alone, as their readings were registered.

    Found once for a frame, which must not change afterwards.
    """
    for known, tasks in _found:
        if known() is runs:
            return tasks
    tasks = (learned_as_registered if runs["evidence"].all() else learned_tasks)(runs)[0]
    _found[:] = [entry for entry in _found[-7:] if entry[0]() is not None] + [(weakref.ref(runs), tasks)]
    return tasks


def learned_as_registered(runs):
    """(tasks on which some arm surely gains over the untrained policy, the others).

    The rule that readings of committed studies were registered with until 2026-11-29 (results/LOG.md). It misses arms
    that learn beside arms that collapse.

    Surely: Student's one-sided p of its gain, times the number of arms, is below NEVER. The spread between seeds is
    that of all arms of a task and condition together, because two or three seeds of one arm tell too little: asking
    for three standard errors of the arm's own calls a task learned in 58 % of cases where eight arms of two seeds
    learn nothing. To it comes the error of the untrained policy's return, which all arms share.
    """
    cells = runs.groupby(["task", "condition", "arm"])["auc_score"].agg(["mean", "var", "count"])
    cells = cells.join(runs.groupby("task")[["untrained", "untrained_error"]].first(), on="task")
    together = cells.groupby(["task", "condition"])
    freedom = together["count"].transform("sum") - together["count"].transform("size")
    squares = (cells["var"].fillna(0) * (cells["count"] - 1)).groupby(["task", "condition"]).transform("sum")
    error = np.sqrt(squares / freedom.clip(lower=1) / cells["count"] + cells["untrained_error"].fillna(0) ** 2)
    gain = cells["mean"] - cells["untrained"]
    arms = cells.groupby("task")["mean"].transform("size")
    with np.errstate(divide="ignore", invalid="ignore"):
        p = stats.t.sf(gain / error, freedom.clip(lower=1)) * arms
    clear = pd.Series((p < NEVER) | ((error == 0) & (gain > 0)), cells.index)
    clear = (clear & (freedom > 0)).groupby("task").any()
    return sorted(clear.index[clear]), sorted(clear.index[~clear])


def number(runs, everything, algorithm):
    """The grid of an algorithm's number on the tasks that prices are read on, each with the values it was run at.

    runs  of one condition; everything  runs that set the gain of each task.
    """
    chosen = runs[runs["task"].isin(priced_tasks(everything))]
    return grid(chosen, algorithm, everything, "auc_score", common=False)
