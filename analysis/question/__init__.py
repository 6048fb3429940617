"""The questions of the study, one module each.

A module has

    QUESTION, RULE      for people; the rule is fixed before the runs of its registered sample
    SAMPLES             which rows it reads: `Sample`s, the registered one first
    effects(data)       -> what decides, with `by_task`, a frame with a row per sample and task. Raises NotApplicable.
    decide(effects)     -> list of `Answer`
    imagine(...)        -> how often a rule shows its claim, and the contrary, in simulated studies
    WORLDS              the keywords of `imagine` whose shares results/question_sizes.csv has (`analysis.sizes`)
    sentence(answer)    -> one finding in words, made from the answer's fields; left out: that of this file
    claim(answer)       -> what a verdict on it says is shown, in three words; left out where the sentence says so
    TITLE, CAPTION, PART, ORDER, draw      its figure of `by_task`, as any report item has it (`analysis.item`); with
                        `text` instead of `draw` its table

What several of them use is here: samples, scores, fits, candidates and answers.
"""

import re
import shlex
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import filterfalse, product
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import response, statistics, tuning
from ..arms import NotApplicable
from ..data import KNOBS
from ..item import modules
from ..names import SYMBOLS, counted, span

SHOWN, CONTRARY, UNDECIDED = "shown", "contrary shown", "undecided"
CONDITIONS = {  # by what is done to the advantages and gradients: nothing else differs from the protocol's defaults
    "raw": {"advantage_normalization": "none"},
    "centred": {"advantage_normalization": "centre"},
    "normalised": {},
    "clipped": {"max_grad_norm": 0.5},
}
KINDS = {kind: f"{kind} advantages" for kind in CONDITIONS} | {"clipped": "normalised advantages, gradient clipping"}
PROTOCOLS = {  # what else may be changed in every arm of a comparison
    "tricks": {
        "reward_scaling": True, "reward_clip": 10, "observation_clip": 10, "anneal_learning_rate": True,
        "max_grad_norm": 0.5, "value_clip": 0.2,
    },
    "larger": {"hidden": [256, 256], "horizon": 16384, "minibatch_size": 256},
}  # fmt: skip


def under(kind, protocol):
    """The key of a kind of advantages under a changed protocol, in `CHANGES` and `KINDS`."""
    return f"{kind}, {protocol}"


CHANGES = CONDITIONS | {
    under(kind, protocol): CONDITIONS[kind] | PROTOCOLS[protocol] for kind in CONDITIONS for protocol in PROTOCOLS
}
KINDS |= {under(kind, protocol): f"{KINDS[kind]}, {protocol}" for kind in CONDITIONS for protocol in PROTOCOLS}
SHAPES = {"trpo": response.DELTA}  # of responses to a knob; to any other response.BETA
LEAST_TASKS = 3
LEAST_FITTED = 6  # tasks: of fewer the model of the response tells no spread
LEAST_VALUES = 3  # of a knob on a task


@dataclass(frozen=True)
class Sample:
    """The rows that a question reads: runs of these studies, on tasks that were learned.

    judged_by   studies with seeds that no value was chosen on
    screened    whether its tasks were kept by other runs, so that all of them count, learned or not
    registered  whether the question's rule was written before these runs
    """

    name: str
    studies: tuple
    judged_by: tuple = ()
    screened: bool = False
    registered: bool = False


FRESH = Sample("fresh tasks", ("fresh",), ("fresh_judged",), screened=True, registered=True)
OLD = Sample(
    "old tasks",
    ("many_tasks", "many_normalised", "population", "profiles", "profiles_raw", "table1", "wider_delta", "changing",
     "raw_delta"),
)  # fmt: skip
SAMPLES = (FRESH, OLD)
ALL, OWN = "all tasks", "these runs"  # samples of several others, and of somebody's own studies
# What is chosen from on registered tasks, as many values of each knob; on others what most tasks have
CANDIDATES = {
    ("kl_fixed", "raw"): (0.1, 0.3, 1, 3, 10, 30, 100),
    ("kl_fixed", "centred"): (0.1, 0.3, 1, 3, 10, 30, 100),
    ("kl_fixed", "normalised"): (0.03, 0.1, 0.3, 1, 3, 10, 30),
    ("trpo", "raw"): (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
    ("trpo", "normalised"): (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
    ("kl_adaptive", "normalised"): (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
    ("clip", "normalised"): (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1),
}
JUDGING_SEEDS = "range(100,108)"
# Contrasts of questions that are registered together; Holm's correction is for all of them, read or not.
TOGETHER = ({"regret": 9, "constraint": 4, "within_run": 2}, {"fork": 2})


class Effects(NamedTuple):
    """What decides, of a question that needs no more than rows by task."""

    by_task: pd.DataFrame


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
    values                      what each side was chosen from, where it is known: {"β, raw advantages": (0.1, 1.0)}
    p                           of a verdict that counts among `TOGETHER`: 1 - level of the widest interval with it
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
    values: dict = field(default_factory=dict)
    p: float = np.nan


def report(data):
    """[(module, answers)] of every question that the data have runs for."""
    found = []
    for module in modules(__name__, __path__):
        try:
            found.append((module, module.decide(module.effects(data))))
        except NotApplicable:
            continue
    return together([(module, answers) for module, answers in found if answers])


def together(found):
    """`found` of `report`, where verdicts stand that Holm's correction for all contrasts of `TOGETHER` leaves."""
    for counts in TOGETHER:
        p = [own.p for _, answers in found for own in answers if own.question in counts and np.isfinite(own.p)]
        count = sum(counts.values())
        stand = iter(statistics.holm([*p, *[1.0] * (count - len(p))]) <= 1 - statistics.LEVEL)
        why = f"Undecided: {{}} alone, but not with Holm’s correction for {count} contrasts"

        def corrected(own, counts=counts, stand=stand, why=why):
            if own.question not in counts or not np.isfinite(own.p) or next(stand) or own.verdict == UNDECIDED:
                return own
            return replace(own, verdict="", refused=why.format(own.verdict))

        found = [(module, [corrected(own) for own in answers]) for module, answers in found]
    return found


def in_words(module, answer):
    """The answer's sentence, as its module says it, and what was claimed where there is a verdict."""
    said = getattr(module, "sentence", sentence)(answer)
    judged = (answer.verdict or answer.refused) and hasattr(module, "claim")
    return f"{said} Claim: {module.claim(answer)}." if judged else said


# Rows -------------------------------------------------------------------------------------


def samples(data, known=SAMPLES):
    """The samples whose studies are all there, apart and together; of any other data one sample of all studies.

    A sample that is not registered may lack studies, if it has six.
    """
    there = {name for names in data.runs["studies"] for name in names}
    whole = [
        sample
        for sample in known
        if len(there.intersection(sample.studies))
        >= (len(sample.studies) if sample.registered else min(6, len(sample.studies)))
    ]
    if not whole:
        return [Sample(OWN, tuple(sorted(there)))]
    if known is not SAMPLES or len(whole) == 1:
        return whole
    return [*whole, Sample(ALL, sum((sample.studies for sample in whole), ()))]


def rows(data, sample, algorithm, advantages, studies=None):
    """Runs of an algorithm with nothing but its knob changed, on a sample's tasks."""
    studies = set(sample.studies if studies is None else studies)
    runs = data.runs
    keep = (runs["family"] == algorithm) & (runs["learned"] | sample.screened) & runs["fork"].isna()
    runs = runs[keep]
    return runs[only_changes(runs, CHANGES[advantages]) & belong(runs, studies)]


def belong(runs, studies):
    """[run] whether it belongs to any of the studies."""
    return np.array([not set(studies).isdisjoint(names) for names in runs["studies"]], dtype=bool)


def only_changes(runs, changes, but=()):
    """[run] whether its protocol has these changes from the defaults and no other, but for some settings."""
    kept = ({name: own[name] for name in own if name not in but} for own in runs["changes"])
    return np.array([own == changes for own in kept], dtype=bool)


def swept(data, sample, algorithm, advantages):
    """`rows` of the tasks with enough values, at the budget that most runs of the knob on the task have."""
    runs = rows(data, sample, algorithm, advantages)
    if runs.empty:  # most knobs of a small study
        return runs
    runs = runs[runs.groupby("task")["setting"].transform("nunique") >= LEAST_VALUES]
    steps = runs.groupby("task")["total_steps"].agg(lambda steps: steps.mode().max())
    return runs[runs["total_steps"] == runs["task"].map(steps)]


def responses(data, sample, algorithm, advantages, least=LEAST_FITTED):
    """Scores of a knob as `analysis.response.fit` takes them, of `least` tasks with enough values; a run a row.

    The score is the mean return over training, of a diverged run what it earned until then.

    Raises NotApplicable.
    """
    runs = swept(data, sample, algorithm, advantages)
    runs = runs[np.isfinite(runs["auc_return"])]
    if runs["task"].nunique() < least or runs.groupby(["task", "setting"]).size().max() < 2:
        raise NotApplicable(
            f"needs {LEAST_VALUES} values of {knob_name(algorithm, advantages)}, on {least} learned tasks, two "
            f"seeds of some; there are {runs['task'].nunique()} such tasks"
        )
    return pd.DataFrame(
        {
            "task": runs["task"],
            "family": runs["family_of_task"].where(runs["family_of_task"] != "", runs["task"]),
            "x": np.log10(runs["setting"]),
            "seed": runs["seed"],
            "score": runs["auc_return"],
            "words": runs["overrides"],
        }
    ).reset_index(drop=True)


def fits(data, knobs, known=SAMPLES):
    """{(sample, knob): (response.Fit, scores)} of the knobs (algorithm, advantages) that have enough runs.

    Raises NotApplicable.
    """
    found, lacking = {}, None
    for sample in samples(data, known):
        for knob in knobs:
            try:
                scores = responses(data, sample, *knob)
                columns = tuple((name, tuple(scores[name])) for name in scores)
                found[sample, knob] = _fit(columns, SHAPES.get(knob[0], response.BETA)), scores
            except (NotApplicable, ValueError) as reason:
                lacking = reason
    if not found:
        raise NotApplicable(str(lacking))
    return found


@lru_cache(32)
def _fit(columns, shapes):
    """`response.fit` of scores, given as (name, values) of their columns; several questions read the same ones."""
    return response.fit(pd.DataFrame(dict(columns)), *shapes)


def knob_name(algorithm, advantages):
    """ "β, raw advantages"."""
    return f"{SYMBOLS[KNOBS[algorithm][0]]}, {KINDS[advantages]}"


def candidates(scores):
    """How many values tasks have: "7", "6 to 9"."""
    return span(scores.groupby("task")["x"].nunique())


def seeds(*scores):
    return span(pd.concat([own.groupby(["task", "x"]).size() for own in scores]))


# Tuned values -------------------------------------------------------------------------------


def tuned(data, knobs, known=SAMPLES):
    """What each knob's best value is worth, tuned on the task itself and carried over from the others; frame.

    knobs  of (algorithm, advantages)
    A row per sample, knob and task: own and carried (normalised scores on seeds that chose neither), own_value and
    carried_value, candidates (how many were chosen from), seeds that judge, and `command`, which makes the first runs
    that the grid of candidates or a score lacks ("" where none does). Raises NotApplicable.
    """
    frames = []
    for sample in samples(data, known):
        if sample.name == ALL:
            frames.append(pd.concat(frames).assign(sample=ALL, registered=False))
            continue
        chosen = {knob: swept(data, sample, *knob) for knob in knobs}
        chosen = {knob: runs[runs["normalised"].notna()] for knob, runs in chosen.items() if len(runs)}
        if not chosen:
            continue
        every = pd.concat(chosen.values()).groupby("task")[["family_of_task", "overrides"]].first()
        whole = every["family_of_task"] if sample.registered else None
        for knob, choosing in chosen.items():
            judging = rows(data, sample, *knob, sample.judged_by)
            judging = judging[judging["normalised"].notna()]
            wanted = CANDIDATES.get(knob) if sample.registered else None
            scores = tuning.candidates(choosing, judging, wanted, whole)
            if scores is not None and len(scores.tasks) >= LEAST_TASKS and len(scores.settings) >= LEAST_VALUES:
                frames.append(_tuned(sample, knob, scores, choosing, every["overrides"]))
    if not frames:
        raise NotApplicable(f"needs {LEAST_VALUES} values of a knob, the same ones on {LEAST_TASKS} learned tasks")
    return pd.concat(frames, ignore_index=True)


def _tuned(sample, knob, scores, choosing, words):
    """`tuned` of one knob; words: of any run on each task, for the commands."""
    judge = scores.judge
    if judge is None and sample.judged_by:
        judge = np.full((*scores.choose.shape[:2], 1), np.nan)  # none of them has run yet
    (own, here), (carried, elsewhere) = (
        tuning.judged(scores.choose, judge, pick) for pick in (tuning.best_here, tuning.best_elsewhere)
    )
    read = scores.choose if judge is None else judge
    seeds = np.isfinite(read).any(1).sum(1)
    ran, was_read = (
        np.isfinite(of).all(-1) if sample.registered else np.isfinite(of).any(-1) for of in (scores.choose, read)
    )
    commands = []
    for row, task in enumerate(scores.tasks):
        holes, study, seed = np.flatnonzero(~ran[row]), sample.studies[0], "range(2)"
        if not len(holes):
            picked = (own[row], here[row]), (carried[row], elsewhere[row])
            holes = [index for score, index in picked if not (np.isfinite(score) and was_read[row, index])]
            study, seed = (sample.judged_by or sample.studies)[0], JUDGING_SEEDS
        said = _on_the_task_of(words[task], choosing["overrides"].iloc[0])
        commands.append(_command(said, knob[0], scores.settings[holes[0]], seed, study) if len(holes) else "")
    return pd.DataFrame(
        {
            "sample": sample.name, "registered": sample.registered, "algorithm": knob[0], "advantages": knob[1],
            "task": scores.tasks, "family": scores.families, "own": own, "carried": carried,
            "own_value": scores.settings[here], "carried_value": scores.settings[elsewhere],
            "candidates": ran.sum(1), "values": [tuple(scores.settings[own].tolist()) for own in ran], "seeds": seeds,
            "command": commands,
        }
    )  # fmt: skip


def to_judge(frame):
    """{(algorithm, advantages, value): tasks} that judging seeds run: both chosen values of each knob and task.

    frame  of `tuned`, of one sample
    """
    both = [frame.assign(value=frame[f"{of}_value"]) for of in ("own", "carried")]
    groups = pd.concat(both).groupby(["algorithm", "advantages", "value"], sort=False)["task"]
    return {key: sorted(set(tasks)) for key, tasks in groups}


def _command(words, algorithm, value, seed, study):
    """The command that makes runs like those of `words` at another value of the knob."""
    knob = f"algorithm.{KNOBS[algorithm][0]}="
    words = [f"{knob}{value:g}" if word.startswith(knob) else word for word in shlex.split(words)]
    return f"python -m study -m {shlex.join(words)} 'seed={seed}' name={study}"


def mode(of):
    """ "tuned on the task", "carried over from the other tasks"."""
    return {"own": "tuned on the task", "carried": "carried over from the other tasks"}[of]


def paired(frame, sides):
    """Effect of one side minus the other by task, in one sample; frame: of `tuned`, sides: two of (knob, column).

    Columns task, family, effect, both values and candidates of each side, seeds, command.
    """
    parts = []
    for (algorithm, advantages), of in sides:
        own = frame[(frame["algorithm"] == algorithm) & (frame["advantages"] == advantages)].set_index("task")
        parts.append(own.assign(score=own[of], value=own[f"{of}_value"]))
    first, second = parts
    shared = first.index.intersection(second.index)
    first, second = first.loc[shared], second.loc[shared]
    return pd.DataFrame(
        {
            "family": first["family"], "effect": first["score"] - second["score"], "first": first["value"],
            "second": second["value"], "candidates_first": first["candidates"],
            "candidates_second": second["candidates"], "values_first": first["values"],
            "values_second": second["values"], "seeds": np.minimum(first["seeds"], second["seeds"]),
            "command": first["command"].where(first["command"] != "", second["command"]),
            "registered": first["registered"],
        }
    ).reset_index()  # fmt: skip


def answer(
    question, contrast, sample, by_task, sides, judge, rule,
    skewed=False, unit="normalised score", fewest=0, alone=False,
):  # fmt: skip
    """The `Answer` of effects by task (of `paired`).

    sides   names of the two
    judge   (low, high) -> verdict; given on registered rows where both sides had as many candidates and none is lacking
    fewest  tasks for a verdict
    alone   whether it is the one test of its rule, which needs no correction; see `TOGETHER`
    """
    known = by_task[np.isfinite(by_task["effect"])]
    if len(known) < LEAST_TASKS:
        return None
    interval = statistics.skewed_mean_interval if skewed else statistics.mean_interval
    effects = known["effect"].to_numpy()
    mean, low, high = interval(effects)
    counts = [span(by_task[f"candidates_{side}"]) for side in ("first", "second")]
    verdict = refused = ""
    if by_task["registered"].all():
        lacking = by_task.loc[by_task["command"] != "", "command"]
        if len(lacking):
            refused = f"No verdict: runs are lacking on {counted(len(lacking), 'task')}, the first: {lacking.iloc[0]}"
        elif (by_task["candidates_first"] != by_task["candidates_second"]).any():
            refused = unequal(sides, counts)
        elif len(known) < fewest:
            refused = f"No verdict: {len(known)} tasks, the rule needs {fewest}"
        else:
            verdict = judge(low, high)
    corrected = any(question in counts for counts in TOGETHER)
    return Answer(
        question, contrast, sample, unit, mean, low, high,
        *statistics.clustered_mean_interval(known["effect"], known["family"]), 0.0, tuple(known["task"]),
        known["family"].nunique(), span(known["seeds"]), dict(zip(sides, counts)), verdict, rule, refused,
        {side: _union(by_task[column]) for side, column in zip(sides, CHOSEN_FROM) if column in by_task},
        _p(effects, interval, judge, verdict) if verdict and corrected and not alone else np.nan,
    )  # fmt: skip


def _p(effects, interval, judge, verdict):
    """1 - level of the widest interval of the effects by which the verdict is given; 1 if it is undecided."""
    if verdict == UNDECIDED:
        return 1.0
    low, high = -9.0, float(np.log10(1 - statistics.LEVEL))  # log10(1 - level): without it, or so small; with it
    while high - low > 1e-3:
        middle = (low + high) / 2
        if judge(*interval(effects, level=1 - 10**middle)[1:]) == verdict:
            high = middle
        else:
            low = middle
    return 10**high


CHOSEN_FROM = ("values_first", "values_second")


def _union(values):
    return tuple(sorted(set().union(*values)))


def estimated(question, contrast, sample, unit, estimate, null, fits, rule, judge=None, units=None):
    """The `Answer` of an estimate from fits.

    estimate  "task" or "family" -> response.Estimate with the interval over these
    fits      {knob: (response.Fit, scores)}
    judge     (low, high) -> verdict, where there is a rule
    units     tasks and families of the estimate; left out: all of the fits
    """
    whole = estimate("task")
    try:
        families = estimate("family")
    except ValueError:  # fewer than three
        families = (np.nan,) * 3
    units = sorted({unit for fit, _ in fits.values() for unit in fit.units}) if units is None else units
    verdict = registered(sample, judge(whole.low, whole.high)) if judge else ""
    refused = holes(sample, [(algorithm, scores) for (algorithm, _), (_, scores) in fits.items()]) if verdict else ""
    return Answer(
        question, contrast, sample.name, unit, *whole, *families[1:], null, tuple(task for task, _ in units),
        len({family for _, family in units}), seeds(*(scores for _, scores in fits.values())),
        {knob_name(*knob): candidates(scores) for knob, (_, scores) in fits.items()},
        "" if refused else verdict, rule, refused,
    )  # fmt: skip


def holes(sample, scores):
    """Why grids are not whole: how many runs they lack, with the command that makes the first; "" where they are.

    scores  pairs (algorithm, frame of `responses`): each is to have all its values, with all its seeds, on every task
            that any of the pairs has
    """
    words = {task: own.iloc[0] for _, every in scores for task, own in every.groupby("task")["words"]}
    lacking = [
        (algorithm, every, cell)
        for algorithm, every in scores
        for whole in [set(product(words, set(every["x"]), set(every["seed"])))]
        for cell in sorted(whole - set(zip(every["task"], every["x"], every["seed"])))
    ]
    if not lacking:
        return ""
    algorithm, every, (task, x, seed) = lacking[0]
    own = every.loc[every["task"] == task, "words"]
    said = own.iloc[0] if len(own) else _on_the_task_of(words[task], every["words"].iloc[0])
    command = _command(said, algorithm, 10**x, seed, sample.studies[0])
    return f"No verdict: {counted(len(lacking), 'run')} of the grid lacking, the first: {command}"


def _on_the_task_of(words, others):
    """The words of a run, those for the task and its budget being of one command and the rest of another."""
    of_task = re.compile(r"\+*(task[.=]|total_steps=)").match
    return shlex.join([*filter(of_task, shlex.split(words)), *filterfalse(of_task, shlex.split(others))])


def unequal(sides, counts):
    """Why sides that were chosen from different numbers of values have no verdict."""
    return f"No verdict: {sides[0]} was chosen from {counted(counts[0], 'value')}, {sides[1]} from {counts[1]}"


# Verdicts ---------------------------------------------------------------------------------


def registered(sample, verdict):
    """The verdict of a sample whose rule was registered; none is given on others."""
    return verdict if sample.registered else ""


def shares(verdicts):
    """(share shown, share contrary shown)."""
    return tuple(float(np.mean([verdict == which for verdict in verdicts])) for which in (SHOWN, CONTRARY))


def interval_text(answer, digits=2, signed=False):
    """ "0.63 [0.51, 0.83]"."""
    form = f"{{:{'+' if signed else ''}.{digits}f}}".format
    return f"{form(answer.effect)} [{form(answer.low)}, {form(answer.high)}]"


def named(answer, side):
    """ " (0.1, 1, 10)": what a side was chosen from, in the report of somebody's own runs."""
    values = answer.values.get(side, ()) if answer.sample == OWN else ()
    return f" ({', '.join(f'{value:g}' for value in values)})" if values else ""


def sentence(answer):
    """One answer in words, made from its fields."""
    sides = " and ".join(f"{count} of {side}{named(answer, side)}" for side, count in answer.candidates.items())
    families = f"; by families [{answer.family_low:+.2f}, {answer.family_high:+.2f}]"
    effect = f"{interval_text(answer, signed=True)} {answer.unit}"
    contrast = answer.contrast[:1].upper() if answer.contrast[:1].isascii() else answer.contrast[:1]
    return (
        f"{contrast}{answer.contrast[1:]}: {effect}, {len(answer.tasks)} tasks ({answer.sample})"
        f"{families if np.isfinite(answer.family_low) else ''} (candidates: {sides}; {answer.seeds} seeds judge)."
    )
