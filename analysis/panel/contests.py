"""TRPO's lead over the best single β, task by task: a row per task and kind of advantages (answers.contests)."""

import pandas as pd
from matplotlib.figure import Figure

from .. import answers
from ..names import task_name
from ..style import FAINT, INK, available, side_by_side

TITLE = "Is the constraint better on every task?"
CAPTION = """
Score of TRPO at its default less that of the fixed β best in the mean over these tasks, with 95 % intervals over seeds
(Welch). Filled: not 0 by Holm’s correction for all tasks shown, and five seeds or more; with fewer a task by itself
shows nothing. A line that reaches the edge is longer.
"""
PART, ORDER = "tuned", 25
NEEDS = ("kl_fixed", "trpo")
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    return answers.contests(study)


def draw(frame) -> Figure:
    """A panel per kind of advantages, tasks in the order of the lead."""
    kinds = list(dict.fromkeys(frame["advantages"]))
    most = frame.groupby("advantages").size().max()
    figure, axes = side_by_side(len(kinds), 0.75 + 0.17 * most)
    for kind, ax in zip(kinds, axes):
        here = frame[frame["advantages"] == kind].sort_values("lead").reset_index(drop=True)
        shown = answers.shown(here)
        ax.hlines(here.index, here["lead_low"], here["lead_high"], color=INK, lw=1.3)
        ax.scatter(
            here["lead"], here.index, s=24, zorder=3, edgecolors=INK, facecolors=shown.map({True: INK, False: "white"})
        )
        # Two seeds may have intervals many times as long as any lead.
        reach = 1.25 * max(0.2, here["lead"].abs().max(), here.loc[shown, ["lead_low", "lead_high"]].abs().max().max())
        ax.set_xlim(-reach, reach)
        ax.axvline(0, color=FAINT, lw=1, zorder=0)
        ax.set_yticks(here.index, [task_name(task) for task in here["task"]])
        ax.set_ylim(-0.7, len(here) - 0.3)
        ax.grid(axis="y", visible=False)
        ax.set_title(f"{kind} advantages" if available.get() >= 3.5 or len(kinds) == 1 else kind)
        ax.set_xlabel(f"TRPO less β = {here['beta'].iloc[0]:.3g}\n(share of the gain)")
    return figure
