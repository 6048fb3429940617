"""Trust region policy optimisation: a hard constraint on the KL divergence (Schulman et al. 2015, app. C).

    maximise  L(new)  subject to  mean_n KL(old || new)_n <= delta

    s = F^-1 g            conjugate gradients on Fisher-vector products
    lambda* = sqrt(s^T F s / (2 delta))
    step = s / lambda*    reaches the boundary of the quadratic model
    theta + 2^-k step     the first k = 0, 1, ... that gains and keeps the true KL within delta

F is the analytic Fisher matrix plus damping.
"""

import torch

from study.config import AlgorithmSettings, Count, Positive, Real
from study.objective import change, fisher_vector_product, surrogate_gradient
from study.solver import backtracking_line_search, conjugate_gradient


class Settings(AlgorithmSettings):
    max_kl: Positive  # delta, nats
    damping: Real  # added to F's diagonal, nats per squared parameter
    cg_iterations: Count
    backtracks: Count


def start(fleet, theta):
    return ()


def update(fleet, theta, state, rollout):
    batch, delta = rollout.batch, fleet.settings.max_kl

    def fisher(v):
        return fleet.each(fisher_vector_product)(theta, batch.observation, v) + fleet.settings.damping[:, None] * v

    def gain_and_kl(theta):
        return fleet.each(change)(theta, batch)[:2]

    gradient = fleet.each(surrogate_gradient)(theta, batch)
    s, residual = conjugate_gradient(fisher, gradient, fleet.settings.cg_iterations)
    lagrange = torch.sqrt((s * fisher(s)).sum(-1) / (2 * delta))
    search = backtracking_line_search(
        gain_and_kl, theta, s / lagrange[:, None], delta, fleet.settings.backtracks, factor=0.5
    )
    return (
        search.theta,
        state,
        {
            "implied_beta": lagrange,
            "cg_residual": residual,
            "kl_attempted": search.kl_attempted,
            "backtracks": search.backtracks,
            "accepted": search.accepted,
        },
    )
