"""The natural gradient with a fixed penalty coefficient, TRPO's own baseline (Schulman et al. 2015, section 8).

    maximise  g^T step - beta/2 step^T F step        the penalty's quadratic model (Kakade 2002)

    step = F^-1 g / beta

TRPO with beta in the place of lambda*. Each of its safeguards can be added back: rescale puts lambda*
there again, line_search tests the gain and the true KL. With both it is TRPO.
"""

from study.algorithm import trpo
from study.settings import AlgorithmSettings, Count, NonNegative, Positive


class Settings(AlgorithmSettings):
    beta: Positive  # per nat, in units of the advantages
    max_kl: Positive  # delta of the safeguards and of implied_beta, nats
    damping: NonNegative  # added to F's diagonal, nats per squared parameter
    cg_iterations: Count
    fisher_stride: Count  # F uses every fisher_stride-th state
    rescale: bool
    line_search: bool
    backtracks: Count


start = trpo.start


def update(fleet, theta, state, rollout):
    s, lagrange, metrics = trpo.natural_gradient(fleet, theta, rollout.batch)
    beta = lagrange if fleet.settings.rescale else fleet.settings.beta
    theta, found = trpo.search(fleet, theta, rollout.batch, trpo.quotient(s, beta))
    return theta, state, metrics | found | {"beta": beta}
