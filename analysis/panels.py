"""The numbers behind each figure: study in, frame out; and the list of all panels.

A panel is refused, with the missing runs named, where runs it needs are missing; it does not
apply where the study has no such arms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import figures, statistics
from .arms import (
    NotApplicable,
    default_arm,
    grid,
    headline,
    implied_squares,
    need,
    plain,
    sweep,
)


@dataclass(frozen=True)
class Panel:
    """One figure of the report.

    numbers     (study, runs) -> frame; `runs` are those of the main condition without the
                tasks whose runs are missing. Raises NotApplicable.
    figure      frame -> Figure
    algorithms  whose runs must be complete, None for all that the study has
    per_task    True where a task with missing runs can be left out without touching the others
    """

    name: str
    title: str
    numbers: Callable
    figure: Callable
    caption: str
    algorithms: tuple | None = None
    per_task: bool = True


# Frames ---------------------------------------------------------------------------------


def learning_curves(study, runs):
    returns = study.over_training("return_mean")
    # A part of training in which no episode ended shows the last known return.
    returns = pd.DataFrame(returns).ffill(axis=1).to_numpy()
    rows = []
    for (task, arm), group in headline(runs).groupby(["task", "arm"]):
        average, low, high = statistics.mean_interval(returns[group.index])
        first = group.iloc[0]
        rows.append(
            pd.DataFrame(
                {
                    "task": task,
                    "arm": arm,
                    "algorithm": first["algorithm"],
                    "setting": first["setting"],
                    "env_steps": bin_steps(study, first.name),
                    "mean": average,
                    "low": low,
                    "high": high,
                    "runs": len(group),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def bin_steps(study, run, parts=None):
    """Environment steps at the end of each part of a run's training."""
    parts = parts or study.bins
    return study.steps[run] * np.arange(1, parts + 1) / parts


def beta_profile(study, runs):
    swept = sweep(runs)
    rows = []
    for task, here in runs[runs["task"].isin(swept["task"])].groupby("task"):
        for beta, group in plain(here, "kl_fixed").groupby("setting"):
            average, low, high = statistics.mean_interval(group["score"].to_numpy())
            rows.append((task, "sweep", "kl_fixed", group["arm"].iloc[0], beta, average, low, high, len(group)))
        for algorithm in ("trpo", "kl_adaptive", "clip"):
            group = default_arm(here, algorithm)
            if len(group):
                average, low, high = statistics.mean_interval(group["score"].to_numpy())
                rows.append((task, "band", algorithm, group["arm"].iloc[0], np.nan, average, low, high, len(group)))
        scores = grid(here, "kl_fixed")
        best, low, high = statistics.best_setting(scores.values[0], scores.settings)
        rows.append((task, "best", "kl_fixed", "", best, np.nan, low, high, scores.seeds))
    return pd.DataFrame(
        rows, columns=["task", "kind", "algorithm", "arm", "setting", "mean", "low", "high", "runs"]
    )


def achieved_kl(study, runs):
    need(plain(runs, "kl_fixed"), "kl_fixed")
    # Mean of the logarithm: one wild update does not hide the others.
    kl = study.curves["kl_after"].to_numpy(dtype=float)
    log_kl = study.over_training(np.log(np.where(kl > 0, kl, np.nan)))
    rows = []
    chosen = pd.concat([plain(runs, "kl_fixed"), default_arm(runs, "trpo")])
    for (task, arm), group in chosen.groupby(["task", "arm"]):
        kl = np.exp(log_kl[group.index])
        middle, low, high = all_finite_quantiles(kl, [0.5, 0.1, 0.9])
        first = group.iloc[0]
        rows.append(
            pd.DataFrame(
                {
                    "task": task,
                    "arm": arm,
                    "algorithm": first["algorithm"],
                    "setting": first["setting"],
                    "env_steps": bin_steps(study, first.name),
                    "median": middle,
                    "low": low,
                    "high": high,
                    "runs": len(group),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def all_finite_quantiles(values, quantiles):
    """Quantiles over the first axis, NaN left out; NaN where nothing is left."""
    result = np.full((len(quantiles), values.shape[1]), np.nan)
    known = np.isfinite(values).any(axis=0)
    if known.any():
        result[:, known] = np.nanquantile(values[:, known], quantiles, axis=0)
    return result


def implied_beta(study, runs):
    chosen = need(default_arm(runs, "trpo"), "trpo")
    parts = min(study.bins, 10)  # few: the cross-fitted estimate is noisy within one update
    columns = {"cross-fitted": "implied_beta_crossfit", "full batch": "implied_beta"}
    rows = []
    for task, group in chosen.groupby("task"):
        for estimate, column in columns.items():
            for units in ("as the algorithm saw it", "raw advantages"):
                squares = implied_squares(study, group, parts, column, raw=units == "raw advantages")
                average, low, high = statistics.mean_interval(squares)
                # A negative mean square means: no signal above the noise. Nothing to draw on a log axis.
                root = lambda x: np.sqrt(np.where(x > 0, x, np.nan))  # noqa: E731
                rows.append(
                    pd.DataFrame(
                        {
                            "kind": "curve",
                            "task": task,
                            "estimate": estimate,
                            "units": units,
                            "progress": np.arange(1, parts + 1) / parts,
                            "mean": root(average),
                            "low": root(low),
                            "high": root(high),
                            "runs": len(group),
                        }
                    )
                )
    betas = sorted(plain(runs, "kl_fixed")["setting"].unique())
    rows.append(pd.DataFrame({"kind": "grid", "mean": betas}))
    frame = pd.concat(rows, ignore_index=True)
    if frame.loc[frame["kind"] == "curve", "mean"].notna().sum() == 0:
        raise NotApplicable("needs implied_beta in the curves of trpo")
    return frame


PANELS = [
    Panel(
        "beta_profile",
        "One beta for all tasks?",
        beta_profile,
        figures.beta_profile,
        "Final return of a fixed penalty coefficient against β, per task: mean over seeds with 95 % "
        "bootstrap interval. Horizontal bands: TRPO, adaptive β and clipping at their authors' "
        "settings. Bar at the bottom: the β with the highest mean and the interval it takes when the "
        "seeds are resampled. A single β suffices only where these bars overlap.",
        ("kl_fixed", "trpo", "kl_adaptive", "clip"),
    ),
    Panel(
        "learning_curves",
        "Learning curves",
        learning_curves,
        figures.learning_curves,
        "Mean return of the episodes that ended in each part of training, with 95 % bootstrap "
        "interval over seeds.",
    ),
    Panel(
        "achieved_kl",
        "What a fixed beta does to the step",
        achieved_kl,
        figures.achieved_kl,
        "KL(old‖new) that each update reached, measured on the full batch after the update: median "
        "over seeds, band from the 10th to the 90th percentile. A constraint fixes the step; a fixed "
        "β lets it follow the task and the phase.",
        ("kl_fixed", "trpo"),
    ),
    Panel(
        "implied_beta",
        "The beta that the constraint implied",
        implied_beta,
        figures.implied_beta,
        "The multiplier of TRPO's constraint, √(gᵀF⁻¹g/2δ), per task over training; left in the units "
        "of the advantages the algorithm saw, right in those of the raw advantages. Solid: "
        "cross-fitted between two half batches and averaged before the root, which removes the noise "
        "floor; gaps where no signal stands above the noise. Dashed lines: the grid of fixed β.",
        ("trpo",),
    ),
]
