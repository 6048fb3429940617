"""A figure, a table and a claim are added by one file each, and by nothing else."""

import csv
import os
import shutil
import subprocess
import sys

import pytest
import synthetic
from conftest import ROOT

PAGES = {
    "panel/run_lengths.py": '''
import pandas as pd
from matplotlib.figure import Figure

from ..arms import need, plain
from ..style import facets

TITLE = "Lengths of runs"
CAPTION = """
Steps of the runs with
a fixed β.
"""
PART, ORDER = "tuned", 15
NEEDS = ("kl_fixed",)


def numbers(study, runs) -> pd.DataFrame:
    return need(plain(runs, "kl_fixed"), "kl_fixed").groupby("task", as_index=False)["total_steps"].mean()


def draw(frame) -> Figure:
    figure, axes = facets(frame["task"])
    for task, ax in axes.items():
        ax.bar(0, frame.set_index("task").loc[task, "total_steps"])
    return figure
''',
    "table/run_counts.py": """
import pandas as pd

TITLE = "Numbers of runs"
CAPTION = "Runs of each arm."
PART, ORDER = "tuned", 25


def numbers(study, runs) -> pd.DataFrame:
    return runs.groupby("arm", as_index=False).agg(runs=("seed", "size"))


def text(frame) -> pd.DataFrame:
    return frame.astype(str)
""",
    "claim/many_runs.py": """
from ..rules import SUPPORTED

NAME = "Many runs"
CLAIM = "There are runs."
RULE = "Supported when there is one."
ORDER = 15
NEEDS = ()


def judge(study):
    return SUPPORTED, f"There are {len(study.runs)} runs.", study.runs[["task", "arm"]]
""",
}


@pytest.fixture
def run(tmp_path):
    shutil.copytree(ROOT / "analysis", tmp_path / "analysis", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in PAGES.items():
        (tmp_path / "analysis" / name).write_text(text)
    arms = [synthetic.TRPO, *synthetic.fixed([1.0, 10.0])]
    study = synthetic.study(synthetic.QUICK_TASKS[:1], arms, seeds=2, iterations=12)
    synthetic.write(tmp_path / "results/s", *study)

    def run(*words):
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-m", "analysis", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


def test_a_figure_a_table_and_a_claim_are_one_file_each(run, tmp_path):
    done = run("results/s")
    assert done.returncode == 0, done.stderr
    report = tmp_path / "results/s/report"
    text = (report / "report.md").read_text()
    places = [text.index(line) for line in ("#### Lengths of runs", "#### Numbers of runs", "#### Final returns")]
    assert places == sorted(places) and "Steps of the runs with a fixed β. ([numbers]" in text
    assert "**Many runs. There are runs. Supported.** There are 6 runs." in text
    for name in ("figures/run_lengths.svg", "tables/run_lengths.csv", "tables/run_counts.tex"):
        assert (report / name).stat().st_size > 0
    assert len(list(csv.reader((report / "tables/claim_many_runs.csv").open()))) == 7
    drawn = run("figure", "run_lengths", "results/s", "--width", "3", "--format", "png", "--out", "lengths.png")
    assert drawn.returncode == 0 and (tmp_path / "lengths.png").is_file(), drawn.stderr
    wrong = run("figure", "no_such", "results/s").stderr
    assert wrong.startswith("error: no figure 'no_such'") and "comparison, run_lengths, learning_curves" in wrong
