"""Published tables beside ours, and the same comparison under another protocol: answers known beforehand."""

import json

import numpy as np
import pandas as pd
import pytest
import synthetic
import yaml
from conftest import ROOT
from scipy import stats
from synthetic import Arm, Task, fixed

from analysis import data, published, question, statistics
from analysis.question import protocol, replication

BETAS = [0.03, 0.12, 0.5, 2.0, 8.0, 32.0]


def cell(scores):
    return float(np.mean(scores)), float(np.std(scores, ddof=1) / len(scores) ** 0.5), len(scores)


def table(cells, **contrasts):
    rows = {row: ("clip", {"setting": 0.2}) for row in next(iter(cells.values()))}
    return published.Table("Theirs", "", "", "theirs", "tail", rows, cells, contrasts, 0.15)


def drawn(seed=0):
    """{task: {row: [runs]}} of ours and of theirs."""
    generator = np.random.default_rng(seed)
    counts = {"ours": (5, 5), "theirs": (80, 7)}
    return [
        {
            task: {
                row: generator.normal(1000 * (2 + place), 150 + 100 * place, n) for row, n in zip("ab", counts[side])
            }
            for place, task in enumerate(("x", "y"))
        }
        for side in counts
    ]


def test_a_number_has_the_interval_of_a_welch_test_between_their_runs_and_ours():
    ours, theirs = drawn()
    known = {task: {row: cell(scores) for row, scores in own.items()} for task, own in theirs.items()}
    frame = replication.compared(table(known), ours, {}).set_index(["task", "what"])
    for task in ours:
        for row in "ab":
            test = stats.ttest_ind(ours[task][row], theirs[task][row], equal_var=False)
            ends = frame.loc[(task, row), ["low", "high"]].tolist()
            assert ends == pytest.approx(list(test.confidence_interval(statistics.LEVEL)))
            own = stats.t.interval(0.95, 4, ours[task][row].mean(), stats.sem(ours[task][row]))
            assert frame.loc[(task, row), ["ours_low", "ours_high"]].tolist() == pytest.approx(list(own))


def test_a_contrast_is_the_mean_over_tasks_in_units_of_their_mean():
    ours, theirs = drawn(1)
    known = {task: {row: cell(scores) for row, scores in own.items()} for task, own in theirs.items()}
    frame = replication.compared(table(known, gain={"a": 1, "b": -1}), ours, {})
    (row,) = frame[frame["kind"] == "contrast"].itertuples()
    units = {task: np.mean([mean for mean, *_ in own.values()]) for task, own in known.items()}
    for side, name in ((ours, "ours"), (theirs, "theirs")):
        sides = [side[task][of] / units[task] for of in "ab" for task in side]
        shares = np.repeat([1, -1], len(side)) / len(side)
        assert [getattr(row, f"{name}{end}") for end in ("", "_low", "_high")] == pytest.approx(
            statistics.stratified_mean(sides, shares)
        )
    assert row.difference == pytest.approx(row.ours - row.theirs)


def test_a_diverged_run_has_the_frozen_floor_whatever_else_is_loaded(tmp_path, monkeypatch):
    runs, curves = synthetic.study([Task("a")], fixed([1.0, 3.0]), seeds=2, iterations=20)
    runs.loc[0, "status"] = "diverged"
    frozen = [("a", "a-v0", int(runs["total_steps"].iloc[0]), "gym", -7.0, 2.0, 93.0, True)]
    monkeypatch.setattr(data.scale, "table", lambda: pd.DataFrame(frozen, columns=data.scale.COLUMNS))
    study = data.load([synthetic.write(tmp_path / "s", runs, curves)])
    found = replication.scored(study, "tail").groupby(study.runs["status"]).min()
    assert found["diverged"] == -7 and found["complete"] > 100


def test_a_departure_is_the_cause_of_a_difference_that_is_gone_without_it():
    generator = np.random.default_rng(3)
    theirs = {"x": {row: (1000.0, 20.0, 5) for row in "abc"}}
    before, after = ({row: generator.normal(mean, 40, 5) for row, mean in zip("abc", means)}
                     for means in ((1500, 1500, 1000), (1000, 1480, 990)))  # fmt: skip
    frame = replication.taken_back(table(theirs), {"x": after}, {"x": before})
    assert frame["verdict"].tolist() == [replication.CAUSE, replication.NO_CAUSE, replication.NO_CAUSE]
    for row, own in zip("abc", frame.itertuples()):
        test = stats.ttest_ind(after[row], before[row], equal_var=False)
        ends = test.confidence_interval(statistics.LEVEL)
        mean = after[row].mean() - before[row].mean()
        assert [own.difference, own.low, own.high] == pytest.approx([mean, *ends])
    nothing = {"x": {row: np.array([]) for row in "abc"}}
    assert (replication.taken_back(table(theirs), nothing, {"x": before})["verdict"] == "").all()


def test_verdicts_on_differences():
    assert replication.judged(-0.1, 0.2, 0.25) == question.SHOWN  # also where 0 is outside: too small to matter
    assert replication.judged(0.05, 0.2, 0.25) == question.SHOWN
    assert replication.judged(0.05, 0.3, 0.25) == replication.judged(-3, -0.1, 0.25) == question.CONTRARY
    assert replication.judged(-0.1, 0.3, 0.25) == question.UNDECIDED


def test_a_chosen_value_is_worse_only_if_another_one_is_shown_above_it():
    generator = np.random.default_rng(2)
    for lead in (0.0, 0.5, 1.0, 2.0, 4.0):
        swept = {1.0: generator.normal(0, 1, 5), 3.0: generator.normal(lead, 1, 4)}
        test = stats.ttest_ind(swept[3.0], swept[1.0], alternative="greater")
        difference, low, high, verdict = replication.standing(swept, 1.0)
        assert (verdict == replication.WORSE) == (test.pvalue < 0.05) == (low > 0)
        assert difference == pytest.approx(swept[3.0].mean() - swept[1.0].mean())
    assert replication.standing({1.0: swept[1.0]}, 1.0)[-1] == ""


def test_a_profile_has_the_intervals_of_a_linear_model_of_its_values():
    generator = np.random.default_rng(4)
    swept = {0.1: generator.normal(1, 1, 2), 1.0: generator.normal(2, 1, 5), 10.0: generator.normal(0, 1, 2)}
    columns = np.repeat(np.eye(3), [2, 5, 2], axis=0)
    fit = pytest.importorskip("statsmodels.api").OLS(np.concatenate(list(swept.values())), columns).fit()
    expected = np.column_stack([fit.params, fit.conf_int()])
    assert np.array(replication.profile(swept)) == pytest.approx(expected)


def test_the_four_arms_of_a_factorial_and_which_effect_exceeds_the_other():
    worlds = [(400, 50, question.SHOWN), (50, 400, question.CONTRARY), (50, -400, question.CONTRARY)]
    for code, algorithm, verdict in [*worlds, (200, 200, question.UNDECIDED)]:
        means = {"PPO": code + algorithm, "PPO-M": algorithm, "TRPO": 0, "TRPO+": code}
        offsets = np.array([-30.0, -10.0, 0.0, 10.0, 30.0])
        cells = {task: {row: 2000 + mean + offsets for row, mean in means.items()} for task in published.ENGSTROM.cells}
        (row,) = replication.compared(published.ENGSTROM, cells, {}).query("kind == 'exceeds'").itertuples()
        scale = np.mean(
            [1 / np.mean([own[0] for own in known.values()]) for known in published.ENGSTROM.cells.values()]
        )
        assert row.ours == pytest.approx((code - abs(algorithm)) * scale) and row.verdict == verdict
        assert row.theirs_low > 0, "theirs show that the code-level effect exceeds the algorithm's"
        (row,) = replication.compared(published.ENGSTROM, cells, {}).query("kind == 'above'").itertuples()
        assert row.ours == pytest.approx(code * scale) and row.verdict == (
            question.CONTRARY if code == 50 else question.SHOWN
        )


def test_their_table_gives_the_sizes_that_they_state():
    """Their own summary of the table: the larger absolute differences, by algorithm and by code."""
    for task, algorithm, code in (("hopper", 99, 421), ("walker2d", 242, 557)):
        ppo, minimal, trpo, plus = (published.ENGSTROM.cells[task][row][0] for row in ("PPO", "PPO-M", "TRPO", "TRPO+"))
        assert max(abs(ppo - plus), abs(minimal - trpo)) == algorithm
        assert max(abs(ppo - minimal), abs(plus - trpo)) == pytest.approx(code, abs=2)


def test_runs_are_found_as_the_rows_of_a_table_and_scored_as_theirs(tmp_path):
    tricks = (("reward_scaling", True),)
    arms = [Arm("clip", clip_epsilon=0.2, settings=own, quality=0.9) for own in ((), tricks)]
    arms += [Arm("trpo", max_kl=0.03, settings=own, quality=0.8) for own in ((), tricks)]
    made = synthetic.study([Task("hopper"), Task("walker2d")], arms, seeds=3, iterations=20)
    study = data.load([synthetic.write(tmp_path / "engstrom", *made)])
    cells, sweeps = replication.ours(study, published.ENGSTROM)
    assert {len(scores) for own in cells.values() for scores in own.values()} == {3} and not sweeps
    runs, curves = made
    wanted = runs[(runs["task"] == "hopper") & (runs["arm"] == "trpo max_kl=0.03 reward_scaling=True")]["run_id"]
    peaks = [curves.loc[curves["run_id"] == own, "return_mean"].max() for own in wanted]
    assert cells["hopper"]["TRPO+"] == pytest.approx(peaks, rel=1e-6)
    tails = replication.scored(study, "tail")
    last = [curves.loc[curves["run_id"] == own, "return_mean"].iloc[-2:].mean() for own in study.runs["run_id"]]
    assert tails.to_numpy() == pytest.approx(last, rel=1e-5, nan_ok=True)
    answers = replication.decide(replication.effects(study))
    assert [answer.sample for answer in answers] == ["Engstrom et al. 2020"] * 4
    assert all(answer.verdict and replication.sentence(answer) for answer in answers)
    found = replication.effects(study).by_task
    assert len(replication.text(found)) == 8 + 2 + 2 + 10
    also = found[found["kind"] == "also"].set_index(["task", "what"])
    last = runs.set_index("run_id").loc[wanted, "final_return"].mean()
    assert also.loc[("hopper", "TRPO+, last 100 episodes"), "ours"] == pytest.approx(last, rel=1e-6)
    assert (also["verdict"] == "").all() and len(also) == 10


def test_what_was_not_run_has_no_verdict():
    nothing = {task: {row: np.array([]) for row in own} for task, own in published.KLIP.cells.items()}
    frame = replication.compared(published.KLIP, nothing, {})
    assert (frame["verdict"] == "").all() and frame["ours"].isna().all() and frame["theirs"].notna().all()
    assert replication.decide(replication.Effects(frame)) == []


def grids(name):
    """(params, grids) of an experiment, words as YAML reads them."""
    known = yaml.safe_load((ROOT / f"conf/experiment/{name}.yaml").read_text())
    return known, known["hydra"]["sweeper"]["params"], known["hydra"]["sweeper"]["grids"]


@pytest.mark.parametrize("known", published.TABLES, ids=lambda known: known.study)
def test_the_experiments_train_every_row_of_the_tables_on_its_tasks(known):
    _, params, parts = grids(known.study)
    knob = {"clip": "algorithm.clip_epsilon", "kl_fixed": "algorithm.beta", "kl_adaptive": "algorithm.kl_target"}
    trained = set()
    for part in parts:
        part = params | part
        values = str(part.get(knob.get(part["algorithm"]), 0.2)).split(",")
        changed = {"setting": values, "reward_scaling": [part.get("reward_scaling", False)]}
        for row, (algorithm, wanted) in known.rows.items():
            same = all(any(float(value) == float(mine) for mine in changed[name]) for name, value in wanted.items())
            if algorithm == part["algorithm"] and same:
                trained |= {(task, row) for task in part["task"].split(",")}
    assert trained == {(task, row) for task, own in known.cells.items() for row in own}


@pytest.mark.parametrize("name", protocol.SAMPLES)
def test_the_experiments_change_what_the_question_takes_for_a_change(name):
    parts = grids(name)[2]
    own = ("algorithm", "algorithm.beta", "algorithm.max_kl")
    changes = [{key: yaml.safe_load(str(value)) for key, value in part.items() if key not in own} for part in parts]
    assert {json.dumps(part, sort_keys=True) for part in changes} == {
        json.dumps(part, sort_keys=True) for part in ({}, question.PROTOCOLS[name])
    }


def test_the_best_beta_its_spread_and_the_lead_under_tricks(tmp_path):
    """Seven tasks whose best beta is ten times larger with tricks and spreads half as far; TRPO's lead is the same."""
    runs, curves, known = [], [], []
    for tricks in ({}, question.PROTOCOLS["tricks"]):
        centre = np.linspace(-0.6, 0.6, 7) * (0.5 if tricks else 1.0) + (0.5 if tricks else -0.5)
        centre = centre + np.array([0.15, -0.15, 0.1, 0, -0.1, 0.1, -0.1]) * bool(tricks)
        known.append(centre.std())
        tasks = [Task(f"t{place}", best_beta=(10**best,) * 2) for place, best in enumerate(centre)]
        arms = fixed(BETAS, **tricks)
        arms += [
            Arm("trpo", max_kl=delta, quality=quality, settings=tuple(tricks.items()))
            for delta, quality in ((0.01, 0.7), (0.03, 0.9), (0.1, 0.6))
        ]
        made = synthetic.study(tasks, arms, seeds=2, iterations=20, noise=0.02)
        runs.append(made[0]), curves.append(made[1])
    folder = synthetic.write(tmp_path / "tricks", *(pd.concat(own, ignore_index=True) for own in (runs, curves)))
    found = protocol.effects(data.load([folder]))
    answers = {answer.contrast.split(",")[0]: answer for answer in protocol.decide(found)}
    move, ratio, lead = (
        answers[name] for name in ("move of the best β", "spread of the best β", "lead of TRPO over a fixed β")
    )
    assert move.effect == pytest.approx(1.0, abs=0.15) and move.low < 1 < move.high and move.verdict == question.SHOWN
    assert ratio.effect == pytest.approx(known[1] / known[0], abs=0.1)
    assert ratio.low < known[1] / known[0] < ratio.high
    assert lead.low < 0 < lead.high and abs(lead.effect) < 0.1 and len(lead.tasks) == 7
    assert lead.candidates == {"δ": "3", "β": "6"} and lead.verdict == "", "chosen from unlike numbers of values"
    assert set(protocol.text(found.by_task)["task"]) == {f"t{place}" for place in range(7)}


def test_imagined_tables_keep_their_size():
    assert replication.imagine(difference=0.0, scatter=0.1, studies=200)[1] < 0.06
    assert replication.imagine(difference=0.5, scatter=0.1, studies=200) == (0, 1)
    assert replication.imagine(above=0.0, studies=60)[0] < 0.1 and replication.imagine(above=0.6, studies=9) == (1, 0)
    assert replication.imagine(exceeds=0.1, algorithm=0.1, studies=60)[0] < 0.1
    assert replication.imagine(exceeds=0.6, algorithm=0.1, studies=9) == (1, 0)
    assert replication.imagine(exceeds=0.1, algorithm=-0.6, studies=9) == (0, 1)
    assert replication.imagine(better=0.0)[0] < 0.08 and replication.imagine(better=5.0, studies=50)[0] == 1


def test_rules_of_another_protocol():
    assert protocol.spreads(1.1, 3) == protocol.spreads(0.1, 0.9) == question.SHOWN
    assert protocol.spreads(0.6, 1.9) == question.CONTRARY and protocol.spreads(0.4, 1.2) == question.UNDECIDED
    assert protocol.leads(0.01, 1) == protocol.leads(-1, -0.01) == question.SHOWN
    assert protocol.leads(-0.1, 0.19) == question.CONTRARY and protocol.leads(-0.3, 0.1) == question.UNDECIDED
