"""Studies with known answers, in the columns that training writes.

A task's return rises from `untrained` to `best`. How fast, and how far, depends on how near an
arm's beta is to the task's best beta, which may move during training. The implied beta and the
achieved KL obey the quadratic law KL = delta * (implied_beta / beta)^2.
"""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.signal import lfilter

HORIZON = 2048


@dataclass(frozen=True)
class Task:
    """Known answers of one task; pairs are values at the start and at the end of training."""

    name: str
    untrained: float = 0.0
    best: float = 1000.0
    best_beta: tuple = (1.0, 1.0)
    implied_beta: tuple = (2.0, 2.0)
    sigma_advantage: tuple = (1.0, 1.0)


@dataclass(frozen=True)
class Arm:
    algorithm: str
    beta: float = np.nan
    kl_target: float = np.nan
    max_kl: float = np.nan
    clip_epsilon: float = np.nan
    settings: tuple = ()  # of the protocol, e.g. (("advantage_normalization", "none"),)
    quality: float = None  # in place of the distance to the best beta

    @property
    def numbers(self):
        names = ("beta", "kl_target", "max_kl", "clip_epsilon")
        return {name: getattr(self, name) for name in names if np.isfinite(getattr(self, name))}

    @property
    def own(self):
        """The numbers of the label: not the initial beta of kl_adaptive."""
        hidden = "beta" if self.algorithm == "kl_adaptive" else ""
        return [(name, value) for name, value in self.numbers.items() if name != hidden]

    @property
    def condition(self):
        return words(self.settings)

    @property
    def label(self):
        return " ".join([self.algorithm, *filter(None, [words(self.own), self.condition])])

    def overrides(self, task, total_steps):
        settings = [(name, f"[{value}]" if name == "hidden" else value) for name, value in self.settings]
        own = [f"algorithm.{word}" for word in words(self.own).split()]
        first, last = [f"task={task}", f"algorithm={self.algorithm}"], f"total_steps={total_steps}"
        return [*first, *own, *words(settings).split(), last]


def words(pairs):
    return " ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in pairs)


TRPO = Arm("trpo", max_kl=0.01, quality=0.95)
ADAPTIVE = Arm("kl_adaptive", beta=1.0, kl_target=0.01, quality=0.9)
CLIP = Arm("clip", clip_epsilon=0.2, quality=0.9)
UNPENALISED = Arm("unpenalised", quality=0.1)


def fixed(betas, **settings):
    return [Arm("kl_fixed", beta=float(beta), settings=tuple(settings.items())) for beta in betas]


def study(tasks, arms, seeds=3, iterations=49, noise=0.05, width=0.6, quality=None, rng_seed=0, skew=False):
    """(runs, curves) of every task x arm x seed.

    noise    standard deviation between seeds, as a share of best - untrained.
    width    decades of beta at which the quality of a fixed beta has fallen to exp(-1/2).
    quality  one number for every arm: a study in which no arm differs from another.
    skew     heavy-tailed noise: one seed in five fails altogether.
    """
    rng = np.random.default_rng(rng_seed)
    progress = (np.arange(iterations) + 0.5) / iterations
    rows, curves = [], []
    for task in tasks:
        best_beta, implied, sigma = (
            np.exp(np.interp(progress, [0, 1], np.log(pair)))
            for pair in (task.best_beta, task.implied_beta, task.sigma_advantage)
        )
        for arm in arms:
            raw = dict(arm.settings).get("advantage_normalization") == "none"
            optimum = best_beta * (sigma if raw else 1.0)
            seen = implied * (sigma if raw else 1.0)
            if quality is not None:
                level = np.full(iterations, quality)
            elif arm.quality is not None:
                level = np.full(iterations, arm.quality)
            else:
                level = np.exp(-0.5 * (np.log10(arm.beta / optimum) / width) ** 2)
            for seed in range(seeds):
                numbers = _curve(task, arm, level, seen, sigma, progress, noise, skew, rng)
                run_id = f"{task.name}-{arm.label}-{seed}-{iterations}".replace(" ", "_")
                config = {
                    "task": {"id": f"{task.name}-v0"},
                    "algorithm": {"name": arm.algorithm, **arm.numbers},
                    "advantage_normalization": "batch",
                    "horizon": HORIZON,
                    **dict(arm.settings),
                }
                rows.append(
                    {
                        "run_id": run_id,
                        "task": task.name,
                        "algorithm": arm.algorithm,
                        "arm": arm.label,
                        "condition": arm.condition,
                        "overrides": json.dumps(arm.overrides(task.name, iterations * HORIZON)),
                        "beta": arm.beta,
                        "kl_target": arm.kl_target,
                        "max_kl": arm.max_kl,
                        "clip_epsilon": arm.clip_epsilon,
                        "seed": seed,
                        "total_steps": iterations * HORIZON,
                        "status": "complete",
                        "final_return": numbers["return_last100"][-1],
                        "auc_return": np.nanmean(numbers["return_mean"]),
                        "wall_seconds": 1.0,
                        "commit": "0000000",
                        "config": json.dumps(config),
                    }
                )
                curves.append(pd.DataFrame({"run_id": run_id, "iteration": np.arange(iterations), **numbers}))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


def _curve(task, arm, level, seen, sigma, progress, noise, skew, rng):
    """Columns of one run. The return follows the quality of the moment with a lag."""
    iterations = len(progress)
    rate = min(1.0, 6.0 / iterations)
    reached = lfilter([rate], [1, rate - 1], level)
    offset = -rng.uniform(0.5, 1.0) if skew and rng.random() < 0.2 else rng.normal() * noise
    reached = reached + offset * np.minimum(1, 3 * progress) + rng.normal(size=iterations) * 0.02
    returns = task.untrained + (task.best - task.untrained) * reached
    returns[0] = task.untrained + (task.best - task.untrained) * 0.02 * rng.normal()
    returns[1:][rng.random(iterations - 1) < 0.05] = np.nan  # no episode ended
    delta = arm.max_kl if arm.algorithm == "trpo" else 0.01
    implied = seen * np.sqrt(0.01 / delta) * np.exp(rng.normal(size=iterations) * 0.1)
    if arm.algorithm == "trpo":
        kl = delta * rng.uniform(0.9, 1.0, iterations)
    elif np.isfinite(arm.beta) and arm.algorithm == "kl_fixed":
        kl = np.minimum(1.0, delta * (implied / arm.beta) ** 2) * np.exp(rng.normal(size=iterations) * 0.2)
    else:
        kl = 0.01 * np.exp(rng.normal(size=iterations) * 0.4)
    beta = np.full(iterations, arm.beta)
    if arm.algorithm == "kl_adaptive":
        beta = np.maximum(2.0 ** np.round(np.log2(implied)), 1e-3)
    blank = np.full(iterations, np.nan)
    return {
        "env_steps": np.arange(1, iterations + 1) * HORIZON,
        "episodes": np.full(iterations, 5),
        "return_mean": returns,
        "return_last100": pd.Series(returns).ffill().rolling(5, min_periods=1).mean().to_numpy(),
        "kl_after": kl,
        "kl_attempted": kl,
        "kl_max": 10 * kl,
        "kl_p99": 3 * kl,
        "surrogate_gain": kl,
        "entropy": 2.0 - progress,
        "beta": beta,
        "implied_beta": implied,
        "implied_beta_crossfit": 0.5 * implied * rng.choice([1, 1, 1, -1], iterations),
        "sigma_advantage": sigma,
        "cg_residual": blank,
        "backtracks": np.zeros(iterations),
        "accepted": np.ones(iterations),
        "explained_variance": progress,
        "value_loss": 1 - 0.5 * progress,
        "max_ratio": 1 + 10 * np.sqrt(kl),
        "score_share": implied
        * np.sqrt(2 * delta)
        / (sigma if dict(arm.settings).get("advantage_normalization") == "none" else 1),
        "gradient_norm": np.ones(iterations),
        "clipped_share": blank,
    }


def write(directory, runs, curves):
    directory.mkdir(parents=True, exist_ok=True)
    runs.to_parquet(directory / "runs.parquet", index=False)
    curves.to_parquet(directory / "curves.parquet", index=False)
    return directory


QUICK_TASKS = (
    Task("halfcheetah", -300, 1500, (10.0, 10.0), (2.3, 3.2), (0.3, 0.08)),
    Task("hopper", 20, 2500, (0.1, 0.1), (1.8, 0.9), (2.0, 10.0)),
    Task("swimmer", 5, 60, (1.0, 1.0), (1.5, 2.6), (0.1, 0.02)),
)


def quick(**options):
    """The shape of the small study: 3 tasks, 4 betas, adaptive, clip, unpenalised, TRPO, 3 seeds."""
    return study(QUICK_TASKS, [TRPO, ADAPTIVE, CLIP, UNPENALISED, *fixed([0.1, 1, 10, 100])], **options)
