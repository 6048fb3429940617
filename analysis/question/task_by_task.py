"""On which single tasks is a constraint better than a penalty, at values that are not tuned to the task?"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from .. import statistics
from ..arms import NotApplicable
from ..data import KNOBS
from ..names import interval_text, task_name
from ..style import FAINT, INK, available, side_by_side
from . import CONTRARY, SHOWN, UNDECIDED, Answer, Effects, Sample, holes, rows, samples, shares, span, unequal

QUESTION = "On which tasks is TRPO at its default above or below the one β that is best in the mean over the tasks?"
FEWEST = 5  # seeds for a verdict on one task
RULE = f"""
Normalised score of TRPO at its default minus that of the fixed β best in the mean over these tasks, a task at a time:
Welch's test over seeds, two-sided, with Holm's correction for the tasks. Shown that TRPO is better there if the lead is
above 0 at 5 %, the contrary if it is below. {FEWEST} seeds or more on either side. Neither value is tuned to the task.
"""
SAMPLES = (Sample("tasks of task_by_task", ("task_by_task",), screened=True, registered=True),)

TITLE = "Is the constraint better on every task?"
CAPTION = """
Normalised score (untrained 0, best arm 1) of TRPO at its default minus that of the fixed β best in the mean over these
tasks, with 95 % intervals over seeds (Welch). Filled: not 0 by Holm’s correction for all tasks shown, and five seeds or
more; with fewer a task by itself shows nothing. A line that reaches the edge is longer.
"""
PART, ORDER = "tuned", 25


def effects(data) -> Effects:
    """A row per sample, kind of advantages and task."""
    frames = []
    for sample in samples(data, SAMPLES):
        for advantages in ("raw", "normalised"):
            trpo, fixed = (rows(data, sample, name, advantages) for name in ("trpo", "kl_fixed"))
            trpo, fixed = (own[own["normalised"].notna()] for own in (nearest_default(trpo), fixed))
            refused = _refused(sample, trpo, fixed) if sample.registered else ""
            kind = {"sample": sample.name, "registered": sample.registered, "advantages": advantages}
            frames.append(leads(trpo, fixed).assign(**kind, refused=refused))
    if not sum(map(len, frames)):
        raise NotApplicable("needs TRPO and one β, two seeds each, on a task that was learned")
    return Effects(pd.concat([frame for frame in frames if len(frame)], ignore_index=True))


def nearest_default(trpo):
    """Runs at the value nearest to the authors'."""
    distance = np.abs(np.log(trpo["setting"] / KNOBS["trpo"][1]))
    return trpo[distance == distance.min()]


def _refused(sample, trpo, fixed):
    """Why these runs give no verdict, "" where they do."""
    sides = [
        (name, own.assign(x=np.log10(own["setting"]), words=own["overrides"]))
        for name, own in (("trpo", trpo), ("kl_fixed", fixed))
    ]
    counts = [own["setting"].nunique() for own in (trpo, fixed)]
    return holes(sample, sides) or (unequal(("δ", "β"), counts) if counts[0] != counts[1] else "")


def leads(trpo, fixed):
    """Frame by task: beta and delta, lead with its interval, p, holm, seeds (the fewer of both), values of β."""
    trpo, fixed = (own[own.groupby(["task", "setting"])["seed"].transform("size") >= 2] for own in (trpo, fixed))
    tasks = sorted(set(trpo["task"]) & set(fixed["task"]))
    means = (
        fixed[fixed["task"].isin(tasks)]
        .pivot_table(index="task", columns="setting", values="normalised")
        .dropna(axis=1)
    )
    if means.empty:
        return pd.DataFrame()
    beta, found = means.mean().idxmax(), []
    for task in tasks:
        ours, theirs = (
            own.loc[own["task"] == task, "normalised"].to_numpy() for own in (trpo, fixed[fixed["setting"] == beta])
        )
        test = stats.ttest_ind(ours, theirs, equal_var=False)
        low, high = test.confidence_interval(statistics.LEVEL)
        numbers = {"lead": ours.mean() - theirs.mean(), "lead_low": low, "lead_high": high, "p": test.pvalue}
        found.append({"task": task, "beta": beta, "delta": trpo["setting"].iloc[0]} | numbers)
        found[-1] |= {"seeds": min(len(ours), len(theirs)), "values": means.shape[1]}
    frame = pd.DataFrame(found)
    return frame.assign(holm=statistics.holm(frame["p"].fillna(1.0).to_numpy()))


def shown(frame):
    """Which leads are shown not to be 0."""
    return (frame["holm"] < 1 - statistics.LEVEL) & (frame["seeds"] >= FEWEST)


def decide(found: Effects) -> list[Answer]:
    """An answer a task, where seeds are enough for one."""
    return [
        Answer(
            "task_by_task", _contrast(row), row.sample, "normalised score", row.lead, row.lead_low, row.lead_high,
            np.nan, np.nan, 0.0, (row.task,), 1, span([row.seeds]), {"δ": "1", "β": str(row.values)},
            judged(row.lead, row.holm, row.seeds) if row.registered and not row.refused else "", RULE, row.refused,
        )
        for row in found.by_task[found.by_task["seeds"] >= FEWEST].itertuples()
    ]  # fmt: skip


def _contrast(row):
    return f"{task_name(row.task)}: TRPO (δ = {row.delta:g}) minus β = {row.beta:.3g}, {row.advantages} advantages"


def judged(lead, p, seeds):
    """The verdict on one task's lead with Holm's p."""
    if seeds < FEWEST or p >= 1 - statistics.LEVEL:
        return UNDECIDED
    return SHOWN if lead > 0 else CONTRARY


def sentence(answer) -> str:
    number = interval_text(answer.effect, answer.low, answer.high)
    return f"{answer.contrast} is {number} ({answer.seeds} seeds)."


def imagine(lead, seeds=8, tasks=8, studies=1000, seed=0):
    """(share shown, share contrary shown) of tasks that lead by `lead` spreads between seeds, beside as many of none.

    Of studies of `tasks` tasks, half of which lead; a share is of the tasks that lead.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.normal(size=(2, studies, tasks, seeds))
    drawn[0, :, : tasks // 2] += lead
    p = stats.ttest_ind(*drawn, axis=-1, equal_var=False).pvalue
    holm = np.array([statistics.holm(own) for own in p])[:, : tasks // 2].ravel()
    means = (drawn[0] - drawn[1]).mean(-1)[:, : tasks // 2].ravel()
    return shares([judged(*each, seeds) for each in zip(means, holm)])


WORLDS = [{"lead": lead, "seeds": seeds} for seeds in (5, 8) for lead in (0.0, 2.0, 4.0)]


# The figure -------------------------------------------------------------------------------


def draw(frame) -> Figure:
    """A panel per kind of advantages, tasks in the order of the lead."""
    kinds = list(dict.fromkeys(frame["advantages"]))
    most = frame.groupby("advantages").size().max()
    figure, axes = side_by_side(len(kinds), 0.75 + 0.17 * most)
    for kind, ax in zip(kinds, axes):
        here = frame[frame["advantages"] == kind].sort_values("lead").reset_index(drop=True)
        clear = shown(here)
        ax.hlines(here.index, here["lead_low"], here["lead_high"], color=INK, lw=1.3)
        ax.scatter(
            here["lead"], here.index, s=24, zorder=3, edgecolors=INK, facecolors=clear.map({True: INK, False: "white"})
        )
        # Two seeds may have intervals many times as long as any lead.
        reach = 1.25 * max(0.2, here["lead"].abs().max(), here.loc[clear, ["lead_low", "lead_high"]].abs().max().max())
        ax.set_xlim(-reach, reach)
        ax.axvline(0, color=FAINT, lw=1, zorder=0)
        ax.set_yticks(here.index, [task_name(task) for task in here["task"]])
        ax.set_ylim(-0.7, len(here) - 0.3)
        ax.grid(axis="y", visible=False)
        ax.set_title(f"{kind} advantages" if available.get() >= 3.5 or len(kinds) == 1 else kind)
        ax.set_xlabel(f"TRPO minus β = {here['beta'].iloc[0]:.3g}\n(normalised score)")
    return figure
