"""A KL penalty whose coefficient is solved for in every update, so that the same SGD ends on the constraint (ours).

maximise  mean_n [ ratio_n A_n  -  beta KL(old || new)_n ]  by the same SGD as kl_fixed, with the beta

    beta_k :  mean_n KL(old || new)_n = kl_target  within tolerance,  on the full batch after the loop

Every try starts from the same parameters and the same Adam. The search is by bisection in log beta, from
the last update's beta on. accepted is 0 where it fails:
with beta = 2^-40, because even without a penalty the KL stays below the target, so that the optimizer and
not the penalty limits the step; with another beta, because no beta tried keeps the KL that low (steps of
plain SGD diverge once learning_rate x beta is large, and Adam's have a floor). Then the try nearest to the
target is taken.
"""

import torch

from study import penalty
from study.algorithm.kl_fixed import loss
from study.objective import change
from study.penalty import LIMIT, State
from study.settings import AlgorithmSettings, Count, Positive
from study.sgd import descend
from study.solver import bisect


class Settings(AlgorithmSettings):
    beta: Positive  # where the first update's search starts
    kl_target: Positive  # nats
    tolerance: Positive  # relative, of the KL
    max_tries: Count  # inner loops per update at most


start = penalty.start


def update(fleet, theta, state, rollout):
    settings = fleet.settings

    def relative_kl(log2_beta):
        new, adam = descend(fleet, loss, theta, state.adam, rollout, torch.exp2(log2_beta))
        return fleet.each(change)(new, rollout.batch).kl / settings.kl_target, (new, adam)

    root = bisect(
        relative_kl, state.log2_beta, (theta, state.adam), settings.tolerance, settings.max_tries, limit=LIMIT
    )
    theta, adam = root.made
    return (
        theta,
        State(adam, root.x),
        {"beta": torch.exp2(root.x), "tries": root.tries, "accepted": root.solved},
    )
