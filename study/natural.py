"""The natural gradient step of TRPO and of its baseline: one page of numbers each, this in common."""

from typing import NamedTuple

import torch
from torch import Tensor

from study.objective import change, fisher_vector_product, surrogate_gradient
from study.solver import backtracking_line_search, conjugate_gradient


class Direction(NamedTuple):
    s: Tensor  # [R, P] F^-1 g by conjugate gradients
    lagrange: Tensor  # [R] lambda* = sqrt(s^T F s / (2 delta)), per nat
    facts: dict


def direction(fleet, theta: Tensor, batch) -> Direction:
    """s = F^-1 g at theta, with the settings max_kl, damping, cg_iterations and fisher_stride.

    F is the analytic Fisher matrix of every fisher_stride-th state, plus damping on its diagonal; g is
    of the full batch. The facts replace those of the coarser diagnostic.
    """
    settings = fleet.settings
    states = batch.observation[:, :: settings.fisher_stride]

    def fisher(v):
        return fleet.each(fisher_vector_product)(theta, states, v) + settings.damping[:, None] * v

    gradient = fleet.each(surrogate_gradient)(theta, batch)
    s, residual = conjugate_gradient(fisher, gradient, settings.cg_iterations)
    squared = (s * fisher(s)).sum(-1)
    lagrange = torch.sqrt(squared / (2 * settings.max_kl))
    score_share = torch.sqrt(squared / batch.advantage.square().mean(-1))
    return Direction(s, lagrange, {"implied_beta": lagrange, "score_share": score_share, "cg_residual": residual})


def to_boundary(s: Tensor, lagrange: Tensor) -> Tensor:
    """s / lambda* [R, P], where the quadratic model of the KL is delta; no step where the gradient is 0."""
    return torch.where(lagrange[:, None] == 0, 0, s / lagrange[:, None])


def take(fleet, theta: Tensor, batch, step: Tensor) -> tuple[Tensor, dict]:
    """theta + step, or with the setting line_search what passes TRPO's two tests: theta [R, P] and facts."""
    settings = fleet.settings
    if not settings.line_search:
        return theta + step, {}

    def gain_and_kl(theta):
        return fleet.each(change)(theta, batch)[:2]

    search = backtracking_line_search(gain_and_kl, theta, step, settings.max_kl, settings.backtracks, factor=0.5)
    return search.theta, {
        "kl_attempted": search.kl_attempted,
        "backtracks": search.backtracks,
        "accepted": search.accepted,
    }
