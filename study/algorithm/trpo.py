"""Trust region policy optimisation: a hard constraint on the KL divergence (Schulman et al. 2015, app. C).

    maximise  L(new)  subject to  mean_n KL(old || new)_n <= delta

    s = F^-1 g            conjugate gradients on Fisher-vector products
    lambda* = sqrt(s^T F s / (2 delta))
    step = s / lambda*    reaches the boundary of the quadratic model
    theta + 2^-k step     the first k = 0, 1, ... that gains and keeps the true KL within delta

F is the analytic Fisher matrix plus damping. Without line_search the full step is taken: the truncated
natural gradient with the constraint in its quadratic model only.
"""

from study.config import AlgorithmSettings, Count, NonNegative, Positive
from study.natural import direction, take, to_boundary


class Settings(AlgorithmSettings):
    max_kl: Positive  # delta, nats
    damping: NonNegative  # added to F's diagonal, nats per squared parameter
    cg_iterations: Count
    fisher_stride: Count  # F uses every fisher_stride-th state
    line_search: bool
    backtracks: Count


def start(fleet, theta):
    return ()


def update(fleet, theta, state, rollout):
    s, lagrange, facts = direction(fleet, theta, rollout.batch)
    theta, search = take(fleet, theta, rollout.batch, to_boundary(s, lagrange))
    return theta, state, facts | search
