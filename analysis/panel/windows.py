"""Per task and knob the 90 %-of-best range: the values that keep 90 % of the smoothed best score, and what the best
single value loses.

A response is the mean normalised score against the decimal logarithm of the knob on one task. Neighbouring values carry
information about each other, so that it is smoothed before its top is looked for: a point is the mean of the values
run, weighted by a Gaussian (Nadaraya and Watson 1964).
"""

from dataclasses import asdict, dataclass
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from .. import statistics
from ..arms import NotApplicable, grid, several_seeds
from ..data import KNOBS
from ..names import SYMBOLS, algorithm_name, task_name
from ..question import CONDITIONS, KINDS, LEAST_TASKS, LEAST_VALUES, Sample, swept
from ..style import ALGORITHM_STYLE, FIXED, INK, available, log_axis, side_by_side

TITLE = "Which values serve which task"
CAPTION = """
A bar holds the values that keep 90 % of the best score on a task (its 90 %-of-best range), a dot is the best one with
its 95 % interval. The dashed line is the best single value; right: the normalised score that it loses.
"""
PART, ORDER = "windows_of_values", 10
NEEDS = ()
PER_TASK = False

BANDWIDTH = 0.35  # decades, of the Gaussian
STEP = 0.05  # decades between the points of a response
KEEP = 0.9  # share of the smoothed best
DRAWS = 1000  # of the seeds, for the interval of an optimum


@dataclass(frozen=True)
class Window:
    """The values of one task's knob that are nearly as good as its best."""

    optimum: float
    optimum_low: float  # 95 % interval of the optimum, over seeds
    optimum_high: float
    low: float  # ends of the range
    high: float
    open_low: bool  # the range reaches the end of the values that were run
    open_high: bool
    loss: float  # at the value best in the mean over all tasks, normalised score


def numbers(study, runs) -> pd.DataFrame:
    sample, rows = Sample("these runs", tuple({name for names in study.runs["studies"] for name in names})), []
    for advantages in CONDITIONS:
        for algorithm in KNOBS:
            chosen = swept(study, sample, algorithm, advantages)
            if chosen.empty:
                continue
            chosen = several_seeds(chosen)
            chosen = chosen[chosen.groupby("task")["setting"].transform("nunique") >= LEAST_VALUES]
            if chosen["task"].nunique() < LEAST_TASKS:
                continue
            scores = grid(chosen, algorithm, "normalised", common=False)
            single, found = windows(scores.values, scores.settings)
            head = {"algorithm": algorithm, "advantages": KINDS[advantages]}
            ends = {"smallest": scores.settings[0], "largest": scores.settings[-1]}
            for task, window in zip(scores.tasks, found):
                rows.append(head | {"task": task, "single": single} | asdict(window) | ends)
    if not rows:
        raise NotApplicable("needs three values of a knob, two seeds each, on three learned tasks")
    return pd.DataFrame(rows)


def points(settings):
    """Decimal logarithms at which responses are looked at, from the smallest to the largest setting."""
    low, high = np.log10(np.min(settings)), np.log10(np.max(settings))
    return np.linspace(low, high, max(2, round((high - low) / STEP) + 1))


def smoother(settings, at, known):
    """[..., len(at), H] weights that make a response out of means; 0 for settings not `known` [..., H]."""
    distance = (np.asarray(at)[:, None] - np.log10(settings)) / BANDWIDTH
    weight = np.exp(-0.5 * distance**2) * known[..., None, :]
    return weight / weight.sum(-1, keepdims=True)


def response(means, settings, at):
    """[E, len(at)] of mean scores [E, H]; NaN outside of the values that a task was run at."""
    known = np.isfinite(means)
    smooth = (smoother(settings, at, known) @ np.where(known, means, 0.0)[..., None])[..., 0]
    log = np.log10(settings)
    low = np.where(known, log, np.inf).min(-1)[..., None]
    high = np.where(known, log, -np.inf).max(-1)[..., None]
    inside = (at >= low - STEP / 2) & (at <= high + STEP / 2)
    return np.where(inside, smooth, np.nan)


def windows(values, settings):
    """(best single value, list with a Window per task) of scores [E, H, S]."""
    at, means = points(settings), statistics.seed_means(values)
    smooth = response(means, settings, at)
    single = int(np.nan_to_num(smooth.mean(0), nan=-np.inf).argmax())  # of the points that every task has
    generator, made = np.random.default_rng(0), []
    for task, own in enumerate(smooth):
        top = int(np.nanargmax(own))
        good = own >= KEEP * own[top]
        # The stretch around the top: what lies beyond a dip is another hill.
        low = top - np.argmin(np.append(good[top::-1], False)) + 1
        high = top + np.argmin(np.append(good[top:], False)) - 1
        ran = np.flatnonzero(np.isfinite(own))
        first, last = optimum_interval(values[task], settings, generator)
        made.append(
            Window(
                *(10 ** at[[top]]), *(10.0 ** np.array([first, last])), *(10 ** at[[low, high]]),
                bool(low == ran[0]), bool(high == ran[-1]), float(own[top] - own[single]),
            )
        )  # fmt: skip
    return 10 ** at[single], made


def optimum_interval(values, settings, generator, draws=DRAWS):
    """(low, high) of the logarithm at which the response to values [H, S] is highest; NaN where a seed was not run.

    Percentiles of where it is highest after errors are added to the means. A few seeds know their own spread badly, so
    half of an error's square is the task's. Such a half has four times the degrees of freedom of n seeds, 4 (n - 1)
    (Satterthwaite), and errors are drawn wider by as much as Student's quantile is above the normal one.
    """
    ran = np.isfinite(values).any(-1)
    values, own = values[ran], np.asarray(settings)[ran]
    at = points(settings)
    at = at[(at >= np.log10(own.min()) - STEP / 2) & (at <= np.log10(own.max()) + STEP / 2)]
    count = np.isfinite(values).sum(-1)
    squares = np.nanvar(values, axis=-1) / np.maximum(1, count - 1)  # of the standard error
    pooled = squares[count > 1].mean() if (count > 1).any() else np.nan
    tails = np.array([1 - statistics.LEVEL, 1 + statistics.LEVEL]) / 2
    wider = stats.t.ppf(tails[1], 4 * np.maximum(1, count - 1)) / stats.norm.ppf(tails[1])
    error = wider * np.sqrt((np.where(count > 1, squares, pooled) + pooled) / 2)
    drawn = statistics.seed_means(values) + error * generator.standard_normal((draws, len(own)))
    tops = (drawn @ smoother(own, at, np.ones(len(own), bool)).T).argmax(-1)
    return np.quantile(at[tops], tails)


def draw(frame) -> Figure:
    """A row per task, a column per knob: range, optimum with its interval, the best single value and its loss."""
    numbers, parts = zip(*frame.groupby(["algorithm", "advantages"], sort=False))
    tasks = sorted(frame["task"].unique(), key=task_name, reverse=True)
    best = frame.drop_duplicates("task").set_index("task")["optimum"]
    tasks = sorted(tasks, key=best.get, reverse=True)
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
        ax.set_xlim(first / 2, last * 2)
        log_axis(ax.xaxis, ticks=4)
        symbol = SYMBOLS[KNOBS[algorithm][0]]
        ax.set_xlabel(symbol)
        ax.annotate(f"{single:.2g}", (single, len(tasks) - 0.5), ha="center", va="bottom", fontsize=6.5)
        ax.set_title(
            f"{algorithm_name(algorithm)}\n{fill(advantages, 24)}", pad=13, fontsize=8
        )  # over the single value
        ax.set_yticks(range(len(tasks)), [task_name(task) for task in tasks])
        ax.set_ylim(-0.6, len(tasks) - 0.4)
        ax.grid(axis="y", visible=False)
        ax.annotate("lost", (1.02, len(tasks) - 0.5), xycoords=("axes fraction", "data"), fontsize=6.5, va="bottom")
    return figure
