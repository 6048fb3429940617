"""Whatever happens to a file of a study, and whatever command comes next, no row that was whole is lost."""

import io
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import synthetic
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from analysis.data import StudyError, load
from study.console import Lines
from study.launch import disk, merge, snapshots, status, tracker
from study.launch.plan import Plan
from study.launch.store import COLUMNS, Store, agrees, read
from study.settings import ConfigError

ITERATIONS = 3


def tables(seeds, betas=(1.0, 10.0)):
    """(runs, curves) of made-up runs in the columns of the results."""
    runs, curves = synthetic.study(
        [synthetic.Task("hopper")], synthetic.fixed(betas), seeds=max(seeds) + 1, iterations=ITERATIONS
    )
    runs = runs[runs["seed"].isin(seeds)]
    runs = runs.reindex(columns=COLUMNS["runs"]).assign(condition="", overrides="[]", environment="")
    curves = curves[curves["run_id"].isin(runs["run_id"])].reindex(columns=COLUMNS["curves"])
    numbers = {name: "float32" for name in curves if curves[name].dtype == "float64"}
    curves = curves.astype(numbers | {"iteration": "int32", "episodes": "int32"})
    means = curves.groupby("run_id")["return_mean"].mean().astype(float)
    return runs.assign(auc_return=runs["run_id"].map(means)).reset_index(drop=True), curves.reset_index(drop=True)


def write(folder, runs, curves, prefix=""):
    disk.write_table(folder / f"{prefix}runs.parquet", runs)
    disk.write_table(folder / f"{prefix}curves.parquet", curves)


@pytest.fixture(scope="module", autouse=True)
def unflushed():
    """Nothing here cuts the power, and a disk takes its time to flush."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk.os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study with four merged runs, two in a part, a plan and what launchers leave."""
    folder = tmp_path_factory.mktemp("store") / "s"
    store = Store(folder)
    store.open()
    write(folder, *tables((0, 1)))
    write(store.parts, *tables((2,)), prefix="fleet.")
    disk.write_json(store.work / "plan.json", {})
    disk.write_signed(store.checkpoint("fleet"), b"a checkpoint")
    (store.work / "launchers").mkdir()
    (store.work / "launchers/here-1.json").write_text('{"pid": 1}')
    (store.errors / "fleet.txt").write_text("hopper: an error\n")
    other = tmp_path_factory.mktemp("store") / "other"
    other.mkdir()
    write(other, *tables((3,)))
    return folder, other


FILES = (
    "runs.parquet", "curves.parquet", ".work/parts/fleet.runs.parquet", ".work/parts/fleet.curves.parquet",
    ".work/plan.json", ".work/token", ".work/launchers/here-1.json", ".work/errors/fleet.txt",
)  # fmt: skip


def _rewritten(change):
    def damage(path, place):
        if path.suffix == ".parquet":
            change(pd.read_parquet(path)).to_parquet(path, index=False)

    return damage


def _filtered(path, place):
    """With pyarrow, which keeps the metadata and so the digest."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.not_equal(table["run_id"], table["run_id"][0])), path)


def _flipped(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1 << int(place * 1000) % 8
    path.write_bytes(content)


def _folder(path, place):
    path.unlink()
    path.mkdir()
    (path / "a file").write_text("x")


def _link(path, place):
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = {
    "cut": lambda path, place: path.write_bytes(path.read_bytes()[: int(place * path.stat().st_size)]),
    "flipped": _flipped,
    "empty": lambda path, place: path.write_bytes(b""),
    "gone": lambda path, place: path.unlink(),
    "a folder": _folder,
    "a link to nothing": _link,
    "filtered": _filtered,
    "rewritten": _rewritten(lambda frame: frame),
    "reversed": _rewritten(lambda frame: frame[::-1]),
    "doubled": _rewritten(lambda frame: pd.concat([frame, frame])),
    "with rows that differ": _rewritten(lambda frame: pd.concat([frame, frame.assign(wall_seconds=9.0, kl_after=9.0)])),
    "with a column more": _rewritten(lambda frame: frame.assign(mine=range(len(frame)))),
    "of an older schema": _rewritten(lambda frame: frame.drop(columns=["condition", "kl_max"], errors="ignore")),
    "without what it needs": _rewritten(lambda frame: frame.drop(columns=["seed", "kl_after"], errors="ignore")),
    "without ids": _rewritten(lambda frame: frame.assign(run_id=None)),
    "with numbers as words": _rewritten(lambda frame: frame.astype(str)),
    "with words as numbers": _rewritten(lambda frame: frame.assign(task=7, run_id=range(len(frame)))),
    "with floats": _rewritten(lambda frame: frame.astype({n: float for n in frame if frame[n].dtype.kind == "i"})),
    "with categories": _rewritten(
        lambda frame: frame.astype({n: "category" for n in frame if frame[n].dtype == "str"})
    ),
    "one run alone": _rewritten(lambda frame: frame[frame["run_id"] == frame["run_id"].iloc[0]]),
    "without rows": _rewritten(lambda frame: frame.iloc[:0]),
}


def sweep(folder, other):
    """What a launcher does with the files when another fleet is trained."""
    store = Store(folder)
    store.open()
    store.merge()
    store.finished()
    with store.lock:
        Plan(store.work).read().write()
    assert store.token
    write(store.parts, *tables((4,), (1.0,)), prefix="new.")
    store.merge()
    assert {"complete"} == set(store.runs()["status"])


COMMANDS = {
    "sweep": sweep,
    "merge": lambda folder, other: merge.merge(folder, other),
    "merge from": lambda folder, other: merge.merge(other, folder),
    "status": lambda folder, other: status.show(folder, Console(file=io.StringIO())),
    "analysis": lambda folder, other: load(folder),
}


def rows(*folders):
    """Every row that any readable table of the folders has, in place or beside."""
    found = set()
    for file in [file for folder in folders for file in folder.rglob("*parquet*") if file.is_file()]:
        try:
            frame = pd.read_parquet(file)
        except Exception:
            continue
        numbers = [name for name in ("iteration", "return_mean", "final_return", "kl_after", "mine") if name in frame]
        for run, *values in frame.get(["run_id", *numbers], pd.DataFrame()).itertuples(index=False):
            if run is not None:
                found.add((str(run), *(f"{float(value):.4g}" for value in values)))
    return found


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(FILES), st.sampled_from(list(DAMAGES)), st.floats(0, 1),
    st.lists(st.sampled_from(list(COMMANDS)), min_size=1, max_size=2),
)  # fmt: skip
@example("runs.parquet", "filtered", 0.0, ["sweep"])
@example("curves.parquet", "one run alone", 0.0, ["sweep"])
@example(".work/parts/fleet.curves.parquet", "cut", 0.5, ["sweep"])
@example(".work/parts/fleet.runs.parquet", "with numbers as words", 0.5, ["merge", "sweep"])
@example("runs.parquet", "with a column more", 0.0, ["merge"])
@example("runs.parquet", "with categories", 0.0, ["analysis"])
@example("curves.parquet", "with categories", 0.0, ["analysis"])
@example(".work/token", "a folder", 0.0, ["sweep"])
@example(".work/launchers/here-1.json", "a folder", 0.0, ["status"])
def test_whatever_one_file_suffers_no_whole_row_is_lost(tmp_path_factory, whole, file, damage, place, commands):
    here = tmp_path_factory.mktemp("damaged")
    folder, other = (Path(shutil.copytree(folder, here / folder.name)) for folder in whole)
    DAMAGES[damage](folder / file, place)
    before = rows(folder, other)
    for command in commands:
        try:
            COMMANDS[command](folder, other)
        except (ConfigError, StudyError, disk.Unwritable) as refusal:
            assert "\n" not in str(refusal)
        assert before <= rows(folder, other), command
    shutil.rmtree(here)


def test_curves_without_rows_are_kept_and_found_again_when_the_rows_are_back(tmp_path, capfd):
    runs, curves = tables((0, 1))
    write(tmp_path, runs, curves)
    backup = (tmp_path / "runs.parquet").read_bytes()
    _filtered(tmp_path / "runs.parquet", 0)
    sweep(tmp_path, None)
    said = " ".join(capfd.readouterr().err.split())
    assert "damaged:" in said and "the curves of 4 runs have no row in runs.parquet" in said
    assert len(Store(tmp_path).runs()) == 1
    (tmp_path / "runs.parquet").write_bytes(backup)
    store = Store(tmp_path)
    store.merge()
    assert len(store.runs()) == 4 and len(store.curves()) == len(curves)
    pd.testing.assert_frame_equal(store.curves(), curves, check_like=True)

    (tmp_path / "other").mkdir()
    (tmp_path / "other/runs.parquet").write_bytes(backup)
    disk.write_table(tmp_path / "other/curves.parquet", curves)
    assert "0 runs" in merge.merge(tmp_path, tmp_path / "other")


def test_curves_of_another_training_are_not_taken_for_a_run_s_own(tmp_path):
    runs, curves = tables((0,))
    write(tmp_path, runs.assign(auc_return=runs["auc_return"] + 1), curves.iloc[:0])
    store = Store(tmp_path)
    store.open()
    store.aside.mkdir()
    disk.write_table(store.aside / "curves.parquet.1", curves)
    assert not agrees(runs.assign(auc_return=0.0), curves).any() and agrees(runs, curves).all()
    store.merge()
    assert store.runs().empty and list(store.aside.glob("runs.parquet.*"))


def test_a_run_that_two_files_have_is_that_of_the_later_one_and_the_other_is_kept(tmp_path):
    runs, curves = tables((0,))
    write(tmp_path, runs, curves)
    store = Store(tmp_path)
    store.open()
    shorter = curves[curves["iteration"] < 2].assign(kl_after=np.float32(7))
    write(store.parts, runs.assign(final_return=5.0), shorter, prefix="a.")
    before = rows(tmp_path)
    store.merge()
    assert (store.runs()["final_return"] == 5).all() and (store.curves()["kl_after"] == 7).all()
    assert len(store.curves()) == len(shorter), "no curve is made of two trainings"
    assert before <= rows(tmp_path)


def test_pandas_options_make_no_table_a_damaged_one(tmp_path):
    runs, curves = tables((0,))
    write(tmp_path, runs, curves)
    with warnings.catch_warnings(action="ignore"), pd.option_context("future.infer_string", False):
        assert read(tmp_path / "runs.parquet", "runs").equals(runs)
        write(tmp_path, *tables((0,)))
    assert read(tmp_path / "runs.parquet", "runs").equals(runs)


def test_a_file_that_cannot_be_read_now_is_not_set_aside(tmp_path, monkeypatch):
    write(tmp_path, *tables((0,)))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk.pq, "ParquetFile", refuse)
    store = Store(tmp_path)
    store.open()
    with pytest.raises(disk.Unwritable, match="runs.parquet cannot be read: Permission denied"):
        store.merge()
    assert (tmp_path / "runs.parquet").exists() and not store.aside.exists()


def test_a_damaged_source_of_forks_is_one_line(tmp_path):
    from conftest import configuration

    (tmp_path / "runs.parquet").write_bytes(b"nothing")
    fork = {"source": str(tmp_path), "arm": "trpo max_kl=0.01", "at": 2048}
    with pytest.raises(ConfigError, match="runs.parquet"):
        snapshots.source(configuration(fork=fork))


# Labels

LABELS = (
    "hopper", "a/b", "a_b", "..", ".", "", " ", "-rf", "x" * 300, "你" * 300, "a\nb", "a\x00b", "\ud800", "[/red] x",
    "[bold]x", ":warning:", "\\[red]", "\u202eabc", "a$b", "=1",
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(LABELS) | st.text(), min_size=2, max_size=2, unique=True))
@example(["a/b", "a_b"])
@example(["x" * 300, "x" * 301])
def test_labels_are_names_of_files_and_different_ones_stay_different(tmp_path_factory, labels):
    names = [disk.filename(label) for label in labels]
    assert names[0] != names[1]
    for name in names:
        assert "/" not in name and name not in ("", ".", "..") and name[0] not in "-." and name.isprintable()
        assert len(name.encode()) <= disk.LONGEST + 9
    assert disk.filename("kl_fixed beta=3 horizon=512") == "kl_fixed beta=3 horizon=512"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(LABELS) | st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
def test_the_console_prints_labels_as_they_are(label):
    out = io.StringIO()
    console = Lines(file=out, soft_wrap=True, width=400, color_system=None)
    console.print(f"[red]error:[/] {label} is wrong", highlight=False)
    for control in "\x00\u202e":
        label = label.replace(control, f"‹U+{ord(control):04X}›")
    assert out.getvalue().removesuffix("\n") == f"error: {label} is wrong"


def test_tensorboard_takes_any_label_and_keeps_it_whole(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, curves = tables((0,), (1.0,))

    class Result:
        def __init__(self, label):
            self.curves = curves
            self.config = type("C", (), {"task_label": label, "arm": f"trpo note={label}", "seed": 0, "run_id": "a"})

    labels = [label for label in LABELS if label != "\ud800"]
    tracker.write("tensorboard", tmp_path, [Result(label) for label in labels])
    folders = sorted(path.parent for path in tmp_path.rglob("events.out.*"))
    assert len(folders) == len(labels)
    seen = set()
    for folder in folders:
        events = EventAccumulator(str(folder))
        events.Reload()
        (text,) = events.Tensors("run/text_summary")
        seen.add(json.loads(text.tensor_proto.string_val[0])["task"])
        assert events.Scalars("kl_after")
    assert seen == set(labels)


def test_a_tracker_that_fails_is_one_note_and_no_end(tmp_path, monkeypatch, capfd):
    from types import SimpleNamespace as Stub

    from conftest import configuration

    from study.launch import runner

    config = configuration(execution={"tracker": "tensorboard"})
    stored = []
    store = Stub(
        add=lambda name, results: stored.append(name), checkpoint=lambda name: tmp_path / name, folder=tmp_path
    )
    sweep = runner.Sweep(store, [config])
    sweep.meter = Stub(drop=lambda fleet, finished: None)

    def fail(*_):
        raise OSError(36, "File name too long")

    monkeypatch.setattr(tracker, "write", fail)
    for name in ("a", "b"):
        result = Stub(config=config, status="complete", curves=None)
        sweep._keep(Stub(name=name, configs=[config]), [result])
    said = capfd.readouterr().err
    assert stored == ["a", "b"] and said.count("note:") == 1 and "File name too long" in said


def test_text_that_no_table_can_hold_is_refused_before_training():
    from conftest import configuration

    with pytest.raises(ConfigError, match="UTF-8"):
        configuration(name="a\udcff")
