"""A KL penalty of fixed coefficient, by minibatch SGD (Schulman et al. 2017, eq. 5).

maximise  mean_n [ ratio_n A_n  -  beta KL(old || new)_n ]
"""

from study import sgd
from study.objective import mean_kl, surrogate
from study.settings import AlgorithmSettings, Positive


class Settings(AlgorithmSettings):
    beta: Positive  # per nat, in units of the advantages


def loss(policy, theta, batch, beta):
    phi = policy(theta, batch.observation)
    return -surrogate(policy, phi, batch) + beta * mean_kl(policy, phi, batch)


start = sgd.start


def update(fleet, theta, adam, rollout):
    beta = fleet.settings.beta
    theta, adam = sgd.descend(fleet, loss, theta, adam, rollout, beta)
    return theta, adam, {"beta": beta}
