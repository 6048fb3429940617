"""Per task and number the values that keep 90 % of the smoothed best, and what the best single value loses
(price.Window).
"""

from dataclasses import asdict

import pandas as pd
from matplotlib.figure import Figure

from .. import answers, price
from ..arms import NotApplicable
from ..data import KNOBS
from ..names import SYMBOLS, UNIT, algorithm_name, task_name
from ..style import ALGORITHM_STYLE, FIXED, INK, available, log_axis, side_by_side

TITLE = "Which values serve which task"
CAPTION = """
A bar holds the values that keep 90 % of the best score on a task, a dot is the best one with its 95 % interval. The
dashed line is the best single value; at the right is what it loses of the gain.
"""
PART, ORDER = "windows_of_values", 10
NEEDS = ()
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    rows = []
    for advantages, here, everything in answers.conditions(study):
        for algorithm in KNOBS:
            scores = answers.grid_of(here, everything, algorithm)
            if scores is None:
                continue
            single, found = price.windows(scores)
            for task, window in zip(scores.tasks, found):
                rows.append(
                    {"algorithm": algorithm, "advantages": advantages, "task": task, "single": single}
                    | asdict(window)
                    | {"smallest": scores.settings[0], "largest": scores.settings[-1]}
                )
    if not rows:
        raise NotApplicable("needs a number swept on three tasks that were learned")
    return pd.DataFrame(rows)


def draw(frame) -> Figure:
    """A row per task, a column per number: window, optimum with its interval, the best single value and its loss."""
    numbers = list(frame[["algorithm", "advantages"]].drop_duplicates().itertuples(index=False, name=None))
    tasks = sorted(frame["task"].unique(), key=task_name, reverse=True)
    if not any(UNIT in task for task in tasks):  # pairs of units stay together
        best = frame.drop_duplicates("task").set_index("task")["optimum"]
        tasks = sorted(tasks, key=best.get, reverse=True)
    parts = [frame[(frame["algorithm"] == name) & (frame["advantages"] == kind)] for name, kind in numbers]
    shown = [tasks] * len(numbers)
    if available.get() >= 1.35 * len(numbers):
        figure, axes = side_by_side(len(numbers), 0.9 + 0.19 * len(tasks), least=1.35, sharey=True)
    else:  # below each other, each with its own tasks alone
        shown = [[task for task in tasks if task in set(here["task"])] for here in parts]
        heights = [0.9 + 0.19 * len(tasks) for tasks in shown]
        figure = Figure(figsize=(available.get(), sum(heights)), layout="constrained")
        axes = figure.subplots(len(numbers), 1, squeeze=False, height_ratios=heights).flat
    for (algorithm, advantages), here, tasks, ax in zip(numbers, parts, shown, axes):
        rows = {task: row for row, task in enumerate(tasks)}
        colour = FIXED if algorithm == "kl_fixed" else ALGORITHM_STYLE[algorithm][0]
        first, last = here["smallest"].iloc[0], here["largest"].iloc[0]
        for window in here.itertuples():
            y = rows[window.task]
            low, high = (first / 2 if window.open_low else window.low), (last * 2 if window.open_high else window.high)
            ax.barh(y, high - low, left=low, height=0.62, color=colour, alpha=0.28, lw=0)
            ax.plot([window.optimum_low, window.optimum_high], [y, y], color=colour, lw=1.1)
            ax.plot(window.optimum, y, "o", color=colour, ms=3.6)
            heavy = "bold" if window.loss > 0.1 else "normal"
            ax.annotate(
                f"{100 * max(0.0, window.loss):.0f} %", (1.02, y), xycoords=("axes fraction", "data"), va="center",
                fontsize=6.5, weight=heavy, annotation_clip=False,
            )  # fmt: skip
        single = here["single"].iloc[0]
        ax.axvline(single, color=INK, ls="--", lw=1)
        ax.set_xscale("log")
        ax.set_xlim(first / 2, last * 2)
        log_axis(ax.xaxis, ticks=4)
        symbol = SYMBOLS[KNOBS[algorithm][0]]
        ax.set_xlabel(symbol)
        ax.annotate(f"{single:.2g}", (single, len(tasks) - 0.5), ha="center", va="bottom", fontsize=6.5)
        kind = advantages.replace(" advantages, ", ",\n")
        ax.set_title(f"{algorithm_name(algorithm)}\n{kind}", pad=13, fontsize=8)  # over the single value
        ax.set_yticks(range(len(tasks)), [task_name(task) for task in tasks])
        ax.set_ylim(-0.6, len(tasks) - 0.4)
        ax.grid(axis="y", visible=False)
        ax.annotate("lost", (1.02, len(tasks) - 0.5), xycoords=("axes fraction", "data"), fontsize=6.5, va="bottom")
    return figure
