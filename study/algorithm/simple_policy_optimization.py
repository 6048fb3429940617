"""A quadratic penalty on the probability ratio, by minibatch SGD (Xie et al. 2025, arXiv 2401.16025).

maximise  mean_n [ ratio_n A_n  -  |A_n| / (2 epsilon) (ratio_n - 1)^2 ]

A sample's best ratio is 1 + sign(A_n) epsilon, where clipping would stop; beyond it the gradient turns back instead of
vanishing. Near the old policy mean (ratio - 1)^2 / 2 is the KL divergence, so this is a KL penalty whose coefficient,
|A_n| / epsilon, is in the unit of the advantages by itself.
"""

from study import sgd
from study.objective import clipped_share, ratio
from study.settings import AlgorithmSettings, Positive


class Settings(AlgorithmSettings):
    clip_epsilon: Positive


def loss(policy, theta, batch, clip_epsilon):
    r = ratio(policy, policy(theta, batch.observation), batch)
    penalty = batch.advantage.abs() * (r - 1).square() / (2 * clip_epsilon)
    return -(r * batch.advantage - penalty).mean()


start = sgd.start


def update(fleet, theta, adam, rollout):
    epsilon = fleet.settings.clip_epsilon
    theta, adam = sgd.descend(fleet, loss, theta, adam, rollout, epsilon)
    return theta, adam, {"clipped_share": fleet.each(clipped_share)(theta, rollout.batch, epsilon)}
