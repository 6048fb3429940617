"""What is read from a study, what is missing from it, and what the command line answers."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic import TRPO, Task, fixed

import analysis.__main__
from analysis import data
from analysis.__main__ import main
from analysis.data import StudyError, load


@pytest.fixture(scope="module")
def quick():
    return synthetic.quick()


def test_missing_run_is_named_with_the_command_that_makes_it(tmp_path, quick):
    runs, curves = quick
    lost = runs[(runs["task"] == "hopper") & (runs["beta"] == 10) & (runs["seed"] == 2)]["run_id"].item()
    study = load([synthetic.write(tmp_path / "s", runs[runs["run_id"] != lost], curves)])
    assert study.missing[["task", "arm", "seed"]].values.tolist() == [["hopper", "kl_fixed beta=10", 2]]
    assert study.missing["command"].item() == (
        "python -m study task=hopper algorithm=kl_fixed algorithm.beta=10 total_steps=100352 seed=2 name=s "
        f"execution.results={os.path.relpath(tmp_path)}"
    )


def test_tasks_may_have_different_numbers_of_seeds_but_an_arm_lacks_those_of_its_task(tmp_path, quick):
    runs, curves = quick
    fewer = runs[~((runs["task"] == "hopper") & (runs["seed"] == 2))]
    assert load([synthetic.write(tmp_path / "fewer", fewer, curves)]).missing.empty
    constraint = (runs["task"] == "hopper") & (runs["algorithm"] == "trpo") & (runs["seed"] == 1)
    assert constraint.sum() == 1
    study = load([synthetic.write(tmp_path / "one", fewer.drop(index=runs.index[constraint]), curves)])
    assert study.missing[["task", "algorithm", "seed"]].values.tolist() == [["hopper", "trpo", 1]]


def test_a_run_that_is_there_under_another_name_of_its_task_is_not_missing(tmp_path, quick):
    """Two folders: the seeds of one arm were run by the task's id before, the other arms by the task's name."""
    runs, curves = quick
    other = (runs["task"] == "hopper") & (runs["algorithm"] == "trpo") & (runs["seed"] < 2)
    renamed = runs[other].assign(task="Hopper-v5")
    folders = [synthetic.write(tmp_path / "named", runs[~other], curves)]
    assert len(load(folders).missing) == 2
    assert load([*folders, synthetic.write(tmp_path / "by id", renamed, curves)]).missing.empty
    another = renamed.assign(config=[c.replace("hopper-v0", "hopper-v1") for c in renamed["config"]])
    assert len(load([*folders, synthetic.write(tmp_path / "another", another, curves)]).missing) == 2


def test_failed_run_counts_as_missing_and_is_not_scored(tmp_path, quick):
    runs, curves = quick[0].copy(), quick[1]
    runs.loc[5, "status"] = "failed"
    study = load([synthetic.write(tmp_path / "s", runs, curves)])
    assert len(study.missing) == 1
    assert runs.loc[5, "run_id"] not in set(study.runs["run_id"])


def test_whole_seeds_leaves_a_complete_grid(tmp_path, quick):
    runs, curves = quick
    study = load([synthetic.write(tmp_path / "s", runs.drop(index=5), curves)], whole_seeds=True)
    assert study.missing.empty
    assert study.runs.groupby(["task", "arm"])["seed"].nunique().unique().tolist() == [2]


def test_diverged_run_scores_as_the_untrained_policy(tmp_path, quick):
    runs, curves = quick[0].copy(), quick[1]
    runs.loc[0, "status"] = "diverged"
    study = load([synthetic.write(tmp_path / "s", runs, curves)])
    broken = study.runs[study.runs["status"] == "diverged"].iloc[0]
    first = curves.groupby("run_id")["return_mean"].first()
    untrained = first[runs.loc[runs["task"] == broken["task"], "run_id"]].mean()
    assert broken["score"] == pytest.approx(untrained, rel=1e-5)


def test_a_run_found_in_two_studies_counts_once(tmp_path, quick):
    first = synthetic.write(tmp_path / "a", *quick)
    half = quick[0].iloc[:30]
    second = synthetic.write(tmp_path / "b", half, quick[1][quick[1]["run_id"].isin(half["run_id"])])
    together, alone = load([second, first]), load([first])
    assert len(together.runs) == len(alone.runs)
    np.testing.assert_array_equal(together.curves["return_mean"].to_numpy(), alone.curves["return_mean"].to_numpy())


def test_a_run_that_failed_in_one_study_counts_as_the_other_completed_it(tmp_path, quick):
    runs, curves = quick
    failed = runs.assign(status=np.where(runs.index == 0, "failed", runs["status"]))
    first = synthetic.write(tmp_path / "a", failed, curves)
    study = load([first, synthetic.write(tmp_path / "b", runs, curves)])
    assert study.missing.empty and set(study.runs["run_id"]) == set(runs["run_id"])


def test_over_training_equals_the_mean_by_hand(tmp_path, quick):
    study = load([synthetic.write(tmp_path / "s", *quick)])
    by_part = study.over_training("return_mean", parts=7)
    run_id = study.runs["run_id"].iloc[4]
    returns = quick[1].loc[quick[1]["run_id"] == run_id, "return_mean"].to_numpy()
    np.testing.assert_allclose(by_part[4], np.nanmean(returns.reshape(7, 7), axis=1), rtol=1e-5)


def test_parts_of_training_are_a_run_s_own_whatever_else_is_loaded(tmp_path):
    """Of another horizon fewer whole rollouts may fit into the same budget."""
    arms = (synthetic.TRPO, synthetic.CLIP)
    one, other = (synthetic.study([synthetic.Task("a")], [arm], iterations=12) for arm in arms)
    other[0]["config"] = [json.dumps(json.loads(config) | {"horizon": 5000}) for config in other[0]["config"]]
    other[1]["env_steps"] += 424
    folders = [synthetic.write(tmp_path / name, *study) for name, study in (("one", one), ("other", other))]
    alone, both = load(folders[:1]), load(folders)
    kept = both.of(both.runs["algorithm"] == "trpo")
    np.testing.assert_array_equal(kept.over_training("return_mean", 5), alone.over_training("return_mean", 5))
    assert (both.curves.groupby("run")["progress"].max() == 1).all()


def test_condition_and_advantages_are_read_from_arm_and_config(tmp_path):
    arms = [*synthetic.fixed([1.0, 3.0])]
    arms += [arm for kind in ("none", "centre") for arm in synthetic.fixed([1.0], advantage_normalization=kind)]
    study = load([synthetic.write(tmp_path / "s", *synthetic.study(synthetic.QUICK_TASKS, arms))])
    assert study.main_condition == ""
    assert set(study.under("advantage_normalization=centre")["advantages"]) == {"centred"}
    assert study.raw_condition == "advantage_normalization=none"
    assert set(study.runs["family"]) == {"kl_fixed"}
    assert set(study.under(study.raw_condition)["advantages"]) == {"raw"}


@pytest.mark.parametrize("rows", [slice(None), slice(5)])
def test_a_study_older_than_the_columns_condition_and_overrides_has_them_from_its_configurations(rows, tmp_path):
    """A whole one, and one that younger runs were merged into."""
    runs, curves = (pd.read_parquet(data.EVIDENCE / f"bounded/{kind}.parquet") for kind in ("runs", "curves"))
    older = runs.drop(columns=["condition", "overrides"]) if rows == slice(None) else runs.copy()
    if rows != slice(None):
        older.loc[older.index[rows], ["condition", "overrides"]] = None
    made, known = (load([synthetic.write(tmp_path / name / "s", frame, curves)]).runs
                   for name, frame in (("older", older), ("known", runs)))  # fmt: skip
    columns = made.columns.drop("folder")
    pd.testing.assert_frame_equal(made[columns], known[columns])
    unreadable = older.assign(config='{"algorithm": {"name": "nope"}}')
    with pytest.raises(StudyError, match="lacks the columns condition, overrides: .*nope"):
        load([synthetic.write(tmp_path / "unreadable", unreadable, curves)])


def test_further_numbers_of_an_algorithm_make_a_family_not_a_condition(tmp_path):
    runs, curves = synthetic.study(synthetic.QUICK_TASKS[:1], [synthetic.ADAPTIVE])
    runs["arm"] = "kl_adaptive kl_target=0.01 factor=3"
    runs["config"] = [json.dumps({"algorithm": {"name": "kl_adaptive", "kl_target": 0.01, "factor": 3}})] * 3
    words = ["task=a", "algorithm=kl_adaptive", "algorithm.kl_target=0.01", "++algorithm.factor=3"]
    runs["overrides"] = json.dumps(words)
    study = load([synthetic.write(tmp_path / "s", runs, curves)])
    assert set(study.runs["family"]) == {"kl_adaptive factor=3"}
    assert set(study.runs["condition"]) == {""}


def test_runs_of_another_budget_are_left_out_and_said_so(tmp_path, quick):
    short = synthetic.quick(iterations=10)
    short[0]["run_id"] += "-short"
    short[1]["run_id"] += "-short"
    one = short[0].iloc[:2]
    runs = pd.concat([quick[0], one])
    study = load([synthetic.write(tmp_path / "s", runs, pd.concat([quick[1], short[1]]))])
    assert len(study.runs) == len(quick[0]) + 2
    one = study.of_one_budget
    assert len(one.runs) == len(quick[0]) and len(one.curves) == len(quick[1])
    assert "left out" in one.left_out[-1] and study.left_out == []


@pytest.mark.parametrize("case", ["absent", "empty", "columns", "garbage", "no runs", "no curves"])
def test_a_directory_that_holds_no_study_gives_one_clear_line(tmp_path, quick, capsys, case):
    directory = tmp_path / "s"
    runs, curves = quick
    if case != "absent":
        directory.mkdir()
    if case == "columns":
        synthetic.write(directory, runs.drop(columns="arm"), curves)
    if case == "garbage":
        (directory / "runs.parquet").write_text("not parquet")
        (directory / "curves.parquet").write_text("not parquet")
    if case == "no runs":
        synthetic.write(directory, runs.iloc[:0], curves)
    if case == "no curves":
        synthetic.write(directory, runs, curves.iloc[:0])
    assert main([str(directory)]) != 0
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert not (directory / "report").exists()


def test_unreadable_study_raises_study_error(tmp_path):
    with pytest.raises(StudyError):
        load([tmp_path / "nothing"])


def test_the_same_run_trained_again_under_another_name_counts_once(tmp_path, quick):
    first = synthetic.write(tmp_path / "a", *quick)
    runs, curves = quick[0].copy(), quick[1].copy()
    runs["run_id"] += "-again"
    curves["run_id"] += "-again"
    second = synthetic.write(tmp_path / "b", runs, curves)
    study = load([first, second])
    assert len(study.runs) == len(quick[0])
    assert "counted once" in study.left_out[0]


def test_a_run_that_diverged_at_once_may_have_no_curve_but_a_complete_one_may_not(tmp_path, quick):
    runs, curves = quick[0].copy(), quick[1]
    curves = curves[curves["run_id"] != runs["run_id"].iloc[0]]
    with pytest.raises(StudyError, match="no curve"):
        load([synthetic.write(tmp_path / "complete", runs, curves)])
    runs.loc[0, ["status", "final_return", "auc_return"]] = ["diverged", np.nan, np.nan]
    study = load([synthetic.write(tmp_path / "diverged", runs, curves)])
    assert study.runs["score"].notna().all()


def test_a_task_on_which_no_episode_ended_is_left_out_and_said_so(tmp_path, quick):
    runs, curves = (frame.copy() for frame in quick)
    endless = runs["task"] == sorted(runs["task"].unique())[0]
    runs.loc[endless, ["final_return", "auc_return"]] = np.nan
    curves.loc[curves["run_id"].isin(runs.loc[endless, "run_id"]), ["return_mean", "return_last100"]] = np.nan
    study = load(synthetic.write(tmp_path / "s", runs, curves))
    (task,) = runs.loc[endless, "task"].unique()
    assert task not in study.tasks and len(study.runs) == (~endless).sum()
    assert study.runs["score"].notna().all() and set(study.curves["run"]) == set(study.runs.index)
    assert f"Left out, because no run ended an episode there: {task}." in study.left_out
    assert not any("as the untrained policy" in note for note in study.warnings)


def test_without_names_all_committed_studies_are_read(tmp_path, monkeypatch, capsys):
    """A folder is one if its README.md has a head that says whether it was registered."""
    for name, text in (
        ("one", '---\nregistered: "abc"\n---\n'),
        ("two", '---\nregistered: ""\n---\n'),
        ("own", "mine"),
        ("in_training", '---\nregistered: "abc"\ncomplete: false\n---\n'),
    ):
        runs, curves = synthetic.study([synthetic.Task(name)], [synthetic.TRPO], seeds=2, iterations=12)
        (synthetic.write(tmp_path / name, runs, curves) / "README.md").write_text(text)
    monkeypatch.setattr(data, "EVIDENCE", tmp_path)
    found = data.load()
    assert found.tasks == ["one", "two"]
    assert found.left_out == ["2 runs of in_training left out: it is still being trained."]
    registered = found.runs.groupby("study")["registered"].first()
    assert registered.to_dict() == {"one": "abc", "two": ""}
    built, described = [], []
    (tmp_path / "figures.yaml").write_text("{}\n")  # no page shows a figure
    monkeypatch.setattr(analysis.__main__, "EVIDENCE", tmp_path)
    monkeypatch.setattr("analysis.report.build", lambda study, out, strict: built.append((study.name, out)) or out)
    monkeypatch.setattr("analysis.dataset.describe", lambda results: described.append(results) or [])
    assert analysis.__main__.main([]) == 0 and built == [("one + two", tmp_path / "report")]
    assert described == [tmp_path]


def test_a_run_of_two_folders_counts_as_the_one_of_a_sample_has_it(tmp_path, quick):
    runs, curves = quick
    for name, text in (("a_later", 'date: "2026-01-01"'), ("b_sample", 'date: "2026-02-01"\nsample: "old tasks"')):
        made = runs.assign(auc_return=runs["auc_return"] + (name == "b_sample"))
        (synthetic.write(tmp_path / name, made, curves) / "README.md").write_text(f"---\n{text}\n---\n")
    study = load([tmp_path / "a_later", tmp_path / "b_sample"])
    assert len(study.runs) == len(runs) and study.name == "a_later + b_sample"
    expected = runs.set_index("run_id")["auc_return"] + 1
    assert study.runs["auc_return"].to_numpy() == pytest.approx(expected[study.runs["run_id"]].to_numpy())
    assert set(study.runs["studies"]) == {("b_sample", "a_later")} and set(study.runs["study"]) == {"b_sample"}


def test_an_arm_is_made_of_its_settings_whatever_its_label_is(tmp_path):
    runs, curves = synthetic.study([Task("a")], [TRPO, *fixed([3.0], horizon=512)], seeds=2, iterations=8)
    runs["arm"] = runs["arm"].map({label: f"label {place}" for place, label in enumerate(runs["arm"].unique())})
    study = data.load(synthetic.write(tmp_path / "s", runs, curves))
    names = study.runs.drop_duplicates("label").set_index("label")[["arm", "family", "condition"]]
    assert names.loc["label 0"].tolist() == ["trpo max_kl=0.01", "trpo", ""]
    assert names.loc["label 1"].tolist() == ["kl_fixed beta=3", "kl_fixed", "horizon=512"]
    assert study.arm_names["kl_fixed beta=3 horizon=512"] == "β=3, horizon=512"


def test_settings_of_one_s_own_algorithm_that_differ_in_kind_are_two_arms():
    own = [{"module": ("my.page", "my.page"), "n": word} for word in (("1", 1), ("1.0", 1.0), ("'1'", "1"))]
    assert [data._called("custom", settings) for settings in own] == [
        f"custom module=my.page n={text}" for text in ("1", "1.0", "'1'")
    ]
