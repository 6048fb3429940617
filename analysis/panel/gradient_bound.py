"""Fixed β without and with a bound on the gradient (answers.without_and_with_bound): rows of kind "response" (a β, mean
over tasks with its interval) and "lead" (a task, TRPO less β, both at the best single value).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import answers, statistics
from ..arms import NotApplicable
from ..names import task_name
from ..style import FAINT, FIXED, INK, NARROW, available, log_beta_axis

TITLE = "What a bound on the gradient does to a fixed β"
CAPTION = """
Left: score against β, mean over tasks with its 95 % interval, without the bound (hollow) and with it (filled).
Right: TRPO minus fixed β on each task, each at the best single value that was run; right of 0 TRPO is better.
"""
PART, ORDER = "windows_of_values", 15
NEEDS = ("kl_fixed", "trpo")
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    rows = []
    for words, *both in answers.without_and_with_bound(study)[:1]:
        kind = words.split(",")[0]
        for name, scores in zip((kind, words), both):
            means = statistics.seed_means(scores.normalised)
            for beta, column in zip(scores.settings, means.T):
                rows.append((name, "response", None, beta, *statistics.mean_interval(column)))
        leads = {answer.label: answer.by_task for answer in answers.contest_answers(study) if answer.candidates}
        leads = {label.rpartition(", ")[0]: by_task for label, by_task in leads.items()}
        leads = [leads[name].set_index("task")["effect"] for name in (kind, words)]
        for task in sorted(set(leads[0].index) & set(leads[1].index)):
            rows += [(name, "lead", task, np.nan, own[task], np.nan, np.nan) for name, own in zip((kind, words), leads)]
    if not rows:
        raise NotApplicable("needs three values of a fixed β with and without max_grad_norm, on three learned tasks")
    return pd.DataFrame(rows, columns=["arm", "kind", "task", "beta", "value", "low", "high"])


def draw(frame) -> Figure:
    """Responses at the left, leads by task at the right, in the order of the lead with the bound."""
    free, bounded = frame["arm"].unique()
    leads = frame[frame["kind"] == "lead"].pivot(index="task", columns="arm", values="value").sort_values(bounded)
    narrow, high = available.get() < NARROW, 0.9 + 0.15 * len(leads)
    size = (available.get(), 2.4 + high) if narrow else (available.get(), max(2.6, high))
    figure = Figure(figsize=size, layout="constrained")
    shape = {"nrows": 2, "height_ratios": [2.4, high]} if narrow else {"ncols": 2}
    left, right = figure.subplots(**shape)
    for arm, face in ((free, "white"), (bounded, FIXED)):
        here = frame[(frame["arm"] == arm) & (frame["kind"] == "response")]
        error = [here["value"] - here["low"], here["high"] - here["value"]]
        name = "no bound" if arm == free else arm.split(", ")[1]
        left.errorbar(here["beta"], here["value"], error, fmt="o-", color=FIXED, mfc=face, lw=1.2, ms=5, label=name)
        right.plot(leads[arm], range(len(leads)), "o", color=FIXED, mfc=face, ms=4, zorder=3)
    right.hlines(range(len(leads)), leads.min(axis=1), leads.max(axis=1), color=FIXED, lw=0.8)
    log_beta_axis(left, frame["beta"].dropna())
    left.set_xlabel("β")
    left.set_ylabel("share of the gain")
    left.set_title(f"fixed β, {free}")
    left.legend(loc="lower left")
    right.axvline(0, color=INK, lw=0.8)
    reach = 1.15 * max(0.2, leads.abs().max().max())
    right.set_xlim(-reach, reach)
    right.axvspan(0, reach, color=FAINT, alpha=0.12, lw=0)
    right.text(0.02, 0.985, "β better", transform=right.transAxes, ha="left", va="top", fontsize=7)
    right.text(0.98, 0.02, "TRPO better", transform=right.transAxes, ha="right", va="bottom", fontsize=7)
    right.set_yticks(range(len(leads)), [task_name(task) for task in leads.index], fontsize=6.5)
    right.set_ylim(-0.7, len(leads) - 0.3)
    right.grid(axis="y", visible=False)
    right.set_title("constraint against penalty")
    right.set_xlabel("TRPO minus fixed β (normalised score)")
    return figure
