"""Neither clipping nor penalty: the learning rate follows a KL target, by minibatch SGD (rsl_rl's schedule).

maximise  mean_n ratio_n A_n,  and before each step but the first, with d = mean_n KL(old || new)_n of its minibatch,

    rate / 1.5 if d > 2 d_targ,  rate x 1.5 if d < d_targ / 2,  within [rate_min, rate_max]

rsl_rl (leggedrobotics/rsl_rl, algorithms/ppo.py) has PPO's clipped surrogate beneath; here the rate alone sets the
length of the step, so that the rule is seen by itself. At the first step the policies are the same and d says nothing.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from study import sgd
from study.algorithm.unpenalised import loss
from study.objective import mean_kl
from study.settings import AlgorithmSettings, Positive
from study.sgd import Adam


class Settings(AlgorithmSettings):
    kl_target: Positive  # d_targ, nats
    rate_min: Positive
    rate_max: Positive


class State(NamedTuple):
    adam: Adam
    rate: Tensor  # [R]


def kl(policy, theta, batch):
    return mean_kl(policy, policy(theta, batch.observation), batch)


def adapt(rate, kl, settings):
    """The rate [R] of the next step, by the KL before it."""
    shorter, longer = kl > 2 * settings.kl_target, kl < settings.kl_target / 2
    rate = torch.where(shorter, rate / 1.5, torch.where(longer, rate * 1.5, rate))
    return torch.minimum(torch.maximum(rate, settings.rate_min), settings.rate_max)


def start(fleet, theta):
    return State(Adam.start(theta), fleet.learning_rate)


def update(fleet, theta, state, rollout):
    adam, rate = sgd.begin(fleet, state.adam), state.rate
    for step, order in enumerate(rollout.order.flatten(1).split(fleet.minibatch_size, 1)):
        if step > 0:
            (minibatch,) = sgd.minibatches(rollout.batch, order, fleet.minibatch_size)
            rate = adapt(rate, fleet.each(kl)(theta, minibatch), fleet.settings)
        theta, adam = sgd.epochs(fleet, loss, theta, adam, rollout.batch, order[:, None], rate=rate)
    return theta, State(adam, rate), {"learning_rate": rate}
