"""The surrogate, the KL divergence and their derivatives, for one run; Fleet.each makes them a fleet's.

Shapes are one run's: theta [P], fields of batch [N, ...], a vector [P].
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vjp

from study.policy import Policy, join
from study.rollout import Batch


def ratio(policy: Policy, phi: Tensor, batch: Batch) -> Tensor:
    """pi_new(a|s) / pi_old(a|s) [N], for the distribution parameters phi of the new policy."""
    return torch.exp(policy.family.log_prob(phi, batch.action) - batch.log_prob)


def surrogate(policy: Policy, phi: Tensor, batch: Batch) -> Tensor:
    """L(new) = mean_n ratio_n A_n, a scalar (Schulman et al. 2015, eq. 14)."""
    return (ratio(policy, phi, batch) * batch.advantage).mean()


def mean_kl(policy: Policy, phi: Tensor, batch: Batch) -> Tensor:
    """mean_n KL(old || new), a scalar, nats (ibid., eq. 12)."""
    return policy.family.kl_old_new(batch.old, phi).mean()


def mean_kl_new_old(policy: Policy, phi: Tensor, batch: Batch) -> Tensor:
    """mean_n KL(new || old), the other direction, a scalar, nats."""
    return policy.family.kl_old_new(phi, batch.old).mean()


def mean_entropy(policy: Policy, theta: Tensor, batch: Batch) -> Tensor:
    """mean_n entropy of the policy under theta, a scalar, nats."""
    return policy.family.entropy(policy(theta, batch.observation)).mean()


def surrogate_at(policy: Policy, theta: Tensor, batch: Batch) -> Tensor:
    """The surrogate of the policy under theta, a scalar."""
    return surrogate(policy, policy(theta, batch.observation), batch)


def surrogate_gradient(policy: Policy, theta: Tensor, batch: Batch) -> Tensor:
    """g [P], the gradient of the surrogate at theta."""
    return join(grad(lambda parts: surrogate_at(policy, parts, batch))(policy.split(theta)))


def entropy_gradient(policy: Policy, theta: Tensor, batch: Batch) -> Tensor:
    """[P], the gradient of the mean entropy at theta."""
    return join(grad(lambda parts: mean_entropy(policy, parts, batch))(policy.split(theta)))


def fisher_vector_product(policy: Policy, theta: Tensor, observation: Tensor, vector: Tensor) -> Tensor:
    """F v [P], F the Hessian of the mean KL(old || new) in the new parameters at new = old = theta.

    At that point it is J^T M J / N, with J the Jacobian of phi and M the Fisher information of phi
    (ibid., appendix C.1). J v is the derivative of u -> J^T u along the other argument: reverse mode
    twice. It costs half of differentiating the KL twice, and torch.compile does not take forward mode
    inside vmap. By the parts of theta it costs 1.4 us per sample, by slices of it 2.3 (64-64 network, compiled).
    """
    phi, transposed = vjp(lambda parts: policy(parts, observation), policy.split(theta))
    _, forward = vjp(lambda u: transposed(u)[0], torch.zeros_like(phi))
    tangent = policy.family.metric(phi, forward(policy.split(vector))[0])
    return join(transposed(tangent)[0]) / len(phi)


def killed(ratio: Tensor, advantage: Tensor, clip_epsilon: Tensor) -> Tensor:
    """[N] bool: the samples whose gradient is 0 under PPO's clipping, because their ratio is beyond the range."""
    return torch.where(advantage > 0, ratio > 1 + clip_epsilon, (ratio < 1 - clip_epsilon) & (advantage < 0))


def clipped_share(policy: Policy, theta: Tensor, batch: Batch, clip_epsilon: Tensor) -> Tensor:
    """Share of the batch's samples whose gradient is clipped to 0 at theta."""
    r = ratio(policy, policy(theta, batch.observation), batch)
    return killed(r, batch.advantage, clip_epsilon).to(theta.dtype).mean()


class Change(NamedTuple):
    """What an update did to one run, measured one way for every algorithm, on the full batch."""

    surrogate_gain: Tensor  # L(new) - L(old), in units of the advantages the algorithm sees
    kl: Tensor  # mean KL(old || new), nats
    entropy: Tensor  # mean entropy of the new policy, nats
    max_ratio: Tensor  # largest pi_new / pi_old among the taken actions
    state_kl: Tensor  # KL(old || new) of each state [N]; TRPO's theory bounds its maximum, its practice the mean


def change(policy: Policy, theta: Tensor, batch: Batch) -> Change:
    """From the batch's old policy to theta. The gain is a mean of differences: no cancellation."""
    phi = policy(theta, batch.observation)
    log_ratio = policy.family.log_prob(phi, batch.action) - batch.log_prob
    state_kl = policy.family.kl_old_new(batch.old, phi)
    return Change(
        (torch.expm1(log_ratio) * batch.advantage).mean(),
        state_kl.mean(),
        policy.family.entropy(phi).mean(),
        log_ratio.exp().amax(),
        state_kl,
    )
