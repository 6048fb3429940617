"""The KL penalty that the theory asks for, by minibatch SGD (Schulman et al. 2015, eq. 9 and section 3).

maximise  mean_n [ ratio_n A_n  -  beta KL(old || new)_n ],  beta = 4 epsilon gamma / (1 - gamma)

epsilon = max_n |A_n| over the batch, as the algorithm sees it. The bound's C = 4 epsilon gamma / (1 - gamma)^2
is for the return; the surrogate is per time step, 1 - gamma times smaller. The bound is on the largest KL
over states; the penalty here is the mean, as in every other arm.
"""

from study import sgd
from study.algorithm.kl_fixed import loss
from study.settings import AlgorithmSettings, ConfigError


class Settings(AlgorithmSettings):
    pass


def start(fleet, theta):
    if any(config.gamma == 1 for config in fleet.configs):
        raise ConfigError("gamma=1.0: kl_theory needs gamma < 1, its beta is 4 epsilon gamma / (1 - gamma)")
    return sgd.start(fleet, theta)


def update(fleet, theta, adam, rollout):
    epsilon = rollout.batch.advantage.abs().amax(-1)
    beta = 4 * epsilon * fleet.gamma / (1 - fleet.gamma)
    theta, adam = sgd.descend(fleet, loss, theta, adam, rollout, beta)
    return theta, adam, {"beta": beta}
