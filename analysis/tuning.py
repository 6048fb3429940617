"""Values of a knob that some seeds choose and others judge: tuned on the task itself, or carried over from other tasks.

Whatever is chosen and read on the same seeds looks too good. So the seeds of one study choose and those of another one
judge; where there is one study alone, each seed in turn judges what the task's others choose.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import statistics

MOST = 2 / 3  # of the tasks have a value that others may take over


@dataclass(frozen=True)
class Candidates:
    """Scores of one knob's candidates.

    tasks, families  [E]; settings [H], the candidates
    choose           [E, H, S] scores of the seeds that choose, NaN where a seed was not run
    judge            [E, H, Z] of those that judge, or None: then each seed judges what the others choose
    """

    tasks: list
    families: list
    settings: np.ndarray
    choose: np.ndarray
    judge: np.ndarray | None


def candidates(choosing, judging, wanted=None, families=None):
    """`Candidates` from runs with task, family_of_task, setting, seed and normalised; None without any.

    wanted    the values to choose from; if None those that most tasks have
    families  {task: family} of the tasks to have, run or not; if None those with runs
    """
    values = choosing.groupby("setting")["task"].nunique()
    common = values.index[values >= MOST * choosing["task"].nunique()]
    settings = np.array(sorted(common if wanted is None else wanted))
    if not len(settings):
        return None
    families = choosing.groupby("task")["family_of_task"].first() if families is None else families
    tasks = sorted(families.keys())
    choose, judge = (_scores(runs, tasks, settings) for runs in (choosing, judging))
    return Candidates(
        tasks, [families[task] or task for task in tasks], settings, choose, judge if judge.size else None
    )


def _scores(runs, tasks, settings):
    """[E, H, S] with the seeds of each task in their order."""
    runs = runs[runs["setting"].isin(settings) & runs["task"].isin(tasks)]
    place = runs.groupby("task")["seed"].rank("dense").astype(int) - 1
    values = np.full((len(tasks), len(settings), int(place.max()) + 1 if len(runs) else 0), np.nan)
    at = pd.Index(tasks).get_indexer(runs["task"]), pd.Index(settings).get_indexer(runs["setting"]), place
    values[at] = runs["normalised"]
    return values


def best_here(means):
    """[..., E] the value best on each task, of means [..., E, H]."""
    return np.nan_to_num(means, nan=-np.inf).argmax(-1)


def best_elsewhere(means):
    """[..., E] the value best in the mean over all other tasks that have it, of those that the task itself has."""
    known = np.isfinite(means)
    total = np.where(known, means, 0.0).sum(-2, keepdims=True) - np.where(known, means, 0.0)
    count = known.sum(-2, keepdims=True) - known
    return np.where(known & (count > 0), total / np.maximum(1, count), -np.inf).argmax(-1)


def judged(choose, judge, pick):
    """(scores [..., E], index of the value that all seeds choose [..., E]) of what `pick` chooses.

    NaN where a chosen value was not judged.
    """
    chosen = pick(statistics.seed_means(choose))
    if judge is not None:
        return _read(statistics.seed_means(judge), chosen), chosen
    own = []
    for seed in range(choose.shape[-1]):
        # What is carried over is chosen by other tasks' seeds, none of which judges here.
        without = np.delete(choose, seed, axis=-1) if pick is best_here else choose
        own.append(_read(choose[..., seed], pick(statistics.seed_means(without))))
    known = np.isfinite(own)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, own, 0.0).sum(0) / np.maximum(1, count), np.nan), chosen


def _read(scores, index):
    return np.take_along_axis(scores, index[..., None], -1)[..., 0]
