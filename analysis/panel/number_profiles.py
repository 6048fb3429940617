"""Final return (untrained 0, best arm 1) by value of each knob, per task and over "all tasks", with the median KL of an
update, nats.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .. import statistics
from ..arms import log_median_kl, plain, swept_grids
from ..data import KNOBS
from ..names import ALGORITHMS, SYMBOLS, task_name
from ..style import ALGORITHM_STYLE, INK, facets, legend_below, task_colours, task_markers

TITLE = "One value for all tasks, method by method"
CAPTION = """
Final return (untrained policy 0, the task’s best arm 1) by value of each method’s knob: tasks (thin), and their mean
with 95 % interval (thick). The last panel sets the means against what all methods share, the median KL of an update
(geometric mean over runs).

Decades of different knobs are not alike: the KL of a step goes with δ, but with up to 1/β².
"""
PART, ORDER = "windows_of_values", 40
NEEDS = tuple(KNOBS)
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    log_kl = log_median_kl(study)
    rows = []
    for algorithm, scores in swept_grids(runs, least=3):
        chosen = plain(runs, algorithm)
        chosen = chosen[chosen["task"].isin(scores.tasks)].assign(log_kl=log_kl.reindex(chosen.index))
        for h, setting in enumerate(scores.settings):
            seeds = [task[np.isfinite(task)] for task in scores.normalised[:, h]]
            steps = chosen[chosen["setting"] == setting].groupby("task")["log_kl"].mean()
            for task, values in zip(scores.tasks, seeds):
                share = statistics.mean_interval(values)
                rows.append((algorithm, task, setting, *share, 10 ** steps[task], len(values)))
            share = statistics.stratified_mean(seeds)
            rows.append((algorithm, "all tasks", setting, *share, 10 ** steps.mean(), min(map(len, seeds))))
    return pd.DataFrame(rows, columns=["algorithm", "task", "setting", "mean", "low", "high", "median_kl", "seeds"])


def draw(frame) -> Figure:
    """Final return against each method's knob, and the means of all methods against the median KL."""
    algorithms = list(dict.fromkeys(frame["algorithm"]))
    titles = {name: f"{ALGORITHMS[name]}: {SYMBOLS[KNOBS[name][0]]}" for name in algorithms} | {"steps": "step size"}
    figure, axes = facets(titles, height=1.9, columns=3, title=titles.get, sharey=True)
    tasks = frame.loc[frame["task"] != "all tasks", "task"]
    colours, markers = task_colours(tasks), task_markers(tasks)
    for algorithm, here in frame.groupby("algorithm"):
        ax = axes[algorithm]
        for task, line in here[here["task"] != "all tasks"].groupby("task"):
            ax.plot(
                line["setting"], line["mean"], color=colours[task], marker=markers[task], ms=3, lw=0.9,
                label=task_name(task),
            )  # fmt: skip
        whole = here[here["task"] == "all tasks"]
        colour, style = ALGORITHM_STYLE[algorithm]
        for x, where, shown in ((whole["setting"], ax, INK), (whole["median_kl"], axes["steps"], colour)):
            order = np.argsort(x.to_numpy())
            x, y, low, high = (column.to_numpy()[order] for column in (x, whole["mean"], whole["low"], whole["high"]))
            where.fill_between(x, low, high, color=shown, alpha=0.18, lw=0)
            line, label = ("-", "mean over tasks") if where is ax else (style, ALGORITHMS[algorithm])
            where.plot(x, y, "o", ls=line, color=shown, lw=2, ms=3.5, label=label)
        ax.set_xlabel(SYMBOLS[KNOBS[algorithm][0]])
        ax.set_xscale("log")
        if len(whole) <= 5:  # the decades of a narrow grid are no ticks of it
            ax.set_xticks(whole["setting"], [f"{value:g}" for value in whole["setting"]])
            ax.xaxis.set_minor_formatter(NullFormatter())
    axes["steps"].set_xlabel("median KL of an update, nats")
    axes["steps"].set_xscale("log")
    for ax in axes.values():
        ax.axhline(0, color=INK, lw=0.6)
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel("normalised final return")
    low = frame["mean"].min()
    ax.set_ylim(max(-0.35, low - 0.05), 1.05)
    legend_below(figure, [axes[algorithms[0]]], most=4)
    steps = axes["steps"]
    beside = {} if steps.get_subplotspec().is_last_col() else {"loc": "center left", "bbox_to_anchor": (1.03, 0.5)}
    steps.legend(handlelength=2.6, **beside).set_in_layout(False)
    return figure
