"""Statistics against their definitions, against SciPy, and against rliable."""

import itertools

import numpy as np
import pandas as pd
import pandas.util._decorators as decorators
import pytest
from scipy import stats

from analysis import statistics

generator = np.random.default_rng(0)
X = generator.normal(0.5, 0.3, (10, 5))  # runs x tasks, rliable's layout
Y = generator.normal(0.4, 0.3, (10, 5))
TASKS_X, TASKS_Y = list(X.T), list(Y.T)
AGGREGATES = [statistics.mean, statistics.median, statistics.iqm, statistics.optimality_gap]

# rliable 1.2.0 (arch 7.2.0) on X, Y and the thresholds 0, 0.2 .. 1.
RLIABLE_AGGREGATES = [0.5386989412689006, 0.5722047963768524, 0.5247686854622631, 0.4638724178489959]
RLIABLE_PROBABILITY = 0.6340000000000001
RLIABLE_PROFILE = [0.98, 0.9, 0.7, 0.4, 0.2, 0.04]


def test_point_estimates_agree_with_rliable_to_1e_12():
    np.testing.assert_allclose([each(TASKS_X) for each in AGGREGATES], RLIABLE_AGGREGATES, rtol=0, atol=1e-12)
    assert statistics.probability_of_improvement(TASKS_X, TASKS_Y) == pytest.approx(RLIABLE_PROBABILITY, abs=1e-12)
    np.testing.assert_allclose(statistics.profile(TASKS_X, np.linspace(0, 1, 6)), RLIABLE_PROFILE, atol=1e-12)


def test_rliable_itself_agrees(monkeypatch):
    """The same against the library, which the extra [test] brings."""
    # arch 7 uses pandas' private deprecate_kwarg as it was before pandas 3, when imported.
    monkeypatch.setattr(decorators, "deprecate_kwarg", lambda *_, **__: lambda function: function)
    from rliable import metrics

    theirs = [metrics.aggregate_mean, metrics.aggregate_median, metrics.aggregate_iqm, metrics.aggregate_optimality_gap]
    for ours, their in zip(AGGREGATES, theirs):
        assert ours(TASKS_X) == pytest.approx(their(X), abs=1e-12)
    improvement = metrics.probability_of_improvement(X, Y)
    assert statistics.probability_of_improvement(TASKS_X, TASKS_Y) == pytest.approx(improvement, abs=1e-12)


def test_aggregates_by_their_definitions():
    pooled = np.sort(X.ravel())
    assert statistics.iqm(TASKS_X) == pytest.approx(pooled[12:38].mean(), abs=1e-12)
    assert statistics.optimality_gap(TASKS_X) == pytest.approx(np.mean([max(0, 1 - x) for x in pooled]), abs=1e-12)
    wins = [(x > y) + 0.5 * (x == y) for a, b in zip(TASKS_X, TASKS_Y) for x, y in itertools.product(a, b)]
    assert statistics.probability_of_improvement(TASKS_X, TASKS_Y) == pytest.approx(np.mean(wins), abs=1e-12)
    assert statistics.probability_of_improvement(TASKS_X, TASKS_X) == pytest.approx(0.5, abs=1e-12)


def test_tasks_may_have_different_numbers_of_runs():
    scores = [np.array([0.0, 1.0]), np.array([0.5, 0.5, 0.5, 0.5])]
    assert statistics.mean(scores) == pytest.approx(0.5)
    for interval in (statistics.stratified_mean, statistics.optimality_gap_interval):
        value, low, high = interval(scores)
        assert low <= value <= high
    assert statistics.optimality_gap_interval(scores)[0] == pytest.approx(statistics.optimality_gap(scores))


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_mean_interval_covers_the_mean_as_often_as_it_says(runs):
    draws = np.random.default_rng(runs).normal(size=(runs, 4000))
    _, low, high = statistics.mean_interval(draws)
    covered = np.mean((low <= 0) & (high >= 0))
    assert covered == pytest.approx(0.95, abs=0.015)  # four standard errors of 4000 trials


SPREADS = [0.05, 0.1, 0.1, 0.2, 0.3, 0.1, 0.6]  # between runs, by task
MEANS = [0.1, 0.3, 0.5, 0.6, 0.9, 0.9, 1.2]


def imagined_scores(runs, studies=2000):
    """List with a [studies, runs] array per task."""
    generator = np.random.default_rng(runs)
    return [generator.normal(*cell, (studies, runs)) for cell in zip(MEANS, SPREADS)]


def coverage(interval, truth):
    _, low, high = interval
    return np.mean((low <= truth) & (truth <= high))


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_intervals_over_runs_cover_where_tasks_differ_in_spread(runs):
    scores = imagined_scores(runs)
    assert 0.93 <= coverage(statistics.stratified_mean(scores), np.mean(MEANS)) <= 0.97
    below = [
        np.mean(np.maximum(0, 1 - stats.norm(*cell).ppf(np.arange(0.0005, 1, 0.001)))) for cell in zip(MEANS, SPREADS)
    ]
    assert 0.93 <= coverage(statistics.optimality_gap_interval(scores), np.mean(below)) <= 0.97


def test_wilson_agrees_with_scipy():
    for won, trials in ((0, 3), (5, 7), (13, 13)):
        ends = stats.binomtest(won, trials).proportion_ci(0.95, method="wilson")
        assert statistics.wilson(won / trials, trials) == pytest.approx((won / trials, ends.low, ends.high))


@pytest.mark.parametrize("runs", [3, 5, 10])
@pytest.mark.parametrize("lead", [0.0, 0.5, 3.0])
def test_the_interval_of_an_improvement_holds_its_probability_over_tasks(runs, lead):
    """Tasks whose lead is normal about `lead`, at times with no overlap of runs: Student's interval is then empty."""
    generator = np.random.default_rng(runs)
    x = generator.normal(generator.normal(lead, 1.5, (7, 2000, 1)), 0.3, (7, 2000, runs))
    y = generator.normal(0, 0.3, (7, 2000, runs))
    truth = stats.norm.cdf(lead / np.sqrt(1.5**2 + 2 * 0.3**2))
    assert coverage(statistics.probability_interval(list(x), list(y)), truth) >= 0.95


def test_mean_interval_leaves_out_nan_and_gives_none_for_one_run():
    average, low, high = statistics.mean_interval(np.array([[1.0, np.nan], [3.0, 5.0]]))
    np.testing.assert_allclose(average, [2.0, 5.0])
    np.testing.assert_allclose([low[0], high[0]], [2.0 - 12.706, 2.0 + 12.706], atol=0.001)  # t at 1 degree of freedom
    assert np.isnan(low[1]) and np.isnan(high[1])
    average, low, high = statistics.mean_interval(np.array([4.0]))
    assert average == 4.0 and np.isnan(low) and np.isnan(high)


def test_sensitivity_by_its_definition():
    means = np.array([[1.0, 0.2, 0.0], [0.0, 0.6, 1.0]])
    tuned = np.mean([max(row) for row in means])
    single = max(np.mean(column) for column in means.T)
    assert statistics.sensitivity(means) == pytest.approx(tuned - single)
    assert statistics.sensitivity(np.tile([0.1, 0.9, 0.3], (4, 1))) == pytest.approx(0.0)


def test_split_sensitivity_is_free_of_maximisation_bias():
    """On noise alone Phi is positive because it takes a maximum; the split estimate is not."""
    generator = np.random.default_rng(2)
    plain, split = [], []
    for repeat in range(100):
        grid = generator.normal(size=(5, 6, 6))
        plain.append(statistics.sensitivity(grid.mean(-1)))
        split.append(statistics.split_sensitivity(grid, splits=50, seed=repeat))
    assert np.mean(plain) > 0.2
    assert abs(np.mean(split)) < 3 * np.std(split) / np.sqrt(len(split))


def test_transfer_matrix_by_hand():
    means = np.array([[1.0, 0.5, 0.0], [0.2, 0.9, 0.3]])
    # Task 0 prefers setting 0, task 1 setting 1: [tuned on, run on].
    np.testing.assert_allclose(statistics.transfer(means, means), [[0.0, 0.7], [0.5, 0.0]])
    np.testing.assert_allclose(statistics.regret(means, means), [0.5, 0.0])  # setting 1 is best on average
    batched = statistics.transfer(np.stack([means] * 3), np.stack([means] * 3))
    np.testing.assert_allclose(batched[2], [[0.0, 0.7], [0.5, 0.0]])


def test_window_holds_what_loses_less_than_its_share():
    means = np.array([[0.0, 89.0, 100.0, 91.0]])
    assert statistics.window(means, np.array([0.0]), 0.1).tolist() == [[False, False, True, True]]
    # A floor of 80 makes the same losses large.
    assert statistics.window(means, np.array([80.0]), 0.1).tolist() == [[False, False, True, False]]


def test_effective_dimensionality_counts_the_numbers_that_need_tuning():
    columns = pd.MultiIndex.from_product([[0, 1], [0, 1]], names=["a", "b"])

    def table(score):
        return pd.DataFrame([[score(task, *h) for h in columns] for task in (0, 1)], columns=columns)

    assert statistics.effective_dimensionality(table(lambda task, a, b: 1.0 - 0.01 * a)) == 0
    assert statistics.effective_dimensionality(table(lambda task, a, b: float(a == task))) == 1
    assert statistics.effective_dimensionality(table(lambda task, a, b: 0.5 * (a == task) + 0.5 * (b == task))) == 2


def test_the_settings_that_none_is_shown_to_beat_are_those_of_welch_s_tests():
    scores = np.random.default_rng(3).normal([[0.0], [1.0], [0.9], [-3.0]], 0.4, (4, 5))
    kept = statistics.not_shown_worse(scores)
    for h, mine in enumerate(scores):
        p = [
            stats.ttest_ind(rival, mine, equal_var=False, alternative="greater").pvalue
            for rival in np.delete(scores, h, axis=0)
        ]
        assert kept[h] == (3 * min(p) > 0.05)
    assert statistics.best_setting(scores, [0.1, 1, 10, 100])[0] in (1, 10)
    assert kept.tolist()[1:] == [True, True, False]


def test_a_setting_without_a_rival_is_beaten_by_none():
    scores = np.array([[1.0, 2.0, np.nan]])
    assert statistics.not_shown_worse(scores).tolist() == [True]
    assert statistics.best_setting(scores, [0.3]) == (0.3, 0.3, 0.3)


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_the_best_setting_is_nearly_always_among_those_that_none_is_shown_to_beat(runs):
    """Hardest where all are equally good: any may be called the best. Welch's test of three runs is a little rash."""
    spreads = np.array([[0.1], [0.1], [0.5], [1.0], [1.0], [2.0], [0.1]])
    scores = np.random.default_rng(runs).normal(0, spreads, (2000, 7, runs))
    assert statistics.not_shown_worse(scores).mean(0).min() >= 0.93


def test_settings_that_tie_are_all_among_those_that_none_is_shown_to_beat():
    scores = np.array([[0.0, 0.1, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.5, 0.4, 0.5], [np.nan] * 3])
    assert statistics.best_setting(scores, [0.3, 1, 3, 10, 30]) == (1, 1, 3)
    one_seed = scores[:, :1]
    assert statistics.best_setting(one_seed, [0.3, 1, 3, 10, 30]) == (1, 0.3, 10)  # which tells nothing


def test_one_seed_is_left_out_where_there_are_others():
    grid = np.arange(24.0).reshape(2, 3, 4)
    grid[1, :, 1:] = np.nan
    without = statistics.one_seed_left_out(grid)
    np.testing.assert_array_equal(statistics.seed_means(without)[:, 1], np.broadcast_to(grid[1, :, 0], (4, 3)))
    for seed in range(4):
        np.testing.assert_array_equal(without[seed, 0][:, np.arange(4) != seed], np.delete(grid[0], seed, axis=1))
        assert np.isnan(without[seed, 0, :, seed]).all()


def test_a_difference_of_one_task_is_that_of_welch_s_test():
    x, y = X[:, 0], Y[:7, 1]
    value, low, high = statistics.stratified_mean([x, y], [1, -1])
    expected = stats.ttest_ind(x, y, equal_var=False).confidence_interval(statistics.LEVEL)
    assert (value, low, high) == pytest.approx((x.mean() - y.mean(), *expected), rel=1e-10)


def test_a_setting_that_does_not_vary_or_ran_once_is_judged_by_what_there_is_to_judge_by():
    """p is 0 or 1 where neither side varies; a single run tells nothing; a seed that was not run is left out."""
    same = np.array([[[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]])
    assert [p.tolist() for p in statistics.single_setting_tests(same, np.zeros(1))] == [[1, 0], [0, 1]]
    equal = np.ones((1, 2, 3))
    assert [p.tolist() for p in statistics.single_setting_tests(equal, np.zeros(1))] == [[1, 1], [1, 1]]
    once = np.array([[[2.0, np.nan, np.nan], [1.0, 1.1, 0.9]]])
    assert [p.tolist() for p in statistics.single_setting_tests(once, np.zeros(1))] == [[1, 1], [1, 1]]
    grid = np.random.default_rng(7).normal(size=(2, 3, 5))
    more = np.concatenate([grid, np.full((2, 3, 1), np.nan)], axis=-1)
    for p, expected in zip(*(statistics.single_setting_tests(own, np.zeros(2)) for own in (more, grid))):
        np.testing.assert_array_equal(p, expected)


def test_single_setting_tests_by_hand():
    grid = np.random.default_rng(5).normal(size=(2, 3, 6)) + np.array([[0, 3, 1], [2, 0, 1]])[:, :, None]
    margin = np.array([0.5, 0.25])
    p_fails, p_suffices = statistics.single_setting_tests(grid, margin)
    for h in range(3):
        loses, keeps = [], []
        for e, rival in itertools.product(range(2), range(3)):
            if rival != h:
                x, y = grid[e, rival] - margin[e], grid[e, h]
                loses.append(stats.ttest_ind(x, y, equal_var=False, alternative="greater").pvalue)
                keeps.append(stats.ttest_ind(x, y, equal_var=False, alternative="less").pvalue)
        assert p_fails[h] == pytest.approx(min(1, 4 * min(loses)), rel=1e-8)
        assert p_suffices[h] == pytest.approx(max(keeps), rel=1e-8)


def test_a_setting_not_run_on_a_task_is_neither_blamed_nor_trusted():
    grid = np.zeros((2, 3, 4)) + np.random.default_rng(6).normal(size=(2, 3, 4)) * 1e-3
    grid[1, 2] = np.nan
    p_fails, p_suffices = statistics.single_setting_tests(grid, np.array([0.1, 0.1]))
    assert p_suffices[0] < 0.01  # its absent rival does not stand in the way
    assert p_suffices[2] == 1.0
    assert p_fails[2] == 1.0


def test_split_seeds_are_a_task_s_own():
    """A task with three of six seeds is split into those three."""
    grid = np.random.default_rng(1).normal(size=(3, 4, 6))
    grid[1, :, 3:], grid[2, :, 1:] = np.nan, np.nan
    first, second = statistics.split_means(grid)
    of_three = {tuple(grid[1, :, [seed]].ravel().round(9)) for seed in range(3)}
    assert {tuple(half.round(9)) for half in first[:, 1]} == of_three  # one seed in one half, two in the other
    np.testing.assert_allclose((first[:, 1] + 2 * second[:, 1]) / 3, np.broadcast_to(grid[1, :, :3].mean(-1), (200, 4)))
    np.testing.assert_array_equal(first[:, 2], second[:, 2])


def test_the_best_setting_is_in_its_window_even_where_it_is_worse_than_the_untrained_policy():
    assert statistics.window(np.array([[-3.0, -2.0, -2.1]]), np.zeros(1)).tolist() == [[False, True, False]]
    assert statistics.window(np.array([[3.0, 2.0, 2.8]]), np.zeros(1)).tolist() == [[True, False, True]]


def test_single_setting_test_keeps_its_level_at_the_edge():
    # Setting 0 loses exactly the margin on every task: "no setting serves" is false, barely.
    generator = np.random.default_rng(0)
    tasks, seeds, margin, found = 5, 4, 0.1, 0
    means = np.array([[1.0 - margin, 1.0, -5.0], [1.0 - margin, -5.0, 1.0]] * tasks)[:tasks]
    repeats = 1000
    for _ in range(repeats):
        grid = means[:, :, None] + 0.1 * generator.standard_normal((tasks, 3, seeds))
        p_fails, _ = statistics.single_setting_tests(grid, np.full(tasks, margin))
        found += (p_fails <= 0.05).all()
    # Three standard errors above the promised 5 %.
    assert found / repeats <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_tests_of_many_studies_at_once_are_those_of_each():
    generator = np.random.default_rng(0)
    grids = generator.normal(size=(4, 3, 5, 6))
    grids[:, 1, 2] = np.nan
    grids[:, 2, 0] = 1.0  # a setting that does not vary
    together = statistics.single_setting_tests(grids, np.full(3, 0.1))
    for k, grid in enumerate(grids):
        for all_p, p in zip(together, statistics.single_setting_tests(grid, np.full(3, 0.1))):
            np.testing.assert_array_equal(all_p[k], p)
    scores = generator.normal(size=(3, 4, 6))  # 3 tasks, 4 studies
    scores[1] = 1.0
    together = statistics.stratified_mean(list(scores))
    for k in range(4):
        np.testing.assert_allclose([part[k] for part in together], statistics.stratified_mean(scores[:, k]), rtol=1e-12)


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    generator = np.random.default_rng(4)
    for size in (1, 2, 5, 30):
        p = generator.uniform(0, 1, size) ** 3
        np.testing.assert_allclose(statistics.holm(p), multitest.multipletests(p, method="holm")[1], rtol=1e-12)


def test_the_skewed_interval_is_the_envelope_and_covers_where_students_does_not():
    generator = np.random.default_rng(1)
    values = generator.exponential(0.06, (20, 400))
    mean, low, high = statistics.skewed_mean_interval(values, resamples=400)
    _, t_low, t_high = statistics.mean_interval(values)
    assert (low <= t_low).all() and (high >= t_high).all()
    ours, students = ((a <= 0.06) & (0.06 <= b) for a, b in ((low, high), (t_low, t_high)))
    assert ours.mean() >= 0.93 > students.mean()
    # One column by hand, at a level that covers regrets.
    column, draws, level = values[:, 0], np.random.default_rng(0), 1 - statistics.SKEWED * (1 - statistics.LEVEL)
    t_low, t_high = stats.t(19, column.mean(), stats.sem(column)).interval(level)
    ratios = []
    for _ in range(400):
        again = column[draws.integers(20, size=20)]
        ratios.append((again.mean() - column.mean()) / stats.sem(again))
    expected = column.mean() - np.quantile(ratios, [(1 + level) / 2, (1 - level) / 2]) * stats.sem(column)
    np.testing.assert_allclose([low[0], high[0]], [min(expected[0], t_low), max(expected[1], t_high)])
    few = [0.0, 0.01, 0.02, 0.5]
    assert statistics.skewed_mean_interval(few) == pytest.approx(statistics.mean_interval(few))


def test_the_prediction_interval_holds_one_more_value():
    generator = np.random.default_rng(2)
    values = generator.normal(3, 2, (2000, 8))
    held = [low <= x[-1] <= high for x in values for _, low, high in [statistics.prediction_interval(x[:-1])]]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)
    regression = pytest.importorskip("statsmodels.api")
    theirs = regression.OLS(values[0], np.ones(8)).fit().get_prediction([[1.0]]).conf_int(obs=True)[0]
    assert statistics.prediction_interval(values[0])[1:] == pytest.approx(theirs)
