"""The questions of the study, one module each.

A module has

    QUESTION, RULE      for people; the rule is fixed before the runs of its registered sample
    SAMPLES             which rows it reads: `Sample`s, the registered one first
    effects(data)       -> what decides, with `by_task`, a frame with a row per sample and task. Raises NotApplicable.
    decide(effects)     -> list of `Answer`
    imagine(...)        -> how often a rule shows its claim, and the contrary, in imagined studies
    sentence(answer)    -> one finding in words, made from the answer's fields
    TITLE, CAPTION, PART, ORDER, numbers, draw      its figure, as any page of the report has it (`analysis.exhibit`)

What several of them use is here: samples, scores, candidates and answers.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..arms import NotApplicable
from ..data import KNOBS
from ..names import SYMBOLS

SHOWN, CONTRARY, UNDECIDED = "shown", "contrary shown", "undecided"
CONDITIONS = {  # by what is done to the advantages: nothing else differs from the protocol's defaults
    "raw": "advantage_normalization=none",
    "centred": "advantage_normalization=centre",
    "normalised": "",
}
LEAST_TASKS = 3
LEAST_VALUES = 3  # of a knob on a task


@dataclass(frozen=True)
class Sample:
    """The rows that a question reads: runs of these studies, on tasks that were learned.

    judged_by   studies with seeds that no value was chosen on
    registered  whether the question's rule was written before these runs
    """

    name: str
    studies: tuple
    judged_by: tuple = ()
    registered: bool = False


FRESH = Sample("fresh tasks", ("fresh",), ("fresh_judged",), registered=True)
OLD = Sample(
    "old tasks",
    ("many_tasks", "many_normalised", "population", "profiles", "profiles_raw", "table1", "wider_delta", "raw_delta"),
    ("task_by_task",),
)
SAMPLES = (FRESH, OLD)


@dataclass(frozen=True)
class Answer:
    """One contrast of a question on one sample, and what the runs say.

    effect, low, high           with the interval over tasks, in `unit`
    family_low, family_high     the interval with families of tasks as units; NaN with fewer than three
    null                        the value that means no difference
    tasks                       names of those that the effect is made of; families: how many they are from
    seeds                       "2", "2 to 5": per cell
    candidates                  how many values each side was chosen from: {"β, raw advantages": "7", ...}
    verdict                     shown, contrary shown, undecided; "" where the sample's rule was not registered
    refused                     why a registered verdict is not given, in one line
    """

    question: str
    contrast: str
    sample: str
    unit: str
    effect: float
    low: float
    high: float
    family_low: float
    family_high: float
    null: float
    tasks: tuple
    families: int
    seeds: str
    candidates: dict
    verdict: str
    rule: str
    refused: str = ""


# Rows -------------------------------------------------------------------------------------


def samples(data, known=SAMPLES):
    """The samples whose studies are all there, apart and together; of any other data one sample of all studies."""
    there = {name for names in data.runs["studies"] for name in names}
    whole = [sample for sample in known if set(sample.studies) & there and _all_that_exist(sample, there)]
    if not whole:
        return [Sample("these runs", tuple(sorted(there)), tuple(sorted(there)))]
    if len(whole) == 1:
        return whole
    together = Sample(
        "all tasks",
        sum((sample.studies for sample in whole), ()),
        sum((sample.judged_by for sample in whole), ()),
    )
    return [*whole, together]


def _all_that_exist(sample, there):
    """Whether all of a sample's studies are there; the old ones alone may lack some that are not run yet."""
    return set(sample.studies) <= there if sample.registered else len(set(sample.studies) & there) >= 6


def rows(data, sample, algorithm, advantages, studies=None):
    """Runs of an algorithm with nothing but its knob changed, on learned tasks of a sample."""
    studies = set(sample.studies if studies is None else studies)
    runs = data.runs
    keep = (runs["family"] == algorithm) & (runs["condition"] == CONDITIONS[advantages]) & runs["fork"].isna()
    keep &= runs["learned"] & runs["normalised"].notna()
    return runs[keep & runs["studies"].map(lambda names: not studies.isdisjoint(names))]


def responses(data, sample, algorithm, advantages):
    """Scores of a knob as `analysis.response.fit` takes them, of tasks with enough values; a run a row.

    Raises NotApplicable.
    """
    runs = rows(data, sample, algorithm, advantages)
    values = runs.groupby("task")["setting"].transform("nunique")
    runs = runs[values >= LEAST_VALUES]
    # The budget of a task is the one that most of its runs of this knob have.
    steps = runs.groupby("task")["total_steps"].agg(lambda steps: steps.mode().max())
    runs = runs[runs["total_steps"] == runs["task"].map(steps)]
    if runs["task"].nunique() < LEAST_TASKS or runs.groupby(["task", "setting"]).size().max() < 2:
        raise NotApplicable(
            f"needs {LEAST_VALUES} values of {KNOBS[algorithm][0]} ({advantages} advantages) on {LEAST_TASKS} learned "
            f"tasks, two seeds of some; there are {runs['task'].nunique()} such tasks"
        )
    return pd.DataFrame(
        {
            "task": runs["task"],
            "family": runs["family_of_task"].where(runs["family_of_task"] != "", runs["task"]),
            "x": np.log10(runs["setting"]),
            "seed": runs["seed"],
            "score": runs["normalised"],
        }
    ).reset_index(drop=True)


def knob_name(algorithm, advantages):
    """ "β, raw advantages"."""
    return f"{SYMBOLS[KNOBS[algorithm][0]]}, {advantages} advantages"


def span(counts):
    """ "2", or "2 to 5" where counts differ."""
    low, high = int(np.min(counts)), int(np.max(counts))
    return str(low) if low == high else f"{low} to {high}"


def candidates(scores):
    """How many values tasks have: "7", "6 to 9"."""
    return span(scores.groupby("task")["x"].nunique())


def seeds(*scores):
    return span(pd.concat([own.groupby(["task", "x"]).size() for own in scores]))


# Verdicts ---------------------------------------------------------------------------------


def registered(sample, verdict):
    """The verdict of a sample whose rule was registered; none is given on others."""
    return verdict if sample.registered else ""


def without_verdict(answer, why):
    return replace(answer, verdict="", refused=why)


def interval_text(answer, digits=2):
    """ "0.63 [0.51, 0.83]"."""
    form = f"{{:.{digits}f}}".format
    return f"{form(answer.effect)} [{form(answer.low)}, {form(answer.high)}]"
