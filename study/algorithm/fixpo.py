"""A KL penalty during SGD, then a fix-up until no state is too far (FixPO, Zentner et al. 2023, arXiv 2312.05405).

maximise  mean_n [ ratio_n A_n  -  beta KL(old || new)_n ],  and after each step, with m = max_n KL_n of its minibatch,

    beta moves by Adam down  beta (epsilon - c m),  beta >= 0

After every epoch: steps down beta mean_n KL_n on the parts of the batch in which some state exceeds epsilon, each
followed by beta's move, until a whole pass finds none. The authors' loop (stabilized-rl, src/fixpo_tianshou.py) has no
end of its own; here it stops after fixup_passes, and `accepted` says whether it was done. Their value net shares the
optimizer's steps; here the value fit is every arm's own. Adam on one number takes steps of about beta_rate whatever
the violation: kl_dual's are proportional to it.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from study import sgd
from study.algorithm.kl_fixed import loss
from study.objective import change, mean_kl
from study.settings import AlgorithmSettings, Count, NonNegative, Positive
from study.sgd import Adam, adam_step
from study.solver import where


class Settings(AlgorithmSettings):
    kl_bound: Positive  # epsilon, nats
    beta: Positive  # at the first update; per nat, in units of the advantages
    beta_rate: NonNegative  # of beta's Adam
    target_factor: Positive  # c
    statistic: Literal["max", "mean"]  # which KL is bounded, the largest of a state or the mean
    fixup_size: Count  # states per step of the fix-up
    fixup_passes: Count  # most passes over the batch after an epoch


class State(NamedTuple):
    adam: Adam
    beta: Tensor  # [R, 1]
    beta_adam: Adam


def fixup_loss(policy, theta, batch, beta):
    return beta * mean_kl(policy, policy(theta, batch.observation), batch)


def start(fleet, theta):
    beta = fleet.settings.beta[:, None]
    return State(Adam.start(theta), beta, Adam.start(beta))


def update(fleet, theta, state, rollout):
    settings, batch = fleet.settings, rollout.batch
    fixups, fixed = torch.zeros_like(theta[:, 0]), None

    def divergence(theta, order):
        """The bounded KL of each run's states in `order` [R, n]."""
        (part,) = sgd.minibatches(batch, order, order.shape[1])
        kl = fleet.each(change)(theta, part)
        return kl.state_kl.amax(-1) if settings.statistic == "max" else kl.kl

    def step(loss, theta, state, order):
        """The policy's step on the states in `order`, then beta's by the KL before it."""
        kl, one_epoch = divergence(theta, order), order[:, None]
        own = {"size": order.shape[1], "entropy": loss is not fixup_loss}
        theta, adam = sgd.epochs(fleet, loss, theta, state.adam, batch, one_epoch, state.beta.squeeze(1), **own)
        slope = settings.kl_bound - settings.target_factor * kl
        beta, beta_adam = torch.func.vmap(adam_step)(state.beta, slope[:, None], state.beta_adam, settings.beta_rate)
        return theta, State(adam, beta.clamp(min=0), beta_adam)

    state = state._replace(adam=sgd.begin(fleet, state.adam))
    for epoch in rollout.order.unbind(1):
        for order in epoch.split(fleet.minibatch_size, 1):
            theta, state = step(loss, theta, state, order)
        for _ in range(settings.fixup_passes):
            fixed = torch.ones_like(theta[:, 0], dtype=torch.bool)
            for order in epoch.split(settings.fixup_size, 1):
                kl = divergence(theta, order)
                far = kl > settings.kl_bound
                fixed, fixups = fixed & (kl <= settings.kl_bound), fixups + far  # a NaN is neither
                if far.any():
                    theta, state = where(far, step(fixup_loss, theta, state, order), (theta, state))
            if fixed.all():
                break
    return theta, state, {"beta": state.beta.squeeze(1), "fixup_steps": fixups, "accepted": fixed}
