"""90 %-of-best ranges: their parts against other ways to compute them."""

import numpy as np
import pytest
import synthetic
from statsmodels.nonparametric.kernel_regression import KernelReg

from analysis import data
from analysis.panel import windows


def brute_response(means, settings, at):
    """One task's response, point by point."""
    out = []
    for point in at:
        weights = [
            np.exp(-0.5 * ((point - np.log10(s)) / windows.BANDWIDTH) ** 2) if np.isfinite(m) else 0.0
            for s, m in zip(settings, means)
        ]
        out.append(sum(w * m for w, m in zip(weights, means) if w) / sum(weights))
    return np.array(out)


def test_a_response_is_that_of_a_library_of_kernel_regression():
    log = np.log10(settings := np.array([0.03, 0.1, 0.3, 1, 3, 30]))
    means, at = np.random.default_rng(0).normal(size=log.size), windows.points(settings)
    library = KernelReg(means, log, var_type="c", reg_type="lc", bw=[windows.BANDWIDTH])
    np.testing.assert_allclose(windows.response(means[None], settings, at)[0], library.fit(at)[0], rtol=1e-12)


def test_a_response_is_the_weighted_mean_and_ends_where_the_task_was_run():
    settings = np.array([0.1, 0.3, 1, 3, 10])
    means = np.array([[0.0, 0.5, 1.0, 0.7, 0.2], [np.nan, 0.4, 0.9, 1.0, np.nan]])
    at = windows.points(settings)
    made = windows.response(means, settings, at)
    np.testing.assert_allclose(made[0], brute_response(means[0], settings, at))
    half = windows.STEP / 2
    inside = (at >= np.log10(0.3) - half) & (at <= np.log10(3) + half)
    assert np.isfinite(made[1]).tolist() == inside.tolist() and 0 < inside.sum() < len(at)
    known = np.isfinite(made[1])
    np.testing.assert_allclose(made[1][known], brute_response(means[1], settings, at)[known])


def test_windows_hold_the_optimum_and_touch_the_ends_only_where_they_do():
    settings = np.array([0.1, 0.3, 1, 3, 10, 30, 100])
    values = np.stack([np.exp(-0.5 * ((np.log10(settings) - x) / 0.6) ** 2) for x in (-0.9, 0.5, 1.9)])
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 7, 5))
    single, found = windows.windows(values[..., None] + noise, settings)
    for window in found:
        assert window.low <= window.optimum <= window.high
        assert window.optimum_low <= window.optimum <= window.optimum_high
    assert [w.open_low for w in found] == [True, False, False]
    assert [w.open_high for w in found] == [False, False, True]
    assert found[1].optimum == pytest.approx(10**0.5, rel=0.3)
    assert 1 < single < 10 and found[0].loss > 0.3 and found[1].loss < 0.05


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_interval_of_an_optimum_holds_it(seeds):
    settings = np.array([0.1, 0.3, 1, 3, 10, 30, 100])
    generator = np.random.default_rng(seeds)
    best = generator.uniform(-0.5, 1.5, 1000)
    means = np.exp(-0.5 * ((np.log10(settings) - best[:, None]) / 0.6) ** 2)
    # Means have one error whatever the seeds, and intervals are longer than the step between points.
    values = means[..., None] + generator.normal(0, 0.1 * np.sqrt(seeds), (1000, 7, seeds))
    at = windows.points(settings)
    truth = at[windows.response(means, settings, at).argmax(-1)]
    low, high = np.array([windows.optimum_interval(task, settings, generator, 200) for task in values]).T
    assert 0.93 <= np.mean((low <= truth + 1e-9) & (truth <= high + 1e-9)) <= 0.98
    values[0, [0, 6]] = np.nan  # not run on this task
    low, high = windows.optimum_interval(values[0], settings, generator)
    assert np.log10(0.3) - windows.STEP / 2 <= low <= high <= np.log10(30) + windows.STEP / 2


def test_a_range_is_drawn_for_each_kind_of_advantages_that_three_tasks_have(tmp_path):
    arms = synthetic.fixed([0.1, 1, 10]) + synthetic.fixed([0.1, 1, 10], max_grad_norm=0.5)
    study = data.load([synthetic.write(tmp_path / "s", *synthetic.study([synthetic.Task(n) for n in "abc"], arms))])
    frame = windows.numbers(study, study.main)
    kinds = ["normalised advantages", "normalised advantages, gradient clipping"]
    assert list(frame["advantages"].unique()) == kinds and list(frame["task"][:3]) == list("abc")
    own = study.runs[(study.runs["condition"] == "") & (study.runs["task"] == "b")]
    known = own.pivot(index="setting", columns="seed", values="normalised").mean(axis=1).to_numpy()[None]
    at = windows.points(np.array([0.1, 1, 10]))
    best = 10 ** at[brute_response(known[0], [0.1, 1, 10], at).argmax()]
    assert frame[(frame["task"] == "b") & (frame["advantages"] == kinds[0])]["optimum"].item() == pytest.approx(best)
