"""A KL penalty whose coefficient follows a target, by minibatch SGD (Schulman et al. 2017, section 4).

maximise  mean_n [ ratio_n A_n  -  beta KL(old || new)_n ],  then with d = mean_n KL(old || new)_n:
d < d_targ / 1.5  ->  beta / 2          d > 1.5 d_targ  ->  2 beta          for the next update
"""

from typing import NamedTuple

import torch
from torch import Tensor

from study.algorithm.kl_fixed import loss
from study.config import AlgorithmSettings, Positive
from study.objective import change
from study.sgd import Adam, descend


class Settings(AlgorithmSettings):
    beta: Positive  # at the first update
    kl_target: Positive  # d_targ, nats


class State(NamedTuple):
    adam: Adam
    log2_beta: Tensor  # [R]; a logarithm neither under- nor overflows


def adapt(log2_beta, kl, kl_target):
    """PPO's rule, [R]. A NaN compares false and changes nothing."""
    return log2_beta - (kl < kl_target / 1.5).to(kl.dtype) + (kl > 1.5 * kl_target).to(kl.dtype)


def start(fleet, theta):
    return State(Adam.start(theta), fleet.settings.beta.log2())


def update(fleet, theta, state, rollout):
    beta = torch.exp2(state.log2_beta)
    theta, adam = descend(fleet, loss, theta, state.adam, rollout, beta)
    kl = fleet.each(change)(theta, rollout.batch).kl
    return theta, State(adam, adapt(state.log2_beta, kl, fleet.settings.kl_target)), {"beta": beta}
