"""Is the interaction of beta and time qualitative: do small betas gain most early in a run and large ones late?"""

import numpy as np
import pandas as pd
from scipy import stats

from .. import statistics
from ..arms import NotApplicable
from ..names import signed, task_name, three_digits
from . import CONTRARY, SHOWN, UNDECIDED, Answer, Effects, Sample, belong, holes, samples, shares, span
from .fork import gains

QUESTION = "Do small β gain most from an early point of a run, and large β from a late point of the same run?"
FEWEST = 5  # seeds for a verdict on one task
RULE = f"""
Per task the lead of small β: return gained by the smaller half of the values minus that of the larger half, paired by
seed, of runs that go on from one point. Shown (a qualitative interaction, Gail and Simon 1985) if the lead is above 0
at the first point and below 0 at the last, both in one intersection-union test at 5 % after Holm's correction for the
tasks; the contrary if it is below 0 first and above 0 last. {FEWEST} seeds or more.
"""
SAMPLES = (Sample("new seeds", ("crossing",), registered=True),)

TITLE = "Do the betas that gain most change sides?"
CAPTION = """
Return gained by the smaller half of the betas minus that of the larger half, from the first and from the last point
that runs go on from, with 95 % intervals over seeds. Where the first is above 0 and the last below 0 the betas that
gain most change sides (a qualitative interaction); one between may still serve both. p is of both together, Holm’s of
all tasks of a row’s sample and kind of advantages.
"""
PART, ORDER = "within", 15


def effects(data) -> Effects:
    """A row per sample, kind of advantages and task."""
    every, frames = gains(data), []
    for sample in samples(data, SAMPLES):
        rows, mine = [], every[belong(every, sample.studies)]
        kinds = [kind for _, kind in mine.groupby("advantages")]
        lacking = (holes(sample, [("kl_fixed", own) for _, own in kind.groupby("at")]) for kind in kinds)
        refused = next(filter(None, lacking), "") if sample.registered else ""  # Holm's correction is over all kinds
        for (advantages, task), own in mine.groupby(["advantages", "task"], sort=False):
            table = own.pivot(index=["at", "seed"], columns="x", values="score").dropna()
            points, lead = table.index.unique("at"), lead_of_small(table)
            first, last = (
                lead[lead.index.get_level_values("at") == at].to_numpy() for at in (points.min(), points.max())
            )
            if len(points) < 2 or min(len(first), len(last)) < 2:
                continue
            row = {"sample": sample.name, "registered": sample.registered, "refused": refused}
            row |= {"advantages": advantages, "task": task}
            for name, values in (("lead_first", first), ("lead_last", last)):
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), statistics.mean_interval(values)))
            both_ways = {"p": interaction_p(first, last), "p_contrary": interaction_p(last, first)}
            rows.append(row | both_ways | {"seeds": min(len(first), len(last)), "values": table.shape[1]})
        frame = pd.DataFrame(rows)
        for p, holm in (("p", "holm"), ("p_contrary", "holm_contrary")):
            if rows:
                frame[holm] = statistics.holm(frame[p].to_numpy())
        frames.append(frame)
    if not sum(map(len, frames)):
        raise NotApplicable("needs runs with two seeds that go on from two points of another run (fork.at)")
    return Effects(pd.concat(frames, ignore_index=True))


def lead_of_small(scores):
    """Mean of the smaller half of the values minus that of the larger half, of scores with a column per value."""
    half = scores.shape[1] // 2
    return scores.iloc[:, :half].mean(axis=1) - scores.iloc[:, -half:].mean(axis=1)


def interaction_p(first, last):
    """[...] p of a lead [..., S] that is above 0 at the first point and below 0 at the last; 1 where nothing varies."""
    with np.errstate(invalid="ignore", divide="ignore"):
        above = stats.ttest_1samp(first, 0, axis=-1, alternative="greater").pvalue
        below = stats.ttest_1samp(last, 0, axis=-1, alternative="less").pvalue
    return np.nan_to_num(np.minimum(1.0, 2 * np.maximum(above, below)), nan=1.0)


def decide(found: Effects) -> list[Answer]:
    """Two answers a task, early and late; the verdict is on both together."""
    answers = []
    for row in found.by_task.to_dict("records"):
        given = row["registered"] and not row["refused"]
        verdict = judged(row["holm"], row["holm_contrary"], row["seeds"]) if given else ""
        kind = f"{row['advantages']} advantages"
        for point, when in (("lead_first", "early"), ("lead_last", "late")):
            ends = [row[f"{point}{end}"] for end in ("", "_low", "_high")]
            answers.append(Answer(
                "interaction", f"{task_name(row['task'])}: small minus large β, {kind}, {when}", row["sample"],
                "units of return", *ends, np.nan, np.nan, 0.0, (row["task"],), 1, span([row["seeds"]]),
                {f"β, {kind}": span([row["values"]])}, verdict, RULE, row["refused"],
            ))  # fmt: skip
    return answers


def judged(p, p_contrary, seeds):
    """The verdict from Holm's p of the interaction and of the contrary one."""
    if seeds < FEWEST:
        return UNDECIDED
    return SHOWN if p < 1 - statistics.LEVEL else CONTRARY if p_contrary < 1 - statistics.LEVEL else UNDECIDED


def sentence(answer) -> str:
    ends = map(three_digits, (answer.effect, answer.low, answer.high))
    return "{} is {} [{}, {}] in return gained ({} seeds).".format(answer.contrast, *ends, answer.seeds)


def imagine(early, late, seeds=10, studies=1000, seed=0):
    """(share shown, share contrary shown) of single tasks whose leads are `early` and `late` spreads between seeds."""
    drawn = np.random.default_rng(seed).normal(size=(2, studies, seeds)) + np.array([early, late])[:, None, None]
    return shares([judged(*each, seeds) for each in zip(interaction_p(*drawn), interaction_p(*drawn[::-1]))])


WORLDS = [
    {"early": early, "late": late, "seeds": seeds}
    for seeds in (5, 10, 20)
    for early, late in ((9.0, 0.0), (0.0, -9.0), (0.0, 0.0), (1.5, -1.5), (3.0, -3.0))
]


# The table --------------------------------------------------------------------------------


def text(frame) -> pd.DataFrame:
    rows = []
    for _, row in frame.sort_values(["sample", "advantages", "p"]).iterrows():
        texts = {"task": task_name(row["task"]), "sample": row["sample"], "advantages": row["advantages"]}
        texts |= {"small minus large, early": signed(row, "lead_first", three_digits)}
        texts |= {"late": signed(row, "lead_last", three_digits)}
        rows.append(texts | {"p": f"{row['p']:.2g}", "Holm": f"{row['holm']:.2g}", "seeds": str(row["seeds"])})
    return pd.DataFrame(rows)
