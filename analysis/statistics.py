"""Statistics of a few runs on a few tasks.

Scores travel as a list with one array per task, runs on the last axis: `[n]` for the data, `[B, n]` for B simulated
studies. Aggregates and their intervals work on both. What is called an interval covers the truth in 93 % of simulated
studies or more at 3, 5 and 10 runs (tests/test_analysis_statistics.py): Student's or Wilson's. Where no method does so
there is none, but what changes with one seed or one task left out, or the settings that no other is shown to beat.

What SciPy has is SciPy's. The few lines that statsmodels has and SciPy has not are written out, because it would be
70 MB more to install; the tests compare them.
"""

import itertools
import warnings
from functools import partial

import numpy as np
from scipy import stats

RESAMPLES = 2000
LEVEL = 0.95
SKEWED = 0.6  # share of 1 - level that `skewed_mean_interval` keeps: 95 % then covers 94 to 96 % of mean regrets


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
    u = [stats.mannwhitneyu(*sides, axis=-1, method="asymptotic").statistic for sides in zip(scores_x, scores_y)]
    return np.mean([own / (x.shape[-1] * y.shape[-1]) for own, x, y in zip(u, scores_x, scores_y)], axis=0)


# Intervals ------------------------------------------------------------------------------


def mean_interval(values, level=LEVEL):
    """(mean, low, high) over the first axis of `values` [n, ...], NaN left out: Student's interval.

    One run gives no interval: low and high are NaN.
    """
    # SciPy's ttest_1samp takes columns with NaN one by one: in 150 times the time.
    average, spread, count = described(np.asarray(values, dtype=float), axis=0)
    half = np.where(count > 1, half_width(spread / np.sqrt(count), count - 1, level), np.nan)
    # [()]: a plain number where the values have one axis.
    return average[()], (average - half)[()], (average + half)[()]


def described(values, axis=-1):
    """(mean, standard deviation, number) of what is finite along an axis; NaN of none, and the deviation of one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis), np.nanstd(values, axis, ddof=1), np.isfinite(values).sum(axis)


def prediction_interval(values):
    """(mean, low, high) for one more value like `values` [n]: Student's, of normal values; NaN where n < 2."""
    values = np.asarray(values, dtype=float)
    average, count = float(values.mean()), len(values)
    if count < 2:
        return average, np.nan, np.nan
    half = float(half_width(values.std(ddof=1) * np.sqrt(1 + 1 / count), count - 1))
    return average, average - half, average + half


def clustered_mean_interval(values, clusters):
    """(low, high) of the mean of values [n] whose errors are alike within clusters [n]: Student's, with G - 1 degrees
    of freedom and the variance G / (G - 1) sum_g (sum of g's residuals)^2 / n^2; NaN with fewer than three clusters."""
    # As statsmodels.api.OLS of a constant with cov_type="cluster".
    values = np.asarray(values, dtype=float)
    _, cluster = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.bincount(cluster, values - values.mean())
    if len(sums) < 3:
        return np.nan, np.nan
    half = half_width(np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / len(values), len(sums) - 1)
    return float(values.mean() - half), float(values.mean() + half)


def skewed_mean_interval(values, resamples=RESAMPLES, seed=0, level=LEVEL):
    """(mean, low, high) over the first axis of `values` [n, ...], for skewed values: the wider of two intervals.

    Each end is the outer one of Student's interval and of the studentised bootstrap's (Efron and Tibshirani 1993,
    chapter 12), which is longer on the side of the tail. For regrets, which are rarely negative and now and then large,
    either alone covers too seldom (tests/test_analysis_statistics.py), and both at 95 % in 91 to 94 %: the ends are at
    97 % (`SKEWED`). Of fewer than six values too many draws hold one alone, and the bootstrap's ends mean nothing:
    Student's 95 % interval then.
    """
    values = np.asarray(values, dtype=float)
    average, low, high = mean_interval(values, level)
    count = len(values)
    if count < 6:
        return average, low, high
    level = 1 - SKEWED * (1 - level)
    error = values.std(0, ddof=1) / np.sqrt(count)
    half = half_width(error, count - 1, level)
    low, high = average - half, average + half
    ratios = np.empty((resamples, *values.shape[1:]))
    generator = np.random.default_rng(seed)
    for number in range(resamples):
        again = values[generator.integers(count, size=count)]
        # A draw of nearly one value would divide by nothing.
        spread = np.maximum(again.std(0, ddof=1) / np.sqrt(count), 1e-3 * error)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios[number] = np.where(error > 0, (again.mean(0) - average) / spread, 0.0)
    first, last = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return average, np.minimum(low, average - last * error)[()], np.maximum(high, average - first * error)[()]


def stratified_mean(scores, shares=None):
    """(value, low, high) of the mean over tasks of the mean over runs; `scores` is a list with one [..., n] array per
    task, `shares` what each task counts, all the same by default.

    Student's interval with Satterthwaite's degrees of freedom over the tasks at hand; NaN where a task has one run.
    Of the scores of two arms on one task, with shares 1 and -1, it is Welch's.
    """
    shares = np.full(len(scores), 1 / len(scores)) if shares is None else np.asarray(shares)
    average = (np.stack([np.mean(task, axis=-1) for task in scores], axis=-1) * shares).sum(-1)
    counts = np.array([np.shape(task)[-1] for task in scores])
    if counts.min() < 2:
        return average, np.full_like(average, np.nan)[()], np.full_like(average, np.nan)[()]
    parts = np.stack([np.var(task, ddof=1, axis=-1) for task in scores], axis=-1) / counts * shares**2
    half = _stratified_half_width(parts, counts)
    return average, average - half, average + half


def _stratified_half_width(parts, counts):
    """Half of Student's interval; parts [..., E]: what each task adds to the variance, from its `counts` [E] runs."""
    return half_width(np.sqrt(parts.sum(-1)), satterthwaite(parts, counts - 1))


def satterthwaite(parts, freedom):
    """Degrees of freedom of a sum of independent estimates; parts [..., K]: their variances, known with `freedom` [K]
    or [..., K] degrees."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return parts.sum(-1) ** 2 / (parts**2 / freedom).sum(-1)


def optimality_gap_interval(scores, target=1.0):
    """(value, low, high) of the optimality gap: Student's, of what runs stay below `target`; runs count the same."""
    counts = np.array([np.shape(task)[-1] for task in scores])
    return stratified_mean([target - np.minimum(task, target) for task in scores], counts / counts.sum())


def wilson(share, trials):
    """(share, low, high): Wilson's interval (1927) of a share of `trials`, the p with |share - p| <= z sqrt(p (1 - p) /
    trials)."""
    # As statsmodels.stats.proportion.proportion_confint; SciPy's takes whole numbers of successes alone.
    z = stats.norm.ppf((1 + LEVEL) / 2)
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return share, middle - half, middle + half


def probability_interval(scores_x, scores_y):
    """(value, low, high) of `probability_of_improvement`, over tasks like these: Wilson's, a trial per task.

    No number between 0 and 1 with mean p varies more than zeros and ones do, by p (1 - p), so it is too wide rather
    than too narrow. Student's interval is empty where one arm wins everywhere.
    """
    return wilson(probability_of_improvement(scores_x, scores_y), len(scores_x))


# The implied beta -----------------------------------------------------------------------


def signed_square(x):
    """sign(x) x^2: undoes the signed root in which the cross-fitted implied beta is recorded."""
    return np.sign(x) * np.square(x)


# One number for all tasks ---------------------------------------------------------------
#
# A grid is an array [E, H, S] of scores: E tasks, H settings of one number, S seeds. NaN where a
# seed was not run.


def seed_means(values):
    """Means over the last axis, NaN left out; NaN where nothing is left."""
    known = np.isfinite(values)
    count = known.sum(-1)
    return np.where(count, np.where(known, values, 0.0).sum(-1) / np.maximum(1, count), np.nan)


def not_shown_worse(scores):
    """[..., H] bool: settings of scores [..., H, S] that no other one is shown to beat; NaN where a seed was not run.

    One-sided Welch tests at 5 % (1 - LEVEL), Bonferroni over rivals. So the truly best setting is one of them in 95 %
    of studies or more (94 % where three runs each are all there is), and the fewer the seeds the more others are.
    """
    p_fails, _ = single_setting_tests(scores[..., None, :, :], np.zeros(1))
    return (p_fails > 1 - LEVEL) & np.isfinite(scores).any(-1)


def best_setting(scores, settings):
    """(best, low, high): the setting with the highest mean of scores [H, S] on one task, the first of equals, and the
    smallest and largest of those that no other is shown to beat."""
    scores, settings = np.asarray(scores, dtype=float), np.asarray(settings)
    kept = settings[not_shown_worse(scores)]
    return settings[np.nanargmax(seed_means(scores))], kept.min(), kept.max()


def one_seed_left_out(grid):
    """[S, E, H, S] the grid with each seed in turn taken from the tasks that have others."""
    seeds = grid.shape[-1]
    ran = np.isfinite(grid).any(-2)
    gone = np.eye(seeds, dtype=bool)[:, None, :] & ran & (ran.sum(-1, keepdims=True) > 1)
    return np.where(gone[:, :, None, :], np.nan, grid)


def split_means(grid, splits=200, seed=0):
    """Two arrays [K, E, H]: means over one random half of a task's seeds and over the other.

    What is selected on the one and evaluated on the other has no maximisation bias. A task's one seed is in both.
    A setting without a run in a half takes the mean of those it has.
    """
    tasks, _, seeds = grid.shape
    generator = np.random.default_rng(seed)
    order = generator.permuted(np.broadcast_to(np.arange(seeds), (splits, tasks, seeds)), axis=-1)
    ran = np.isfinite(grid).any(1)
    order = np.where(ran, order, seeds).argsort(-1).argsort(-1)  # places among the seeds that were run
    count = ran.sum(-1)[:, None]
    first, alone = order < count // 2, ran & (count == 1)
    means = seed_means(grid)
    halves = []
    for half in (first | alone, (ran & ~first) | alone):
        own = seed_means(np.where(half[:, :, None, :], grid[None], np.nan))
        halves.append(np.where(np.isfinite(own), own, means))
    return halves


def sensitivity(means):
    """Phi = mean_e max_h G(e, h) - max_h mean_e G(e, h) of mean scores [..., E, H].

    What tuning per task gains over the best single setting. Adkins et al. 2024, arXiv 2412.07165.
    """
    return means.max(-1).mean(-1) - means.mean(-2).max(-1)


def split_sensitivity(grid, splits=200, seed=0):
    """Phi with settings selected on half of the seeds and evaluated on the other half; can be negative."""
    return float(regret(*split_means(grid, splits, seed)).mean())


def regret(select, evaluate):
    """[..., E] loss of the best single setting against each task's own, chosen on one set of means [..., E, H]
    and judged on another."""
    own = np.take_along_axis(evaluate, select.argmax(-1)[..., None], -1)[..., 0]
    single = select.mean(-2).argmax(-1)[..., None, None]
    return own - np.take_along_axis(evaluate, single, -1)[..., 0]


def transfer(select, evaluate):
    """[..., E, E] loss on the column task of the setting tuned on the row task."""
    best = select.argmax(-1)
    own = np.take_along_axis(evaluate, best[..., None], -1)[..., 0]
    # [..., row, column]: evaluate[column, best[row]]
    moved = np.take_along_axis(np.swapaxes(evaluate, -1, -2), best[..., None], -2)
    return own[..., None, :] - moved


def window(means, floor, share=0.1):
    """[..., H] bool: settings within `share` of the way from the best mean down to `floor`; the best one always."""
    best = means.max(-1, keepdims=True)
    return means >= best - share * np.maximum(0, best - np.asarray(floor)[..., None])


def effective_dimensionality(scores, share=0.95):
    """Fewest numbers to tune per task that reach `share` of what tuning them all reaches.

    scores  frame of mean scores, one row per task, columns a MultiIndex with one level per number.
    The numbers not tuned stay at the values best on average. Adkins et al. 2024.
    """
    best = scores.max(axis=1).mean()
    names = list(scores.columns.names)
    for size in range(len(names) + 1):
        for tuned in itertools.combinations(names, size):
            fixed = [name for name in names if name not in tuned]
            if not fixed:
                return size
            kept = scores.T.groupby(level=fixed).max().T  # tuned per task, for each value of the fixed
            if kept.mean().max() >= share * best:
                return size
    return len(names)


# Tests ----------------------------------------------------------------------------------


def holm(p):
    """Holm's corrected p-values: smaller than a level for what is shown at that level among all of them."""
    # As statsmodels.stats.multitest.multipletests; SciPy has none.
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)
    corrected = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    made = np.empty(len(p))
    made[order] = np.minimum(1.0, corrected)
    return made


def half_width(error, freedom, level=LEVEL):
    """Half of Student's interval; 0 where nothing varies, NaN where there is no error to judge by."""
    return np.where(error > 0, stats.t.ppf((1 + level) / 2, freedom) * error, error)


def single_setting_tests(grid, margin):
    """(p_fails, p_suffices), each [..., H]: does one setting of a grid [..., E, H, S] serve all tasks to within
    margin [E]?

    p_fails     that setting h loses more than the margin to another setting on some task:
                smallest one-sided Welch p over tasks and rivals, times their number (Bonferroni).
    p_suffices  that it loses less than the margin to every setting on every task: largest p.
    "No setting serves all tasks" is shown at level alpha when every p_fails <= alpha: were one
    setting good enough, its own p_fails would be that small with probability alpha at most,
    whatever the others do (an intersection-union test). No setting is selected, so there is no
    maximisation bias.
    """
    tasks, settings, _ = grid.shape[-3:]
    each = described(grid)
    rivals, mine = ([own[..., :, None] for own in each], [own[..., None, :] for own in each])  # [..., E, rival, h]
    rivals[0] = rivals[0] - np.asarray(margin)[:, None, None]
    welch = partial(stats.ttest_ind_from_stats, *rivals, *mine, equal_var=False)
    with np.errstate(invalid="ignore", divide="ignore"):
        both = (welch(alternative=of).pvalue for of in ("greater", "less"))
        # NaN: a single run, which tells nothing, or two settings that do not vary and are equal.
        loses, keeps = (np.nan_to_num(p, nan=1.0) for p in both)
    other = ~np.eye(settings, dtype=bool)
    loses, keeps = np.where(other, loses, 1.0), np.where(other, keeps, 0.0)
    # A rival that was not run on a task cannot win there; a setting that was not run there is unknown.
    run = np.isfinite(grid).any(-1)
    keeps = np.where(run[..., :, None], keeps, 0.0)
    keeps = np.where(run[..., None, :], keeps, 1.0)
    p_fails = np.minimum(1.0, loses.min(axis=(-3, -2)) * tasks * max(1, settings - 1))  # one alone fails nowhere
    return p_fails, keeps.max(axis=(-3, -2))
