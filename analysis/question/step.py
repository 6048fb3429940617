"""Does the unit of reward set the step of a value, and what does a value lose that was tuned in another unit?"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics, tuning
from ..arms import NotApplicable, log_median_kl
from ..names import SYMBOLS, task_name, times
from ..style import facets, labels, legend_below, log_axis, task_colours, task_points
from . import (
    CONDITIONS,
    CONTRARY,
    KNOBS,
    LEAST_TASKS,
    SHOWN,
    UNDECIDED,
    Answer,
    Sample,
    answer,
    belong,
    only_changes,
    samples,
    shares,
)
from . import sentence as plain_sentence

QUESTION = "What does another unit of reward do to the step of one β and of one δ, and to a value that was tuned in it?"
TWOFOLD = np.log10(2)  # decades: a step that another unit of reward changes by less is still the same step
FEWEST = 6  # tasks for a verdict
RULE = f"""
Raw advantages. The step is the median KL of an update; per task the change from the smallest to the largest unit of
reward, mean over the values run. Shown that one value does not set the step if the interval over tasks is above a
factor of two; the contrary, that it does, if it is within. {FEWEST} tasks or more. Beside it, without a rule: the
normalised score that a value loses that was tuned in another unit, against the best value of the unit it is used in,
chosen on other seeds.
"""
SAMPLES = (Sample("tasks of units", ("units",), screened=True, registered=True),)
ALGORITHMS = ("kl_fixed", "trpo")
LEAD = "TRPO minus fixed β, both tuned in another unit of reward"

TITLE = "The step in two units of reward"
CAPTION = """
Median KL of an update (geometric mean over seeds) of each task at one β or δ, with its rewards multiplied by c.
Level lines: the unit of reward does not matter. Titles: by what the step is multiplied from the smallest c to the
largest, mean over tasks and all values that were run, with its 95 % interval over tasks.
"""
PART, ORDER = "unit", 3


class Effects(NamedTuple):
    """by_task: a row per sample, contrast and task; steps: of `steps`, with the sample."""

    by_task: pd.DataFrame
    steps: pd.DataFrame


def effects(data) -> Effects:
    by_task, every = [], []
    for sample in samples(data, SAMPLES):
        runs = in_units(data, sample)
        if runs.empty:
            continue
        found = steps(data, runs)
        every.append(found.assign(sample=sample.name))
        factor = found["reward_scale"].max() / found["reward_scale"].min()
        words = f"with rewards {factor:g} times larger"
        for own in [changes(found, words), *carried(runs[runs["learned"]])]:
            by_task.append(own.assign(sample=sample.name, registered=sample.registered, command=""))
    if not every:
        raise NotApplicable("needs the same value on raw advantages in several units of reward (reward_scale)")
    return Effects(pd.concat(by_task, ignore_index=True), pd.concat(every, ignore_index=True))


def in_units(data, sample):
    """Runs of fixed betas and TRPO on raw advantages, of tasks with several units of reward; adds `reward_scale`."""
    runs = data.runs[belong(data.runs, sample.studies) & data.runs["fork"].isna()]
    runs = runs[runs["family"].isin(ALGORITHMS)]
    runs = runs[only_changes(runs, CONDITIONS["raw"], but=("reward_scale",))]
    runs = runs.assign(reward_scale=[float(own.get("reward_scale", 1.0)) for own in runs["changes"]])
    return runs[runs.groupby(["task", "algorithm", "setting"])["reward_scale"].transform("nunique") > 1]


def steps(data, runs):
    """Median KL of an update (geometric mean over seeds) by task, algorithm, setting and factor of the rewards."""
    runs = runs.assign(log_kl=log_median_kl(data)).dropna(subset=["log_kl"])
    keys = ["task", "family_of_task", "algorithm", "setting", "reward_scale"]
    frame = runs.groupby(keys)["log_kl"].agg(["mean", "size"]).reset_index()
    return frame.assign(median_kl=10 ** frame["mean"]).rename(columns={"size": "seeds"}).drop(columns="mean")


def changes(frame, words):
    """Decades of the step from the smallest to the largest unit by algorithm and task, mean over values."""
    ordered = frame.sort_values("reward_scale").assign(log_kl=np.log10(frame["median_kl"]))
    ends = ordered.groupby(["algorithm", "task", "family_of_task", "setting"])
    moved = (ends["log_kl"].last() - ends["log_kl"].first()).groupby(["algorithm", "task", "family_of_task"])
    seeds = frame.groupby(["algorithm", "task", "family_of_task"])["seeds"].min()
    by_task = moved.agg(["mean", "size"]).join(seeds).reset_index()
    names = [SYMBOLS[KNOBS[name][0]] for name in by_task["algorithm"]]
    return pd.DataFrame(
        {
            "algorithm": by_task["algorithm"],
            "contrast": [f"step (median KL of an update) of one {name} {words}" for name in names],
            "unit": "decades", "task": by_task["task"], "family": by_task["family_of_task"], "effect": by_task["mean"],
            "seeds": by_task["seeds"], "name_first": names, "name_second": names,
            "candidates_first": by_task["size"], "candidates_second": by_task["size"],
        }
    )  # fmt: skip


def carried(runs):
    """Frames: what a value loses that was tuned in another unit of reward, by task; TRPO minus β, both tuned so.

    Every ordered pair of a task's units counts, every task once.
    """
    cells = []
    for (algorithm, task), own in runs[runs["normalised"].notna()].groupby(["algorithm", "task"]):
        grid = own.pivot(index=["reward_scale", "setting"], columns="seed", values="normalised").unstack("setting")
        values = grid.to_numpy().reshape(len(grid), own["seed"].nunique(), -1).swapaxes(1, 2)  # [U, H, S]
        if values.shape[1] > 1 and values.shape[2] > 1:
            cell = dict(zip(("lost", "score"), loss_in_another_unit(values)))
            cell |= {"algorithm": algorithm, "task": task, "family": own["family_of_task"].iloc[0]}
            cells.append(cell | {"values": values.shape[1], "seeds": values.shape[2]})
    if not cells:
        return []
    cells = pd.DataFrame(cells)
    names = cells["algorithm"].map(lambda name: SYMBOLS[KNOBS[name][0]])
    cells = cells.assign(
        contrast=names + " tuned in another unit of reward: score lost", unit="normalised score", effect=cells["lost"],
        name_first=names, name_second=names, candidates_first=cells["values"], candidates_second=cells["values"],
    )  # fmt: skip
    trpo, fixed = (cells[cells["algorithm"] == name].set_index("task") for name in ("trpo", "kl_fixed"))
    shared = trpo.index.intersection(fixed.index)
    trpo, fixed = trpo.loc[shared], fixed.loc[shared]
    lead = trpo.assign(
        contrast=LEAD, effect=trpo["score"] - fixed["score"], name_second=fixed["name_first"],
        candidates_second=fixed["values"], seeds=np.minimum(trpo["seeds"], fixed["seeds"]),
    )  # fmt: skip
    return [frame for frame in (lead.reset_index(), cells) if len(frame)]


def loss_in_another_unit(values):
    """(loss, score) of the value tuned in one unit and used in another, means over ordered pairs; values [U, H, S]."""
    means, units = statistics.seed_means(values), len(values)
    best, tuned = tuning.judged(values, None, tuning.best_here)
    scores = means[:, tuned]  # [used in, tuned in]
    apart = ~np.eye(units, dtype=bool)
    return float((best[:, None] - scores)[apart].mean()), float(scores[apart].mean())


def decide(found: Effects) -> list[Answer]:
    answers = []
    for (sample, contrast), own in found.by_task.groupby(["sample", "contrast"], sort=False):
        step, sides = own["unit"].iloc[0] == "decades", [own["name_first"].iloc[0], own["name_second"].iloc[0]]
        own = own.assign(registered=own["registered"] & step)
        answers.append(
            answer("step", contrast, sample, own, sides, judged, RULE, unit=own["unit"].iloc[0], fewest=FEWEST)
        )
    return [found for found in answers if found]


def judged(low, high):
    return SHOWN if low > TWOFOLD else CONTRARY if -TWOFOLD < low and high < TWOFOLD else UNDECIDED


def sentence(answer) -> str:
    if answer.unit != "decades":
        return plain_sentence(answer)
    middle, low, high = map(times, (answer.effect, answer.low, answer.high))
    return f"The {answer.contrast} is {middle}-fold [{low}, {high}] ({len(answer.tasks)} tasks, {answer.sample})."


def claim(answer):
    return f"above {times(TWOFOLD)}-fold"


def imagine(fold, scatter=0.6, tasks=12, studies=1000, seed=0):
    """(share shown, share contrary shown) of studies whose steps change `fold`-fold, with a scatter of decades over
    tasks: 0.6 is that of β in the study `units`, 0.05 that of δ."""
    values = np.random.default_rng(seed).normal(np.log10(fold), scatter, (tasks, studies))
    return shares([judged(*ends) for ends in zip(*statistics.mean_interval(values)[1:])])


WORLDS = [{"fold": fold, "scatter": scatter} for scatter in (0.6, 0.05) for fold in (1, 2, 4)]


# The figure -------------------------------------------------------------------------------


def numbers(study, runs) -> pd.DataFrame:
    found = effects(study)
    frame = found.steps[found.steps["sample"] == found.steps["sample"].iloc[0]].reset_index(drop=True)
    moved = found.by_task[(found.by_task["unit"] == "decades") & (found.by_task["sample"] == frame["sample"].iloc[0])]
    for algorithm, own in moved.groupby("algorithm"):
        frame.loc[frame["algorithm"] == algorithm, ["fold", "fold_low", "fold_high"]] = 10 ** np.array(
            statistics.mean_interval(own["effect"])
        )
    return frame


def draw(frame) -> Figure:
    """A panel per algorithm, at the middle one of its values: a line per task from unit to unit."""
    chosen = {}
    for algorithm, here in frame.groupby("algorithm"):
        settings = np.sort(here["setting"].unique())
        chosen[algorithm] = settings[(len(settings) - 1) // 2]

    def title(algorithm):
        name = f"{SYMBOLS[KNOBS[algorithm][0]]} = {chosen[algorithm]:g}"
        name = f"{'fixed' if algorithm == 'kl_fixed' else 'TRPO,'} {name}"
        first = frame[frame["algorithm"] == algorithm].iloc[0]
        middle, low, high = (times(np.log10(first[column])) for column in ("fold", "fold_low", "fold_high"))
        if frame["task"].nunique() < LEAST_TASKS:  # an interval over two tasks says nothing
            return f"{name}: × {middle}"
        return f"{name}: × {middle} [{low}, {high}]"

    figure, axes = facets(list(chosen), height=2.4, columns=2, title=title, sharey=True)
    tasks = sorted(frame["task"].unique())
    colours, points = task_colours(tasks), task_points(tasks)
    for algorithm, ax in axes.items():
        here = frame[(frame["algorithm"] == algorithm) & (frame["setting"] == chosen[algorithm])]
        for task, line in here.groupby("task"):
            line = line.sort_values("reward_scale")
            ax.plot(
                line["reward_scale"], line["median_kl"], color=colours[task], marker=points[task], ms=4, lw=1.3,
                label=task_name(task),
            )  # fmt: skip
        ax.set_xscale("log")
        units = sorted(here["reward_scale"].unique())
        ax.set_xticks(units, [f"{c:g}" for c in units])
        ax.margins(x=0.12)
        log_axis(ax.yaxis)
        ax.minorticks_off()
    labels(axes.values(), "rewards multiplied by c", "median KL (nats)")
    legend_below(figure, axes.values())
    return figure
