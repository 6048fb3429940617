"""A layer that projects a Gaussian into a trust region, state by state, by minibatch SGD (Otto et al. 2021, for KL).

maximise  mean_n [ ratio_n A_n  -  coefficient m(new, projected)_n ],  the ratio that of the projected policy

    m(p, q) = (mu_p - mu_q)^T S_q^-1 (mu_p - mu_q) / 2    the mean's part of KL(p || q)
    mu  <-  (mu + w mu_old) / (1 + w),  w = sqrt(m / mean_bound) - 1    where m(new, old) > mean_bound
    S^-1  <-  (S^-1 + eta S_old^-1) / (1 + eta)                         where the rest of KL(new || old) > std_bound

with the eta that makes that rest std_bound; both are differentiated, and in the second term the projected policy counts
as constant. As in the authors' code (boschresearch/trust-region-layers), the means that act are the net's own, which
only the second term holds near the projected ones: the bound is not strict. The std that acts is the projected one.
Departures: that std is taken after an update's last step, not before it; eta by bisection and a last Newton step that
carries the derivative; their rate and epochs (5e-5, 20) are not the defaults here.
"""

import torch

from study import sgd
from study.objective import surrogate
from study.policy import Gaussian
from study.settings import AlgorithmSettings, ConfigError, NonNegative, Positive


class Settings(AlgorithmSettings):
    mean_bound: Positive  # nats, of each state
    std_bound: Positive  # nats
    coefficient: NonNegative  # per nat, in units of the advantages


def mean_part(mean, center, log_std):
    """m [N] of means [N, A]."""
    return 0.5 * ((mean - center) * torch.exp(-log_std)).square().sum(-1)


def project_mean(mean, old_mean, old_log_std, bound):
    m = mean_part(mean, old_mean, old_log_std).unsqueeze(-1)
    far = m > bound
    w = torch.where(far, m / bound, 1).sqrt() - 1
    return torch.where(far, (mean + w * old_mean) / (1 + w), mean)


def std_part(s, d):
    """KL(between || old), a scalar, of the precisions 1 + s d in units of the old ones [A]; and its slope in s."""
    x = s * d
    return 0.5 * (torch.log1p(x) - x / (1 + x)).sum(-1), 0.5 * (x * d / (1 + x).square()).sum(-1)


def project_std(log_std, old_log_std, bound):
    """Of the logarithms [A], the same in every state; s = 1 / (1 + eta)."""
    d = torch.expm1(2 * (old_log_std - log_std))
    far = std_part(1, d)[0] > bound
    d = torch.where(far, d, 1)  # elsewhere any value that can be solved for
    low, high = torch.zeros_like(bound), torch.ones_like(bound)
    for _ in range(20):
        s = (low + high) / 2
        over = std_part(s, d.detach())[0] > bound
        low, high = torch.where(over, low, s), torch.where(over, s, high)
    value, slope = std_part(high, d)
    s = high - (value - bound) / slope.detach()
    return torch.where(far, old_log_std - 0.5 * torch.log1p(s * d), log_std)


def loss(policy, theta, batch, mean_bound, std_bound, coefficient):
    phi = policy(theta, batch.observation)
    (mean, log_std), (old_mean, old_log_std) = phi.chunk(2, -1), batch.old.chunk(2, -1)
    projected_mean = project_mean(mean, old_mean, old_log_std, mean_bound)
    projected_log_std = project_std(log_std[0], old_log_std[0], std_bound).expand_as(mean)
    projected = torch.cat([projected_mean, projected_log_std], -1)
    away = mean_part(mean, projected_mean.detach(), projected_log_std.detach()).mean()
    return -surrogate(policy, projected, batch) + coefficient * away


def settle(policy, theta, batch, std_bound):
    """theta [P] with the projected std."""
    network, log_std = theta.split((policy.network.parameters, policy.family.extra))
    return torch.cat([network, project_std(log_std, batch.old[0].chunk(2, -1)[1], std_bound)])


def start(fleet, theta):
    if not isinstance(fleet.policy.family, Gaussian):
        task = fleet.configs[0].task
        raise ConfigError(f"algorithm=projection: is of a Gaussian's mean and std, but task.id={task.id} is discrete")
    return sgd.start(fleet, theta)


def update(fleet, theta, adam, rollout):
    settings = fleet.settings
    bounds = settings.mean_bound, settings.std_bound
    theta, adam = sgd.descend(fleet, loss, theta, adam, rollout, *bounds, settings.coefficient)
    return fleet.each(settle)(theta, rollout.batch, settings.std_bound), adam, {}
