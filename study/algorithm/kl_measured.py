"""A KL penalty whose coefficient is measured in the first updates and then constant, by minibatch SGD (ours).

maximise  mean_n [ ratio_n A_n  -  beta KL(old || new)_n ],

    beta = factor sqrt(max(mean_k sign(x_k) x_k^2,  least^2 mean_k y_k^2)),  k = the updates so far, `measure` at most

x_k is the beta that TRPO's constraint with delta = diagnostics.max_kl implies at update k, cross-fitted between halves
of the rollout, and y_k the same from the whole rollout (implied_beta.py). Update k itself counts, so that there is a
beta from the first update on; after `measure` updates beta moves no more. x^2 has a sign and its mean may fall to 0 or
below where the gradient is mostly noise: y, which noise can only raise, then sets the least beta, in the same units.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from study import sgd
from study.algorithm.kl_fixed import loss
from study.implied_beta import implied_beta
from study.settings import AlgorithmSettings, Count, Positive
from study.sgd import Adam
from study.solver import where


class Settings(AlgorithmSettings):
    factor: Positive  # of the measured beta
    measure: Count  # updates that are measured
    least: Positive  # beta at least, as a share of the full batch's estimate


class State(NamedTuple):
    adam: Adam
    crossed: Tensor  # [R] sum of sign(x) x^2
    squared: Tensor  # [R] sum of y^2
    count: Tensor  # [R] updates measured


def start(fleet, theta):
    return State(Adam.start(theta), *(torch.zeros_like(theta[:, 0]) for _ in range(3)))


def measured(fleet, theta, batch, sums):
    """The sums and the count after this update's measurement, for runs that still measure."""
    x, settings = implied_beta(fleet, theta, batch, fleet.diagnostics.max_kl), fleet.settings
    new = (x.implied_beta_crossfit * x.implied_beta_crossfit.abs(), x.implied_beta.square(), torch.ones_like(sums[2]))
    return where(sums[2] < settings.measure, tuple(a + b for a, b in zip(sums, new)), sums)


def update(fleet, theta, state, rollout):
    settings, (adam, *sums) = fleet.settings, state
    if (state.count < settings.measure).any():  # saves time only: the others keep their sums
        sums = measured(fleet, theta, rollout.batch, tuple(sums))
    crossed, squared, count = sums
    beta = settings.factor * torch.maximum(crossed / count, settings.least**2 * squared / count).sqrt()
    theta, adam = sgd.descend(fleet, loss, theta, adam, rollout, beta)
    return theta, State(adam, *sums), {"beta": beta}
