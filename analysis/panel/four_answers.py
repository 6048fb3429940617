"""One row per question: effect, interval, tasks, seeds, verdict (answers.Answer)."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import answers
from ..arms import NotApplicable
from ..style import FAINT, FIXED, INK, NARROW, available

TITLE = "The questions and their answers"
CAPTION = """
Effect of each question, mean over tasks with its 95 % interval over tasks; grey marks effects that its rule counts as
none. Filled: the rule decides, for the claim or against it; hollow: undecided. With fewer tasks than a verdict needs
(30 for prices, 25 for bounds, 12 for adaptive β or TRPO minus fixed β, 6 else) the line is no 95 % interval: of a price
it then covers the truth in 82 to 94 % of simulated studies. Forks have no line where more than a tenth of their peaks
are ends of the values that were run.
"""
PART, ORDER = "overview", 10
NEEDS = ()
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    found = answers.answers(study)
    if not found:
        raise NotApplicable("needs a number swept on three tasks that were learned, or forks of three")
    columns = ["key", "question", "label", "unit", "effect", "low", "high", "tasks", "seeds", "verdict", "rule"]
    columns += ["candidates", "edges"]
    return pd.DataFrame([[getattr(answer, name) for name in columns] for answer in found], columns=columns)


def draw(frame) -> Figure:
    """A row per question, one panel per unit: the effect with its interval against what the rule counts as none."""
    groups = [("step", "change of the step by the unit of reward (decades of KL)", (-0.3, 0.3)),
              ("A", "price of one value (share of the gain)", (0, 0.05)),
              ("C", "TRPO minus fixed β (share of the gain)", (-1e9, 0)),
              ("rate", "move of the best β with the learning rate (decades)", (-0.25, 0.25)),
              ("change", "PPO’s adaptive β minus the task’s best constant (share of the gain)", (-1e9, 0)),
              ("bound", "price of one β that the bound on the gradient takes away (share of the gain)", (-1e9, 0)),
              ("B", "move of the best β within a run (decades)", (-0.25, 0.25)),
              ("mechanism", "extra error of the measured β over a constant (decades)", (0, 1e9))]  # fmt: skip
    groups = [group for group in groups if (frame["key"] == group[0]).any()]
    heights = [(frame["key"] == key).sum() for key, *_ in groups]
    narrow = available.get() < NARROW
    names = [f"{answer.label}, {answer.tasks} tasks" for answer in frame.itertuples()]
    names = [textwrap.fill(name, 27) for name in names] if narrow else names
    frame = frame.assign(name=names)
    row_height = 0.14 + 0.13 * max(name.count("\n") + 1 for name in names)  # inches
    figure = Figure(figsize=(available.get(), row_height * sum(heights) + 0.62 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[count + 0.4 for count in heights]).flat
    for (key, label, nothing), ax in zip(groups, axes):
        here = frame[frame["key"] == key].iloc[::-1]
        for row, answer in enumerate(here.itertuples()):
            if not np.isfinite(answer.effect):
                told = f"not told: ends of the grid on {answer.edges} of {answer.tasks} tasks"
                ax.text(0.5, row, told, transform=ax.get_yaxis_transform(), ha="center", va="center", fontsize=7)
            decided = answer.verdict != "undecided"
            ax.plot([answer.low, answer.high], [row, row], color=FIXED, lw=1.4)
            ax.plot(answer.effect, row, "o", color=FIXED, mfc=FIXED if decided else "white", ms=5)
        view = ax.get_xlim()
        ax.axvspan(*np.clip(nothing, *view), color=FAINT, alpha=0.2, lw=0)
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_xlim(view)
        ax.set_yticks(range(len(here)), here["name"])
        ax.set_ylim(-0.6, len(here) - 0.4)
        ax.set_title(label)
        ax.grid(axis="y", visible=False)
    return figure
