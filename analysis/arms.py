"""Which runs a panel or a claim compares, and the grids of scores made from them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import statistics
from .data import KNOBS
from .names import ALGORITHMS


class NotApplicable(Exception):
    """The study has no arms for this panel or claim; the message says which."""


def plain(runs, algorithm):
    """Runs of an algorithm with nothing but its knob changed."""
    return runs[runs["family"] == algorithm]


def default_arm(runs, algorithm):
    """Runs of the algorithm at its authors' setting, or at the nearest one the study has."""
    chosen = plain(runs, algorithm)
    if chosen.empty:
        chosen = runs[runs["algorithm"] == algorithm]
    if chosen.empty:
        return chosen
    default = KNOBS.get(algorithm, (None, None))[1]
    if default is not None and chosen["setting"].notna().any():
        return _nearest(chosen, default)
    return chosen[chosen["arm"] == chosen["arm"].mode().iloc[0]]


def headline(runs):
    """Each algorithm at its authors' setting, with each value of its other settings; without such one, every arm."""
    families = [(KNOBS.get(own["algorithm"].iloc[0], (None, None))[1], own) for _, own in runs.groupby("family")]
    return pd.concat([own if default is None else _nearest(own, default) for default, own in families])


def _nearest(runs, value):
    """Runs whose knob has the value, or the one nearest to it."""
    distance = np.abs(np.log(runs["setting"] / value))
    return runs[distance == distance.min()]


def knobs(runs):
    """{family: knob} of those whose knob takes several values: known algorithms, then one's own."""
    several = runs.groupby("family")["setting"].nunique()
    known = {name: knob for name, (knob, _) in KNOBS.items() if several.get(name, 0) > 1}
    own = runs[~runs["algorithm"].isin(ALGORITHMS)].groupby("family")["knob"].first()
    return known | {family: knob for family, knob in own.items() if several[family] > 1}


def swept_algorithms(runs, least=2):
    """Algorithms whose knob takes several values on every one of several tasks."""
    return [
        algorithm
        for algorithm in KNOBS
        if plain(runs, algorithm)["task"].nunique() > 1 and len(common_settings(plain(runs, algorithm))) >= least
    ]


def common_settings(runs):
    """Sorted settings that every task of `runs` has."""
    per_task = [set(group) for _, group in runs.groupby("task")["setting"]]
    return sorted(set.intersection(*per_task)) if per_task else []


def several_seeds(runs):
    """The runs whose arm has two seeds or more on its task."""
    return runs[runs.groupby(["task", "arm"])["seed"].transform("size") >= 2]


def need(runs, what):
    if runs.empty:
        raise NotApplicable(f"needs {what} runs")
    return runs


@dataclass(frozen=True)
class Grid:
    """Scores of one algorithm: values [E, H, S], in units of return.

    floor  [E] return of the untrained policy
    gain   [E] what the task's best arm (of any algorithm) gains over it: the unit of losses
    """

    tasks: list
    settings: np.ndarray
    values: np.ndarray
    floor: np.ndarray
    gain: np.ndarray

    @property
    def seeds(self):
        """Fewest seeds of any cell that has some."""
        count = np.isfinite(self.values).sum(-1)
        return int(count[count > 0].min())

    @property
    def normalised(self):
        """Values with the untrained policy at 0 and the mean of the task's best arm at 1."""
        return (self.values - self.floor[:, None, None]) / self.gain[:, None, None]


def grid(runs, algorithm, column="score", common=True):
    """Grid of an algorithm's plain runs; the best arm of all of `runs` sets the scale of each task.

    common  only the settings that every task has; else all, NaN where a task lacks one
    """
    chosen = plain(runs, algorithm)
    settings = common_settings(chosen) if common else sorted(chosen["setting"].dropna().unique())
    tasks = sorted(chosen["task"].unique())
    seeds = sorted(chosen["seed"].unique())
    values = np.full((len(tasks), len(settings), len(seeds)), np.nan)
    at = [
        pd.Index(axis).get_indexer(chosen[name])
        for axis, name in ((tasks, "task"), (settings, "setting"), (seeds, "seed"))
    ]
    inside = at[1] >= 0
    values[at[0][inside], at[1][inside], at[2][inside]] = chosen[column].to_numpy()[inside]
    return Grid(tasks, np.array(settings), values, *scale(runs, tasks, column))


def learned(scores):
    """The grid without tasks that were not learned."""
    kept = np.isfinite(scores.gain)
    if not kept.any():
        raise NotApplicable("needs a task that some arm learned")
    tasks = [task for task, known in zip(scores.tasks, kept) if known]
    return Grid(tasks, scores.settings, scores.values[kept], scores.floor[kept], scores.gain[kept])


def swept_grids(runs, least=2):
    """[(algorithm, grid of learned tasks)] of knobs that were swept over `least` values on two such tasks or more."""
    algorithms = swept_algorithms(runs, least)
    if not algorithms:
        raise NotApplicable(f"needs a number swept over at least {least} values on at least 2 tasks")
    found = [(algorithm, learned(grid(runs, algorithm))) for algorithm in algorithms]
    found = [(algorithm, scores) for algorithm, scores in found if len(scores.tasks) > 1]
    if not found:
        raise NotApplicable("needs 2 tasks on which some arm improved on the untrained policy")
    return found


def scale(runs, tasks, column="score"):
    """(floor, gain), each [E]: the untrained policy's return and what the best arm's mean adds to it.

    The gain of a task that was not learned (`analysis.scale`) is NaN: shares of it mean nothing.
    """
    best = runs.groupby(["task", "condition", "arm"])[column].mean().groupby("task").max().reindex(tasks).to_numpy()
    of_task = runs.groupby("task").agg({"untrained": "first", "learned": "any"}).reindex(tasks)
    floor, learned = of_task["untrained"].to_numpy(), of_task["learned"].eq(True).to_numpy()
    return floor, np.where(learned & (best > floor), best - floor, np.nan)


def normalised_scores(runs):
    """`runs` with `normalised`: per task the untrained policy at 0 and the best single run at 1 (PPO's Table 1)."""
    best = runs.groupby("task")["score"].transform("max")
    gain = (best - runs["untrained"]).where(best > runs["untrained"])
    return runs.assign(normalised=(runs["score"] - runs["untrained"]) / gain)


def percentile_scores(runs):
    """`runs` with `normalised`: per task the 5th and 95th percentile of all runs at 0 and 1 (Adkins et al. 2024)."""
    scores = runs.groupby("task")["score"]
    low, high = scores.transform("quantile", 0.05), scores.transform("quantile", 0.95)
    return runs.assign(normalised=((runs["score"] - low) / (high - low).where(high > low)).fillna(0.0))


def per_task(runs, tasks, column="normalised"):
    """List with the [n] values of each task."""
    groups = dict(list(runs.groupby("task")[column]))
    return [groups[task].to_numpy() for task in tasks]


def single_runs(frame, runs):
    """The frame with the least and most that single runs of its tasks return."""
    ends = runs.groupby("task")["score"].agg(["min", "max"])
    return frame.assign(least=frame["task"].map(ends["min"]), most=frame["task"].map(ends["max"]))


def log_median_kl(study, column="kl_after"):
    """Decimal logarithm of each run's median KL of an update, by the rows of study.runs; NaN where that is 0."""
    median = study.curves[column].astype(float).groupby(study.curves["run"]).median().reindex(study.runs.index)
    return np.log10(median.where(median > 0))


def implied_squares(study, runs, parts, estimate="implied_beta_crossfit", raw=False):
    """[run of `runs`, part] mean squared implied beta (signed where cross-fitted).

    raw  in units of the raw advantages; else of those the algorithm saw.
    """
    squares = statistics.signed_square(study.curves[estimate].to_numpy(dtype=float))
    if raw:
        normalised = (study.runs["advantages"] == "normalised").to_numpy()[study.curves["run"]]
        squares = np.where(normalised, squares * study.curves["sigma_advantage"].to_numpy(dtype=float) ** 2, squares)
    return study.over_training(squares, parts)[runs.index]
