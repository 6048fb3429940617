"""The questions: answers known beforehand, samples, verdicts, figures."""

import dataclasses

import numpy as np
import pytest
import synthetic
from synthetic import Task, fixed

import analysis
from analysis import data, question
from analysis.question import spread, unit

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
    assert spread.judged(0.5, spread.ALIKE - 0.01, alike=False) == question.CONTRARY
    assert spread.judged(0.9, 3.0, alike=False) == question.UNDECIDED
    assert spread.judged(1 / spread.ALIKE + 0.01, spread.ALIKE - 0.01, alike=True) == question.SHOWN
    assert spread.judged(spread.ALIKE + 0.01, 3.0, alike=True) == question.CONTRARY
    assert spread.judged(0.1, 1 / spread.ALIKE - 0.01, alike=True) == question.CONTRARY
    assert spread.judged(0.6, 1.2, alike=True) == question.UNDECIDED
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
