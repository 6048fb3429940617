"""PPO's adaptive β minus the best constant one of the same task: a row per task, and one for their mean (answers)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import answers
from ..arms import NotApplicable
from ..names import task_name
from ..style import FAINT, FIXED, INK, available, side_by_side

TITLE = "Does changing β by PPO’s rule pay within a run?"
CAPTION = """
Score of PPO’s adaptive β minus that of the best constant one of the same task, each at its best value there. A point
per task; at the top their mean with its 95 % interval over tasks. Grey: below what counts as a gain. The best of more
candidates is higher: the opening sentences and the table of answers say how many each side has.
"""
PART, ORDER = "within", 25
NEEDS = ("kl_fixed", "kl_adaptive")
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    rows = []
    for answer in answers.change_answers(study):
        kind = answer.label.split()[0]
        rows.append((kind, None, answer.effect, answer.low, answer.high))
        rows += [(kind, task, effect, np.nan, np.nan) for task, effect in answer.by_task.itertuples(index=False)]
    if not rows:
        raise NotApplicable("needs adaptive β and three values of a fixed one on three tasks that were learned")
    return pd.DataFrame(rows, columns=["advantages", "task", "effect", "low", "high"])


def draw(frame) -> Figure:
    """A panel per kind of advantages, tasks in the order of the effect."""
    kinds = list(dict.fromkeys(frame["advantages"]))
    most = frame.groupby("advantages").size().max()
    figure, axes = side_by_side(len(kinds), 0.8 + 0.145 * most)
    for kind, ax in zip(kinds, axes):
        here = frame[frame["advantages"] == kind]
        tasks = here.dropna(subset=["task"]).sort_values("effect").reset_index(drop=True)
        mean, top = here[here["task"].isna()].iloc[0], len(tasks) + 0.5
        ax.scatter(tasks["effect"], tasks.index, s=14, color=INK, zorder=3)
        ax.plot([mean["low"], mean["high"]], [top, top], color=FIXED, lw=2)
        ax.plot(mean["effect"], top, "D", color=FIXED, ms=6)
        reach = 1.15 * max(0.2, tasks["effect"].abs().max())
        ax.axvspan(-reach, answers.BESIDE, color=FAINT, alpha=0.15, lw=0)
        ax.axvline(0, color=FAINT, lw=1, zorder=0)
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-0.8, top + 0.8)
        names = [*map(task_name, tasks["task"]), f"mean of {len(tasks)}"]
        ax.set_yticks([*tasks.index, top], names, fontsize=6.5)
        ax.grid(axis="y", visible=False)
        ax.set_title(f"{kind} advantages" if available.get() >= 3.5 or len(kinds) == 1 else kind)
        ax.set_xlabel("adaptive minus constant β\n(normalised score)")
    return figure
