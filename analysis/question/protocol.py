"""Does the best β depend on the protocol around it: on PPO's tricks, on larger networks and batches?"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import response
from ..arms import NotApplicable
from . import (
    CONTRARY,
    KINDS,
    LEAST_FITTED,
    LEAST_TASKS,
    SHOWN,
    UNDECIDED,
    Answer,
    Sample,
    answer,
    fork,
    holes,
    interval_text,
    knob_name,
    paired,
    registered,
    responses,
    samples,
    seeds,
    shares,
    span,
    tuned,
    under,
)

QUESTION = "Do the best β, its spread over tasks, and the lead of TRPO change with the protocol around them?"
ALIKE = 2.0  # factor within which two spreads are alike
LEAD = 0.2  # normalised score: a lead that changes by less is the same; four tasks cannot tell 0.1
RULE = f"""
The same β, tasks and seeds with and without the change. Best β: shown that it moves if the interval over tasks of its
move is farther than {fork.MOVES:g} decades from 0; the contrary if it is within {fork.STAYS:g}. Spread of the best β,
changed / plain: shown that it changes if 1 is outside of the interval; the contrary if within a factor {ALIKE:g}.
Lead of TRPO over a fixed β, both tuned on the task and read on the other seed, changed minus plain: shown that it
changes if 0 is outside of the interval; the contrary if within {LEAD:g}.
"""
SAMPLES = {  # by protocol, with the kinds of advantages
    "tricks": (Sample("tasks of tricks", ("tricks",), screened=True, registered=True), ("raw", "normalised")),
    "larger": (Sample("tasks of larger", ("larger",), screened=True, registered=True), ("normalised",)),
}

TITLE = "The best β under another protocol"
CAPTION = """
Best β of each task with its 95 % interval, plain and with the protocol changed in every arm, on the same tasks, values
and seeds.
"""
PART, ORDER = "ruled_out", 42


class Effects(NamedTuple):
    """by_task: a row per sample, kind of advantages and task, log10; fits: {(protocol, kind): what `fork.moved` gives};
    leads: {protocol: pairs of `question.paired`}; samples: {protocol: Sample}."""

    by_task: pd.DataFrame
    fits: dict
    leads: dict
    samples: dict


def effects(data) -> Effects:
    fits, leads, used, frames = {}, {}, {}, []
    for protocol, (known, kinds) in SAMPLES.items():
        (sample,) = samples(data, (known,))
        for kind in kinds:
            both = kind, under(kind, protocol)
            try:
                points = [
                    responses(data, sample, "kl_fixed", own, LEAST_TASKS).assign(at=at) for at, own in enumerate(both)
                ]
                fits[protocol, kind] = fork.moved(pd.concat(points, ignore_index=True))
            except (NotApplicable, ValueError):
                continue
            frames.append(_by_task(sample, protocol, kind, *fits[protocol, kind]))
            used[protocol] = sample
            try:
                leads[protocol, kind] = changed_leads(data, sample, *both)
            except NotApplicable:
                continue
    if not fits:
        raise NotApplicable(
            "needs three β on three tasks, two seeds each, plain and with PPO's tricks or larger networks"
        )
    return Effects(pd.concat(frames, ignore_index=True), fits, leads, used)


def _by_task(sample, protocol, kind, move, plain, changed, scores):
    shared = plain.units.intersection(changed.units).get_level_values("task")
    frame = pd.DataFrame({"sample": sample.name, "protocol": protocol, "advantages": kind, "task": shared})
    for name, fit in (("plain", plain), ("changed", changed)):
        own = fit.optimum.set_index("task").loc[shared]
        frame = frame.assign(
            **{name: own["median"].array, f"{name}_low": own["low"].array, f"{name}_high": own["high"].array}
        )
    return frame


def changed_leads(data, sample, *both):
    """`paired` rows of TRPO's lead over a fixed β: that under the second of two kinds of advantages minus the first's.

    Chosen from the values that were run, not from `question.CANDIDATES`. Raises NotApplicable.
    """
    knobs = [(name, kind) for kind in both for name in ("trpo", "kl_fixed")]
    frame = tuned(data, knobs, (replace(sample, registered=False),)).assign(registered=sample.registered)
    if frame.groupby(["algorithm", "advantages"]).ngroups < len(knobs):
        raise NotApplicable("needs TRPO and a fixed β under both protocols")
    before, after = (
        paired(frame, ((("trpo", kind), "own"), (("kl_fixed", kind), "own"))).set_index("task") for kind in both
    )
    shared = before.index.intersection(after.index)
    before, after = before.loc[shared], after.loc[shared]
    command = after["command"].where(after["command"] != "", before["command"])
    return after.assign(effect=after["effect"] - before["effect"], command=command).reset_index()


def decide(found: Effects) -> list[Answer]:
    answers = []
    for (protocol, kind), (move, plain, changed, scores) in found.fits.items():
        sample, where = found.samples[protocol], f"{protocol}, {KINDS[kind]}"
        units = plain.units.intersection(changed.units)
        estimates = [("move of the best β", "decades", move.ends, 0.0, fork.judged(move.low, move.high))]
        if len(units) >= LEAST_FITTED:
            whole, by_family = (_ratio(changed, plain, by) for by in ("task", "family"))
            ends = (*whole, *by_family[1:])
            estimates.append(("spread of the best β, changed / plain", "ratio", ends, 1.0, spreads(*whole[1:])))
        points = [("kl_fixed", own) for _, own in scores.groupby("at")]
        lacking = holes(sample, points) if sample.registered else ""
        counts = scores.groupby(["task", "at"])["x"].nunique()
        sides = {
            knob_name("kl_fixed", own): span(counts.xs(at, level="at"))
            for at, own in enumerate((kind, under(kind, protocol)))
        }
        answers += [
            Answer(
                "protocol", f"{contrast}, {where}", sample.name, unit, *ends, null,
                tuple(units.get_level_values("task")), len(set(units.get_level_values("family"))),
                seeds(*(own for _, own in scores.groupby("at"))), sides,
                "" if lacking else registered(sample, verdict), RULE, lacking,
            )
            for contrast, unit, ends, null, verdict in estimates
        ]  # fmt: skip
        if (protocol, kind) in found.leads:
            contrast = f"lead of TRPO over a fixed β, changed minus plain, {where}"
            pairs = found.leads[protocol, kind]
            answers.append(answer("protocol", contrast, sample.name, pairs, ["δ", "β"], leads, RULE))
    return [found for found in answers if found]


def _ratio(changed, plain, by):
    try:
        return response.ratio(changed, plain, "spread", by)
    except ValueError:  # fewer than three families
        return (np.nan,) * 3


def spreads(low, high):
    if low > 1 or high < 1:
        return SHOWN
    return CONTRARY if low > 1 / ALIKE and high < ALIKE else UNDECIDED


def leads(low, high):
    if low > 0 or high < 0:
        return SHOWN
    return CONTRARY if -LEAD < low and high < LEAD else UNDECIDED


def sentence(answer):
    number = interval_text(answer, signed=answer.unit != "ratio")
    unit = "" if answer.unit == "ratio" else f" {answer.unit}"
    return f"The {answer.contrast}, is {number}{unit} over {len(answer.tasks)} tasks."


def claim(answer):
    if answer.unit == "decades":
        return fork.claim(answer)
    return "1 is outside" if answer.unit == "ratio" else "0 is outside"


def imagine(spread, ratio=1.0, move=None, scatter=0.3, tasks=8, values=6, count=2, noise=0.1, studies=20, seed=0):
    """(share shown, share contrary shown) of studies: that the spread changes or, given a `move`, that the best β does.

    spread  standard deviation of the best β over tasks, decades; `ratio` what it is multiplied by; scatter of the moves
    """
    from .spread import imagined

    generator, verdicts = np.random.default_rng(seed), []
    for _ in range(studies):
        best = generator.normal(0, spread, tasks)
        other = best * ratio if move is None else best + generator.normal(move, scatter, tasks)
        scores = [
            imagined(own, 1.25, tasks, values, count, noise, generator).assign(at=at)
            for at, own in enumerate((best, other))
        ]
        found, plain, changed, _ = fork.moved(pd.concat(scores))
        verdicts.append(
            spreads(*response.ratio(changed, plain)[1:]) if move is None else fork.judged(found.low, found.high)
        )
    return shares(verdicts)


WORLDS = [
    {"spread": 0.7, "ratio": 1.0, "studies": 40},
    {"spread": 0.7, "ratio": 0.5, "studies": 40},
    *({"spread": 0.4, "move": move, "tasks": 4, "values": 4, "studies": 40} for move in (0.0, 1.0)),
]


# The table --------------------------------------------------------------------------------


def text(frame) -> pd.DataFrame:
    def best(row, name):
        middle, low, high = (10 ** getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
        return f"{middle:.2g} [{low:.2g}, {high:.2g}]"

    return pd.DataFrame(
        [
            {"protocol": row.protocol, "advantages": row.advantages, "task": row.task, "plain": best(row, "plain"),
             "changed": best(row, "changed")}
            for row in frame.itertuples()
        ]
    )  # fmt: skip
