"""The four answers against studies whose truth is known, and their parts against other ways to compute them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic
from scipy import stats
from statsmodels.nonparametric.kernel_regression import KernelReg

from analysis import answers, calibration, opening, panel, price, statistics
from analysis.data import load


def brute_response(means, settings, at):
    """One task's response, point by point."""
    out = []
    for point in at:
        weights = [
            np.exp(-0.5 * ((point - np.log10(s)) / price.BANDWIDTH) ** 2) if np.isfinite(m) else 0.0
            for s, m in zip(settings, means)
        ]
        out.append(sum(w * m for w, m in zip(weights, means) if w) / sum(weights))
    return np.array(out)


def test_a_response_is_that_of_a_library_of_kernel_regression():
    log = np.log10(settings := np.array([0.03, 0.1, 0.3, 1, 3, 30]))
    means, at = np.random.default_rng(0).normal(size=log.size), price.points(settings)
    library = KernelReg(means, log, var_type="c", reg_type="lc", bw=[price.BANDWIDTH])
    np.testing.assert_allclose(price.response(means[None], settings, at)[0], library.fit(at)[0], rtol=1e-12)


def test_a_response_is_the_weighted_mean_and_ends_where_the_task_was_run():
    settings = np.array([0.1, 0.3, 1, 3, 10])
    means = np.array([[0.0, 0.5, 1.0, 0.7, 0.2], [np.nan, 0.4, 0.9, 1.0, np.nan]])
    at = price.points(settings)
    made = price.response(means, settings, at)
    np.testing.assert_allclose(made[0], brute_response(means[0], settings, at))
    inside = (at >= np.log10(0.3) - 1e-9) & (at <= np.log10(3) + 1e-9)
    assert np.isfinite(made[1]).tolist() == inside.tolist() or abs(np.isfinite(made[1]).sum() - inside.sum()) <= 2
    known = np.isfinite(made[1])
    np.testing.assert_allclose(made[1][known], brute_response(means[1], settings, at)[known])


def brute_prices(seeds_of_tasks, settings):
    """Smoothed best less smoothed score at the single value; one list per task with an array [H] per seed."""
    at = price.points(settings)
    smooth = np.array([brute_response(np.mean(seeds, axis=0), settings, at) for seeds in seeds_of_tasks])
    return smooth.max(-1) - smooth[:, smooth.mean(0).argmax()]


def test_prices_are_the_jackknife_of_a_loop():
    settings = np.array([0.1, 0.3, 1, 3, 10, 30])
    values = np.random.default_rng(0).uniform(size=(5, 6, 4))
    values[1, :, 2:], values[3, :, 1:] = np.nan, np.nan
    counts = [4, 2, 4, 1, 4]
    tasks = [[values[task, :, seed] for seed in range(n)] for task, n in enumerate(counts)]
    plain, expected = brute_prices(tasks, settings), []
    for task, n in enumerate(counts):
        less = []
        for out in range(n):
            left = [[own for s, own in enumerate(seeds) if s != out or len(seeds) == 1] for seeds in tasks]
            less.append(brute_prices(left, settings)[task])
        expected.append(n * plain[task] - (n - 1) * np.mean(less))
    np.testing.assert_allclose(price.prices(values, settings), expected)
    many = np.stack([values, values[::-1]])
    np.testing.assert_allclose(price.prices(many, settings), [expected, expected[::-1]])
    assert abs(expected[3] - plain[3]) < 1e-12  # one seed: nothing to leave out


def test_equal_tasks_have_no_price_and_opposite_ones_have():
    settings = np.array([0.1, 0.3, 1, 3, 10, 30])
    hill = np.exp(-0.5 * ((np.log10(settings) - 0.0) / 0.5) ** 2)
    same = np.repeat(hill[None, :, None], 6, 0)
    np.testing.assert_allclose(price.prices(same, settings), 0, atol=1e-12)
    other = np.exp(-0.5 * ((np.log10(settings) - 1.2) / 0.5) ** 2)
    apart = np.stack([hill] * 3 + [other] * 3)[..., None]
    assert price.prices(apart, settings).mean() > 0.2


def test_windows_hold_the_optimum_and_touch_the_ends_only_where_they_do():
    settings = np.array([0.1, 0.3, 1, 3, 10, 30, 100])
    values = np.stack([np.exp(-0.5 * ((np.log10(settings) - x) / 0.6) ** 2) for x in (-0.9, 0.5, 1.9)])
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 7, 5))
    grid = answers.price.Grid(["a", "b", "c"], settings, values[..., None] + noise, np.zeros(3), np.ones(3))
    single, windows = price.windows(grid)
    for window in windows:
        assert window.low <= window.optimum <= window.high
        assert window.optimum_low <= window.optimum <= window.optimum_high
    assert [w.open_low for w in windows] == [True, False, False]
    assert [w.open_high for w in windows] == [False, False, True]
    assert windows[1].optimum == pytest.approx(10**0.5, rel=0.3)
    assert 1 < single < 10 and windows[0].loss > 0.3 and windows[1].loss < 0.05


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_of_an_optimum_holds_it(seeds):
    settings = np.array([0.1, 0.3, 1, 3, 10, 30, 100])
    generator = np.random.default_rng(seeds)
    best = generator.uniform(-0.5, 1.5, 1000)
    means = np.exp(-0.5 * ((np.log10(settings) - best[:, None]) / 0.6) ** 2)
    # Means have one error whatever the seeds, and intervals are longer than the step between points.
    values = means[..., None] + generator.normal(0, 0.1 * np.sqrt(seeds), (1000, 7, seeds))
    at = price.points(settings)
    truth = at[price.response(means, settings, at).argmax(-1)]
    low, high = np.array([price.optimum_interval(task, settings, generator, 200) for task in values]).T
    assert 0.93 <= np.mean((low <= truth + 1e-9) & (truth <= high + 1e-9)) <= 0.98
    values[0, [0, 6]] = np.nan  # not run on this task
    low, high = price.optimum_interval(values[0], settings, generator)
    assert np.log10(0.3) - price.STEP / 2 <= low <= high <= np.log10(30) + price.STEP / 2


def test_the_skewed_interval_is_the_envelope_and_covers_where_students_does_not():
    generator = np.random.default_rng(1)
    values = generator.exponential(0.06, (20, 400))
    mean, low, high = statistics.skewed_mean_interval(values, resamples=400)
    _, t_low, t_high = statistics.mean_interval(values)
    assert (low <= t_low).all() and (high >= t_high).all()
    ours, students = ((a <= 0.06) & (0.06 <= b) for a, b in ((low, high), (t_low, t_high)))
    assert ours.mean() >= 0.93 > students.mean()
    # One column by hand.
    column, draws = values[:, 0], np.random.default_rng(0)
    ratios = []
    for _ in range(400):
        again = column[draws.integers(20, size=20)]
        ratios.append((again.mean() - column.mean()) / stats.sem(again))
    expected = column.mean() - np.percentile(ratios, [97.5, 2.5]) * stats.sem(column)
    np.testing.assert_allclose([low[0], high[0]], [min(expected[0], t_low[0]), max(expected[1], t_high[0])])
    few = [0.0, 0.01, 0.02, 0.5]
    assert statistics.skewed_mean_interval(few) == pytest.approx(statistics.mean_interval(few))


def test_the_prediction_interval_holds_one_more_value():
    generator = np.random.default_rng(2)
    values = generator.normal(3, 2, (2000, 8))
    held = [low <= x[-1] <= high for x in values for _, low, high in [statistics.prediction_interval(x[:-1])]]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_a_parabola_peaks_where_it_does():
    x = np.log10([0.3, 1, 3, 10, 30, 100])
    assert answers.peak(x, 2 - (x - 0.7) ** 2) == pytest.approx(0.7)
    assert answers.peak(x, -((x - 5) ** 2)) == x[-1]
    assert answers.peak(x, (x - 0.2) ** 2) == x[-1]
    assert answers.peak(x, (x - 1.9) ** 2) == x[0]


def population(bests, tmp_path, noise=0.02):
    tasks = [
        synthetic.Task(f"task{i:02d}", 0, 1000, (best, best), (2 * best, 2 * best)) for i, best in enumerate(bests)
    ]
    betas = synthetic.fixed([0.1, 0.3, 1, 3, 10, 30, 100], advantage_normalization="none")
    trpo = synthetic.Arm("trpo", max_kl=0.01, quality=0.95, settings=(("advantage_normalization", "none"),))
    return load(synthetic.write(tmp_path / "study", *synthetic.study(tasks, [trpo, *betas], seeds=5, noise=noise)))


def test_a_known_population_is_found(tmp_path):
    generator = np.random.default_rng(3)
    study = population(10 ** generator.uniform(-1, 2, 30), tmp_path)
    found = {answer.key: answer for answer in answers.answers(study)}
    assert found["A"].verdict == answers.SHOWN and found["A"].low > 0.05 and found["A"].tasks == 30
    assert found["C"].verdict == answers.SHOWN
    assert found["mechanism"].verdict == answers.SHOWN  # the implied beta is twice the best one, and cross-fitted once


def test_one_shared_best_value_is_no_price(tmp_path):
    study = population([3.0] * 30, tmp_path)
    found = {answer.key: answer for answer in answers.answers(study)}
    assert found["A"].verdict == answers.CONTRARY and found["A"].high < 0.05


def test_imagined_tasks_cost_what_is_asked_for():
    settings = calibration.SETTINGS
    hills = np.stack([np.exp(-0.5 * ((np.log10(settings) - x) / 0.7) ** 2) for x in (0, 0.5, 1)])
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 7, 5))
    world = calibration.World(
        answers.price.Grid(list("abc"), settings, hills[..., None] + noise, np.zeros(3), np.ones(3))
    )
    assert world.price(world.apart(0.05)) == pytest.approx(0.05, abs=0.005)
    assert world.price(0.0) < 0.01


def test_imagined_studies_tell_an_interval_that_holds_from_one_that_does_not(monkeypatch):
    truth = np.zeros(1000)
    values = np.random.default_rng(0).normal(size=(1000, 5))
    *_, coverage, bias, half = calibration.held(statistics.mean_interval(values.T), truth)
    assert coverage == pytest.approx(0.95, abs=0.02) and abs(bias) < 0.05 and half == pytest.approx(1.16, abs=0.05)
    mean = values.mean(1)
    *_, too_few, _, _ = calibration.held((mean, mean - 0.5, mean + 0.5), truth)
    assert too_few < 0.8
    monkeypatch.setattr(calibration, "STUDIES", 400)
    rows = list(calibration.of_aggregates(np.array([[0.5, 0.1], [0.9, 0.3], [0.2, 0.0]])))
    assert len(rows) == 2 * len(calibration.TASKS) * len(calibration.SEEDS)
    assert all(0.9 <= row[5] <= 1 and abs(row[6]) < 0.03 for row in rows)
    worse = list(calibration.of_improvement(np.array([[0.5, 0.1, 0.5, 0.1], [0.9, 0.1, 0.5, 0.1]]), "a rival"))
    assert {row[2] for row in worse} == {"0.75"} and all(row[5] >= 0.93 for row in worse)


def frame_of_arms(scores, untrained_error):
    """Runs of one task as `learned_as_registered` reads them; scores [arms, seeds]."""
    rows = [
        {"task": "a", "condition": "", "arm": arm, "seed": seed, "auc_score": value}
        for arm, own in enumerate(scores)
        for seed, value in enumerate(own)
    ]
    return pd.DataFrame(rows).assign(untrained=0.0, untrained_error=untrained_error)


def test_by_the_registered_rule_a_task_hardly_ever_counts_where_nothing_is_learned():
    generator, counted = np.random.default_rng(3), 0
    for _ in range(400):
        floor = generator.normal() / np.sqrt(2)
        noise = generator.normal(size=(8, 2)) - floor
        counted += price.learned_as_registered(frame_of_arms(noise, np.sqrt(0.5)))[0] == ["a"]
    assert counted <= 4 + 3 * 2  # 1 % and three standard errors
    noise[3] += 12
    assert price.learned_as_registered(frame_of_arms(noise, np.sqrt(0.5)))[0] == ["a"]
    still = np.zeros((8, 2))
    assert price.learned_as_registered(frame_of_arms(still, 0.0)) == ([], ["a"])
    still[2] = 1.0
    assert price.learned_as_registered(frame_of_arms(still, 0.0)) == (["a"], [])
    assert price.learned_as_registered(frame_of_arms(noise[:, :1] + 50, 0.0)) == ([], ["a"])  # one seed tells nothing


def test_learned_tasks_are_found_once_for_a_study(tmp_path, monkeypatch):
    asked, find = [], price.learned_tasks
    monkeypatch.setattr(price, "learned_tasks", lambda *given: asked.append(given) or find(*given))
    tasks = [synthetic.Task(name) for name in "abc"]
    synthetic.write(tmp_path, *synthetic.study(tasks, [*synthetic.fixed([0.3, 1, 3]), synthetic.TRPO]))
    study = load(tmp_path)
    assert len(answers.answers(study)) == 3 and len(asked) == 1
    assert price.priced_tasks(study.runs) == find(study.runs)[0] and len(asked) == 1
    assert price.priced_tasks(study.runs.copy()) == find(study.runs)[0] and len(asked) == 2


def test_a_task_that_anyone_sees_learned_is_priced_although_other_arms_collapse(tmp_path):
    """TRPO goes from 20 to 500 in both seeds; the seeds of the betas scatter as much as the task's range."""
    task, betas = synthetic.Task("pole", 20, 500), synthetic.fixed([0.3, 1, 3])
    parts = [
        synthetic.study([task], [synthetic.Arm("trpo", max_kl=0.01, quality=1.0)], seeds=2, noise=0.01),
        synthetic.study([task], betas, seeds=2, noise=0.0, quality=0.5),
        synthetic.study([synthetic.Task("still", 20, 500)], [synthetic.TRPO, *betas], seeds=2, noise=0.0, quality=0.0),
    ]
    runs, curves = (pd.concat(frames, ignore_index=True) for frames in zip(*parts))
    wild = (runs["task"] == "pole") & (runs["algorithm"] == "kl_fixed")
    runs.loc[wild, "auc_return"] = np.where(runs.loc[wild, "seed"] == 0, 20.0, 480.0)
    folder = synthetic.write(tmp_path / "own", runs, curves)
    study = load(folder)
    assert price.learned_as_registered(study.runs)[0] == []
    assert price.learned_tasks(study.runs) == (["pole"], ["still"])
    assert price.number(study.main, study.runs, "kl_fixed").tasks == ["pole"]
    lines = opening.notes(study)
    assert [line for line in lines if "prices" in line] == [
        "No arm learned still (far above the untrained policy in every seed): left out of prices."
    ]
    (folder / "README.md").write_text("---\nregistered: abc\n---\n")  # a committed study: as it was registered
    study = load(folder)
    assert price.priced_tasks(study.runs) == []
    assert "Prices leave out pole too, by the rule they were registered with (results/LOG.md)." in opening.notes(study)


def test_the_error_of_the_untrained_policy_counts_seeds_and_not_runs(tmp_path):
    tasks = [synthetic.Task("a")]
    runs, curves = synthetic.study(tasks, [synthetic.Arm("trpo"), synthetic.Arm("clip")], seeds=4)
    study = load(synthetic.write(tmp_path / "study", runs, curves))
    squares = []
    for _, own in study.curves.groupby("run"):
        early = own["return_mean"].dropna().to_numpy()[:6]
        squares.append(np.mean(np.diff(early) ** 2) / 2)
    expected = np.sqrt(np.median(squares) / 4)
    np.testing.assert_allclose(study.runs["untrained_error"], expected)


def test_the_step_of_one_number_in_two_units_of_reward_by_hand(tmp_path):
    """Medians of each run's KL, their geometric mean over seeds, the ratio of the units; Student over tasks."""
    runs, curves = [], []
    for unit in (0.1, 10.0):
        words = {"advantage_normalization": "none", "reward_scale": unit}
        settings = tuple(words.items())
        arms = [*synthetic.fixed([0.1, 1, 10], **words), synthetic.Arm("trpo", max_kl=0.01, settings=settings)]
        made = synthetic.study([synthetic.Task(name) for name in "abcdef"], arms, seeds=2)
        penalised = made[1]["run_id"].map(made[0].set_index("run_id")["algorithm"]) == "kl_fixed"
        noise = np.random.default_rng(int(10 * unit)).lognormal(0, 0.05, len(penalised))
        runs.append(made[0])
        curves.append(made[1].assign(kl_after=0.001 * unit**penalised * noise))
    study = load(synthetic.write(tmp_path / "s", pd.concat(runs, ignore_index=True), pd.concat(curves)))
    found = {answer.label.split()[3]: answer for answer in answers.step_answers(study)}
    assert found["β"].verdict == answers.SHOWN and found["δ"].verdict == answers.CONTRARY
    medians = np.log10(study.curves["kl_after"].astype(float).groupby(study.curves["run"]).median())
    units = study.runs["condition"].str.extract("reward_scale=(.+)")[0].astype(float)
    frame = study.runs.assign(kl=medians, unit=units)
    cells = frame.groupby(["algorithm", "task", "setting", "unit"])["kl"].mean().unstack("unit")
    for symbol, algorithm in (("β", "kl_fixed"), ("δ", "trpo")):
        by_task = (cells.loc[algorithm, 10.0] - cells.loc[algorithm, 0.1]).groupby("task").mean()
        answer = found[symbol]
        np.testing.assert_allclose(answer.by_task["effect"], by_task)
        interval = stats.t.interval(0.95, 5, by_task.mean(), stats.sem(by_task))
        np.testing.assert_allclose((answer.low, answer.high), interval)
    assert abs(found["β"].effect - 2) < 0.1 and abs(found["δ"].effect) < 0.1


def test_a_number_is_carried_from_one_unit_of_reward_to_the_other_by_hand(tmp_path):
    """A best beta that moves with the unit loses much in the other one; a constraint, to which units are nothing."""
    runs, curves = [], []
    for unit in (0.1, 10.0):
        words = {"advantage_normalization": "none", "reward_scale": unit}
        arms = [*synthetic.fixed([0.01, 0.1, 1, 10, 100], **words)]
        arms += [
            synthetic.Arm("trpo", max_kl=k, quality=q, settings=tuple(words.items()))
            for k, q in ((0.01, 0.5), (0.1, 0.95))
        ]
        made = synthetic.study([synthetic.Task(name, best_beta=(unit, unit)) for name in "abcd"], arms, noise=0.01)
        runs.append(made[0]), curves.append(made[1])
    study = load(synthetic.write(tmp_path / "s", pd.concat(runs, ignore_index=True), pd.concat(curves)))
    found = {answer.label.split(" tuned")[0]: answer for answer in answers.unit_answers(study)}
    assert list(found) == ["β", "δ", "TRPO less fixed β"]
    for answer in found.values():
        assert list(answer.by_task["task"]) == list("abcd") and answer.verdict == answers.UNDECIDED  # four tasks
    raw = study.runs.assign(unit=study.runs["condition"].str.extract("reward_scale=(.+)")[0].astype(float))
    scores = raw.groupby(["task", "algorithm", "unit", "setting", "seed"])["auc_score"].first().unstack("seed")
    best = raw.groupby(["task", "unit", "arm"])["auc_score"].mean().groupby("task").max()
    floor = raw.groupby("task")["untrained"].first()
    for k, task in enumerate("abcd"):
        carried = {}
        for algorithm, name in (("kl_fixed", "β"), ("trpo", "δ")):
            small, large = (
                (scores.loc[task, algorithm, unit].to_numpy() - floor[task]) / (best[task] - floor[task])
                for unit in (0.1, 10.0)
            )
            losses, theirs = [], []
            for tuned, used in ((small, large), (large, small)):
                here = used[tuned.mean(-1).argmax()].mean()
                own = [used[np.delete(used, seed, 1).mean(-1).argmax(), seed] for seed in range(used.shape[1])]
                losses.append(np.mean(own) - here), theirs.append(here)
            assert found[name].by_task["effect"][k] == pytest.approx(np.mean(losses))
            carried[name] = np.mean(theirs)
        assert found["TRPO less fixed β"].by_task["effect"][k] == pytest.approx(carried["δ"] - carried["β"])
    assert found["β"].low > 0.3 and abs(found["δ"].effect) < 0.05
    lead = found["TRPO less fixed β"]
    interval = stats.t.interval(0.95, 3, lead.effect, stats.sem(lead.by_task["effect"]))
    assert lead.low > 0.3 and interval == pytest.approx((lead.low, lead.high))


def test_a_task_crosses_where_both_intervals_exclude_zero_on_their_sides(monkeypatch):
    generator, rows = np.random.default_rng(3), []
    for task, (early, late) in {"crosses": (5, -5), "stays": (5, 5), "turns": (-5, 5), "unclear": (0.6, -0.6)}.items():
        for seed in range(8):
            for at, lead in ((100, early), (900, late)):
                for place, beta in enumerate((0.3, 1.0, 3.0, 10.0, 30.0, 100.0)):
                    gain = 40.0 + seed + (lead if place < 3 else 0.0) + generator.normal()
                    rows.append((task, "raw", at, beta, seed, gain))
    gains = pd.DataFrame(rows, columns=["task", "advantages", "at", "setting", "seed", "gain"])
    monkeypatch.setattr(answers, "fork_gains", lambda study: gains)
    found = answers.crossings(None).set_index("task")
    assert found["seeds"].eq(8).all() and list(found.index) == ["crosses", "stays", "turns", "unclear"]
    apart = (found["lead_first_low"] > 0) & (found["lead_last_high"] < 0)
    assert (found["p"] < 0.05).equals(apart) and apart["crosses"] and not apart[["stays", "turns"]].any()
    own = gains[(gains["task"] == "unclear") & (gains["at"] == 900)].pivot(
        index="seed", columns="setting", values="gain"
    )
    lead = own[[0.3, 1.0, 3.0]].mean(axis=1) - own[[10.0, 30.0, 100.0]].mean(axis=1)
    assert found.loc["unclear", "lead_last"] == pytest.approx(lead.mean())
    assert found.loc["unclear", "p"] >= stats.ttest_rel(lead, 0 * lead).pvalue * (1 - 1e-9)
    assert answers.crossing_p(np.zeros(4), np.zeros(4)) == 1.0


@pytest.mark.parametrize("censored", [0, 1, 2])
def test_a_move_is_not_told_where_more_than_a_tenth_of_the_peaks_are_ends_of_the_grid(monkeypatch, censored):
    betas, rows = np.array([0.1, 0.3, 1, 3, 10, 30, 100]), []
    early = 10 ** np.linspace(-0.6, 0.1, 10)
    for task in range(10):
        first = 0.01 if task < censored else early[task]  # below the smallest value that was run
        for at, best in ((100, first), (900, 10 * early[task])):
            gains = -(np.log10(betas / best) ** 2)
            rows += [(f"t{task}", "raw", at, beta, 0, gain) for beta, gain in zip(betas, gains)]
    gains = pd.DataFrame(rows, columns=["task", "advantages", "at", "setting", "seed", "gain"])
    monkeypatch.setattr(answers, "fork_gains", lambda study: gains)
    (answer,) = answers.fork_answers(None)
    assert answer.edges == censored and answer.tasks == 10
    if censored > 1:
        assert np.isnan([answer.effect, answer.low, answer.high]).all() and answer.verdict == answers.UNDECIDED
        assert "on 2 of 10 tasks" in answer.rule
        assert "is not told on 2 of 10 tasks with raw" in opening._moves([answer], {}).text
    else:
        moves = np.where(np.arange(10) < censored, np.log10(10 * early / 0.1), 1.0)
        np.testing.assert_allclose(answer.by_task["effect"], moves)
        assert answer.effect == pytest.approx(moves.mean()) and answer.verdict == answers.SHOWN


def test_the_top_of_a_task_is_the_jackknife_of_a_loop():
    values = np.random.default_rng(5).normal(size=(3, 4, 3))
    values[1, :, 2], values[2, 1] = np.nan, np.nan
    expected = []
    for own, n in zip(values, (3, 2, 3)):
        kept = own[~np.isnan(own).all(1)][:, :n]
        less = [np.delete(kept, seed, 1).mean(1).max() for seed in range(n)]
        expected.append(n * kept.mean(1).max() - (n - 1) * np.mean(less))
    np.testing.assert_allclose(price.tops(values), expected)


def changing(tmp_path, quality, tasks=12, targets=(0.01, 0.03)):
    """Fixed betas whose best are as good as 0.8, and adaptive ones of a quality at the first target."""
    arms = synthetic.fixed([0.1, 0.3, 1, 3, 10, 30], advantage_normalization="none")
    arms += [
        synthetic.Arm("kl_adaptive", kl_target=k, quality=q, settings=(("advantage_normalization", "none"),))
        for k, q in zip(targets, [quality, *[quality - 0.2] * (len(targets) - 1)])
    ]
    bests = [(b, b) for b in 10.0 ** np.linspace(-0.5, 1, tasks)]
    made = [synthetic.Task(f"task{i:02d}", best_beta=best) for i, best in enumerate(bests)]
    return load(synthetic.write(tmp_path / f"{quality} {len(targets)}", *synthetic.study(made, arms, noise=0.01)))


def test_adaptive_beta_is_read_against_the_best_constant_of_each_task_by_hand(tmp_path):
    study = changing(tmp_path, 0.9)
    (answer,) = answers.change_answers(study)
    auc = study.runs.groupby(["task", "arm", "seed"])["auc_score"].first().unstack()
    untrained, expected = study.runs.groupby("task")["untrained"].first(), []
    for task in answer.by_task["task"]:
        of = {name: auc.loc[task][auc.loc[task].index.str.startswith(name)] for name in ("kl_fixed", "kl_adaptive")}
        tops = {name: float(price.tops(own.to_numpy()[None])[0]) for name, own in of.items()}
        gain = auc.loc[task].mean(axis=1).max() - untrained[task]
        expected.append((tops["kl_adaptive"] - tops["kl_fixed"]) / gain)
    np.testing.assert_allclose(answer.by_task["effect"], expected)
    interval = stats.t.interval(0.95, 11, np.mean(expected), stats.sem(expected))
    assert (answer.low, answer.high) == pytest.approx(interval)
    drawn = panel.changing.numbers(study, study.main)
    np.testing.assert_allclose(drawn["effect"], [np.mean(expected), *expected])
    assert (drawn["low"][0], drawn["high"][0]) == pytest.approx(interval) and drawn["low"][1:].isna().all()


def test_a_rule_finds_adaptive_betas_that_gain_and_that_do_not(tmp_path):
    (better,) = answers.change_answers(changing(tmp_path, 1.6))
    (worse,) = answers.change_answers(changing(tmp_path, 0.5, targets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3)))
    assert better.verdict == answers.SHOWN and worse.verdict == answers.CONTRARY
    assert (better.candidates, worse.candidates) == ("2 targets, 6 constants", "6 targets, 6 constants")
    # The best of more candidates is higher: with fewer targets than constants a low end refutes nothing.
    (fewer,) = answers.change_answers(changing(tmp_path, 0.5))
    assert fewer.high < answers.BESIDE and fewer.verdict == answers.UNDECIDED and "fewer candidates" in fewer.rule
    assert answers.change_answers(changing(tmp_path, 1.7, tasks=7))[0].verdict == answers.UNDECIDED


def test_contests_are_welchs_tests_with_holm(tmp_path):
    study = population([1.0, 1.0, 100.0, 100.0, 3.0], tmp_path, noise=0.1)
    frame = answers.contests(study)
    cells = study.runs.groupby(["task", "arm"])
    means = cells["auc_score"].mean().unstack()
    floor, top = study.runs.groupby("task")["untrained"].first(), means.max(axis=1)
    (trpo,) = means.filter(like="trpo")
    fixed = means.filter(like="kl_fixed").sub(floor, axis=0).div(top - floor, axis=0).mean()
    assert frame["beta"].eq(float(fixed.idxmax().split("beta=")[1].split()[0])).all() and len(frame) == 5
    for row in frame.itertuples():
        ours, theirs = (
            (cells["auc_score"].get_group((row.task, arm)).to_numpy() - floor[row.task]) / (top - floor)[row.task]
            for arm in (trpo, fixed.idxmax())
        )
        difference, error, freedom = statistics.welch(ours, theirs)
        assert row.lead == pytest.approx(difference) and row.seeds == 5
        half = stats.t.ppf(0.975, freedom) * error
        assert (row.lead_low, row.lead_high) == pytest.approx((difference - half, difference + half))
        assert row.p == pytest.approx(2 * stats.t.sf(abs(difference / error), freedom))
    np.testing.assert_allclose(frame["holm"], statistics.holm(frame["p"].to_numpy()))


def test_both_ways_asks_for_a_lead_on_either_side_and_for_five_seeds():
    frame = pd.DataFrame({"lead": [0.3, -0.2, 0.1], "holm": [0.01, 0.04, 0.9], "seeds": 5})
    assert answers.both_ways(frame)
    assert not answers.both_ways(frame.assign(holm=[0.01, 0.06, 0.01]))
    assert not answers.both_ways(frame.assign(lead=0.2))
    assert not answers.both_ways(frame.assign(seeds=[5, 4, 5]))


def test_the_best_beta_is_followed_from_one_learning_rate_to_the_other(tmp_path):
    runs, curves = [], []
    for rate, moved in ((1e-4, 1.0), (1e-3, 10.0)):
        arms = synthetic.fixed([0.1, 0.3, 1, 3, 10, 30, 100], learning_rate=rate)
        tasks = [synthetic.Task(f"task{i}", best_beta=(moved * own,) * 2) for i, own in enumerate((0.5, 1, 1, 2, 2, 3))]
        made = synthetic.study(tasks, arms, noise=0.001)
        runs.append(made[0]), curves.append(made[1])
    study = load(synthetic.write(tmp_path / "s", pd.concat(runs, ignore_index=True), pd.concat(curves)))
    (answer,) = answers.rate_answers(study)
    assert answer.tasks == 6 and answer.verdict == answers.SHOWN
    np.testing.assert_allclose(answer.by_task["effect"], 1.0, atol=2 * price.STEP)


@pytest.fixture(scope="module")
def bounded(tmp_path_factory):
    """Fixed betas whose best values differ between tasks by two decades, and with the bound by none; TRPO."""
    runs, curves, betas = [], [], [0.1, 0.3, 1, 3, 10, 30]
    for arms, width in (
        ([*synthetic.fixed(betas), synthetic.TRPO], 1.0),
        (synthetic.fixed(betas, max_grad_norm=0.5), 0.0),
    ):
        bests = 10 ** (0.25 + width * np.linspace(-1, 1, 26))
        tasks = [synthetic.Task(f"task{i:02d}", best_beta=(best, best)) for i, best in enumerate(bests)]
        made = synthetic.study(tasks, arms, seeds=2, noise=0.02)
        runs.append(made[0]), curves.append(made[1])
    folder = tmp_path_factory.mktemp("bounded") / "s"
    return load(synthetic.write(folder, pd.concat(runs, ignore_index=True), pd.concat(curves)))


def test_what_a_bound_takes_off_the_price_is_the_difference_of_two_jackknives(bounded):
    (answer,) = answers.bound_answers(bounded)
    runs, lost = bounded.runs, {}
    floor = runs.groupby("task")["untrained"].first()
    gain = runs.groupby(["task", "condition", "arm"])["auc_score"].mean().groupby("task").max() - floor
    for condition in ("", "max_grad_norm=0.5"):
        own = runs[(runs["algorithm"] == "kl_fixed") & (runs["condition"] == condition)]
        table = own.pivot(index=["task", "seed"], columns="beta", values="auc_score")
        table = table.sub(floor, axis=0, level="task").div(gain, axis=0, level="task")
        settings = table.columns.to_numpy()
        seeds = [table.xs(seed, level="seed").to_numpy() for seed in (0, 1)]
        plain = brute_prices([list(pair) for pair in zip(*seeds)], settings)
        less = np.mean([brute_prices([[row] for row in one], settings) for one in seeds], axis=0)
        lost[condition] = 2 * plain - less
    expected = lost[""] - lost["max_grad_norm=0.5"]
    np.testing.assert_allclose(answer.by_task["effect"], expected, atol=1e-12)
    assert answer.verdict == answers.SHOWN and answer.tasks == 26
    assert (answer.effect, answer.low, answer.high) == pytest.approx(statistics.skewed_mean_interval(expected))


def test_trpo_stands_beside_bounded_betas_as_it_is(bounded):
    found = {answer.label: answer for answer in answers.contest_answers(bounded)}
    bound = found["normalised advantages, gradient within 0.5, one δ"]
    assert bound.tasks == 26 and bound.effect < found["normalised advantages, one δ"].effect
    # One delta against the best of six betas: no verdict, whichever side is above.
    assert bound.high < answers.BESIDE and bound.verdict == answers.UNDECIDED and bound.candidates == "1 δ, 6 β"
    (name,) = {label for label, *_ in answers.with_bound(bounded)}
    assert name == "normalised advantages, gradient within 0.5"
    drawn = panel.windows.numbers(bounded, bounded.main)
    assert set(drawn["advantages"]) == {"normalised", name}
    assert "gradient within 0.5" in " ".join(answer.label for answer in answers.price_answers(bounded))


def test_the_figure_of_the_bound_draws_both_responses_and_both_leads(bounded):
    drawn = panel.gradient_bound.numbers(bounded, bounded.main)
    response, lead = (drawn[drawn["kind"] == kind] for kind in ("response", "lead"))
    words = ["normalised advantages", "normalised advantages, gradient within 0.5"]
    found = {answer.label: answer.by_task for answer in answers.contest_answers(bounded)}
    for arm in words:
        by_task = lead[lead["arm"] == arm].set_index("task")["value"]
        pd.testing.assert_series_equal(by_task, found[f"{arm}, one δ"].set_index("task")["effect"], check_names=False)
    at_three = response[response["beta"] == 3].set_index("arm")
    runs = bounded.runs[(bounded.runs["algorithm"] == "kl_fixed") & (bounded.runs["beta"] == 3)]
    floor = bounded.runs.groupby("task")["untrained"].first()
    top = bounded.runs.groupby(["task", "condition", "arm"])["auc_score"].mean().groupby("task").max()
    for arm, condition in zip(words, ("", "max_grad_norm=0.5")):
        means = runs[runs["condition"] == condition].groupby("task")["auc_score"].mean()
        expected = stats.t.interval(0.95, 25, *((x := (means - floor) / (top - floor)).mean(), stats.sem(x)))
        assert at_three.loc[arm, ["value", "low", "high"]].to_list() == pytest.approx([x.mean(), *expected])


def test_a_bound_is_read_at_the_values_that_both_were_run_at(bounded):
    runs = bounded.runs
    few = (runs["algorithm"] == "kl_fixed") & (runs["task"] == "task03") & ~runs["beta"].between(0.2, 4)
    with_few = replace(bounded, runs=runs[~(few & (runs["condition"] == "max_grad_norm=0.5"))])
    both_few = replace(bounded, runs=runs[~few])
    (one,), (other,) = answers.bound_answers(with_few), answers.bound_answers(both_few)
    unit = [price.number(study.under(""), study.runs, "kl_fixed").gain[3] for study in (with_few, both_few)]
    effects = [answer.by_task.set_index("task")["effect"] for answer in (one, other)]
    assert effects[0]["task03"] * unit[0] == pytest.approx(effects[1]["task03"] * unit[1])
    np.testing.assert_allclose(effects[0].drop("task03"), effects[1].drop("task03"))
