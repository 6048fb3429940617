"""What does a value cost that was carried over from other tasks?"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics, tuning
from ..names import SYMBOLS
from . import (
    CONTRARY,
    KNOBS,
    SHOWN,
    UNDECIDED,
    Answer,
    Effects,
    answer,
    interval_text,
    knob_name,
    named,
    paired,
    shares,
    tuned,
)
from .constraint import differences
from .spread import imagined_scores

QUESTION = "What does a value of a knob cost that is best on all other tasks, against the one best on this task?"
COSTS = 0.05  # normalised score: what a value that is carried over may cost in the mean over tasks
RULE = f"""
Regret: normalised score of the value best on the task itself, minus that of the value best in the mean over all other
tasks, both read on seeds that chose neither, from as many candidates. Shown that carrying a value over costs more than
{COSTS:g} if the interval over tasks is above it; the contrary if it is below. One knob against another: shown if the
interval of the difference, task by task, is above 0; the contrary if it is below 0.
"""
PAIRS = (
    (("kl_fixed", "raw"), ("kl_fixed", "normalised")),
    (("kl_fixed", "normalised"), ("trpo", "normalised")),
    (("kl_fixed", "raw"), ("trpo", "raw")),
)
ONE = ["best on the task", "best on all other tasks"]  # the two sides of one knob's regret
SWEPT = (*dict.fromkeys(knob for pair in PAIRS for knob in pair), ("kl_adaptive", "normalised"), ("clip", "normalised"))

TITLE = "What a value costs that is carried over from other tasks"
CAPTION = """
A small dot is a task: the normalised score (untrained 0, best arm 1) lost by the value that is best on all other tasks,
against the value best on the task itself. Both are chosen and read on different seeds, so a loss may be negative. The
large dot is the mean with its 95 % interval over tasks; an arrow is a task beyond the plot; the line at 0.05 is the
rule's.
"""
PART, ORDER = "windows_of_values", 7


def effects(data) -> Effects:
    """A row per sample, knob and task with the regret as `effect`."""
    frame = tuned(data, SWEPT)
    return Effects(frame.assign(effect=frame["own"] - frame["carried"]))


def decide(found: Effects) -> list[Answer]:
    answers = []
    for sample, frame in found.by_task.groupby("sample", sort=False):
        alone = {}
        for knob, own in frame.groupby(["algorithm", "advantages"], sort=False):
            alone[knob] = own
            twice = {f"{name}_{side}": own[name] for name in ("candidates", "values") for side in ("first", "second")}
            own = own.assign(**twice)
            answers.append(answer("regret", knob_name(*knob), sample, own, ONE, costs, RULE, skewed=True))
        for first, second in PAIRS:
            if {first, second} <= set(alone):
                both = difference(alone[first], alone[second])
                names = [knob_name(*knob) for knob in (first, second)]
                answers.append(answer("regret", " minus ".join(names), sample, both, names, differs, RULE))
    return [found for found in answers if found]


def sentence(answer) -> str:
    names = list(answer.candidates)
    tasks = f"{len(answer.tasks)} tasks, {answer.sample}"
    number = interval_text(answer, signed=True)
    chosen = f"{answer.candidates[names[0]]} values each{named(answer, names[0])}"
    if names == ONE:
        return (
            f"{answer.contrast}: the value best on all other tasks loses {number} normalised score against the value "
            f"best on the task, mean over {tasks} (of {chosen}; read on {answer.seeds} seeds)."
        )
    return f"Regret of {names[0]} minus that of {names[1]}: {number} normalised score, mean over {tasks}."


def claim(answer):
    return f"above {COSTS:g}" if list(answer.candidates) == ONE else "above 0"


def difference(first, second):
    """Regret of one knob minus that of another, task by task, as `paired` has it."""
    frame = pd.concat(
        [first.assign(algorithm="one", own=first["effect"]), second.assign(algorithm="two", own=second["effect"])]
    )
    frame = frame.assign(advantages="")
    return paired(frame, [(("one", ""), "own"), (("two", ""), "own")])


def costs(low, high):
    return SHOWN if low > COSTS else CONTRARY if high < COSTS else UNDECIDED


def differs(low, high):
    return SHOWN if low > 0 else CONTRARY if high < 0 else UNDECIDED


def imagine(sd, tasks=30, values=7, width=1.25, noise=0.1, choosing=2, judging=8, studies=200, seed=0):
    """(share shown, share contrary shown, true regret) of studies whose best values spread by `sd` decades.

    choosing, judging  seeds of each task; others: see `spread.imagined_scores`
    """
    generator, verdicts, truth = np.random.default_rng(seed), [], []
    for _ in range(studies):
        _, scores = imagined_scores(sd, width, tasks, values, choosing + judging, noise, generator)
        choose, judge = scores[..., :choosing], scores[..., choosing:]
        own, carried = (tuning.judged(choose, judge, pick)[0] for pick in (tuning.best_here, tuning.best_elsewhere))
        verdicts.append(costs(*statistics.skewed_mean_interval(own - carried, 300)[1:]))
        truth.append((own - carried).mean())
    return *shares(verdicts), float(np.mean(truth))


WORLDS = [{"sd": sd} for sd in (0.0, 0.3, 0.45, 0.6, 0.74, 0.9)]


# The figure -------------------------------------------------------------------------------


def draw(frame) -> Figure:
    """A row per knob and sample."""
    knobs = [f"{kind} {SYMBOLS[KNOBS[name][0]]}" for name, kind in zip(frame["algorithm"], frame["advantages"])]
    label = "normalised score lost by a carried value"
    return differences(frame.assign(contrast=knobs), label, statistics.skewed_mean_interval, 0.15, (COSTS,))
