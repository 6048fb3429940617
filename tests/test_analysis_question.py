"""The questions: answers known beforehand, samples, verdicts, figures."""

import dataclasses
import json
import types

import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic import Task, fixed

import analysis
from analysis import data, question, scale, statistics, tuning
from analysis.question import constraint, fork, regret, spread, unit, within_run

BETAS = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


@pytest.fixture(scope="module")
def follows(tmp_path_factory):
    """Twelve tasks whose best beta follows the scale of the advantages: raw optimum = normalised optimum x sigma."""
    generator = np.random.default_rng(3)
    tasks = [
        Task(f"t{number}", best_beta=(best, best), sigma_advantage=(sigma, sigma))
        for number, (best, sigma) in enumerate(
            zip(10 ** generator.normal(0.1, 0.15, 12), 10 ** np.linspace(-0.6, 1.0, 12))
        )
    ]
    arms = fixed(BETAS) + fixed(BETAS, advantage_normalization="none")
    arms += [synthetic.Arm("trpo", max_kl=delta, quality=0.9) for delta in (0.01, 0.03)]
    folder = tmp_path_factory.mktemp("follows") / "s"
    made = synthetic.study(tasks, arms, seeds=2, iterations=20, noise=0.03)
    return data.load([synthetic.write(folder, *made)]), tasks


def test_spread_finds_the_standard_deviation_of_known_best_values(follows):
    study, tasks = follows
    answers = {(answer.contrast, answer.unit): answer for answer in spread.decide(spread.effects(study))}
    normalised = np.log10([task.best_beta[0] for task in tasks])
    raw = normalised + np.log10([task.sigma_advantage[0] for task in tasks])
    for known, kind in ((raw, "raw"), (normalised, "normalised")):
        answer = answers[f"standard deviation of the best value: β, {kind} advantages", "decades"]
        assert answer.effect == pytest.approx(known.std(), abs=0.06)
        assert answer.low < known.std(ddof=1) < answer.high
        assert answer.tasks == tuple(sorted(task.name for task in tasks)) and answer.seeds == "2"
        assert answer.candidates == {f"β, {kind} advantages": "8"}
    ratio = answers["difficulty: β, raw advantages / β, normalised advantages", "ratio"]
    assert ratio.low > 1 and ratio.verdict == ""  # no rule was registered for these runs


def test_the_best_value_of_each_task_lies_in_its_interval(follows):
    study, tasks = follows
    frame = spread.effects(study).by_task
    best = {task.name: np.log10(task.best_beta[0]) for task in tasks}
    own = frame[frame["advantages"] == "normalised"]
    assert ((own["low"] < own["task"].map(best)) & (own["task"].map(best) < own["high"])).mean() > 0.85


def test_unit_finds_slope_one_where_the_best_beta_follows_the_advantages(follows):
    study, _ = follows
    found = unit.effects(study)
    slope = unit.decide(found)[0]
    assert slope.low < 1 < slope.high and slope.low > 0.8 and slope.verdict == ""
    frame = found.by_task
    assert np.abs(frame["difference"] - frame["log_sigma"]).max() < 0.2


def test_the_scale_of_the_advantages_is_read_from_the_first_ten_raw_iterations(follows):
    study, tasks = follows
    raw = question.rows(study, question.samples(study)[0], "kl_fixed", "raw")
    sigma = unit.log_sigma(study, raw)
    assert sigma.to_dict() == pytest.approx({t.name: np.log10(t.sigma_advantage[0]) for t in tasks}, abs=1e-5)


def test_verdicts_are_given_on_the_registered_sample_alone(follows, monkeypatch):
    study, _ = follows
    runs = study.runs.assign(studies=[("fresh",)] * len(study.runs))
    fresh = dataclasses.replace(study, runs=runs)
    sample = dataclasses.replace(question.FRESH, studies=("fresh",))
    for module in (spread, unit):
        monkeypatch.setattr(module, "SAMPLES", (sample,))
    assert unit.decide(unit.effects(fresh))[0].verdict == question.SHOWN
    ratio = [answer for answer in spread.decide(spread.effects(fresh)) if answer.verdict]
    assert [answer.contrast for answer in ratio] == ["difficulty: β, raw advantages / β, normalised advantages"]
    assert ratio[0].verdict == question.SHOWN and ratio[0].sample == "fresh tasks"


def test_the_rules_decide_by_the_interval():
    assert spread.judged(1.01, 3.0, alike=False) == question.SHOWN
    assert spread.judged(0.5, spread.NO_HARDER - 0.01, alike=False) == question.CONTRARY
    assert spread.judged(0.9, 3.0, alike=False) == question.UNDECIDED
    assert spread.judged(1 / spread.ALIKE + 0.01, spread.ALIKE - 0.01, alike=True) == question.SHOWN
    assert spread.judged(spread.ALIKE + 0.01, 3.0, alike=True) == question.CONTRARY
    assert spread.judged(0.1, 1 / spread.ALIKE - 0.01, alike=True) == question.CONTRARY
    assert spread.judged(1 / spread.ALIKE - 0.01, 1.2, alike=True) == question.UNDECIDED
    assert unit.judged(0.7, 1.2) == question.SHOWN
    assert unit.judged(0.7, 0.9) == unit.judged(0.4, 1.1) == question.UNDECIDED
    assert unit.judged(-0.1, 0.4) == question.CONTRARY


def test_samples_apart_and_together(follows):
    study, _ = follows
    assert [sample.name for sample in question.samples(study)] == ["these runs"]
    old = [("fresh",), *((name,) for name in question.OLD.studies)]
    several = dataclasses.replace(study, runs=study.runs.assign(studies=(old * len(study.runs))[: len(study.runs)]))
    names = [sample.name for sample in question.samples(several)]
    assert names == ["fresh tasks", "old tasks", "all tasks"]
    assert [sample.registered for sample in question.samples(several)] == [True, False, False]


@pytest.mark.slow
def test_imagined_studies_show_what_is_there_and_not_what_is_not():
    shown, contrary = spread.imagine(raw=1.0, normalised=0.3, tasks=20, studies=6)
    assert shown == 1 and contrary == 0
    assert spread.imagine(raw=0.35, normalised=0.35, tasks=20, studies=6)[0] <= 1 / 6
    assert unit.imagine(slope=1.0, tasks=20, studies=4)[0] >= 0.75
    assert unit.imagine(slope=0.0, tasks=20, studies=4)[0] == 0


@pytest.mark.parametrize("name", ["spread", "unit"])
def test_figures_are_drawn_at_both_widths(follows, name):
    for width in (7.2, 3.3):
        figure = analysis.figure(name, follows[0], width)
        assert figure.get_figwidth() <= width + 1e-9 or width == 7.2
        assert len(figure.axes) == {"spread": 2, "unit": 1}[name]


def test_a_study_without_two_kinds_of_advantages_says_what_is_there(tmp_path):
    few = data.load([synthetic.write(tmp_path / "s", *synthetic.study([Task("a")], fixed([1.0, 3.0]), seeds=2))])
    with pytest.raises(data.StudyError, match="unit: this study needs three values of β"):
        analysis.figure("unit", few)


# Chosen on some seeds, judged on others -----------------------------------------------------


def test_what_is_carried_over_is_best_in_the_mean_over_the_other_tasks_that_have_it():
    generator = np.random.default_rng(0)
    means = generator.normal(size=(6, 5))
    means[1, 2] = means[4, 0] = np.nan
    chosen = tuning.best_elsewhere(means)
    for task in range(6):
        others = {
            value: np.nanmean(np.delete(means[:, value], task)) for value in range(5) if np.isfinite(means[task, value])
        }
        assert chosen[task] == max(others, key=others.get)
    assert (tuning.best_here(means) == [np.nanargmax(row) for row in means]).all()


def test_seeds_that_judge_never_choose():
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(200, 7, 4))  # nothing but noise: what is chosen is worth nothing
    for pick in (tuning.best_here, tuning.best_elsewhere):
        for judge in (None, generator.normal(size=(200, 7, 8))):
            scores, _ = tuning.judged(noise, judge, pick)
            assert abs(scores.mean()) < 0.12
    whole = np.take_along_axis(noise.mean(-1), tuning.best_here(noise.mean(-1))[:, None], -1)
    assert whole.mean() > 0.5  # read on the seeds that chose


def test_each_seed_judges_what_the_others_of_its_task_choose():
    choose = np.array([[[1.0, 0.0], [0.0, 5.0]]])  # value 0 is best on seed 0, value 1 on seed 1
    assert tuning.judged(choose, None, tuning.best_here)[0] == pytest.approx([(0.0 + 0.0) / 2])
    scores, chosen = tuning.judged(choose, np.array([[[3.0], [7.0]]]), tuning.best_here)
    assert chosen == [1] and scores == [7.0]


def test_an_interval_by_families_is_that_of_a_regression_with_clustered_errors():
    regression = pytest.importorskip("statsmodels.api")
    generator = np.random.default_rng(2)
    families = generator.integers(0, 7, 40)
    values = generator.normal(size=40) + generator.normal(size=7)[families]
    theirs = regression.OLS(values, np.ones(40)).fit(
        cov_type="cluster", cov_kwds={"groups": families, "use_correction": True, "df_correction": True}, use_t=True
    )
    assert statistics.clustered_mean_interval(values, families) == pytest.approx(theirs.conf_int()[0])
    assert np.isnan(statistics.clustered_mean_interval(values[:4], [0, 0, 1, 1])).all()


@pytest.fixture(scope="module")
def differ():
    """Runs of two knobs on ten tasks of the registered sample, as `question` reads them: raw optima differ by task."""
    generator = np.random.default_rng(5)
    best = np.linspace(-1, 1, 10)
    rows = []
    for study, seeds in (("fresh", (0, 1)), ("fresh_judged", range(100, 104))):
        for task, place in enumerate(best):
            for kind, spread_ in (("raw", 1.0), ("normalised", 0.1)):
                for x in (-1.0, -0.5, 0.0, 0.5, 1.0):
                    for seed in seeds:
                        score = np.exp(-((x - spread_ * place) ** 2) / 0.5) + generator.normal(0, 0.01)
                        rows.append((study, f"t{task}", kind, 10**x, seed, score))
    frame = pd.DataFrame(rows, columns=["study", "task", "kind", "setting", "seed", "normalised"])
    return frame.assign(
        studies=[(study,) for study in frame["study"]], family="kl_fixed", fork=np.nan, learned=True, total_steps=1,
        condition=frame["kind"].map(question.CONDITIONS), family_of_task=frame["task"].str[-1].map("{}".format),
        auc_return=frame["normalised"],
        overrides="task=t algorithm=kl_fixed algorithm.beta=1",
    )  # fmt: skip


def only_runs(runs):
    return types.SimpleNamespace(runs=runs)


def test_regret_is_what_a_value_from_other_tasks_loses(differ):
    found = regret.effects(only_runs(differ)).by_task
    raw = found[found["advantages"] == "raw"].set_index("task")["effect"]
    # Others average near 0 (10^0), t0's own best is 10^-1: it loses 1 - exp(-1 / 0.5) at least nearly.
    assert raw["t0"] == pytest.approx(1 - np.exp(-2), abs=0.05)
    assert found[found["advantages"] == "normalised"]["effect"].abs().max() < 0.06
    answers = {answer.contrast: answer for answer in regret.decide(regret.Effects(found))}
    assert answers["β, raw advantages"].verdict == question.SHOWN
    assert answers["β, normalised advantages"].verdict == question.CONTRARY
    assert answers["β, raw advantages less β, normalised advantages"].verdict == question.SHOWN
    assert answers["β, raw advantages"].seeds == "4"


def test_a_verdict_is_refused_where_candidates_differ_or_runs_are_missing(differ):
    fewer = differ[~((differ["kind"] == "raw") & (differ["setting"] > 9))]
    answers = {answer.contrast: answer for answer in regret.decide(regret.effects(only_runs(fewer)))}
    both = answers["β, raw advantages less β, normalised advantages"]
    assert both.verdict == "" and both.refused == (
        "No verdict: β, raw advantages was chosen from 4 values, β, normalised advantages from 5"
    )
    hole = differ[~((differ["kind"] == "raw") & (differ["setting"] > 9) & (differ["task"] == "t3"))]
    refused = {answer.contrast: answer for answer in regret.decide(regret.effects(only_runs(hole)))}[
        "β, raw advantages"
    ]
    assert refused.verdict == "" and refused.refused.endswith(
        "python -m study -m task=t algorithm=kl_fixed algorithm.beta=10 'seed=range(2)' name=fresh"
    )
    unjudged = differ[differ["study"] == "fresh"]
    with_command = question.tuned(only_runs(unjudged), regret.SWEPT)
    assert with_command["own"].isna().all()
    assert with_command["command"].str.endswith(f"'seed={question.JUDGING_SEEDS}' name=fresh_judged").all()


def test_runs_of_no_registered_sample_get_no_verdict_and_both_numbers_of_candidates(differ):
    mine = differ[differ["study"] == "fresh"].assign(studies=[("mine",)] * (differ["study"] == "fresh").sum())
    mine = mine[~((mine["kind"] == "raw") & (mine["setting"] > 9))]
    for answer in within_run.decided("within_run", _within(mine), within_run.judged, ""):
        assert answer.verdict == answer.refused == "" and answer.sample == "these runs"
        assert answer.candidates == {"β, normalised advantages": "5", "β, raw advantages": "4"}
        assert "candidates: 5 of β, normalised advantages and 4 of β, raw advantages" in question.sentence(answer)


def _within(runs):
    knobs = [("kl_fixed", "normalised"), ("kl_fixed", "raw")]
    frame = question.tuned(only_runs(runs), knobs)
    return constraint.contrasts(frame, [("normalised less raw", tuple((knob, "own") for knob in knobs))])


def test_effects_report_the_tasks_that_they_are_made_of(differ):
    answer = regret.decide(regret.effects(only_runs(differ[differ["task"] != "t4"])))[0]
    assert answer.tasks == tuple(f"t{task}" for task in range(10) if task != 4)


def test_rules_of_the_tuned_questions():
    assert regret.costs(0.06, 0.1) == regret.differs(0.01, 0.2) == constraint.judged(0.001, 1) == question.SHOWN
    assert regret.costs(-0.1, 0.04) == constraint.judged(-0.3, 0.04) == question.CONTRARY
    assert regret.costs(0.04, 0.06) == constraint.judged(-0.1, 0.06) == question.UNDECIDED
    assert fork.judged(0.3, 1) == fork.judged(-1, -0.3) == question.SHOWN
    assert fork.judged(-0.4, 0.4) == question.CONTRARY and fork.judged(-0.6, 0.4) == question.UNDECIDED


def test_imagined_contrasts_keep_their_size():
    assert constraint.imagine(0.0)[0] <= 0.04 and constraint.imagine(0.2)[0] > 0.95
    (shown, contrary), truth = regret.imagine(0.1, studies=5)
    assert shown == 0 and contrary > 0.8 and truth < 0.03


# Forks --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    """Five tasks whose best beta moves up by a decade from the first to the second point."""
    runs, curves = [], []
    for at, best in ((51200, 0.3), (307200, 3.0)):
        tasks = [Task(f"t{number}", best_beta=(best * 1.5**number,) * 2) for number in range(-2, 3)]
        own, own_curves = synthetic.study(tasks, fixed(BETAS, **{"fork.at": at}), seeds=3, iterations=20, noise=0.02)
        own["config"] = [json.dumps(json.loads(config) | {"fork": {"at": at}}) for config in own["config"]]
        own["run_id"] += f"-{at}"
        own_curves["run_id"] += f"-{at}"
        runs.append(own)
        curves.append(own_curves)
    folder = tmp_path_factory.mktemp("forks") / "s"
    return pd.concat(runs, ignore_index=True), pd.concat(curves, ignore_index=True), folder


def test_the_move_of_the_best_value_is_found(forks):
    study = data.load([synthetic.write(forks[2], *forks[:2])])
    (answer,) = fork.decide(fork.effects(study))
    assert answer.effect == pytest.approx(1.0, abs=0.05) and answer.low <= 1 <= answer.high and answer.low > 0.7
    assert set(answer.tasks) == {f"t{number}" for number in range(-2, 3)} and answer.verdict == ""
    assert len(analysis.figure("fork", study, 3.3).axes) >= 1


def test_a_diverged_fork_counts_as_the_untrained_policy(forks):
    runs, curves, folder = forks
    lost = runs["run_id"].iloc[0]
    runs = runs.assign(status=np.where(runs["run_id"] == lost, "diverged", runs["status"]))
    study = data.load([synthetic.write(folder.with_name("diverged"), runs, curves)])
    study.runs["floor"] = -123.0
    row = study.runs.index[study.runs["run_id"] == lost][0]
    first = study.curves[(study.curves["run"] == row) & (study.curves["iteration"] == 0)]["return_mean"].item()
    assert fork.gains(study).loc[row, "score"] == pytest.approx(-123.0 - first)


# One data set -------------------------------------------------------------------------------


KNOBS = [("kl_fixed", "raw"), ("kl_fixed", "normalised"), ("trpo", "normalised"), ("kl_adaptive", "normalised")]


def rows_read(runs):
    """All that questions of tuned values and of responses read, in an order of its own."""
    several = [question.swept(only_runs(runs), question.OLD, *knob) for knob in KNOBS]
    return pd.concat(several)[["run_id", "task", "setting", "seed", "normalised", "family_of_task"]].sort_values(
        "run_id"
    )


def test_no_answer_changes_when_an_unrelated_study_is_left_out_or_added():
    """All committed folders and archived ones, one at a time: the same runs and scores; and the related ones alone."""
    archive = sorted(path.parent for path in data.EVIDENCE.glob("archive/*/runs.parquet"))
    assert archive and not set(archive) & set(data.evidence())
    whole = analysis.load([*data.evidence(), *archive])
    expected = rows_read(whole.runs)
    related = set(question.OLD.studies) | set(question.FRESH.studies) | set(question.FRESH.judged_by)
    studies = sorted({name for names in whole.runs["studies"] for name in names} - related)
    assert len(studies) > 15 and {path.name for path in archive} <= set(studies)
    for study in studies:
        names = whole.runs["studies"].map(lambda names, study=study: tuple(name for name in names if name != study))
        pd.testing.assert_frame_equal(rows_read(whole.runs.assign(studies=names)[names.map(len) > 0]), expected)
    alone = analysis.load([folder for folder in data.evidence() if folder.name in related])
    found, known = (
        question.tuned(study, KNOBS).drop(columns="command").sort_values(["algorithm", "advantages", "task"])
        for study in (alone, whole)
    )
    pd.testing.assert_frame_equal(found.reset_index(drop=True), known.reset_index(drop=True))
    pd.testing.assert_frame_equal(
        rows_read(alone.runs).reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False
    )


def test_the_scale_of_a_committed_task_is_the_same_whatever_is_loaded():
    alone = analysis.load(data.EVIDENCE / "population").runs
    assert alone["frozen"].all()
    table = scale.table().set_index(scale.KEY)
    for row in alone.drop_duplicates(scale.KEY).itertuples():
        own = table.loc[(row.task, row.id, row.total_steps)]
        assert (row.floor, row.reference, row.learned) == (own["floor"], own["reference"], own["learned"])
