"""How far does the best value of a knob differ between tasks, and how hard is it to choose one value for all?"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import response
from ..names import task_name
from ..style import ALGORITHM_STYLE, NARROW, available, in_view, log_axis, side_by_side
from . import CONTRARY, SAMPLES, SHOWN, UNDECIDED, Answer, estimated, fits, interval_text, knob_name, shares

QUESTION = "How far does the best value of a knob differ between tasks?"
HARDER = 1.0  # ratio of two difficulties above which one knob is harder to choose than the other
NO_HARDER = 1.5  # ratio below which one knob is no harder to choose than the other
HOLM = 0.975  # level of the interval that Holm's correction asks of the first of two verdicts
TWICE = 2.0  # ratio below which one knob is as easy to choose as the other; 30 tasks cannot tell less
RULE = f"""
Difficulty is the standard deviation of the best value over tasks, in units of the width of a response. Raw β against
normalised β: shown that one is harder to choose if the ratio's interval is above {HARDER:g}; the contrary if it is
below {NO_HARDER:g}. Normalised β against normalised δ: shown that one is as easy to choose, up to a factor of
{TWICE:g}, if the ratio's interval is below {TWICE:g}; the contrary if it is above {NO_HARDER:g}. Intervals over tasks;
if both are called at 95 %, one has to be at {100 * HOLM:g} % as well (Holm).
"""
KNOBS = (("kl_fixed", "raw"), ("kl_fixed", "normalised"), ("trpo", "raw"), ("trpo", "normalised"))
RATIOS = (  # first, second, what is asked of the first by the rule: whether it is "harder", or as "easy"
    (("kl_fixed", "raw"), ("kl_fixed", "normalised"), "harder"),
    (("kl_fixed", "normalised"), ("trpo", "normalised"), "easy"),
    (("kl_fixed", "raw"), ("trpo", "raw"), None),
    (("trpo", "raw"), ("trpo", "normalised"), None),
)
FAINTLY = 0.3  # how opaque a task is drawn that does not tell its best value
OF = {"spread": "standard deviation of the best value", "difficulty": "difficulty"}

TITLE = "How far the best value differs between tasks"
CAPTION = """
A dot is the best value of a task with its 95 % interval; the band is one standard deviation of the best values over
tasks (SD, in decades) about their mean. Decades are equally wide in all plots. An arrow: the interval goes on beyond
the plot; faint: on either side. SD / width says how hard it is to choose one value for all tasks: the width is that of
a task's response.
"""
PART, ORDER = "windows_of_values", 5


class Effects(NamedTuple):
    """by_task: a row per sample, knob and task, log10; fits: {(sample, knob): (response.Fit, scores)}."""

    by_task: pd.DataFrame
    fits: dict


def effects(data) -> Effects:
    found = fits(data, KNOBS, SAMPLES)
    return Effects(pd.concat([_by_task(*key, *fit) for key, fit in found.items()], ignore_index=True), found)


def _by_task(sample, knob, fit, scores):
    ran = scores.groupby("task")["x"].agg(["min", "max", "nunique"])
    frame = fit.optimum.drop(columns=["median", "low", "high"])  # which are no interval of one task
    frame = frame.rename(columns={"flat_median": "optimum", "flat_low": "low", "flat_high": "high"})
    sd, difficulty = fit.spread, fit.difficulty
    return frame.assign(
        sample=sample.name, algorithm=knob[0], advantages=knob[1], smallest=frame["task"].map(ran["min"]),
        largest=frame["task"].map(ran["max"]), candidates=frame["task"].map(ran["nunique"]),
        mean=fit.maximum.theta[0], sd=sd.value, sd_low=sd.low, sd_high=sd.high, width=fit.width,
        difficulty=difficulty.value, difficulty_low=difficulty.low, difficulty_high=difficulty.high, shape=fit.shape,
    )  # fmt: skip


def decide(found: Effects) -> list[Answer]:
    answers = []
    for (sample, knob), (fit, scores) in found.fits.items():
        for of, words in OF.items():
            unit, contrast = "decades" if of == "spread" else "SD / width", f"{words}: {knob_name(*knob)}"
            estimate = partial(fit.estimate, of)
            answers.append(estimated("spread", contrast, sample, unit, estimate, 0.0, {knob: (fit, scores)}, RULE))
    for sample in sorted({sample for sample, _ in found.fits}, key=lambda sample: sample.name):
        for first, second, asked in RATIOS:
            if {(sample, first), (sample, second)} <= set(found.fits):
                pair = {knob: found.fits[sample, knob] for knob in (first, second)}
                answers += [_ratio(sample, pair, of, words, asked) for of, words in OF.items()]
    return corrected(answers, found.fits)


def _ratio(sample, pair, of, words, asked):
    (first, (one, _)), (second, (two, _)) = pair.items()
    # beta ~ delta^-1/2 makes the ratio of two spreads another unit's
    judge = partial(judged, asked=asked) if asked and of == "difficulty" else None
    return estimated(
        "spread", f"{words}: {knob_name(*first)} / {knob_name(*second)}", sample, "ratio",
        partial(response.ratio, one, two, of), 1.0, pair, RULE, judge,
    )  # fmt: skip


def corrected(answers, fits):
    """`answers` with Holm's correction where both rules of a sample are called, at 95 %."""
    for sample in {sample for sample, _ in fits}:
        called = [i for i, own in enumerate(answers) if own.sample == sample.name and own.verdict in (SHOWN, CONTRARY)]
        if len(called) == 2 and all(_judged_at(HOLM, sample, pair, fits) == UNDECIDED for pair in RATIOS if pair[2]):
            answers = [replace(own, verdict=UNDECIDED) if i in called else own for i, own in enumerate(answers)]
    return answers


def _judged_at(level, sample, pair, fits):
    first, second, asked = pair
    one, two = (fits[sample, knob][0] for knob in (first, second))
    return judged(*response.ratio(one, two, "difficulty", level=level)[1:], asked)


def judged(low, high, asked):
    """The verdict on a ratio of two difficulties with its interval; asked: of `RATIOS`."""
    shown, contrary = (low > HARDER, high < NO_HARDER) if asked == "harder" else (high < TWICE, low > NO_HARDER)
    return SHOWN if shown else CONTRARY if contrary else UNDECIDED


def sentence(answer) -> str:
    """One answer in words."""
    number = interval_text(answer)
    if answer.unit == "decades":
        return f"The {answer.contrast} is {number} decades over {len(answer.tasks)} tasks ({answer.sample})."
    tasks = f"({len(answer.tasks)} tasks, {answer.sample})"
    if answer.contrast.startswith(OF["difficulty"]) and answer.unit == "ratio":
        first, second = answer.candidates
        return f"One value of {first}, is {number} times as hard to choose as one of {second} {tasks}."
    what = "The ratio of the" if answer.unit == "ratio" else "The"
    return f"{what} {answer.contrast} is {number} {tasks}."


def claim(answer):
    asked = {tuple(knob_name(*knob) for knob in pair): asked for *pair, asked in RATIOS}
    return f"above {HARDER:g}" if asked[tuple(answer.candidates)] == "harder" else f"below {TWICE:g}"


def imagine(
    raw=0.63, normalised=0.31, width=1.25, tasks=30, values=9, count=2, noise=0.1, studies=20, seed=0, asked="harder"
):
    """(share shown, share contrary shown) of studies in which the best values spread by `raw` and `normalised` decades.

    noise  standard deviation between seeds, as a share of a response's height; values, seeds (count) of each task
    """
    generator, verdicts = np.random.default_rng(seed), []
    for _ in range(studies):
        scores = [imagined(sd, width, tasks, values, count, noise, generator) for sd in (raw, normalised)]
        ratio = response.ratio(*(response.fit(own, *response.BETA) for own in scores), of="difficulty")
        verdicts.append(judged(ratio.low, ratio.high, asked))
    return shares(verdicts)


def imagined(sd, width, tasks, values, count, noise, generator):
    """Scores of simulated tasks as `response.fit` takes them; see `imagined_scores`."""
    x, scores = imagined_scores(sd, width, tasks, values, count, noise, generator)
    index = np.indices(scores.shape).reshape(3, -1)
    return pd.DataFrame(
        {"task": [f"task {i}" for i in index[0]], "family": [f"family {i % 8}" for i in index[0]],
         "x": x[index[1]], "seed": index[2], "score": scores.ravel()}
    )  # fmt: skip


def imagined_scores(sd, width, tasks, values, count, noise, generator):
    """(x [H], scores [E, H, S]) of simulated tasks, half-decade grid about 0; `sd` may be the best values."""
    x = 0.5 * (np.arange(values) - (values - 1) / 2)
    best = generator.normal(0, sd, tasks) if np.ndim(sd) == 0 else sd
    widths = width * np.exp(generator.normal(0, 0.3, tasks))
    means = np.exp(-(((x - best[:, None]) / widths[:, None]) ** 2) / 2)
    return x, means[..., None] + noise * generator.standard_normal((tasks, values, count))


# The figure -------------------------------------------------------------------------------


def draw(frame) -> Figure:
    """A plot per knob, a row per task; the registered sample where it is there."""
    names = list(dict.fromkeys(frame["sample"]))
    frame = frame[frame["sample"] == names[-1]]  # all tasks, if there are several samples
    knobs = [knob for knob in KNOBS if ((frame["algorithm"] == knob[0]) & (frame["advantages"] == knob[1])).any()]
    if len(knobs) == 4:
        knobs.remove(("trpo", "raw"))
    parts = [frame[(frame["algorithm"] == name) & (frame["advantages"] == kind)] for name, kind in knobs]
    order = parts[0].set_index("task")["optimum"]
    for part in parts[1:]:
        order = order.combine_first(part.set_index("task")["optimum"] - part["mean"].iloc[0] + parts[0]["mean"].iloc[0])
    tasks = list(order.sort_values().index)
    narrow = available.get() < NARROW
    height = 1.0 + (0.085 if narrow else 0.135) * len(tasks)
    figure, axes = side_by_side(len(parts), height, least=0, sharey=True)
    reach = max(part["largest"].max() - part["smallest"].min() for part in parts) / 2 + 0.3
    for ax, (algorithm, advantages), part in zip(axes, knobs, parts):
        colour = ALGORITHM_STYLE[algorithm][0]
        middle = (part["largest"].max() + part["smallest"].min()) / 2
        left, right = middle - reach, middle + reach
        mean, sd = part["mean"].iloc[0], part["sd"].iloc[0]
        ax.axvspan(10 ** (mean - sd), 10 ** (mean + sd), color=colour, alpha=0.18, lw=0)
        ax.axvline(10**mean, color=colour, lw=0.8)
        for row in part.itertuples():
            y = tasks.index(row.task)
            told = {"color": colour, "alpha": 1.0 if row.low > left or row.high < right else FAINTLY}
            size, told["lw"] = (2.2, 0.7) if narrow else (3, 0.9)
            in_view(ax, y, row.optimum, row.low, row.high, (left, right), size, **told)
        ax.set_xlim(10**left, 10**right)
        log_axis(ax.xaxis, ticks=4)
        ax.set_xlabel({"kl_fixed": "best β", "trpo": "best δ"}[algorithm])
        name = {"kl_fixed": "β", "trpo": "δ"}[algorithm]
        ax.set_title(f"{advantages} {name}", fontsize=7 if narrow else None, pad=22 if narrow else 25)
        text = f"SD {sd:.2f} decades\nSD / width {part['difficulty'].iloc[0]:.2f}"
        ax.annotate(text, (0, 1), (0, 3), "axes fraction", "offset points", fontsize=6 if narrow else 7.5, va="bottom")
        ax.set_ylim(-1, len(tasks))
        ax.grid(axis="y", visible=False)
    if narrow:
        axes[0].set_yticks([])
        axes[0].set_ylabel(f"{len(tasks)} tasks")
    else:
        axes[0].set_yticks(range(len(tasks)), [task_name(task) for task in tasks], fontsize=6)
        axes[0].tick_params(axis="y", length=0)
    return figure
