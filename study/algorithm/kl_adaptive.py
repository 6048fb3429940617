"""A KL penalty whose coefficient follows a target, by minibatch SGD (Schulman et al. 2017, section 4).

maximise  mean_n [ ratio_n A_n  -  beta KL(old || new)_n ],  then with d = mean_n KL(old || new)_n of the
full batch, for the next update:

    rule         beta                                                             source
    ppo          / 2 if d < d_targ / 1.5, x 2 if d > 1.5 d_targ                   ibid.
    modular_rl   / 1.5 if d < 0.7 d_targ, x 1.5 if d > 1.3 d_targ                 modular_rl/ppo.py
    log_space    x (1 + 0.1 e), e = d / d_targ - 1 clipped to +-0.2               Ziegler et al. 2019

modular_rl also adds 1000 max(0, KL - 2 d_targ)^2 to the loss. Its d is the last epoch's mean over
minibatches, ours is of the final parameters. Ziegler's KL is to a fixed reference, ours to the old policy.
"""

from typing import Literal

import torch

from study import penalty
from study.algorithm.kl_fixed import loss
from study.objective import change, mean_kl
from study.penalty import State, moved
from study.settings import AlgorithmSettings, Positive
from study.sgd import descend


class Settings(AlgorithmSettings):
    beta: Positive  # at the first update
    kl_target: Positive  # d_targ, nats
    rule: Literal["ppo", "modular_rl", "log_space"]


def hinged(policy, theta, batch, beta, kl_target):
    excess = mean_kl(policy, policy(theta, batch.observation), batch) - 2 * kl_target
    return loss(policy, theta, batch, beta) + 1000 * excess.clamp(min=0).square()


def steps(kl, low, high):
    """-1 below low, +1 above high, else 0, [R]. A NaN compares false and changes nothing."""
    return (kl > high).to(kl.dtype) - (kl < low).to(kl.dtype)


def adapt(log2_beta, kl, kl_target, rule="ppo"):
    """log2 beta [R] for the next update."""
    if rule == "ppo":
        by = steps(kl, kl_target / 1.5, 1.5 * kl_target)
    elif rule == "modular_rl":
        by = steps(kl, 0.7 * kl_target, 1.3 * kl_target) * torch.log2(torch.full_like(kl, 1.5))
    else:
        by = torch.log2(1 + 0.1 * (kl / kl_target - 1).clamp(-0.2, 0.2))
    return moved(log2_beta, by)


start = penalty.start


def update(fleet, theta, state, rollout):
    beta, settings = torch.exp2(state.log2_beta), fleet.settings
    if settings.rule == "modular_rl":
        theta, adam = descend(fleet, hinged, theta, state.adam, rollout, beta, settings.kl_target)
    else:
        theta, adam = descend(fleet, loss, theta, state.adam, rollout, beta)
    kl = fleet.each(change)(theta, rollout.batch).kl
    return theta, State(adam, adapt(state.log2_beta, kl, settings.kl_target, settings.rule)), {"beta": beta}
