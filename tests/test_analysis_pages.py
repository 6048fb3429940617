"""A figure, a table and a question are added by one file each, and by nothing else."""

import csv
import os
import shutil
import subprocess
import sys

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
    "question/many_runs.py": """
import pandas as pd
from matplotlib.figure import Figure

from . import Answer

QUESTION = "Are there runs?"
RULE = "Shown when there is one."
TITLE = "Runs"
CAPTION = "Their number."
PART, ORDER = "tuned", 15


def effects(data):
    return data.runs


def decide(runs):
    count, tasks = len(runs), tuple(runs["task"].unique())
    return [Answer("many_runs", "runs", "these", "", count, count, count, 0, 0, 0, tasks, 1, "2", {}, "shown", RULE)]


def sentence(answer):
    return f"There are {answer.effect:g} runs."


def numbers(study, runs) -> pd.DataFrame:
    return runs[["task", "arm"]]


def draw(frame) -> Figure:
    figure = Figure(figsize=(3, 1))
    figure.subplots()
    return figure
""",
}


# Figures of the report are neither laid out nor rendered, which takes most of a report's time; but for the added one
SKETCH = """

_drawn, _save = drawn, save
SKETCHED = '<svg width="504pt" height="100pt" viewBox="0 0 504 100"></svg>'


def drawn(draw, frame, *options):
    if draw.__module__.endswith("run_lengths"):
        return _drawn(draw, frame, *options)
    with own():
        return draw(drawable(frame))


def save(figure, path):
    if path.name == "run_lengths":
        return _save(figure, path)
    path.with_suffix(".svg").write_text(SKETCHED)
    return SKETCHED
"""
# python -m analysis, with the words of each line, in one process
EACH = """import sys
from analysis.__main__ import main

for words in sys.stdin.read().splitlines():
    print(main(words.split()))
"""


def test_a_figure_a_table_and_a_question_are_one_file_each(tmp_path):
    shutil.copytree(ROOT / "analysis", tmp_path / "analysis", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in PAGES.items():
        (tmp_path / "analysis" / name).write_text(text)
    style = tmp_path / "analysis/style.py"
    style.write_text(style.read_text() + SKETCH)
    arms = [synthetic.TRPO, *synthetic.fixed([1.0, 10.0])]
    study = synthetic.study(synthetic.QUICK_TASKS[:1], arms, seeds=2, iterations=12)
    synthetic.write(tmp_path / "results/s", *study)
    drawn = "figure run_lengths results/s --width 3 --format png --out lengths.png"
    done = subprocess.run(
        [sys.executable, "-c", EACH], input=f"results/s\n{drawn}\nfigure no_such results/s\n", cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    codes = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert (done.returncode, codes) == (0, ["0", "0", "1"]), done.stderr
    report = tmp_path / "results/s/report"
    text = (report / "report.md").read_text()
    places = [text.index(line) for line in ("#### Lengths of runs", "#### Numbers of runs", "#### Final returns")]
    assert places == sorted(places) and "Steps of the runs with a fixed β. ([numbers]" in text
    assert "**Are there runs?**\n\nThere are 6 runs. **shown**\n\n*Rule:* Shown when there is one." in text
    for name in ("figures/run_lengths.pdf", "tables/run_lengths.csv", "tables/run_counts.tex"):
        assert (report / name).stat().st_size > 0
    (row,) = [row for row in csv.DictReader((report / "tables/verdicts.csv").open()) if row["question"] == "many_runs"]
    assert (row["effect"], row["verdict"], row["sentence"]) == ("6", "shown", "There are 6 runs.")
    assert (tmp_path / "lengths.png").is_file()
    (wrong,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "no figure 'no_such'" in wrong and "comparison, run_lengths, many_runs, learning_curves" in wrong
