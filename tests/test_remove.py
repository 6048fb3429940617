"""python -m study.remove takes out the runs it names and no others, and they can come back."""

import json

import pandas as pd
import pytest

from study.launch import disk, merge
from study.launch.remove import main
from study.launch.store import Store
from study.record import CURVES, RUNS, dtype


@pytest.fixture
def study(tmp_path):
    """Two tasks x two arms x three seeds, four rows of curve each; the tables alone, nothing trained."""
    rows = [
        (t, a, s)
        for t in ("cartpole", "hopper m=(1,2)")
        for a in ("trpo max_kl=0.01", "trpo max_kl=0.1")
        for s in range(3)
    ]
    runs = pd.DataFrame({name: [None] * len(rows) for name in RUNS}).astype(object)
    runs["run_id"] = [f"run{i}" for i in range(len(rows))]
    runs["task"], runs["arm"], runs["seed"] = (list(column) for column in zip(*rows))
    runs = runs.assign(
        algorithm="trpo", condition="", status="complete", total_steps=256, final_return=1.0, auc_return=1.0
    )
    runs = runs.astype({"seed": "int64", "total_steps": "int64", "final_return": "float64", "auc_return": "float64"})
    curves = pd.DataFrame({name: pd.Series([0.0] * 4 * len(rows)) for name in CURVES})
    curves = curves.assign(run_id=runs["run_id"].repeat(4).tolist(), iteration=list(range(4)) * len(rows))
    folder = tmp_path / "s"
    disk.write_table(folder / "runs.parquet", runs)
    disk.write_table(folder / "curves.parquet", curves.astype({name: dtype(name) for name in curves}))
    return folder


def tables(folder):
    return [pd.read_parquet(folder / f"{kind}.parquet") for kind in ("runs", "curves")]


def test_the_named_runs_go_a_copy_stays_and_comes_back(study, capsys):
    before = [disk.digest(table) for table in tables(study)]
    words = [str(study), "arm=trpo max_kl=0.1", "seed=0,2"]
    main(words)
    said = capsys.readouterr().out
    assert "4 of 12 runs" in said and "would be taken out" in said and "2 of cartpole trpo max_kl=0.1" in said
    assert [disk.digest(table) for table in tables(study)] == before
    main([*words, "--yes"])
    said = capsys.readouterr().out
    assert "4 of 12 runs" in said and "are taken out" in said
    runs, curves = tables(study)
    assert len(runs) == 8 and not ((runs["arm"] == "trpo max_kl=0.1") & runs["seed"].isin([0, 2])).any()
    assert set(curves["run_id"]) == set(runs["run_id"]) and len(curves) == 32
    (copy,) = (study / ".work/set-aside").glob("removed.*")
    kept = tables(copy)
    assert len(kept[0]) == 4 and len(kept[1]) == 16 and set(kept[0]["run_id"]).isdisjoint(runs["run_id"])
    Store(study).merge()
    assert len(tables(study)[0]) == 8
    merge.main([str(study), str(copy)])
    runs, curves = tables(study)
    assert len(runs) == 12 and len(curves) == 48


@pytest.mark.parametrize(
    "words, left",
    [(["task=hopper m=(1,2)"], 6), (["task=hopper*"], 6), (["run_id=run3"], 11), (["seed=1", "seed=2"], 4)],
)
def test_values_are_exact_patterns_or_several(words, left, study, capsys):
    main([str(study), *words, "--yes"])
    assert len(tables(study)[0]) == left


@pytest.mark.parametrize(
    "words, reason",
    [
        ([], "which runs?"),
        (["seed=7"], "seed=7: no run there has it; there are 0, 1, 2"),
        (["beta=1"], "a column of task, algorithm"),
        (["cartpole"], "must be COLUMN=VALUE"),
        (["run_id=run0", "seed=2"], "no run there has run_id=run0 and seed=2"),
    ],
)
def test_what_names_no_run_is_one_line_and_changes_nothing(words, reason, study, capsys):
    before = [disk.digest(table) for table in tables(study)]
    with pytest.raises(SystemExit) as end:
        main([str(study), *words, "--yes"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and reason in said and len(said.splitlines()) == 1
    assert [disk.digest(table) for table in tables(study)] == before and not (study / ".work/set-aside").exists()


def test_a_study_in_training_and_other_folders_are_left_alone(study, tmp_path, capsys):
    import os
    import socket

    (study / ".work/launchers").mkdir(parents=True)
    launcher = dict.fromkeys(("beat", "workers", "total", "done", "steps_per_second", "seconds_left"), 1) | {
        "fleets": []
    }
    launcher |= {"host": socket.gethostname(), "pid": os.getpid()}
    (study / ".work/launchers/x.json").write_text(json.dumps(launcher))
    for folder, reason in (
        (study, "is being trained"),
        (tmp_path, "not a study's folder"),
        (tmp_path / "no", "not a study"),
    ):
        with pytest.raises(SystemExit):
            main([str(folder), "seed=0", "--yes"])
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "no").exists() and not (tmp_path / ".work").exists()
