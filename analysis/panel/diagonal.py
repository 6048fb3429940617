"""The best β by sweep against the β measured in ten iterations, a row per task (answers.diagonal)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import answers
from ..arms import NotApplicable
from ..names import task_name
from ..style import FAINT, FIXED, INK, available, legend_below, log_axis

TITLE = "Does the implied β predict the best β?"
CAPTION = """
The β that TRPO’s constraint implied in its first ten iterations against the best β found by a sweep, raw
advantages, a point per task with 95 % intervals. On the solid line the two agree; between the dotted ones they
differ by less than a factor of three. Where tasks are many, only those are named where the two differ by more than
ten.
"""
FEW = 15  # tasks that can all be named
PART, ORDER = "unit", 90
NEEDS = ()
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    frame = answers.diagonal(study)
    if frame["measured"].isna().all():
        raise NotApplicable("needs TRPO on raw advantages")
    return frame


def free_place(point, width, taken) -> tuple:
    """(x, y, alignment) of a name beside its point, in points, that lies on none of the boxes taken; the first if none.

    point  where it is, in points, roughly
    """
    for x, y, align in (4, 3, "left"), (4, -8, "left"), (-4, 3, "right"), (-4, -8, "right"):
        left, low = point + (x if align == "left" else x - width, y)
        if not any(left < b[2] and left + width > b[0] and low < b[3] and low + 7 > b[1] for b in taken):
            break
    else:
        x, y, align = 4, 3, "left"
        left, low = point + (x, y)
    taken.append((left, low, left + width, low + 7))
    return x, y, align


def draw(frame) -> Figure:
    """Best beta by sweep against the beta measured in ten iterations, log-log."""
    figure = Figure(figsize=(min(available.get(), 4.6), 3.9), layout="constrained")
    ax = figure.subplots()
    known = frame.dropna(subset=["measured"])
    ends = [known[["measured", "best_low"]].min().min() / 2, known[["measured", "best_high"]].max().max() * 2]
    ax.plot(ends, ends, color=INK, lw=1, label="equal")
    for factor in (1 / 3, 3):
        ax.plot(ends, [factor * end for end in ends], color=FAINT, lw=0.9, ls=":", label="factor of three")
    taken = []
    for task in known.itertuples():
        low = task.measured_low if np.isfinite(task.measured_low) else ends[0]
        ax.plot([low, task.measured_high], [task.best, task.best], color=FIXED, lw=0.8, alpha=0.6)
        ax.plot([task.measured, task.measured], [task.best_low, task.best_high], color=FIXED, lw=0.8, alpha=0.6)
        ax.plot(task.measured, task.best, "o", color=FIXED, ms=4.5)
        if len(known) > FEW and 0.1 < task.measured / task.best < 10:
            continue  # names would lie on each other
        name, place = task_name(task.task), np.log([task.measured, task.best]) / np.log(ends[1] / ends[0])
        x, y, align = free_place(200 * place, 3.6 * len(name), taken)
        ax.annotate(name, (task.measured, task.best), xytext=(x, y), textcoords="offset points", fontsize=6.5, ha=align)
    constant = 10 ** np.log10(known["best"]).mean()
    ax.axhline(constant, color=FAINT, ls="--", lw=1, label=f"one constant, {constant:.2g}")
    ax.set_xscale("log"), ax.set_yscale("log")
    ax.set_xlim(ends), ax.set_ylim(ends)
    log_axis(ax.xaxis), log_axis(ax.yaxis)
    ax.set_xlabel("β implied by the constraint, first ten iterations")
    ax.set_ylabel("best β by sweep")
    legend_below(figure, [ax])
    return figure
