"""The data of a study for other people's plots: tidy frames, and the matrices of scores that rliable takes."""

from typing import Literal

import numpy as np
import pandas as pd

from . import statistics
from .data import CURVE_COLUMNS, KNOB_COLUMNS, Study, StudyError
from .defaults import defaults

WHOSE = ["run_id", "study", "task", "total_steps", "algorithm", "arm", "condition", *KNOB_COLUMNS, "seed", "status"]
SCORES = ["final_return", "auc_return", "untrained", "score", "auc_score", "normalised", "learned", "wall_seconds"]


@defaults()
def frame(data: Study, of: Literal["runs", "curves"] = "runs", parts: int | None = None) -> pd.DataFrame:
    """A tidy frame: a row per run, or per run and iteration, as seaborn, plotnine and others take one.

    - of="runs": what a run is (task, arm, its numbers, seed, status) and its results, the columns of runs.parquet under
      their names. Beside them `untrained` (the return of the task's untrained policy), `score` and `auc_score`
      (final_return and auc_return, where a diverged run scores as the untrained policy), `normalised` (auc_score with
      the task's untrained policy at 0 and its best arm at 1, analysis/scale.csv; NaN where no arm is above the
      untrained policy) and `learned` (whether some arm of the task is clearly above it).
    - of="curves": what a run is, `iteration`, `progress` (0 to 1: the share of the budget used) and the columns of
      curves.parquet, whose `beta`, that of the update, is called `coefficient`.
    - parts: of curves, a row per run and part of training in place of iterations: `part` (0 to parts - 1), `env_steps`
      and `progress` at its end, and the mean of every other column over the part's iterations (NaN without any; of
      `implied_beta_crossfit` the signed root of its mean signed square). Then runs whose rollouts have different
      lengths stand at the same steps.

    Returns are undiscounted sums over an episode, KL is in nats, time in environment steps or seconds.

    `arm` is that of runs.parquet, with its condition. Raises StudyError.
    """
    whose = data.runs.assign(arm=data.runs["label"])
    if of == "runs":
        if parts is not None:
            raise StudyError(f"parts={parts}: only curves have parts of training, of='curves'")
        return whose[[*WHOSE, *SCORES]].copy()
    if of != "curves":
        raise StudyError(f"of={of!r}: 'runs' or 'curves'")
    if parts is None:
        rows, rest = data.curves["run"].to_numpy(), data.curves[["iteration", "progress", *CURVE_COLUMNS]]
    else:
        rows, rest = np.repeat(np.arange(len(whose)), _positive(parts)), _in_parts(data, parts)
    rest = rest.reset_index(drop=True).rename(columns={"beta": "coefficient"})
    return pd.concat([whose[WHOSE].iloc[rows].reset_index(drop=True), rest], axis=1)


def _in_parts(data: Study, parts: int) -> pd.DataFrame:
    ends = np.arange(1, parts + 1) / parts
    means = {name: data.over_training(name, parts).ravel() for name in CURVE_COLUMNS if name != "env_steps"}
    crossfit = data.curves["implied_beta_crossfit"].to_numpy(dtype=float)
    square = data.over_training(statistics.signed_square(crossfit), parts).ravel()
    means["implied_beta_crossfit"] = np.sign(square) * np.sqrt(np.abs(square))
    every = len(data.runs)
    places = {"part": np.tile(np.arange(parts), every), "progress": np.tile(ends, every)}
    return pd.DataFrame(places | {"env_steps": np.outer(data.steps, ends).ravel()} | means)


def _positive(parts: int) -> int:
    if not isinstance(parts, int | np.integer) or isinstance(parts, bool) or parts < 1:
        raise StudyError(f"parts={parts!r}: a number of parts, 1 or more")
    return parts


@defaults()
def to_rliable(
    data: Study, score: Literal["normalised", "score", "auc_score"] = "normalised", parts: int | None = None
) -> dict[str, np.ndarray]:
    """{arm: [runs, tasks]}: the `score_dict` of rliable's functions; with parts {arm: [runs, tasks, parts]}.

    Runs are in the order of their seeds, tasks in alphabetical order (`data.tasks`).

    - score: a column of `frame(data)`. "normalised" has the untrained policy at 0 and the task's best arm at 1; the
      others are returns, in each task's own unit.
    - parts: the mean return in equal parts of training in place of the score, for rliable's sample efficiency:
      normalised in the same way, or as returns. A part in which no episode ended has the return of the part before it;
      a diverged run has the untrained policy's.

    A task with several budgets has the most frequent one. The matrices are whole: raises StudyError where an arm lacks
    a task or a seed, or a score is not known. `data.only(arms=..., tasks=...)` takes a part of the study, and
    `load(..., whole_seeds=True)` the seeds that are complete.
    """
    if score not in ("normalised", "score", "auc_score"):
        raise StudyError(f"score={score!r}: 'normalised', 'score' or 'auc_score'")
    data = data.of_one_budget
    runs, tasks = data.runs, data.tasks
    values = runs[score].to_numpy(dtype=float)[:, None] if parts is None else _returns(data, score, _positive(parts))
    scores = {}
    ordered = runs.sort_values(["task", "seed"])
    for arm in sorted(runs["label"].unique()):
        own = ordered[ordered["label"] == arm]
        by_task = {task: own[own["task"] == task] for task in own["task"].unique()}
        _whole(arm, tasks, by_task)
        made = np.stack([values[by_task[task].index] for task in tasks], axis=1)  # [runs, tasks, parts]
        unknown = [task for task, known in zip(tasks, np.isfinite(made).all((0, 2))) if not known]
        if unknown:
            what = "score" if parts is None else "return in each part of training"
            raise StudyError(
                f"{arm}: the {what} of {', '.join(unknown)} is not known; data.only(tasks=...) leaves it out"
            )
        scores[arm] = made[:, :, 0] if parts is None else made
    return scores


def _returns(data: Study, score: str, parts: int) -> np.ndarray:
    """[run, part] mean return, normalised if the score is."""
    runs = data.runs
    returns = np.array(pd.DataFrame(data.over_training("return_mean", parts)).ffill(axis=1))
    diverged = (runs["status"] == "diverged").to_numpy()
    if score != "normalised":
        returns[diverged] = runs.loc[diverged, "untrained"].to_numpy()[:, None]
        return returns
    floor, reference = (runs[name].to_numpy(dtype=float)[:, None] for name in ("floor", "reference"))
    returns[diverged] = floor[diverged]
    return (returns - floor) / np.where(reference > floor, reference - floor, np.nan)


def _whole(arm: str, tasks: list[str], by_task: dict[str, pd.DataFrame]) -> None:
    lacking = [task for task in tasks if task not in by_task]
    if lacking:
        raise StudyError(
            f"{arm} was not run on {', '.join(lacking)}: take the arms and tasks that go together, "
            "data.only(arms=..., tasks=...)"
        )
    counts = {task: len(by_task[task]) for task in tasks}
    if len(set(counts.values())) > 1:
        few, many = min(tasks, key=counts.__getitem__), max(tasks, key=counts.__getitem__)
        raise StudyError(
            f"{arm} has {counts[few]} runs of {few} and {counts[many]} of {many}: load(..., whole_seeds=True) takes "
            "the seeds that are complete, data.only(tasks=...) some of the tasks"
        )
