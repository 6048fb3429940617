"""A KL penalty whose coefficient is a Lagrange multiplier, by minibatch SGD and dual ascent.

maximise  mean_n [ ratio_n A_n  -  beta KL(old || new)_n ],  then, for the next update,

    log beta  <-  log beta + step_size (d / d_targ - 1),  d = mean_n KL(old || new)_n of the full batch

Exponentiated gradient ascent on the dual of  max L subject to KL <= d_targ: the dual's slope in beta is
d - d_targ, taken in units of d_targ. The multipliers of MPO and V-MPO (Abdolmaleki et al. 2018, Song et al.
2019) climb the same slope within their inner loop (unverified).
Where d ~ beta^-2, the error of log beta shrinks by the factor 1 - 2 step_size per update.
"""

import math

import torch

from study import penalty
from study.algorithm.kl_fixed import loss
from study.objective import change
from study.penalty import State, moved
from study.settings import AlgorithmSettings, Positive
from study.sgd import descend


class Settings(AlgorithmSettings):
    beta: Positive  # at the first update
    kl_target: Positive  # d_targ, nats
    step_size: Positive  # of log beta, per relative excess of the KL


start = penalty.start


def update(fleet, theta, state, rollout):
    beta, settings = torch.exp2(state.log2_beta), fleet.settings
    theta, adam = descend(fleet, loss, theta, state.adam, rollout, beta)
    kl = fleet.each(change)(theta, rollout.batch).kl
    by = settings.step_size * (kl / settings.kl_target - 1) / math.log(2)
    return theta, State(adam, moved(state.log2_beta, by)), {"beta": beta}
