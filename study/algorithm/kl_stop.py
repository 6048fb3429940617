"""No penalty but an early stop: minibatch SGD on the surrogate until the KL exceeds a target (common practice).

maximise  mean_n ratio_n A_n,  epoch after epoch while  mean_n KL(old || new)_n <= kl_target

The test is at the end of each epoch, on the full batch and in closed form; libraries use a sampled KL of
the last minibatch. Where a run has stopped, its parameters and its Adam stand still.
"""

import torch

from study import sgd
from study.algorithm.unpenalised import loss
from study.objective import change
from study.settings import AlgorithmSettings, Positive
from study.solver import where


class Settings(AlgorithmSettings):
    kl_target: Positive  # nats


start = sgd.start


def update(fleet, theta, adam, rollout):
    adam = sgd.begin(fleet, adam)
    going = torch.ones_like(theta[:, 0], dtype=torch.bool)
    epochs = torch.zeros_like(theta[:, 0])
    for order in rollout.order.split(1, dim=1):
        further = sgd.epochs(fleet, loss, theta, adam, rollout.batch, order)
        theta, adam = where(going, further, (theta, adam))
        epochs = epochs + going
        going = going & (fleet.each(change)(theta, rollout.batch).kl <= fleet.settings.kl_target)
        if not going.any():  # saves time only: stopped runs would not move any more
            break
    return theta, adam, {"epochs_run": epochs}
