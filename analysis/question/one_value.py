"""Is there one value of a knob that does well on all of these tasks?"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from .. import statistics
from ..arms import NotApplicable
from ..data import KNOBS as NUMBERS
from ..names import SYMBOLS, task_name
from ..style import INK, NARROW, TASK_COLOURS, available, facets, legend_below, log_axis
from . import (
    CONTRARY,
    KINDS,
    LEAST_TASKS,
    SHOWN,
    UNDECIDED,
    Answer,
    Sample,
    interval_text,
    knob_name,
    samples,
    span,
    swept,
)

QUESTION = "Does any single value of a knob keep most of the best score on every one of these tasks?"
KEEPS = 0.8  # of the score of the task's best value of the same knob, untrained policy at 0
RULE = f"""
Shown that none does: for every value there is a task on which its score is below {KEEPS:g} of another value's. The
contrary: some value is above {KEEPS:g} of every other one's on all tasks. Tests over seeds at 5 %, with Bonferroni's
correction for the tasks and rivals (or values) among which one is enough. The interval holds the shares that neither
test rejects. It is about these tasks, which were chosen because they differ, and no others.
"""
KNOBS = (("kl_fixed", "raw"), ("kl_fixed", "normalised"), ("trpo", "raw"), ("trpo", "normalised"))
DEMONSTRATION = Sample("these tasks", ("quick",), registered=True)
SHARES = np.linspace(0, 1.25, 251)  # among which an interval ends

TITLE = "Does one value serve all of these tasks?"
CAPTION = f"""
A line is a task: the score of each value as a share of that of the task's best value of the same knob. Small dots are
seeds. Score: mean return over training, the untrained policy at 0. A value serves all tasks if no line is below the
dashed one, at {KEEPS:g}, there. The tasks were chosen because they differ.
"""
PART, ORDER = "overview", 1
WHOLE = False


class Effects(NamedTuple):
    """by_task: a row per knob, task, value and seed with `share`; scores: {knob: [T, V, S]}, settings and tasks."""

    by_task: pd.DataFrame
    scores: dict


def effects(data) -> Effects:
    if data.runs["evidence"].any():
        raise NotApplicable("needs a study of a few tasks; committed evidence asks it of many (regret)")
    scores, rows = {}, []
    (sample,) = samples(data, (DEMONSTRATION,))
    for knob in KNOBS:
        runs = swept(data, sample, *knob)
        runs = runs[runs["normalised"].notna()]
        grid = runs.pivot_table(index=["task", "seed"], columns="setting", values="normalised").dropna(axis=1)
        best = grid.groupby("task").mean().max(axis=1)
        grid = grid[grid.index.get_level_values("task").map(best) > 0]  # nobody keeps a share of nothing
        tasks = list(grid.index.unique("task"))
        if len(tasks) < LEAST_TASKS or grid.shape[1] < 2 or grid.groupby("task").size().min() < 2:
            continue
        seeds = int(grid.groupby("task").size().min())
        values = np.stack([grid.loc[task].to_numpy()[:seeds].T for task in tasks])
        scores[sample, knob] = tasks, grid.columns.to_numpy(), values
        long = grid.stack().rename("score").reset_index()
        best = long.groupby(["task", "setting"])["score"].mean().groupby("task").max()
        rows.append(
            long.assign(
                sample=sample.name, algorithm=knob[0], advantages=knob[1], share=long["score"] / long["task"].map(best)
            )
        )
    if not rows:
        raise NotApplicable(f"needs two values of a knob, two seeds each, on {LEAST_TASKS} tasks that were learned")
    return Effects(pd.concat(rows, ignore_index=True), scores)


def kept(scores):
    """(effect, low, high): what the best single value keeps on the task where it keeps least; scores [T, V, S]."""
    means = scores.mean(-1)
    worst = (means / means.max(-1, keepdims=True)).min(0)
    below = np.array([p_none_keeps(scores, share) for share in SHARES]) < 1 - statistics.LEVEL
    above = np.array([p_one_keeps(scores, share) for share in SHARES]) < 1 - statistics.LEVEL
    high = SHARES[below].min() if below.any() else SHARES[-1]
    low = SHARES[above].max() if above.any() else 0.0
    return worst.max(), low, high


def p_none_keeps(scores, share):
    """p of "no value keeps `share` of every other value's score on all tasks": intersection over values, union over
    tasks and rivals."""
    p, (tasks, values, _) = lower(scores, share), scores.shape
    return min(1.0, np.nanmin(p, axis=(0, 2)).max() * tasks * (values - 1))


def p_one_keeps(scores, share):
    """p of "some value keeps `share` of every other value's score on all tasks"."""
    p, values = 1 - lower(scores, share), scores.shape[1]
    return min(1.0, np.nanmax(p, axis=(0, 2)).min() * values)


def lower(scores, share):
    """[T, V, V] p of "the first value's score is below `share` of the second's", NaN for a value and itself.

    The variance is that of the two cells or the task's mean one, whichever is larger: two or three seeds know little of
    their own.
    """
    count, means, own = scores.shape[-1], scores.mean(-1), scores.var(-1, ddof=1)
    pooled = own.mean(-1)[:, None, None] * (1 + share**2)
    variance = np.maximum(pooled, own[:, :, None] + share**2 * own[:, None, :]) / count
    difference = means[:, :, None] - share * means[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = stats.t.cdf(difference / np.sqrt(variance), own.shape[1] * (count - 1))
    return np.where(np.eye(scores.shape[1], dtype=bool), np.nan, p)


def judged(low, high):
    return SHOWN if high < KEEPS else CONTRARY if low > KEEPS else UNDECIDED


def decide(found: Effects) -> list[Answer]:
    answers = []
    for (sample, knob), (tasks, settings, scores) in found.scores.items():
        effect, low, high = kept(scores)
        answers.append(
            Answer(
                "one_value", f"{SYMBOLS[NUMBERS[knob[0]][0]]} on {KINDS[knob[1]]}", sample.name, "of the best score",
                effect, low, high, np.nan, np.nan, 1.0, tuple(tasks), len(tasks),
                span([scores.shape[-1]]), {knob_name(*knob): str(len(settings))},
                judged(low, high) if sample.registered else "", RULE,
            )
        )  # fmt: skip
    return answers


def sentence(answer) -> str:
    """One answer in words."""
    (count,) = answer.candidates.values()
    enough = f"{KEEPS:.0%} of the best score on all {len(answer.tasks)} tasks"
    finding = {
        SHOWN: f"No value of {answer.contrast} keeps {enough}: the",
        CONTRARY: f"One value of {answer.contrast} keeps {enough}: the",
        UNDECIDED: f"Whether one value of {answer.contrast} keeps {enough} is undecided: the",
    }.get(answer.verdict, f"Of {len(answer.tasks)} tasks and {answer.contrast}, the")
    of, where = "it" if answer.verdict else "the best score", "the task that it suits least"
    return f"{finding} best of {count} values keeps {interval_text(answer)} of {of} on {where} ({answer.seeds} seeds)."


def imagine(means, noise=0.1, count=3, studies=1000, seed=0):
    """(share shown, share contrary shown) of simulated studies.

    means  [T, V] true scores; noise: standard deviation between seeds, a number or [T, V]; count: seeds
    """
    from . import shares

    generator, means = np.random.default_rng(seed), np.asarray(means, float)
    spread = np.broadcast_to(noise, means.shape)[..., None]
    verdicts = []
    for _ in range(studies):
        scores = means[..., None] + spread * generator.standard_normal((*means.shape, count))
        shown = p_none_keeps(scores, KEEPS) < 1 - statistics.LEVEL
        contrary = p_one_keeps(scores, KEEPS) < 1 - statistics.LEVEL
        verdicts.append(SHOWN if shown else CONTRARY if contrary else UNDECIDED)
    return shares(verdicts)


# The figure -------------------------------------------------------------------------------


def draw(frame) -> Figure:
    """A plot per knob: a line per task, shares of the best value's score over the knob's values."""
    knobs = dict(list(frame.groupby(["algorithm", "advantages"], sort=False)))
    tasks = sorted(frame["task"].unique())
    height, columns = (1.5, 1) if available.get() < NARROW else (2.05, len(knobs))
    figure, axes = facets(knobs, height, columns, lambda knob: f"{knob[1]} {SYMBOLS[NUMBERS[knob[0]][0]]}", sharey=True)
    for ((algorithm, _), own), ax in zip(knobs.items(), axes.values()):
        for index, task in enumerate(tasks):
            here = own[own["task"] == task]
            colour, marker = TASK_COLOURS[index % len(TASK_COLOURS)], "o^sDvP"[index % 6]
            mean = here.groupby("setting")["share"].mean()
            ax.plot(mean.index, mean, color=colour, marker=marker, ms=4, lw=1.2, label=task_name(task))
            ax.plot(here["setting"], here["share"], ".", color=colour, ms=2.5, alpha=0.6)
        ax.axhline(KEEPS, color=INK, lw=0.8, ls="--")
        log_axis(ax.xaxis, ticks=5)
        ax.set_xlabel(SYMBOLS[NUMBERS[algorithm][0]])
        ax.set_ylim(min(-0.05, max(-0.3, frame["share"].min())), 1.12)
    figure.axes[0].set_ylabel("share of the best score")
    legend_below(figure, figure.axes[:1])
    return figure
