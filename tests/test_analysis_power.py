"""How many seeds would settle a claim: imagined runs against their moments, chances against the noncentral t."""

import numpy as np
import pytest
import synthetic
from scipy import stats
from synthetic import CLIP, TRPO, Task, fixed

from analysis import data, power, statistics
from analysis.arms import NotApplicable
from analysis.claim import c
from analysis.rules import ALPHA, MEAN_MARGIN
from analysis.table import seeds_needed


def test_imagined_runs_have_the_means_and_covariances_of_those_at_hand():
    values = np.random.default_rng(0).normal(size=(3, 2, 4))  # 3 phases, 2 settings
    drawn = power.imagined(values, 2, np.random.default_rng(1), together=0, studies=50_000)
    for h in range(2):
        runs = drawn[:, :, h, 0]
        np.testing.assert_allclose(runs.mean(0), values[:, h].mean(-1), atol=0.03)
        np.testing.assert_allclose(np.cov(runs.T), np.cov(values[:, h]), atol=0.05)
    # Two seeds of one cell, and two settings, are independent.
    assert abs(np.corrcoef(drawn[:, 0, 0, 0], drawn[:, 0, 0, 1])[0, 1]) < 0.02
    assert abs(np.corrcoef(drawn[:, 0, 0, 0], drawn[:, 0, 1, 0])[0, 1]) < 0.02
    apart = power.imagined(values, 1, np.random.default_rng(2), studies=50_000)
    assert abs(np.corrcoef(apart[:, 0, 0, 0], apart[:, 1, 0, 0])[0, 1]) < 0.02


def test_a_cell_with_a_seed_less_keeps_its_own_spread_and_one_not_run_stays_empty():
    values = np.array([[1.0, 2.0, 6.0], [1.0, 3.0, np.nan], [np.nan] * 3])
    drawn = power.imagined(values, 1, np.random.default_rng(0), studies=50_000)[..., 0]
    np.testing.assert_allclose(drawn[:, :2].mean(0), [3.0, 2.0], atol=0.05)
    np.testing.assert_allclose(drawn[:, :2].std(0), [np.sqrt(7), np.sqrt(2)], rtol=0.02)
    assert np.isnan(drawn[:, 2]).all()


def test_the_chance_of_c_is_the_power_of_its_t_test():
    """One task, one rival, and one beta that does not vary: Welch's test is the t test of one sample."""
    rival, fixed = np.array([0.75, 0.85, 0.95]), np.array([0.7, 0.7, 0.7])
    for seeds in (3, 5, 10):
        generator = np.random.default_rng(seeds)
        arms = [power.imagined(arm[None, None], seeds, generator, studies=20_000) for arm in (rival, fixed)]
        *_, p_beats, p_keeps_up = c.rivalry([arms[0]], [arms[1]])
        beats, _ = c.contest(p_beats, p_keeps_up)
        threshold = stats.t.isf(ALPHA, seeds - 1)
        expected = stats.nct.sf(threshold, seeds - 1, (0.15 - MEAN_MARGIN) / (0.1 / np.sqrt(seeds)))
        # Three standard errors of 20,000 studies.
        assert (beats <= ALPHA).mean() == pytest.approx(expected, abs=0.011)


def test_tests_of_many_studies_at_once_are_those_of_each():
    generator = np.random.default_rng(0)
    grids = generator.normal(size=(4, 3, 5, 6))
    grids[:, 1, 2] = np.nan
    grids[:, 2, 0] = 1.0  # a setting that does not vary
    together = statistics.single_setting_tests(grids, np.full(3, 0.1))
    for k, grid in enumerate(grids):
        for all_p, p in zip(together, statistics.single_setting_tests(grid, np.full(3, 0.1))):
            np.testing.assert_array_equal(all_p[k], p)
    x, y = generator.normal(size=(2, 3, 4, 6))  # 3 tasks, 4 studies
    y[1] = x[1] = 1.0
    together = statistics.mean_over_tasks_test(list(x), list(y))
    for k in range(4):
        np.testing.assert_allclose(
            [part[k] for part in together], statistics.mean_over_tasks_test(x[:, k], y[:, k]), rtol=1e-12
        )


def study(directory, tasks, seeds=3):
    arms = [TRPO, CLIP, *fixed([0.1, 1.0, 10.0, 100.0])]
    return data.load([synthetic.write(directory / "s", *synthetic.study(tasks, arms, seeds=seeds))])


def test_more_seeds_settle_what_is_plain_either_way(tmp_path):
    apart = study(tmp_path / "apart", [Task("a", best_beta=(0.1, 0.1)), Task("b", best_beta=(10.0, 10.0))])
    alike = study(tmp_path / "alike", [Task(name, best_beta=(1.0, 1.0)) for name in "ab"])
    for loaded, shown in ((apart, "shown"), (alike, "contrary_shown")):
        frame = seeds_needed.numbers(loaded, loaded.main)
        assert set(frame["claim"]) == {"A", "A, whole training", "B", "C"}
        assert (frame["seeds_at_hand"] == 3).all()
        chances = frame[frame["claim"] == "A"].set_index("seeds")
        assert chances.loc[40, shown] == 1.0
        assert (chances[["shown", "contrary_shown"]].sum(axis=1) <= 1).all()


def test_one_seed_tells_nothing_of_others(tmp_path):
    loaded = study(tmp_path, [Task("a"), Task("b")], seeds=1)
    with pytest.raises(NotApplicable, match="two seeds"):
        seeds_needed.numbers(loaded, loaded.main)
