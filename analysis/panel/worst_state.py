"""KL of an update in its worst state beside the mean over states: rows of kind "arm" (an arm on a task, geometric means
of its runs' medians, nats) and "algorithm" (the ratio of worst state to mean, geometric mean over tasks).
"""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable, log_median_kl
from ..names import algorithm_name
from ..style import ALGORITHM_STYLE, FAINT, INK, OTHER_COLOURS, legend_below, log_axis, side_by_side

TITLE = "The worst state’s step"
CAPTION = """
KL(old‖new) of an update in its worst state against the mean over states (left: a point per arm and task; dashed:
constant ratios), and the ratio of the two (right; filled: worst state, open: 99th percentile over states, with 95 %
interval over tasks). TRPO’s theory bounds the largest KL, its practice the mean.

Points are geometric means over runs of a run’s median update, ratios over tasks; intervals are Student’s.
"""
PART, ORDER = "others", 20
NEEDS = ()


def numbers(study, runs) -> pd.DataFrame:
    columns = {"kl": "kl_after", "kl_p99": "kl_p99", "kl_max": "kl_max"}
    logs = pd.DataFrame({name: log_median_kl(study, column)[runs.index] for name, column in columns.items()})
    known = logs[["kl", "kl_max"]].notna().all(axis=1)
    if not known.any():
        raise NotApplicable("needs kl_max in the curves of runs whose policy moved")
    logs = logs.join(runs[["algorithm", "arm", "task"]])[known]
    arms = logs.groupby(["algorithm", "arm", "task"]).mean().reset_index()
    rows = [10 ** arms.select_dtypes("number")]
    rows[0].insert(0, "kind", "arm")
    rows[0] = rows[0].join(arms.select_dtypes(exclude="number"))
    for ratio in ("kl_max", "kl_p99"):
        arms[ratio] -= arms["kl"]
    tasks = arms.groupby(["algorithm", "task"])[["kl_max", "kl_p99"]].mean()
    for algorithm, own in tasks.groupby("algorithm"):
        row = {"kind": "algorithm", "algorithm": algorithm, "tasks": len(own)}
        for ratio, name in (("kl_max", "worst"), ("kl_p99", "p99")):
            mean, low, high = statistics.mean_interval(own[ratio].dropna())
            row |= {name: 10**mean, f"{name}_low": 10**low, f"{name}_high": 10**high}
        rows.append(pd.DataFrame([row]))
    return pd.concat(rows, ignore_index=True)


def draw(frame) -> Figure:
    """The worst state's KL against the mean over states, and their ratio per algorithm."""
    whole = frame[frame["kind"] == "algorithm"].sort_values("worst").reset_index(drop=True)
    arms = frame[frame["kind"] == "arm"]
    figure, (each, ratio) = side_by_side(2, max(2.4, 0.8 + 0.19 * len(whole)), least=2.6)
    others = cycle(OTHER_COLOURS)
    span = np.array([arms["kl"].min() / 1.5, arms["kl"].max() * 1.5])
    for y, row in enumerate(whole.itertuples()):
        colour = (ALGORITHM_STYLE.get(row.algorithm) or (next(others),))[0]
        own = arms[arms["algorithm"] == row.algorithm]
        each.plot(own["kl"], own["kl_max"], "o", ms=3, mew=0, alpha=0.8, color=colour)
        ratio.plot([row.p99_low, row.p99_high], [y + 0.15] * 2, color=colour, lw=0.8)
        ratio.plot(row.p99, y + 0.15, "o", ms=4, color=colour, mfc="#ffffff")
        ratio.plot([row.worst_low, row.worst_high], [y - 0.15] * 2, color=colour, lw=1.2)
        ratio.plot(row.worst, y - 0.15, "o", ms=4.5, color=colour)
    for factor in (1, 10, 100):
        each.plot(span, factor * span, color=FAINT, lw=0.8, ls="--", zorder=1)
        each.annotate(f"×{factor}", (span[1], factor * span[1]), fontsize=7, color=FAINT, annotation_clip=False)
    each.set_title("each arm on each task")
    each.set_xlabel("mean over states (nats)")
    each.set_ylabel("worst state (nats)")
    log_axis(each.xaxis, ticks=5)
    log_axis(each.yaxis)
    ratio.plot([], [], "o", ms=4.5, color=INK, label="worst state")
    ratio.plot([], [], "o", ms=4, color=INK, mfc="#ffffff", label="99th percentile of states")
    ratio.set_title("KL over the mean’s")
    ratio.set_xlabel("ratio")
    ratio.set_yticks(range(len(whole)), whole["algorithm"].map(algorithm_name))
    ratio.set_ylim(-0.6, len(whole) - 0.4)
    log_axis(ratio.xaxis, ticks=4)
    legend_below(figure, [ratio])
    return figure
