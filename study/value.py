"""The value fit: identical for every algorithm, with its own Adam, on the same minibatches."""

from typing import NamedTuple

from torch import Tensor

from study import fused
from study.policy import Network
from study.sgd import Adam, minimise


class Targets(NamedTuple):
    observation: Tensor  # [N, D] normalised
    value_target: Tensor  # [N] discounted return, in units of the scaled reward


def loss(critic: Network, theta: Tensor, batch: Targets) -> Tensor:
    """Mean squared error, a scalar."""
    return (critic(theta, batch.observation).squeeze(-1) - batch.value_target).square().mean()


def fit(fleet, critic: Network, theta: Tensor, adam: Adam, targets: Targets, order: Tensor) -> tuple[Tensor, Adam]:
    """theta [R, .] and Adam's state after the protocol's epochs over the targets."""
    if fleet.fused and critic.sizes[-1] == 1:
        rate, size = fleet.value_learning_rate, fleet.minibatch_size
        return fused.fit_squares(critic, theta, adam, targets.observation, targets.value_target, order, rate, size)
    return minimise(fleet, loss, critic, theta, adam, targets, order, fleet.value_learning_rate)


def explained_variance(value: Tensor, target: Tensor) -> Tensor:
    """1 - Var(target - value) / Var(target) along the last axis; at most 1, 0 for a constant guess."""
    return 1 - (target - value).var(-1, correction=0) / target.var(-1, correction=0)
