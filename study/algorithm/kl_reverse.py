"""A KL penalty of fixed coefficient in the other direction, by minibatch SGD (Hsu et al. 2020, section 5).

maximise  mean_n [ ratio_n A_n  -  beta KL(new || old)_n ]

The difference to kl_fixed is the order of the two policies: this one punishes actions that the new policy takes and
the old one hardly took; for small steps the two agree.
"""

from study import sgd
from study.objective import mean_kl_new_old, surrogate
from study.settings import AlgorithmSettings, Positive


class Settings(AlgorithmSettings):
    beta: Positive  # per nat, in units of the advantages


def loss(policy, theta, batch, beta):
    phi = policy(theta, batch.observation)
    return -surrogate(policy, phi, batch) + beta * mean_kl_new_old(policy, phi, batch)


start = sgd.start


def update(fleet, theta, adam, rollout):
    beta = fleet.settings.beta
    theta, adam = sgd.descend(fleet, loss, theta, adam, rollout, beta)
    return theta, adam, {"beta": beta}
