"""One row per question: effect, interval, tasks, seeds, verdict (answers.Answer)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import answers
from ..arms import NotApplicable
from ..style import FAINT, FIXED, INK, available

TITLE = "The questions and their answers"
CAPTION = """
Effect of each question, mean over tasks with its 95 % interval over tasks; the grey stretch is what its rule takes
for nothing. Filled: the rule is met one way or the other; hollow: undecided.
"""
PART, ORDER = "overview", 10
NEEDS = ()
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    found = answers.answers(study)
    if not found:
        raise NotApplicable("needs a number swept on three tasks that were learned, or forks of three")
    columns = ["key", "question", "label", "unit", "effect", "low", "high", "tasks", "seeds", "verdict", "rule"]
    return pd.DataFrame([[getattr(answer, name) for name in columns] for answer in found], columns=columns)


def draw(frame) -> Figure:
    """A row per question, one panel per unit: the effect with its interval against what the rule takes for nothing."""
    groups = [("A", "price of one value\n(share of the gain)", (0, 0.05)),
              ("C", "TRPO less fixed β\n(share of the gain)", (-1e9, 0)),
              ("B", "move of the best β within a run\n(decades)", (-0.25, 0.25)),
              ("mechanism", "error of the measured β less a constant’s\n(decades)", (0, 1e9))]  # fmt: skip
    groups = [group for group in groups if (frame["key"] == group[0]).any()]
    heights = [(frame["key"] == key).sum() for key, *_ in groups]
    figure = Figure(figsize=(available.get(), 0.27 * sum(heights) + 0.62 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[count + 0.4 for count in heights]).flat
    for (key, label, nothing), ax in zip(groups, axes):
        here = frame[frame["key"] == key].iloc[::-1]
        for row, answer in enumerate(here.itertuples()):
            decided = answer.verdict != "undecided"
            ax.plot([answer.low, answer.high], [row, row], color=FIXED, lw=1.4)
            ax.plot(answer.effect, row, "o", color=FIXED, mfc=FIXED if decided else "white", ms=5)
        view = ax.get_xlim()
        ax.axvspan(*np.clip(nothing, *view), color=FAINT, alpha=0.2, lw=0)
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_xlim(view)
        short = [answer.label for answer in here.itertuples()]
        ax.set_yticks(range(len(here)), [f"{name}, {n} tasks" for name, n in zip(short, here["tasks"])])
        ax.set_ylim(-0.6, len(here) - 0.4)
        ax.set_title(label.replace("\n", " "))
        ax.grid(axis="y", visible=False)
    return figure
