"""results/ as a data set: what describes it, the figures drawn to the same bytes, and the archive."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic
from conftest import ROOT

import analysis
from analysis import dataset, numbers, style
from study.record import CURVES, RUNS

RESULTS = ROOT / "results"
COLUMNS = {"runs": RUNS, "curves": CURVES}
DRAWN = {"units/step": ["units"], "task_by_task/task_by_task": ["task_by_task"]}  # cheap ones of figures.yaml


def git(folder, *words):
    return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


# Croissant --------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """A folder of two studies that is described as results/ is; the second lacks a column of the first."""
    results = tmp_path / "results"
    for name, seeds, drop in (("one", 2, []), ("two", 1, ["kl_p99"])):
        runs, curves = synthetic.study([synthetic.Task(name)], [synthetic.TRPO], seeds=seeds, iterations=3)
        synthetic.write(results / name, runs, curves.drop(columns=drop))
    shutil.copy(ROOT / "CITATION.cff", tmp_path)
    return results


def test_the_committed_metadata_are_what_the_command_makes():
    made = dataset.croissant(RESULTS)
    assert json.loads((RESULTS / "croissant.json").read_text()) == made, "python -m analysis.dataset"
    described = {"runs": {}, "curves": {}}
    for record_set in made["recordSet"]:
        fields = {field["name"]: field["description"] for field in record_set["field"]}
        described[record_set["name"].split("-")[0]] |= fields
    assert described == {kind: {"study": "folder of the study", **known} for kind, known in COLUMNS.items()}
    listed = sorted(path for files in made["distribution"] for path in files["includes"])
    assert listed == sorted(name for name in git(RESULTS, "ls-files").splitlines() if name.endswith(".parquet"))


def test_the_numbers_of_the_card_are_counted():
    assert dataset.card(RESULTS) == (RESULTS / "CARD.md").read_text(), "python -m analysis.dataset"


def test_the_card_counts_each_run_once_and_no_study_in_training(small, tmp_path):
    """The second study has the first one's runs of one seed, and one of its own; the third is in training."""
    shutil.copytree(small / "one", small / "three")
    runs, curves = (pd.read_parquet(small / f"two/{kind}.parquet") for kind in ("runs", "curves"))
    shared = pd.read_parquet(small / "one/runs.parquet").query("seed == 0")
    pd.concat([runs.assign(commit="abc+"), shared]).to_parquet(small / "two/runs.parquet")
    (small / "three/README.md").write_text("---\nquestion: q\nregistered: ''\ncomplete: false\n---\n# Three\n")
    counted = dataset.counts(small)
    assert (counted["studies"], counted["different runs"], counted["tasks"]) == ("2", "3", "2")
    assert counted["updates"] == "9" and counted["rows that are complete"] == "4 of 4"
    assert counted["seeds of an arm on a task: one, two, three, more"] == "50 %; 50 %; 0 %; 0 %"
    assert (counted["most seeds of an arm on a task"], counted["rows whose commit ends in `+`"]) == ("2", "1")
    (small / "CARD.md").write_text("before\n\n| in numbers | |\n|---|---|\n| old | 1 |\n\n| other | 2 |\n")
    made = dataset.card(small)
    assert "| different runs | 3 |\n" in made and "old" not in made
    assert made.startswith("before\n\n| in numbers | |\n|---|---|\n") and made.endswith("|\n\n| other | 2 |\n")
    (small / "CARD.md").write_text(made)
    assert dataset.card(small) == made


def test_mlcroissant_finds_no_fault_and_reads_runs_of_every_committed_file(tmp_path):
    """The first and the last of each: mlcroissant takes milliseconds a row."""
    mlcroissant = pytest.importorskip("mlcroissant")
    ends = {}
    for name in [name for name in git(RESULTS, "ls-files").splitlines() if name.endswith("runs.parquet")]:
        table = pq.read_table(RESULTS / name)
        (tmp_path / name).parent.mkdir(parents=True)
        pq.write_table(pa.concat_tables([table.slice(0, 1), table.slice(len(table) - 1)]), tmp_path / name)
        for run in pd.read_parquet(tmp_path / name).itertuples():
            ends[name.removesuffix("/runs.parquet"), run.run_id] = run.arm, run.final_return
    shutil.copy(RESULTS / "croissant.json", tmp_path)
    data, read = mlcroissant.Dataset(str(tmp_path / "croissant.json")), {}
    assert data.metadata.ctx.issues.report() == ""
    for name in [record_set.name for record_set in data.metadata.record_sets if record_set.name.startswith("runs")]:
        for run in data.records(name):
            study, run_id, arm = (text(run[f"{name}/{column}"]) for column in ("study", "run_id", "arm"))
            read[study, run_id] = arm, run[f"{name}/final_return"]
    assert read.keys() == ends.keys()
    for key, (arm, final_return) in read.items():
        assert arm == ends[key][0] and final_return == pytest.approx(ends[key][1], rel=1e-12, nan_ok=True), key


def test_every_record_is_a_row_of_the_files(small):
    mlcroissant = pytest.importorskip("mlcroissant")
    file = small / "croissant.json"
    file.write_text(json.dumps(dataset.croissant(small)))
    data = mlcroissant.Dataset(str(file))
    found = {record_set.name: record_set.description for record_set in data.metadata.record_sets}
    assert list(found) == ["runs", "curves", "curves-2"] and "older than the columns kl_p99" in found["curves-2"]
    for name, kind, folders in (
        ("runs", "runs", "one two"),
        ("curves", "curves", "one"),
        ("curves-2", "curves", "two"),
    ):
        key = ["study", "run_id", "iteration"][: 2 + (kind == "curves")]
        records = [{each.split("/")[1]: text(value) for each, value in record.items()} for record in data.records(name)]
        parts = [pd.read_parquet(small / folder / f"{kind}.parquet").assign(study=folder) for folder in folders.split()]
        written = pd.concat(parts, ignore_index=True)
        read = pd.DataFrame(records).set_index(key).sort_index()
        assert set(read) | set(key) == set(written) and len(read) == len(written)
        written = written.set_index(key).sort_index()[list(read)]
        for column in read:
            assert read[column].isna().equals(written[column].isna()), column
            known = read[column].notna()
            assert (read.loc[known, column] == written.loc[known, column]).all(), column


def test_a_column_without_a_meaning_is_refused(small):
    runs = pd.read_parquet(small / "one/runs.parquet").assign(mood=1)
    runs.to_parquet(small / "one/runs.parquet")
    with pytest.raises(analysis.StudyError, match="record.py says nothing of the columns mood of runs.parquet"):
        dataset.croissant(small)


# Digests of figures -------------------------------------------------------------------------


def test_the_committed_digests_are_those_of_the_committed_figures():
    lines = (RESULTS / "figures.sha256").read_text().splitlines()
    committed = [name for name in git(RESULTS, "ls-files").splitlines() if "report/figures/" in name]
    assert lines == sorted((f"{digest(RESULTS / name)}  {name}" for name in committed), key=lambda line: line[66:]), (
        "python -m analysis.dataset"
    )


DRAW = """
import sys
from pathlib import Path
import analysis
from analysis import style
for line in sys.stdin.read().splitlines():
    name, to, *folders = line.split("\\t")
    style.save(analysis.figure(name, analysis.load(folders)), Path(to))
"""


def test_figures_are_drawn_to_the_bytes_that_are_committed(tmp_path):
    """In this process, and in another whose texts have other hashes, in another zone of time."""
    lines = []
    for place, studies in DRAWN.items():
        name, folders = place.rpartition("/")[2], [str(RESULTS / study) for study in studies]
        style.save(analysis.figure(name, analysis.load(folders)), tmp_path / name)
        lines.append("\t".join([name, str(tmp_path / f"{name} there"), *folders]))
    apart = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", DRAW], input="\n".join(lines), text=True, check=True, env=apart, cwd=tmp_path)
    for place in DRAWN:
        here = tmp_path / place.rpartition("/")[2]
        for kind in style.FORMATS:
            assert digest(here.with_suffix(f".{kind}")) == digest(here.with_name(f"{here.name} there.{kind}")), kind
    if others := versions():
        pytest.skip(f"the committed figures were drawn with other versions: {others}")
    for place in DRAWN:
        committed = RESULTS / place.replace("/", "/report/figures/")
        assert digest(tmp_path / f"{committed.name}.png") == digest(committed.with_suffix(".png")), place


def versions():
    """What draws a figure and is here in another version than in constraints.txt."""
    pinned = dict(re.findall(r"^(\w+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    drawing = ("matplotlib", "numpy", "pandas", "pillow", "scipy", "seaborn", "contourpy")
    return [name for name in drawing if importlib.metadata.version(name) != pinned[name]]


def test_what_other_bytes_a_figure_has_is_said(tmp_path, monkeypatch):
    folder = tmp_path / "results/a/report/figures"
    folder.mkdir(parents=True)
    for name in ("x", "y", "unshown"):
        (folder / f"{name}.png").write_text(name)
    page = tmp_path / "README.md"
    page.write_text("![x](results/a/report/figures/x.png) and\n![y](results/a/report/figures/y.png) ![z](z.png)\n")
    monkeypatch.setattr(numbers, "pages", lambda: [page])
    results, paths = tmp_path / "results", ["a/report/figures/x.png", "a/report/figures/y.png"]
    assert dataset.write_digests(results).endswith(f"2 figures, other bytes than before: {', '.join(paths)}")
    assert dataset.write_digests(results).endswith("2 figures, the same bytes as before")
    subprocess.run(["sha256sum", "--status", "--strict", "-c", "figures.sha256"], cwd=results, check=True)
    (folder / "y.png").write_text("other")
    assert subprocess.run(["sha256sum", "--status", "-c", "figures.sha256"], cwd=results).returncode == 1
    assert dataset.write_digests(results).endswith(f"other bytes than before: {paths[1]}")
    (folder / "y.png").unlink()
    with pytest.raises(analysis.StudyError, match="README.md shows .*y.png, which is not there"):
        dataset.write_digests(results)


# Archive ------------------------------------------------------------------------------------


@pytest.fixture
def committed(tmp_path):
    """A repository whose folder `results` has a study, and what git does not have."""
    root = tmp_path / "repository"
    synthetic.write(root / "results/one", *synthetic.study([synthetic.Task("a")], [synthetic.TRPO], iterations=3))
    for name, text in (("LICENSE", "MIT"), (".gitignore", "*.tmp"), ("results/one/README.md", "# One\n")):
        (root / name).write_text(text)
    git(tmp_path, "init", "-q", root)
    git(root, "add", "-A")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "one")
    (root / "results/one/half.tmp").write_text("ignored")
    (root / "results/one/new.md").write_text("untracked")
    return root / "results"


NAMES = ["LICENSE", "one/README.md", "one/curves.parquet", "one/runs.parquet", "SHA256SUMS"]


def test_an_archive_has_the_committed_files_and_their_digests(committed, tmp_path, capsys):
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    assert dataset.main([str(first), str(committed)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{first}: 5 files, ") and said.endswith(f"sha256 {digest(first)}\n")
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist() == [f"results/{name}" for name in NAMES] and archive.testzip() is None
        assert {member.external_attr >> 16 for member in archive.infolist()} == {0o644}
        archive.extractall(tmp_path / "out")
    subprocess.run(["sha256sum", "--status", "--strict", "-c", "SHA256SUMS"], cwd=tmp_path / "out/results", check=True)
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out/results/one/curves.parquet"), pd.read_parquet(committed / "one/curves.parquet")
    )
    os.utime(committed / "one/README.md", (1, 1))
    assert dataset.pack(second, committed) == NAMES and digest(first) == digest(second)


def test_a_folder_that_git_does_not_have_is_packed_but_for_what_is_hidden(tmp_path):
    mine = synthetic.write(tmp_path / "mine", *synthetic.study([synthetic.Task("a")], [synthetic.TRPO], iterations=3))
    (mine / ".work").mkdir()
    (mine / ".work/plan.json").write_text("{}")
    assert dataset.pack(tmp_path / "mine.zip", mine) == ["curves.parquet", "runs.parquet", "SHA256SUMS"]


def test_what_cannot_be_packed_is_one_line_and_leaves_no_file(committed, tmp_path, capsys):
    (tmp_path / "there.zip").write_text("mine")
    (tmp_path / "empty").mkdir()
    (committed / "one/README.md").write_text("# Two\n")
    for archive, folder, said in (
        ("a.zip", committed, "results is not as it was committed: M results/one/README.md"),
        ("a.zip", tmp_path / "nowhere", "no such directory"),
        ("a.zip", tmp_path / "empty", "no files in"),
        ("there.zip", RESULTS / "units", "there.zip: File exists"),
        ("no/such/a.zip", RESULTS / "units", "cannot write"),
    ):
        assert dataset.main([str(tmp_path / archive), str(folder)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and said in error, error
    assert (tmp_path / "there.zip").read_text() == "mine" and not (tmp_path / "a.zip").exists()
