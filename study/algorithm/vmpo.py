"""A temperature on the advantages beside the penalty on the policy, by minibatch SGD (V-MPO, Song et al. 2019).

    psi_n ~ exp(A_n / eta)  on the top_share of the batch with the largest A,  0 on the rest,  sum_n psi_n = 1,
    eta = argmin  eta bound + eta log mean_n exp(A_n / eta),   where KL(psi || uniform on those samples) = bound

maximise  sum_n psi_n log pi(a_n | s_n)  -  beta mean_n KL(old || new)_n,  then, for the next update, as in kl_dual,

    log beta  <-  log beta + step_size (d / d_targ - 1),  d = mean_n KL(old || new)_n of the full batch

So the difference to kl_dual is the weight of the samples; beta is in units of psi, free of the rewards'. Departures
from the authors (arXiv 1909.12238; rlax and Stoix were read): eta is solved for once per rollout, where theirs takes an
Adam step beside each of the policy's; one KL and one beta, where Gaussians have two there, of mean and std; beta
moves between updates; old is the policy that acted, where theirs is a target network renewed every few updates.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from study import penalty, sgd
from study.objective import change, mean_kl
from study.penalty import LIMIT, State, moved
from study.settings import AlgorithmSettings, Positive, Share
from study.solver import bisect


class Settings(AlgorithmSettings):
    temperature_bound: Positive  # nats
    top_share: Share  # of the batch that has a weight
    kl_target: Positive  # d_targ, nats
    beta: Positive  # at the first update; per nat, in units of the weights N psi, whose mean is 1
    step_size: Positive  # of log beta, per relative excess of the KL


class Weighted(NamedTuple):
    observation: Tensor  # [N, D]
    action: Tensor  # [N, A]
    old: Tensor  # [N, K]
    weight: Tensor  # [N] N psi


def weigh(advantage, settings):
    """psi [R, N] and eta [R]."""
    count = (settings.top_share * advantage.shape[1]).clamp(min=1).long()
    least = advantage.sort(-1, descending=True).values.gather(1, count[:, None] - 1)
    chosen = advantage >= least

    def psi(log2_eta):
        logits = (advantage - advantage.amax(-1, keepdim=True)) / torch.exp2(log2_eta)[:, None]
        return torch.where(chosen, logits, -math.inf).softmax(-1)

    def relative_kl(log2_eta):
        weights = psi(log2_eta)
        kl = torch.special.xlogy(weights, weights * chosen.sum(-1, keepdim=True)).sum(-1)
        return kl / settings.temperature_bound, weights

    start = advantage.square().mean(-1).sqrt().log2().clamp(-LIMIT, LIMIT)
    tolerance = torch.full_like(start, 1e-5)
    log2_eta = bisect(relative_kl, start, psi(start), tolerance, 60, limit=LIMIT).x
    return psi(log2_eta), torch.exp2(log2_eta)


def loss(policy, theta, batch, beta):
    phi = policy(theta, batch.observation)
    return -(batch.weight * policy.family.log_prob(phi, batch.action)).mean() + beta * mean_kl(policy, phi, batch)


start = penalty.start


def update(fleet, theta, state, rollout):
    batch, settings, beta = rollout.batch, fleet.settings, torch.exp2(state.log2_beta)
    psi, eta = weigh(batch.advantage, settings)
    weighted = Weighted(batch.observation, batch.action, batch.old, psi.shape[1] * psi)
    theta, adam = sgd.epochs(fleet, loss, theta, sgd.begin(fleet, state.adam), weighted, rollout.order, beta)
    kl = fleet.each(change)(theta, batch).kl
    by = settings.step_size * (kl / settings.kl_target - 1) / math.log(2)
    return theta, State(adam, moved(state.log2_beta, by)), {"beta": beta, "temperature": eta}
