"""The value fit: identical for every algorithm, with its own Adam, on the same minibatches."""

from typing import NamedTuple

import torch
from torch import Tensor

from study import fused
from study.policy import Network
from study.sgd import Adam, minimise


class Targets(NamedTuple):
    observation: Tensor  # [N, D] normalised
    value_target: Tensor  # [N] discounted return, in units of the scaled reward


class NearTargets(NamedTuple):
    observation: Tensor  # [N, D] normalised
    value_target: Tensor  # [N] as above
    before: Tensor  # [N] the value before the fit


def loss(critic: Network, theta: Tensor, batch: Targets) -> Tensor:
    """Mean squared error, a scalar."""
    return (critic(theta, batch.observation).squeeze(-1) - batch.value_target).square().mean()


def clipped_loss(critic: Network, theta: Tensor, batch: NearTargets, value_clip: Tensor) -> Tensor:
    """mean_n max( (V_n - target_n)^2,  (V_n kept within value_clip of before_n - target_n)^2 ), a scalar.

    PPO's code (OpenAI baselines, ppo2; Huang et al. 2022) less its factor 1/2; there value_clip is the ratio's range.
    """
    value = critic(theta, batch.observation).squeeze(-1)
    near = batch.before + (value - batch.before).clamp(-value_clip, value_clip)
    return torch.maximum((value - batch.value_target).square(), (near - batch.value_target).square()).mean()


def fit(fleet, critic: Network, theta: Tensor, adam: Adam, targets: Targets, order: Tensor) -> tuple[Tensor, Adam]:
    """theta [R, .] and Adam's state after the protocol's epochs over the targets."""
    rate, size = fleet.value_learning_rate, fleet.minibatch_size
    if fleet.value_clip is not None:
        near = NearTargets(*targets, fleet.outputs(critic, theta, targets.observation).squeeze(-1))
        bound = torch.full_like(rate, fleet.value_clip)
        return minimise(fleet, clipped_loss, critic, theta, adam, near, order, rate, bound)
    if fleet.fused and critic.sizes[-1] == 1:
        return fused.fit_squares(critic, theta, adam, targets.observation, targets.value_target, order, rate, size)
    return minimise(fleet, loss, critic, theta, adam, targets, order, rate)


def explained_variance(value: Tensor, target: Tensor) -> Tensor:
    """1 - Var(target - value) / Var(target) along the last axis; at most 1, 0 for a constant guess."""
    return 1 - (target - value).var(-1, correction=0) / target.var(-1, correction=0)
