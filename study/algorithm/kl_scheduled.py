"""Mirror descent policy optimisation: a KL penalty on a schedule, by SGD (Tomar et al. 2020, on-policy MDPO).

maximise  mean_n [ ratio_n A_n  -  beta / t_k KL(new || old)_n ],  t_k = 1 - k / K in update k = 0 ... K - 1

The KL is in the other direction than everywhere else, and the coefficient grows from beta to K beta. Each
epoch is one step on the full batch, as published (10 of them), or one pass over minibatches. The published
code starts one update behind, t_k = 1 - (k - 1) / K, and clips the gradient's norm at 0.5; we do neither.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from study.algorithm.kl_reverse import loss
from study.settings import AlgorithmSettings, Positive
from study.sgd import Adam, descend


class Settings(AlgorithmSettings):
    beta: Positive  # at the first update; per nat, in units of the advantages
    full_batch: bool


class State(NamedTuple):
    adam: Adam
    update: Tensor  # [R] k


def start(fleet, theta):
    return State(Adam.start(theta), torch.zeros_like(theta[:, 0]))


def update(fleet, theta, state, rollout):
    beta = fleet.settings.beta / (1 - state.update / fleet.iterations)
    size = rollout.order.shape[-1] if fleet.settings.full_batch else None
    theta, adam = descend(fleet, loss, theta, state.adam, rollout, beta, size=size)
    return theta, State(adam, state.update + 1), {"beta": beta}
