"""Frames and matrices for other people's plots, against the files, slow loops and rliable."""

import itertools

import numpy as np
import pandas as pd
import pandas.util._decorators as decorators
import pytest
import synthetic

import analysis
from analysis import statistics
from analysis.data import CURVE_COLUMNS

ITERATIONS, PARTS = 48, 6
ARMS = [synthetic.TRPO, *synthetic.fixed([1, 10]), *synthetic.fixed([1], advantage_normalization="none")]
PROMISED = ["task", "total_steps", "algorithm", "arm", "beta", "kl_target", "max_kl", "seed", "status", "final_return"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of a study, whose folder is the third; one run has diverged half way."""
    runs, curves = synthetic.study(synthetic.QUICK_TASKS, ARMS, iterations=ITERATIONS)
    runs.loc[7, "status"] = "diverged"
    curves = curves[(curves["run_id"] != runs["run_id"][7]) | (curves["iteration"] < ITERATIONS // 2)]
    auc = curves.groupby("run_id")["return_mean"].mean()
    runs = runs.assign(auc_return=runs["run_id"].map(auc))
    return runs, curves, synthetic.write(tmp_path_factory.mktemp("tidy") / "s", runs, curves)


@pytest.fixture(scope="module")
def data(files):
    return analysis.load(files[2])


def test_a_row_of_the_runs_is_the_run_of_the_file(files, data):
    frame = analysis.frame(data).set_index("run_id")
    runs = files[0].set_index("run_id").loc[frame.index]
    pd.testing.assert_frame_equal(frame[PROMISED], runs[PROMISED], check_dtype=False)
    assert len(frame) == len(files[0]) and set(frame["study"]) == {"s"}
    assert set(frame["condition"]) == {"", "advantage_normalization=none"}
    diverged = frame["status"] == "diverged"
    assert (frame.loc[diverged, "score"] == frame.loc[diverged, "untrained"]).all() and diverged.sum() == 1
    pd.testing.assert_series_equal(
        frame.loc[~diverged, "score"], frame.loc[~diverged, "final_return"], check_names=False
    )


def test_a_row_of_the_curves_is_the_iteration_of_the_file_with_its_run(files, data):
    frame = analysis.frame(data, "curves")
    merged = files[1].rename(columns={"beta": "coefficient"}).merge(files[0][["run_id", *PROMISED[:-1]]], on="run_id")
    keys = ["run_id", "iteration"]
    assert list(frame.columns).count("beta") == 1
    frame, merged = (each.sort_values(keys).reset_index(drop=True) for each in (frame, merged))
    columns = [*keys, *PROMISED[:-1], *(name for name in CURVE_COLUMNS if name != "beta")]
    pd.testing.assert_frame_equal(frame[columns], merged[columns], check_dtype=False, rtol=1e-6)
    np.testing.assert_allclose(frame["coefficient"], merged["coefficient"], rtol=1e-6)
    np.testing.assert_allclose(frame["progress"], (frame["iteration"] + 1) / ITERATIONS, rtol=1e-6)


def in_parts(files, run_id, column):
    """[PARTS] means of what a run has in each part; NaN where it has nothing."""
    curve = files[1][files[1]["run_id"] == run_id].set_index("iteration")[column].reindex(range(ITERATIONS))
    blocks = np.split(curve.to_numpy(dtype=float), PARTS)
    return np.array([np.nan if np.isnan(block).all() else np.nanmean(block) for block in blocks])


def test_a_part_of_training_has_the_means_of_its_iterations(files, data):
    frame = analysis.frame(data, "curves", parts=PARTS)
    assert len(frame) == PARTS * len(files[0]) and (frame["part"] == np.tile(range(PARTS), len(files[0]))).all()
    for run_id, own in itertools.islice(frame.groupby("run_id"), 0, None, 3):
        for column in ("return_mean", "kl_after", "episodes"):
            np.testing.assert_allclose(own[column], in_parts(files, run_id, column), rtol=1e-5)
        ends = np.arange(1, PARTS + 1) * ITERATIONS // PARTS
        assert own["env_steps"].tolist() == (ends * synthetic.HORIZON).tolist()
        crossfit = files[1]["implied_beta_crossfit"]
        signed = files[1].assign(square=np.sign(crossfit) * crossfit**2)
        squares = in_parts((files[0], signed), run_id, "square")
        crossfit = own["implied_beta_crossfit"].to_numpy()
        np.testing.assert_allclose(np.sign(crossfit) * crossfit**2, squares, rtol=1e-4)


@pytest.mark.parametrize("score", ["normalised", "score", "auc_score"])
def test_a_matrix_for_rliable_has_each_score_at_its_seed_and_task(score, data):
    scores = analysis.to_rliable(data, score)
    frame = analysis.frame(data).set_index(["arm", "seed", "task"])[score]
    assert set(scores) == {arm.label for arm in ARMS}
    for arm, matrix in scores.items():
        assert matrix.shape == (3, 3) and data.tasks == ["halfcheetah", "hopper", "swimmer"]
        for seed, (at, task) in itertools.product(range(3), enumerate(data.tasks)):
            assert matrix[seed, at] == frame[arm, seed, task]


def test_parts_of_training_for_rliable_are_returns_on_the_scale_of_the_scores(files, data):
    returns, normalised = (analysis.to_rliable(data, score, parts=PARTS) for score in ("auc_score", "normalised"))
    runs = analysis.frame(data).set_index(["arm", "seed", "task"])
    for (arm, seed, task), own in runs.iterrows():
        of_task = runs.xs(task, level="task")
        scale = np.polyfit(of_task["auc_score"], of_task["normalised"], 1)  # normalised is linear in the return
        at = seed, data.tasks.index(task)
        if own["status"] == "diverged":
            assert (returns[arm][at] == own["untrained"]).all() and (normalised[arm][at] == 0).all()
            continue
        expected = in_parts(files, own["run_id"], "return_mean")
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(returns[arm][at], expected, rtol=1e-5)
        np.testing.assert_allclose(normalised[arm][at], np.polyval(scale, expected), atol=1e-5)


def test_rliable_takes_the_matrices(data, monkeypatch):
    # arch 7 uses pandas' private deprecate_kwarg as it was before pandas 3, when imported.
    monkeypatch.setattr(decorators, "deprecate_kwarg", lambda *_, **__: lambda function: function)
    pytest.importorskip("rliable")
    from rliable import library, metrics

    scores = analysis.to_rliable(data)
    points, intervals = library.get_interval_estimates(
        scores, lambda matrix: np.array([metrics.aggregate_iqm(matrix), metrics.aggregate_mean(matrix)]), reps=20
    )
    for arm, matrix in scores.items():
        by_task = list(matrix.T)
        assert points[arm] == pytest.approx([statistics.iqm(by_task), statistics.mean(by_task)], abs=1e-12)
        assert intervals[arm].shape == (2, 2)
    first, second = list(scores)[:2]
    pairs = {f"{first},{second}": (scores[first], scores[second])}
    improvement, _ = library.get_interval_estimates(pairs, metrics.probability_of_improvement, reps=20)
    ours = statistics.probability_of_improvement(list(scores[first].T), list(scores[second].T))
    assert improvement[f"{first},{second}"] == pytest.approx(ours, abs=1e-12)
    iqms, _ = library.get_interval_estimates(
        analysis.to_rliable(data, parts=PARTS),
        lambda cube: np.array([metrics.aggregate_iqm(cube[..., part]) for part in range(PARTS)]),
        reps=20,
    )
    assert all(each.shape == (PARTS,) for each in iqms.values())


def test_what_has_no_whole_matrix_is_one_line_that_says_what_to_do(files, data, tmp_path):
    runs, curves, _ = files
    hopper, trpo, last = runs["task"] == "hopper", runs["algorithm"] == "trpo", runs["seed"] == 2
    cases = {
        "trpo max_kl=0.01 was not run on hopper: .*only": runs[~(hopper & trpo)],
        "trpo max_kl=0.01 has 2 runs of hopper and 3 of .*whole_seeds": runs[~(hopper & trpo & last)],
    }
    for at, (said, kept) in enumerate(cases.items()):
        folder = synthetic.write(tmp_path / str(at), kept, curves)
        with pytest.raises(analysis.StudyError, match=said) as error:
            analysis.to_rliable(analysis.load(folder))
        assert "\n" not in str(error.value)
    whole = analysis.to_rliable(analysis.load(folder, whole_seeds=True))
    shapes = {arm: matrix.shape for arm, matrix in whole.items()}
    assert shapes == {arm.label: (3 if arm.settings else 2, 3) for arm in ARMS}  # the other condition was complete
    for options, said in (
        ({"score": "final_return"}, "score='final_return': 'normalised', 'score'"),
        ({"parts": 0}, "parts=0: a number of parts"),
        ({"parts": 20 * ITERATIONS}, "return in each part of training of .* is not known"),
    ):
        with pytest.raises(analysis.StudyError, match=said):
            analysis.to_rliable(data, **options)
    for options, said in (({"of": "run"}, "of='run': 'runs' or 'curves'"), ({"parts": 3}, "only curves have parts")):
        with pytest.raises(analysis.StudyError, match=said):
            analysis.frame(data, **options)
