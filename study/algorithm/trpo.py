"""Trust region policy optimisation: a hard constraint on the KL divergence (Schulman et al. 2015, app. C).

    maximise  L(new)  subject to  mean_n KL(old || new)_n <= delta

    s = F^-1 g            conjugate gradients on Fisher-vector products
    lambda* = sqrt(s^T F s / (2 delta))
    step = s / lambda*    reaches the boundary of the quadratic model
    theta + 2^-k step     the first k = 0, 1, ... that gains and keeps the true KL within delta

F is the analytic Fisher matrix of every fisher_stride-th state, plus damping on its diagonal; g is of the
full batch. The line search is the paper's. That of modular_rl, whose numbers are the defaults, asks for a tenth
of the gain that the gradient foretells and does not test the KL. Without line_search the full step is taken: the
truncated natural gradient with the constraint in its quadratic model only.
"""

from functools import partial

import torch

from study.settings import AlgorithmSettings, Count, NonNegative, Positive
from study.solver import backtracking_line_search, conjugate_gradient


class Settings(AlgorithmSettings):
    max_kl: Positive  # delta, nats
    damping: NonNegative  # added to F's diagonal, nats per squared parameter
    cg_iterations: Count
    fisher_stride: Count  # F uses every fisher_stride-th state
    line_search: bool
    backtracks: Count


def natural_gradient(fleet, theta, batch):
    """s = F^-1 g [R, P], lambda* [R], and the metrics of them; these replace the coarser diagnostic's."""
    settings = fleet.settings
    fisher = fleet.fisher(theta, batch.observation[:, :: settings.fisher_stride], settings.damping)
    gradient = fleet.surrogate_gradient(theta, batch)
    s, residual = conjugate_gradient(fisher, gradient, settings.cg_iterations)
    squared = (s * fisher(s)).sum(-1)
    lagrange = torch.sqrt(squared / (2 * settings.max_kl))
    score_share = torch.sqrt(squared / batch.advantage.square().mean(-1))
    return s, lagrange, {"implied_beta": lagrange, "score_share": score_share, "cg_residual": residual}


def quotient(s, beta):
    """s / beta [R, P]; no step where beta is 0, as lambda* is without a gradient."""
    return torch.where(beta[:, None] == 0, 0, s / beta[:, None])


def search(fleet, theta, batch, step):
    """The line search's theta [R, P] and its metrics, or theta + step without the setting line_search."""
    settings = fleet.settings
    if not settings.line_search:
        return theta + step, {}
    gain_and_kl = partial(fleet.gain_and_kl, batch=batch)
    found = backtracking_line_search(gain_and_kl, theta, step, settings.max_kl, settings.backtracks, factor=0.5)
    return found.theta, {
        "kl_attempted": found.kl_attempted,
        "backtracks": found.backtracks,
        "accepted": found.accepted,
    }


def start(fleet, theta):
    return ()


def update(fleet, theta, state, rollout):
    s, lagrange, metrics = natural_gradient(fleet, theta, rollout.batch)
    theta, found = search(fleet, theta, rollout.batch, quotient(s, lagrange))
    return theta, state, metrics | found
