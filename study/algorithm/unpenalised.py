"""Neither clipping nor penalty: the surrogate alone, by minibatch SGD (Schulman et al. 2017, eq. 6).

maximise  mean_n ratio_n A_n
"""

from study import sgd
from study.objective import surrogate
from study.settings import AlgorithmSettings


class Settings(AlgorithmSettings):
    pass


def loss(policy, theta, batch):
    return -surrogate(policy, policy(theta, batch.observation), batch)


start = sgd.start


def update(fleet, theta, adam, rollout):
    theta, adam = sgd.descend(fleet, loss, theta, adam, rollout)
    return theta, adam, {}
