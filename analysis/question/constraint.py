"""Is a constraint better than a penalty?"""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable
from ..style import NARROW, available, side_by_side
from . import CONTRARY, SHOWN, UNDECIDED, Answer, Effects, answer, knob_name, mode, paired, shares, tuned

QUESTION = "How far is TRPO above a fixed β, each tuned on the task itself or carried over from the other tasks?"
MATTERS = 0.05  # normalised score: how far above a penalty a constraint has to be to matter
RULE = f"""
Normalised score of TRPO minus that of a fixed β on the same task, each at its best value, read on seeds that did not
choose it, from as many candidates. Shown if the interval over tasks is above 0; the contrary if its upper end is below
{MATTERS:g}.
"""
CONTRASTS = tuple((kind, of) for kind in ("normalised", "raw") for of in ("carried", "own"))

TITLE = "Constraint minus penalty"
CAPTION = """
Normalised score (untrained 0, best arm 1) of TRPO minus that of a fixed β: small dots are tasks, the large one is their
mean with its 95 % interval; an arrow is a task beyond the plot. Each side's value is tuned on the task itself, or is
the one best on all other tasks; it is chosen and read on different seeds.
"""
PART, ORDER = "tuned", 5


def effects(data) -> Effects:
    """A row per sample, contrast and task."""
    frame = tuned(data, [(algorithm, kind) for kind in ("raw", "normalised") for algorithm in ("kl_fixed", "trpo")])
    return Effects(contrasts(frame, [
        (f"TRPO minus fixed β, {kind} advantages, {mode(of)}", ((("trpo", kind), of), (("kl_fixed", kind), of)))
        for kind, of in CONTRASTS
    ]))  # fmt: skip


def contrasts(frame, sides):
    """`paired` of each sample and contrast (name, sides) that has enough tasks; columns sample, contrast and names."""
    rows = []
    for sample, own in frame.groupby("sample", sort=False):
        for name, two in sides:
            pairs = paired(own, two)
            if pairs.empty:
                continue
            names = {f"name_{place}": knob_name(*knob) for place, (knob, _) in zip(("first", "second"), two)}
            rows.append(pairs.assign(sample=sample, contrast=name, **names))
    if not rows:
        raise NotApplicable("needs both sides of a contrast, each with three values, on three learned tasks")
    return pd.concat(rows, ignore_index=True)


def decide(found: Effects) -> list[Answer]:
    return decided("constraint", found.by_task, judged, RULE)


def decided(question, by_task, judge, rule, alone=None):
    """Answers of `contrasts`; alone: the one that is the one test of its rule."""
    answers = []
    for (sample, contrast), own in by_task.groupby(["sample", "contrast"], sort=False):
        sides = [own["name_first"].iloc[0], own["name_second"].iloc[0]]
        answers.append(answer(question, contrast, sample, own, sides, judge, rule, alone=contrast == alone))
    return [found for found in answers if found]


def judged(low, high):
    return SHOWN if low > 0 else CONTRARY if high < MATTERS else UNDECIDED


def claim(answer):
    return "above 0"


def imagine(effect, scatter=0.15, tasks=30, noise=0.1, judging=8, studies=1000, seed=0):
    """(share shown, share contrary shown) of studies in which the effect varies over tasks by `scatter`."""
    generator = np.random.default_rng(seed)
    values = generator.normal(effect, np.hypot(scatter, noise * np.sqrt(2 / judging)), (tasks, studies))
    _, low, high = statistics.mean_interval(values)
    return shares([judged(*ends) for ends in zip(low, high)])


WORLDS = [{"effect": effect, "tasks": tasks} for tasks in (15, 30) for effect in (0.0, 0.05, 0.1)]


# The figure -------------------------------------------------------------------------------


def draw(frame) -> Figure:
    return differences(frame, "difference of normalised scores")


def differences(frame, label, interval=statistics.mean_interval, least=0.3, at=()) -> Figure:
    """A row per contrast and sample: tasks as small dots, those beyond the plot as arrows; the mean with its interval.

    least  the axis goes at least from -least to 0.3, and holds all intervals and 96 % of the tasks
    at     where dotted lines stand, beside the one at 0
    """
    samples = [name for name in dict.fromkeys(frame["sample"]) if name != "all tasks"]
    found = {row: own["effect"].dropna().to_numpy() for row, own in frame.groupby(["contrast", "sample"])}
    rows = [(name, sample) for name in dict.fromkeys(frame["contrast"]) for sample in samples]
    rows = [row for row in rows if len(found.get(row, ())) > 1]
    narrow = available.get() < NARROW
    names = [fill(row[0] if len(samples) == 1 else ", ".join(row), 24 if narrow else 48) for row in rows]
    height = max(0.5 if narrow else 0.42, 0.11 * max((name.count("\n") + 1 for name in names), default=1) + 0.1)
    figure, (ax,) = side_by_side(1, 0.7 + height * len(rows))
    every, of_row = frame["effect"].dropna(), {row: interval(found[row]) for row in rows}
    left = min(-least, every.quantile(0.02), *(low for _, low, _ in of_row.values()))
    right = max(0.3, every.quantile(0.98), *(high for *_, high in of_row.values()))
    for y, row in enumerate(rows):
        mean, low, high = of_row[row]
        shift = 0.26 * np.sin(2.4 * np.arange(len(found[row])))  # so that dots do not hide each other
        at_edge = np.clip(found[row], left, right)
        for mark, which in ("o", at_edge == found[row]), ("<", found[row] < left), (">", found[row] > right):
            ax.plot(at_edge[which], (y + shift)[which], mark, color="0.45", alpha=0.45, mew=0, clip_on=mark == "o",
                    ms=2.2 if mark == "o" else 4, gid=f"tasks {mark}")  # fmt: skip
        ax.plot([low, high], [y, y], color="#0072b2", lw=2.2, solid_capstyle="butt")
        ax.plot(mean, y, "o", color="#0072b2", ms=6)
    for x, line in (0, "-"), *((x, ":") for x in at):
        ax.axvline(x, color="0.5", lw=0.8, ls=line)
    margin = 0.02 * (right - left)
    ax.set_xlim(left - margin, right + margin)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_yticks(range(len(rows)), names, fontsize=6 if narrow else 7)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(label)
    return figure
