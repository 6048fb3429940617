"""The inner loop of every first-order algorithm and of the value fit: epochs of minibatch Adam or SGD."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad
from torch.utils._pytree import tree_map

from study.rollout import normalise


class Adam(NamedTuple):
    """Adam's state; one run's, or a fleet's with a leading [R]."""

    first: Tensor  # [P] running mean of the gradient
    second: Tensor  # [P] running mean of its square
    count: Tensor  # [] steps taken

    @classmethod
    def start(cls, theta: Tensor) -> "Adam":
        return cls(torch.zeros_like(theta), torch.zeros_like(theta), torch.zeros_like(theta[..., 0]))


def adam_step(theta: Tensor, gradient: Tensor, adam: Adam, rate: Tensor) -> tuple[Tensor, Adam]:
    """Kingma & Ba 2015, algorithm 1, with epsilon 1e-5 as in PPO's code; one run."""
    count = adam.count + 1
    first = 0.9 * adam.first + 0.1 * gradient
    second = 0.999 * adam.second + 0.001 * gradient.square()
    mean, square = first / (1 - 0.9**count), second / (1 - 0.999**count)
    return theta - rate * mean / (square.sqrt() + 1e-5), Adam(first, second, count)


def sgd_step(theta: Tensor, gradient: Tensor, adam: Adam, rate: Tensor) -> tuple[Tensor, Adam]:
    """theta - rate gradient, without momentum; Adam's state passes through untouched."""
    return theta - rate * gradient, adam


OPTIMIZERS = {"adam": adam_step, "sgd": sgd_step}


@cache  # one function object per loss and rule, so that it is compiled once
def minibatch_step(loss: Callable, rule: Callable = adam_step) -> Callable:
    """One step down `loss(network, theta, batch, *numbers)`, for one run."""

    def step(network, theta, adam, batch, rate, *numbers):
        return rule(theta, grad(lambda theta: loss(network, theta, batch, *numbers))(theta), adam, rate)

    return step


def shuffled(batch: NamedTuple, order: Tensor, size: int) -> NamedTuple:
    """The minibatches of one epoch, fields [M, R, size, ...]; batch fields [R, N, ...], order [R, N]."""
    order = order.unflatten(-1, (-1, size)).transpose(0, 1)  # [M, R, size]
    run = torch.arange(order.shape[1], device=order.device)[None, :, None]
    return tree_map(lambda field: field[run, order], batch)


def minimise(
    fleet,
    loss: Callable,
    network,
    theta: Tensor,
    adam: Adam,
    batch: NamedTuple,
    order: Tensor,
    rate,
    *numbers,
    rule: Callable = adam_step,
    size: int | None = None,
):
    """Epochs x minibatches of steps down `loss(network, theta, batch, *numbers)`: theta [R, P] and Adam's state.

    order [R, epochs, N] says who meets whom; rate and numbers are [R]; size is the minibatch's, the
    fleet's unless given.
    """
    step = fleet.each(minibatch_step(loss, rule), network)
    for epoch in order.unbind(1):
        minibatches = shuffled(batch, epoch, size or fleet.minibatch_size)
        if fleet.advantage_normalization == "minibatch" and hasattr(batch, "advantage"):
            minibatches = minibatches._replace(advantage=normalise(minibatches.advantage))
        for fields in zip(*minibatches):
            theta, adam = step(theta, adam, type(batch)(*fields), rate, *numbers)
    return theta, adam


def start(fleet, theta: Tensor) -> Adam:
    """The state of an algorithm that has none but Adam's."""
    return Adam.start(theta)


def begin(fleet, adam: Adam) -> Adam:
    """Adam's state at the beginning of an update: as the last one left it, or new (reset_optimizer)."""
    return tree_map(torch.zeros_like, adam) if fleet.reset_optimizer else adam


def epochs(fleet, loss: Callable, theta: Tensor, adam: Adam, batch, order: Tensor, *numbers, size: int | None = None):
    """Epochs of the policy's own optimizer and learning rate over order [R, epochs, N]."""
    rule = OPTIMIZERS[fleet.optimizer]
    rate = fleet.learning_rate
    return minimise(fleet, loss, fleet.policy, theta, adam, batch, order, rate, *numbers, rule=rule, size=size)


def descend(fleet, loss: Callable, theta: Tensor, adam: Adam, rollout, *numbers, size: int | None = None):
    """The policy's inner loop on one rollout, all of its epochs: theta [R, P] and Adam's state."""
    return epochs(fleet, loss, theta, begin(fleet, adam), rollout.batch, rollout.order, *numbers, size=size)
