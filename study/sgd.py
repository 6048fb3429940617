"""The inner loop of every first-order algorithm and of the value fit: epochs of minibatch Adam or SGD."""

from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad
from torch.utils._pytree import tree_map

from study import fused
from study.objective import mean_entropy
from study.policy import join
from study.rollout import normalise


class Adam(NamedTuple):
    """Adam's state; one run's, or a fleet's with a leading [R]."""

    first: Tensor  # [P] running mean of the gradient, from 0
    second: Tensor  # [P] running mean of its square, from 0
    first_weight: Tensor  # [] the same running mean of ones, 1 - 0.9^count
    second_weight: Tensor  # [] 1 - 0.999^count
    count: Tensor  # [] steps taken

    @classmethod
    def start(cls, theta: Tensor) -> "Adam":
        return cls(*(torch.zeros_like(like) for like in (theta, theta, *[theta[..., 0]] * 3)))


def adam_step(theta: Tensor, gradient: Tensor, adam: Adam, rate: Tensor) -> tuple[Tensor, Adam]:
    """Kingma & Ba 2015, algorithm 1, with epsilon 1e-5 as in PPO's code; one run.

    The bias corrections are part of the state: the compiled step would compute powers of count anew for every 16
    parameters.
    """
    first, first_weight = (0.9 * old + 0.1 * new for old, new in ((adam.first, gradient), (adam.first_weight, 1)))
    square = gradient.square()
    second, second_weight = (0.999 * old + 0.001 * new for old, new in ((adam.second, square), (adam.second_weight, 1)))
    step = rate * (first / first_weight) / ((second / second_weight).sqrt() + 1e-5)
    return theta - step, Adam(first, second, first_weight, second_weight, adam.count + 1)


def sgd_step(theta: Tensor, gradient: Tensor, adam: Adam, rate: Tensor) -> tuple[Tensor, Adam]:
    """theta - rate gradient, without momentum; Adam's state passes through untouched."""
    return theta - rate * gradient, adam


OPTIMIZERS = {"adam": adam_step, "sgd": sgd_step}


@cache
def bounded(rule: Callable) -> Callable:
    """`rule` after torch's clip_grad_norm_: a gradient longer than the bound, which comes with the rate, is scaled
    down to it."""

    def step(theta, gradient, adam, rate_and_bound):
        rate, bound = rate_and_bound
        return rule(theta, (bound / (gradient.norm() + 1e-6)).clamp(max=1) * gradient, adam, rate)

    return step


@cache
def with_entropy(loss: Callable) -> Callable:
    """`loss` less the entropy bonus, whose coefficient comes before the numbers (Mnih et al. 2016, section 4)."""

    @wraps(loss)
    def regularised(policy, theta, batch, coefficient, *numbers):
        return loss(policy, theta, batch, *numbers) - coefficient * mean_entropy(policy, theta, batch)

    return regularised


@cache  # one function object per loss and rule, so that it is compiled once
def minibatch_step(loss: Callable, rule: Callable = adam_step) -> Callable:
    """One step down `loss(network, theta, batch, *numbers)`, for one run.

    By the parts of theta: the gradient of slices of one vector would be a sum of padded vectors.
    """

    def step(network, theta, adam, batch, rate, *numbers):
        parts = grad(lambda parts: loss(network, parts, batch, *numbers))(network.split(theta))
        return rule(theta, join(parts), adam, rate)

    return step


def minibatches(batch: NamedTuple, order: Tensor, size: int) -> Iterator[NamedTuple]:
    """The minibatches of one epoch, fields [R, size, ...]; batch fields [R, N, ...], order [R, at most N]."""
    runs, samples = batch[0].shape[:2]
    # Whole rows of a flat table: 0.07 us per sample where indexing by run and sample takes 0.17.
    table = [field.flatten(0, 1) for field in batch]
    rows = order + samples * torch.arange(runs, device=order.device).unsqueeze(-1)
    for row in rows.split(size, -1):
        fields = (field.index_select(0, row.flatten()).unflatten(0, (runs, size)) for field in table)
        yield type(batch)(*fields)


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
    optimizer: str = "adam",
    bound: Tensor | None = None,
    size: int | None = None,
):
    """Epochs x minibatches of steps down `loss(network, theta, batch, *numbers)`: theta [R, P] and Adam's state.

    order [R, epochs, N] gives the samples of the minibatches; rate, numbers and the bound of the gradient's norm are
    [R]; size is the minibatch's, the fleet's unless given.
    """
    size = size or fleet.minibatch_size
    if fleet.fuses(loss):
        try:
            return fused.minimise(
                fleet, loss, network, theta, adam, batch, order, rate, numbers, optimizer, bound, size
            )
        except fused.Unfused:
            fleet.unfused.add(loss)
    rule = OPTIMIZERS[optimizer]
    if bound is not None:
        rule, rate = bounded(rule), (rate, bound)
    step = fleet.each(minibatch_step(loss, rule), network)
    for epoch in order.unbind(1):
        for minibatch in minibatches(batch, epoch, size):
            if fleet.advantage_normalization == "minibatch" and hasattr(batch, "advantage"):
                minibatch = minibatch._replace(advantage=normalise(minibatch.advantage))
            theta, adam = step(theta, adam, minibatch, rate, *numbers)
    return theta, adam


def start(fleet, theta: Tensor) -> Adam:
    """The state of an algorithm that has none but Adam's."""
    return Adam.start(theta)


def begin(fleet, adam: Adam) -> Adam:
    """Adam's state at the beginning of an update: as the last one left it, or new (reset_optimizer)."""
    return tree_map(torch.zeros_like, adam) if fleet.reset_optimizer else adam


def epochs(
    fleet,
    loss: Callable,
    theta: Tensor,
    adam: Adam,
    batch,
    order: Tensor,
    *numbers,
    rate: Tensor | None = None,
    size: int | None = None,
    entropy: bool = True,
):
    """Epochs of the policy's own optimizer over order [R, epochs, N].

    rate [R] is its learning rate, unless given; entropy: whether the loss is an objective, that has the entropy bonus.
    """
    rate = fleet.learning_rate if rate is None else rate
    if entropy and fleet.entropy_coefficient:
        loss, numbers = with_entropy(loss), (torch.full_like(rate, fleet.entropy_coefficient), *numbers)
    own = {"optimizer": fleet.optimizer, "bound": fleet.max_grad_norm, "size": size}
    return minimise(fleet, loss, fleet.policy, theta, adam, batch, order, rate, *numbers, **own)


def descend(fleet, loss: Callable, theta: Tensor, adam: Adam, rollout, *numbers, size: int | None = None):
    """The policy's inner loop on one rollout, all of its epochs: theta [R, P] and Adam's state."""
    return epochs(fleet, loss, theta, begin(fleet, adam), rollout.batch, rollout.order, *numbers, size=size)
