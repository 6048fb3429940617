"""PPO's clipped surrogate, by minibatch SGD (Schulman et al. 2017, eq. 7).

maximise  mean_n min( ratio_n A_n,  clip(ratio_n, 1 - epsilon, 1 + epsilon) A_n )
"""

import torch

from study import sgd
from study.objective import clipped_share, ratio
from study.settings import AlgorithmSettings, Positive


class Settings(AlgorithmSettings):
    clip_epsilon: Positive


def loss(policy, theta, batch, clip_epsilon):
    r = ratio(policy, policy(theta, batch.observation), batch)
    clipped = r.clamp(1 - clip_epsilon, 1 + clip_epsilon)
    return -torch.minimum(r * batch.advantage, clipped * batch.advantage).mean()


start = sgd.start


def update(fleet, theta, adam, rollout):
    epsilon = fleet.settings.clip_epsilon
    theta, adam = sgd.descend(fleet, loss, theta, adam, rollout, epsilon)
    return theta, adam, {"clipped_share": fleet.each(clipped_share)(theta, rollout.batch, epsilon)}
