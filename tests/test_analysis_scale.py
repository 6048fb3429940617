"""The scale of scores: frozen, and learning told from noise."""

import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic import Task, fixed

from analysis import data, scale


def imagined(studies, arms=30, seeds=2, iterations=40, persistence=0.0, rise=0.0, generator=None):
    """[studies] whether `scale.measured`'s rule calls it learned, where runs are noise about a floor that is measured.

    persistence  correlation of neighbouring iterations' returns; rise: spreads that every run gains in the mean
    """
    noise = generator.standard_normal((iterations, studies, arms, seeds))
    for step in range(1, iterations):
        noise[step] = persistence * noise[step - 1] + np.sqrt(1 - persistence**2) * noise[step]
    first = noise[0].mean((1, 2))  # the floor: runs of one seed begin alike, so these are more than there are
    early = noise[: scale.EARLY]
    spread = np.sqrt((np.diff(early, axis=0) ** 2 / 2).mean((0, 2, 3)))
    lowest = (noise.mean(0) + rise).min(-1).max(-1)
    return lowest > first + scale.VISIBLE * spread


def test_a_task_on_which_nothing_is_learned_is_called_learned_in_less_than_one_percent():
    generator = np.random.default_rng(0)
    for persistence in (0.0, 0.3, 0.5):
        for arms in (8, 50):
            assert imagined(2000, arms, persistence=persistence, generator=generator).mean() <= 0.01


def test_two_seeds_see_a_rise_of_four_spreads():
    generator = np.random.default_rng(1)
    assert imagined(500, arms=1, rise=4.0, generator=generator).mean() > 0.95


def test_an_arm_that_learns_is_seen_beside_arms_that_collapse(tmp_path):
    arms = [synthetic.Arm("kl_fixed", 1.0, quality=0.9), synthetic.Arm("kl_fixed", 10.0, quality=-3.0)]
    study = data.load([synthetic.write(tmp_path / "s", *synthetic.study([Task("a")], arms, seeds=2))])
    assert study.runs["learned"].all() and not study.runs["frozen"].any()
    assert study.notes[-1].startswith("Floor and reference score of a are measured")
    flat = synthetic.study([Task("a")], fixed([1.0, 10.0]), quality=0.0)
    assert not data.load([synthetic.write(tmp_path / "flat", *flat)]).runs["learned"].any()


def test_the_spread_is_that_of_single_returns_of_the_untrained_policy(tmp_path):
    runs, curves = synthetic.study([Task("a")], fixed(np.geomspace(0.1, 10, 20)), seeds=10, iterations=12)
    curves["return_mean"] = np.random.default_rng(0).normal(5, 2, len(curves))
    own = data.load([synthetic.write(tmp_path / "s", runs, curves)]).runs
    assert own["spread"].iloc[0] == pytest.approx(2, rel=0.1) and own["floor"].iloc[0] == pytest.approx(5, abs=0.5)


def test_an_arm_has_learned_where_each_of_its_seeds_has(tmp_path):
    runs, curves = synthetic.study([Task("a")], [synthetic.Arm("kl_fixed", 1.0, quality=0.9)], seeds=3)
    assert data.load([synthetic.write(tmp_path / "all", runs, curves)]).runs["learned"].all()
    runs.loc[1, "auc_return"] = 0.0
    assert not data.load([synthetic.write(tmp_path / "two", runs, curves)]).runs["learned"].any()


def test_normalised_scores_are_0_at_the_floor_and_1_at_the_best_arm(tmp_path):
    runs, curves = synthetic.study([Task("a", -50, 400), Task("b", 0, 50)], fixed([1.0, 3.0, 10.0]), seeds=3)
    runs.loc[0, "status"] = "diverged"
    study = data.load([synthetic.write(tmp_path / "s", runs, curves)])
    means = study.runs.groupby(["task", "arm"])["normalised"].mean().groupby("task").max()
    assert means.to_numpy() == pytest.approx([1.0, 1.0])
    assert (study.runs.loc[study.runs["status"] == "diverged", "normalised"] == 0).all()
    slow = study.runs[study.runs["task"] == "b"]
    floor = curves[curves["run_id"].isin(slow["run_id"]) & (curves["iteration"] == 0)]["return_mean"].mean()
    best = runs[runs["task"] == "b"].groupby("arm")["auc_return"].mean().max()
    assert slow["normalised"].to_numpy() == pytest.approx(((slow["auc_return"] - floor) / (best - floor)).to_numpy())


def test_a_task_of_the_table_keeps_its_scale_whatever_is_loaded(monkeypatch, tmp_path):
    rows = pd.DataFrame([("a", "a-v0", 1, "gym", -7.0, 2.0, 93.0, True)], columns=scale.COLUMNS)
    folder = synthetic.write(tmp_path / "s", *synthetic.study([Task("a"), Task("b")], fixed([1.0, 3.0]), seeds=2))
    steps = pd.read_parquet(folder / "runs.parquet")["total_steps"].iloc[0]
    monkeypatch.setattr(scale, "table", lambda: rows.assign(total_steps=steps))
    runs = data.load([folder]).runs
    own = runs[runs["task"] == "a"]
    assert own["frozen"].all() and (own["floor"] == -7).all() and (own["reference"] == 93).all()
    assert own["normalised"].to_numpy() == pytest.approx(((own["auc_return"] + 7) / 100).to_numpy())
    assert not runs.loc[runs["task"] == "b", "frozen"].any()
    # At another budget the floor and the spread are the table's, the reference is measured.
    monkeypatch.setattr(scale, "table", lambda: rows.assign(total_steps=2 * steps))
    own = data.load([folder]).runs.query("task == 'a'")
    assert not own["frozen"].any() and (own["floor"] == -7).all() and (own["spread"] == 2).all()
    assert own["reference"].iloc[0] == pytest.approx(own.groupby("arm")["auc_return"].mean().max())


def test_a_study_of_known_tasks_leaves_the_table_as_it_is(monkeypatch, tmp_path, capsys):
    """Its command is one of those that follow each study."""
    table = tmp_path / "scale.csv"
    table.write_text("task,id,total_steps,family,floor,spread,reference,learned\na,a-v0,1,gym,-7,2,93,True\n")
    folder = synthetic.write(tmp_path / "s", *synthetic.study([Task("a")], fixed([1.0, 3.0]), seeds=2))
    known = data.load([folder])
    monkeypatch.setattr(scale, "TABLE", table)
    monkeypatch.setattr(data, "load", lambda: known)
    monkeypatch.setattr(scale, "family", lambda name: "gym")
    for added in (1, 0):
        scale.main(["results/s"])
        assert f"{added} rows added" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        scale.main(["results/s", "results/z"])
    assert "still being trained: z; there are s\n" in capsys.readouterr().err
    assert len(pd.read_csv(table)) == 2 and "a,a-v0,1,gym,-7,2,93,True" in table.read_text().splitlines()


def test_the_table_has_every_task_of_the_committed_studies_and_no_row_twice():
    table = scale.table()
    assert not table.duplicated(scale.KEY).any()
    there = set(table[scale.KEY].itertuples(index=False, name=None))
    for folder in data.evidence():
        runs = data._read_runs(folder)
        for task, steps, config in runs.drop_duplicates(["task", "total_steps"])[
            ["task", "total_steps", "config"]
        ].itertuples(index=False):
            config = data.json.loads(config)
            if not config.get("fork") and task != "LaneKeeping-v0":  # no episode ends there
                assert (task, config["task"]["id"], steps) in there
