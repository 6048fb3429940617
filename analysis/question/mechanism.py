"""Does the beta that the constraint implies early in a run predict the best one?"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable
from ..data import KNOBS
from ..names import task_name
from ..style import FAINT, FIXED, INK, legend_below, log_axis, side_by_side
from . import CONTRARY, SAMPLES, SHOWN, UNDECIDED, Answer, Effects, answer, fits, knob_name, rows, shares

QUESTION = "Does the β that TRPO implies in its first ten iterations predict the best β better than a constant?"
FEWEST = 6  # tasks for a verdict
FIRST = 10  # iterations that the measured beta is taken from
RULE = f"""
Raw advantages, decades: how far the measured β is from the best one, minus how far the mean of the other tasks' best
ones is. The measured β is the root of the mean square of the cross-fitted implied β. Shown that it predicts better if
the interval over tasks is below 0; the contrary if it is above. {FEWEST} tasks or more.
"""
KNOB = ("kl_fixed", "raw")

TITLE = "Does the implied β predict the best β?"
CAPTION = """
The β that TRPO’s constraint implied in its first ten iterations against the best β found by a sweep, raw
advantages, a point per task with 95 % intervals. On the solid line the two agree; between the dotted ones they
differ by less than a factor of three. Left out are tasks whose mean square of the implied β is not above 0. Where tasks
are many, only those are named where the two differ by more than ten.
"""
PART, ORDER = "unit", 90
FEW = 15  # tasks that can all be named


def effects(data) -> Effects:
    """A row per sample and task: measured and best β with intervals, log10, and the effect."""
    frames = []
    for (sample, _), (fit, scores) in fits(data, [KNOB], SAMPLES).items():
        best = fit.optimum.rename(columns={f"flat_{end}": name for end, name in BEST.items()})
        best[list(BEST.values())] = best[list(BEST.values())].clip(fit.at[0], fit.at[-1])
        frame = best.merge(measured(data, rows(data, sample, "trpo", "raw")), on="task")
        frame = frame[frame["measured"] > -np.inf]
        if frame.empty:
            continue
        values = frame["task"].map(scores.groupby("task")["x"].nunique())
        effect = error_beyond_constant(frame["measured"].to_numpy(), frame["best"].to_numpy())
        frame = frame.assign(effect=effect, candidates_first=values, candidates_second=values, command="")
        frames.append(frame.assign(sample=sample.name, registered=False))  # for none of these samples
    if not frames:
        raise NotApplicable("needs TRPO and three values of β on raw advantages on three learned tasks")
    return Effects(pd.concat(frames, ignore_index=True))


BEST = {"median": "best", "low": "best_low", "high": "best_high"}


def measured(data, runs):
    """Frame by task: log10 of TRPO's implied β at its default, measured, measured_low and measured_high; seeds.

    -inf where a mean square is not above 0.
    """
    distance = np.abs(np.log(runs["setting"] / KNOBS["trpo"][1]))
    runs = runs[distance == distance.groupby(runs["task"]).transform("min")]
    early = data.curves[data.curves["run"].isin(runs.index) & (data.curves["iteration"] < FIRST)]
    squares = statistics.signed_square(early["implied_beta_crossfit"].astype(float)).groupby(early["run"]).mean()
    rows = []
    for task, own in squares.groupby(runs["task"]):
        ends = np.array(statistics.mean_interval(own.to_numpy()))
        with np.errstate(divide="ignore"):
            rows.append((task, *(np.log10(np.maximum(ends, 0.0)) / 2), len(own)))
    return pd.DataFrame(rows, columns=["task", "measured", "measured_low", "measured_high", "seeds"])


def error_beyond_constant(found, best):
    """[..., E] absolute error of a prediction of each best value minus that of the mean of the others, log10."""
    constant = (best.sum(-1, keepdims=True) - best) / (best.shape[-1] - 1)
    return np.abs(found - best) - np.abs(constant - best)


def decide(found: Effects) -> list[Answer]:
    answers = []
    for sample, own in found.by_task.groupby("sample", sort=False):
        contrast, sides = "error of the measured β minus that of a constant", [knob_name(*KNOB)] * 2
        answers.append(answer("mechanism", contrast, sample, own, sides, judged, RULE, unit="decades", fewest=FEWEST))
    return [found for found in answers if found]


def judged(low, high):
    return SHOWN if high < 0 else CONTRARY if low > 0 else UNDECIDED


def imagine(share, apart=0.6, found=0.25, tasks=30, studies=1000, seed=0):
    """(share shown, share contrary shown) of studies in which the measured β's error is a `share` of a constant's.

    apart  decades, SD of the best values over tasks; found: decades, error of those that a sweep finds
    """
    generator = np.random.default_rng(seed)
    best = generator.normal(0, apart, (studies, tasks))
    ours = best + generator.normal(0, share * apart * np.sqrt(tasks / (tasks - 1)), best.shape)
    effects = error_beyond_constant(ours, best + generator.normal(0, found, best.shape))
    return shares([judged(*ends) for ends in zip(*statistics.mean_interval(effects.T)[1:])])


WORLDS = [{"share": share, "tasks": tasks} for tasks in (15, 30) for share in (2.0, 1.0, 0.5, 0.25)]


# The figure -------------------------------------------------------------------------------


def draw(frame) -> Figure:
    """Best beta by sweep against the beta measured in ten iterations, log-log; of the last sample."""
    frame = frame[frame["sample"] == frame["sample"].iloc[-1]]
    figure, (ax,) = side_by_side(1, 3.9, width=4.6)
    low, high = (
        min(frame["measured"].min(), frame["best_low"].min()),
        max(frame["measured"].max(), frame["best_high"].max()),
    )
    ends = 10 ** np.array([low - 0.3, high + 0.3])
    ax.plot(ends, ends, color=INK, lw=1, label="equal")
    for factor in (1 / 3, 3):
        ax.plot(ends, factor * ends, color=FAINT, lw=0.9, ls=":", label="factor of three")
    taken = []
    for task in frame.itertuples():
        x, y = 10**task.measured, 10**task.best
        ax.plot([max(10**task.measured_low, ends[0]), 10**task.measured_high], [y, y], color=FIXED, lw=0.8, alpha=0.6)
        ax.plot([x, x], [10**task.best_low, 10**task.best_high], color=FIXED, lw=0.8, alpha=0.6)
        ax.plot(x, y, "o", color=FIXED, ms=4.5)
        if len(frame) > FEW and abs(task.measured - task.best) < 1:
            continue  # names would lie on each other
        name, place = task_name(task.task), np.log([x, y]) / np.log(ends[1] / ends[0])
        right, up, align = free_place(200 * place, 3.6 * len(name), taken)
        ax.annotate(name, (x, y), xytext=(right, up), textcoords="offset points", fontsize=6.5, ha=align)
    constant = 10 ** frame["best"].mean()
    ax.axhline(constant, color=FAINT, ls="--", lw=1, label=f"one constant, {constant:.2g}")
    ax.set_xlim(ends), ax.set_ylim(ends)
    log_axis(ax.xaxis), log_axis(ax.yaxis)
    ax.set_xlabel("β implied by the constraint, first ten iterations")
    ax.set_ylabel("best β by sweep")
    legend_below(figure, [ax])
    return figure


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
