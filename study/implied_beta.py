"""The beta that the constraint implies, measured at every update of every algorithm.

TRPO's step solves max g^T s subject to s^T F s / 2 <= delta; its Lagrange multiplier

    lambda* = sqrt(g^T F^-1 g / (2 delta))

is the beta whose quadratic penalty would have taken the very same step (Schulman et al. 2015,
appendix C: the step is F^-1 g / lambda*). F is the analytic Fisher matrix plus damping, on every
fisher_stride-th state; F^-1 is a few conjugate gradient iterations.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from study.rollout import Batch
from study.solver import conjugate_gradient


class Implied(NamedTuple):
    implied_beta: Tensor  # [R] in units of the advantages the algorithm sees, per nat
    implied_beta_crossfit: Tensor  # [R] the same from g_a^T F^-1 g_b, a signed root
    score_share: Tensor  # [R] R = sqrt(g^T F^-1 g / mean A^2)
    gradient_norm: Tensor  # [R] |g|
    cg_residual: Tensor  # [R] relative


def implied_beta(fleet, theta: Tensor, batch: Batch, max_kl: Tensor) -> Implied:
    """The implied beta and its diagnostics at theta [R, P], the policy that acted.

    g_a and g_b are the gradients of the first and the second half of the rollout. Noise that the halves
    do not share drops out of g_a^T F^-1 g_b on average; single values may be negative, so the root keeps
    the sign: average sign(x) x^2 before taking a root of the mean.
    """
    runs, settings = len(theta), fleet.diagnostics
    halves = tree_map(lambda field: field.unflatten(1, (2, -1)).flatten(0, 1), batch)
    g_a, g_b = fleet.surrogate_gradient(theta.repeat_interleave(2, 0), halves).unflatten(0, (runs, 2)).unbind(1)
    g = (g_a + g_b) / 2

    # Two right-hand sides per run, side by side as twice as many runs.
    fisher = fleet.fisher(theta, batch.observation[:, :: settings.fisher_stride], settings.damping)
    x, residual = conjugate_gradient(fisher, torch.cat([g, g_b]), settings.cg_iterations)
    squared = (g * x[:runs]).sum(-1)
    crossed = (g_a * x[runs:]).sum(-1)
    return Implied(
        (squared / (2 * max_kl)).sqrt(),
        crossed.sign() * (crossed.abs() / (2 * max_kl)).sqrt(),
        (squared / batch.advantage.square().mean(-1)).sqrt(),
        g.norm(dim=-1),
        residual[:runs],
    )
