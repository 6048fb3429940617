"""The numbers of docs/why.md: one step under a penalty and under a constraint, in closed form and from committed runs.

    python docs/why.py why.html    the page's figure as one file that works by itself, for a lecture

The problem: one state, a Gaussian policy of mean 0 and standard deviation 1, a batch of drawn actions, and advantages

    A = c (signal + spread noise / snr) / sqrt(1 + spread^2)

The signal is -|action - 1|, the noise is drawn; both have mean 0 and standard deviation 1 over the batch. The noise is
uncorrelated with the signal, and its gradient is at a right angle to the signal's in the metric of F^-1, as both are on
average. `spread` is such that the two gradients are equally long in that metric at snr = 1: snr is the gradient's. At
c = snr = 1 the advantages have standard deviation 1.
"""

import html
import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch

import analysis
from analysis.arms import log_median_kl
from analysis.names import task_name
from analysis.panel.reward_scales import rescaled
from analysis.style import beta_colours
from study.objective import fisher_vector_product, surrogate_gradient
from study.policy import Gaussian, Policy
from study.rollout import Batch, normalise
from study.solver import conjugate_gradient

ROOT = Path(__file__).resolve().parent.parent
POLICY = Policy.make(1, Gaussian(1), hidden=())
THETA = torch.zeros(POLICY.parameters, dtype=torch.float64)  # weight of the observation, which is 0; mean; log std
MOVED = slice(1, None)  # mean and log std
SAMPLES = 64
TASKS, STUDY = ("swimmer", "hopper"), "scales"  # the shortest and the longest steps of a fixed beta there


def batch(advantage: torch.Tensor) -> Batch:
    """The problem's actions with these advantages [N]."""
    action = torch.from_numpy(np.random.default_rng(0).standard_normal((SAMPLES, 1)))
    observation = torch.zeros_like(action)
    old = POLICY(THETA, observation)
    return Batch(observation, action, old, POLICY.family.log_prob(old, action), advantage)


def gradient(advantage: torch.Tensor) -> torch.Tensor:
    return surrogate_gradient(POLICY, THETA, batch(advantage))


def fisher(vector: torch.Tensor) -> torch.Tensor:
    return fisher_vector_product(POLICY, THETA, torch.zeros(SAMPLES, 1, dtype=torch.float64), vector)


def squared(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """first^T F^-1 second, of two gradients; first may be rows of them."""
    solved, _ = conjugate_gradient(lambda v: fisher(v[0])[None], second[None], 2)
    return first @ solved[0]


@cache
def parts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Signal [N], noise [N] and spread, a scalar."""
    action = batch(torch.zeros(SAMPLES, dtype=torch.float64)).action[:, 0]
    signal = normalise(-(action - 1).abs())
    drawn = torch.from_numpy(np.random.default_rng(1).standard_normal(SAMPLES))
    # squared(gradient(signal), gradient(noise)) is linear in the noise: its coefficients
    eye = torch.eye(SAMPLES, dtype=torch.float64)
    product = squared(torch.stack([gradient(row) for row in eye]), gradient(signal))
    away = torch.stack([torch.ones_like(signal), signal, product], 1)
    noise = normalise(drawn - away @ torch.linalg.lstsq(away, drawn[:, None]).solution[:, 0])
    spread = (squared(*[gradient(signal)] * 2) / squared(*[gradient(noise)] * 2)).sqrt()
    return signal, noise, spread


def advantage(scale: float, snr: float, normalised: bool) -> torch.Tensor:
    """[N] as the algorithm sees it."""
    signal, noise, spread = parts()
    raw = scale * (signal + spread * noise / snr) / (1 + spread**2).sqrt()
    return normalise(raw) if normalised else raw


def problem() -> dict:
    """F [2, 2], the gradients [2] of signal and noise at snr 1, and spread."""
    signal, noise, spread = parts()
    dense = torch.stack([fisher(row) for row in torch.eye(len(THETA), dtype=torch.float64)])
    return {
        "fisher": dense[MOVED, MOVED].tolist(),
        "signal": gradient(signal)[MOVED].tolist(),
        "noise": (spread * gradient(noise))[MOVED].tolist(),
        "spread": float(spread),
        "samples": SAMPLES,
    }


def measured() -> tuple[list[dict], dict]:
    """Of each task and kind of advantages, [c, each seed's median KL of an update] for each arm; the runs' sizes."""
    study = analysis.load(str(ROOT / "results" / STUDY))
    curves = study.curves.groupby("run")
    runs = rescaled(study)
    runs = runs[runs["task"].isin(TASKS)]
    runs = runs.assign(kl=10 ** log_median_kl(study), implied=curves["implied_beta"].median(), updates=curves.size())
    runs["seeds"] = runs.groupby(["task", "algorithm", "setting", "advantages", "reward_scale"])["seed"].transform(
        "size"
    )
    sizes = {"steps": "total_steps", "updates": "updates", "seeds": "seeds"}
    (size,) = runs[list(sizes.values())].drop_duplicates().to_numpy().tolist()  # the same of all runs
    made = []
    for task in TASKS:
        own = runs[runs["task"] == task]
        kinds = {}
        for kind, here in own.groupby("advantages"):
            trpo = here[here["algorithm"] == "trpo"]
            kinds[kind] = {
                "arms": [
                    {"algorithm": algorithm, "value": value, "points": _by_scale(arm, "kl")}
                    for (algorithm, value), arm in here.groupby(["algorithm", "setting"])
                ],
                "implied": _by_scale(trpo, "implied"),
            }
        made.append({"task": task_name(task), "kinds": kinds})
    return made, dict(zip(sizes, size))


def _by_scale(runs, column):
    return [[c, [float(f"{x:.4g}") for x in here[column]]] for c, here in runs.groupby("reward_scale")]


def content() -> dict:
    tasks, runs = measured()
    return {"problem": problem(), "measured": tasks, "runs": runs, "colours": list(beta_colours([0.3, 1, 3]).values())}


def figure() -> str:
    """docs/why.html with its numbers."""
    return (ROOT / "docs/why.html").read_text().replace("NUMBERS", html.escape(json.dumps(content()), quote=False))


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>A penalty and a constraint</title>
<body style="font-family: system-ui, sans-serif; margin: 1rem auto; padding: 0 1rem; max-width: 76rem">
<h1 style="font-size: 1.4rem; margin: 0 0 .6rem">One step under a penalty and under a constraint</h1>
{}
</body>
</html>
"""

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/why.py OUT.html")
    Path(sys.argv[1]).write_text(PAGE.format(figure()))
