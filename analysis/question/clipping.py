"""What does gradient clipping change: the regret of one beta, and its distance from a constraint?"""

from types import SimpleNamespace

import pandas as pd
from matplotlib.figure import Figure

from ..arms import NotApplicable
from . import Answer, Effects, Sample, mode, rows, samples, tuned
from .constraint import MATTERS, contrasts, decided, differences, imagine, judged  # noqa: F401 (the same rule)

QUESTION = "How much does gradient clipping reduce the regret of one β, and how far is TRPO above a β with it?"
RULE = f"""
Normalised advantages; clipping scales a gradient down to norm 0.5. Regret (see there) of a fixed β without clipping
minus that with it, task by task, at the values run in both ways; TRPO minus a fixed β with clipping. Shown if the
interval over tasks is above 0; the contrary if its upper end is below {MATTERS:g}.
"""
SAMPLES = (
    Sample("tasks of at most 200 thousand steps", ("gradient_bound", "many_normalised", "population", "wider_delta")),
    Sample("MuJoCo tasks of a million steps", ("gradient_bound_long", "bounded", "profiles", "table1")),
)
FREE, CLIPPED, TRPO = ("kl_fixed", "normalised"), ("kl_fixed", "clipped"), ("trpo", "normalised")
LESS = "regret of one β without gradient clipping minus that with it"

TITLE = "What gradient clipping does to a fixed β"
CAPTION = """
Normalised score (untrained 0, best arm 1): small dots are tasks, the large one is their mean with its 95 % interval;
an arrow is a task beyond the plot. Regret is what a β loses that is best on all other tasks, against the one best on
the task; it falls right of 0. Each value is chosen and read on different seeds.
"""
PART, ORDER = "windows_of_values", 15


def effects(data) -> Effects:
    """A row per sample, contrast and task."""
    both = tuned(run_both_ways(data), [FREE, CLIPPED], SAMPLES)
    both = both.assign(regret=both["own"] - both["carried"], regret_value=both["carried_value"])
    frames = [contrasts(both, [(LESS, ((FREE, "regret"), (CLIPPED, "regret")))])]
    leads = [
        (f"TRPO minus fixed β with gradient clipping, {mode(of)}", ((TRPO, of), (CLIPPED, of)))
        for of in ("carried", "own")
    ]
    try:
        frames.append(contrasts(tuned(data, [TRPO, CLIPPED], SAMPLES), leads))
    except NotApplicable:  # TRPO has fewer than three values
        pass
    return Effects(pd.concat(frames, ignore_index=True))


def run_both_ways(data):
    """The runs of fixed betas with clipping and without, at the values that a task was run at in both ways."""
    runs, keep = data.runs, data.runs["algorithm"] != "kl_fixed"
    for sample in samples(data, SAMPLES):
        both = [rows(data, sample, *knob) for knob in (FREE, CLIPPED)]
        cells = [pd.MultiIndex.from_frame(own[["task", "total_steps", "setting"]]) for own in both]
        for own, mine, other in zip(both, cells, cells[::-1]):
            keep[own.index[mine.isin(other)]] = True
    return SimpleNamespace(runs=runs[keep])


def decide(found: Effects) -> list[Answer]:
    return decided("clipping", found.by_task, judged, RULE)


WORLDS = [{"effect": effect, "scatter": 0.05, "judging": 2, "tasks": 27} for effect in (0.0, 0.025, 0.05)]


# The figure -------------------------------------------------------------------------------


def draw(frame) -> Figure:
    return differences(frame, "difference of normalised scores")
