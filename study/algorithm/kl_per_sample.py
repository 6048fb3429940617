"""PPO's clipping written as a KL penalty with one coefficient per sample (KLip-PPO, arXiv 2606.23932).

maximise  mean_n [ ratio_n A_n  -  beta_n kl_n ],  kl_n = log pi_old(a_n|s_n) - log pi_new(a_n|s_n)

    beta_n = -ratio_n A_n  where clipping kills the sample's gradient, else 0; held constant

kl_n is the one-sample estimate of KL(old || new). Its gradient is -grad log pi, the surrogate's is
ratio_n A_n grad log pi: on a killed sample the two cancel, so the gradient is that of `clip` on every
minibatch. beta_n is negative where A_n > 0, and there kl_n is negative, too.
"""

import torch

from study import sgd
from study.objective import clipped_share, killed
from study.settings import AlgorithmSettings, Positive


class Settings(AlgorithmSettings):
    clip_epsilon: Positive


def loss(policy, theta, batch, clip_epsilon):
    sampled_kl = batch.log_prob - policy.family.log_prob(policy(theta, batch.observation), batch.action)
    r = torch.exp(-sampled_kl)
    beta = torch.where(killed(r, batch.advantage, clip_epsilon), -r * batch.advantage, 0).detach()
    return -(r * batch.advantage - beta * sampled_kl).mean()


start = sgd.start


def update(fleet, theta, adam, rollout):
    epsilon = fleet.settings.clip_epsilon
    theta, adam = sgd.descend(fleet, loss, theta, adam, rollout, epsilon)
    return theta, adam, {"clipped_share": fleet.each(clipped_share)(theta, rollout.batch, epsilon)}
