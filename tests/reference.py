"""The slow way: tiny float64 problems, and each quantity computed by its definition, sample by sample."""

import math

import numpy as np
import pytest
import torch
from conftest import CONTINUOUS, configuration
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, Normal

from study.fleet import Fleet, Rollout
from study.policy import Categorical, Categoricals, Gaussian, Policy
from study.rollout import Batch

FAMILIES = [Gaussian(2), Categorical(3), Categoricals((2, 3))]
OBSERVATION = 3


def family_name(family) -> str:
    return type(family).__name__.lower()


families = pytest.mark.parametrize("family", FAMILIES, ids=family_name)


def suited_families(algorithms: list[str]) -> list:
    """Each algorithm with each family that it is for, as parameters of a test."""
    pairs = [(name, family) for name in algorithms for family in FAMILIES]
    pairs = [pair for pair in pairs if pair[0] not in CONTINUOUS or isinstance(pair[1], Gaussian)]
    return [pytest.param(*pair, id=f"{pair[0]}-{family_name(pair[1])}") for pair in pairs]


def random_phi(family, shape: tuple[int, ...], rng: torch.Generator) -> torch.Tensor:
    width = 2 * family.size if isinstance(family, Gaussian) else family.size
    return torch.randn(*shape, width, generator=rng, dtype=torch.float64)


def distribution(family, phi: torch.Tensor) -> torch.distributions.Distribution:
    """The same distribution from torch.distributions."""
    if isinstance(family, Gaussian):
        mean, log_std = phi.chunk(2, -1)
        return Independent(Normal(mean, log_std.exp()), 1)
    if isinstance(family, Categoricals):
        return Product([TorchCategorical(logits=part) for part in phi.split(family.sizes, -1)])
    return TorchCategorical(logits=phi)


class Product(torch.distributions.Distribution):
    """Independent distributions side by side, an action's columns their values."""

    def __init__(self, parts: list):
        super().__init__(parts[0].batch_shape, torch.Size([len(parts)]), validate_args=False)
        self.parts = parts

    def log_prob(self, action):
        return sum(part.log_prob(column) for part, column in zip(self.parts, action.unbind(-1)))

    def entropy(self):
        return sum(part.entropy() for part in self.parts)


@torch.distributions.register_kl(Product, Product)
def _(old, new):
    return sum(torch.distributions.kl_divergence(p, q) for p, q in zip(old.parts, new.parts))


def sample(family, phi: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Actions by the family's own sampler, for any phi and noise that broadcast."""
    outputs, extra = phi.chunk(2, -1) if isinstance(family, Gaussian) else (phi, phi[..., :0])
    return torch.from_numpy(family.sampler(extra.numpy())(outputs.numpy(), noise.numpy()))


def draw(family, phi: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Actions [..., A] by torch's own generators, not by the family's sampler."""
    if isinstance(family, Gaussian):
        mean, log_std = phi.chunk(2, -1)
        return mean + log_std.exp() * torch.randn(mean.shape, generator=rng, dtype=phi.dtype)
    if isinstance(family, Categoricals):
        return torch.cat(
            [draw(Categorical(n), part, rng) for n, part in zip(family.sizes, phi.split(family.sizes, -1))], -1
        )
    flat = torch.softmax(phi, -1).reshape(-1, family.size)
    return torch.multinomial(flat, 1, generator=rng).reshape(*phi.shape[:-1], 1).to(phi.dtype)


def random_policy(family, rng: torch.Generator, runs: int = 1, hidden=(4,)) -> tuple[Policy, torch.Tensor]:
    """A policy and parameters [R, P] far from their initial values, so that nothing is zero by chance."""
    policy = Policy.make(OBSERVATION, family, hidden)
    return policy, 0.6 * torch.randn(runs, policy.parameters, generator=rng, dtype=torch.float64)


def random_batch(policy: Policy, theta: torch.Tensor, samples: int, rng: torch.Generator) -> Batch:
    """A rollout's batch under theta [R, P]; advantages arbitrary."""
    observation = torch.randn(len(theta), samples, OBSERVATION, generator=rng, dtype=torch.float64)
    old = policy(theta, observation)
    action = draw(policy.family, old, rng)
    advantage = torch.randn(len(theta), samples, generator=rng, dtype=torch.float64)
    return Batch(observation, action, old, policy.family.log_prob(old, action), advantage)


def one(batch: Batch, run: int = 0) -> Batch:
    """One run's batch out of a fleet's."""
    return Batch(*(field[run] for field in batch))


def random_fleet(
    algorithm: str, family, rng: torch.Generator, numbers: list[dict] | None = None, samples: int = 32, **changes
) -> tuple[Fleet, torch.Tensor, Rollout]:
    """A float64 fleet with one run per entry of numbers, its parameters [R, P] and a rollout of `samples` steps."""
    settings = {"horizon": samples, "minibatch_size": 8, "epochs": 2, "total_steps": samples} | changes
    settings["diagnostics"] = {"fisher_stride": 1} | settings.get("diagnostics", {})
    configs = [configuration("cartpole", algorithm, n, seed=i, **settings) for i, n in enumerate(numbers or [{}])]
    policy, theta = random_policy(family, rng, len(configs))
    batch = random_batch(policy, theta, samples, rng)
    order = torch.stack(
        [torch.stack([torch.randperm(samples, generator=rng) for _ in range(configs[0].epochs)]) for _ in configs]
    )
    return Fleet(configs, policy, torch.float64), theta, Rollout(batch, order)


def dense_fisher(policy: Policy, theta: torch.Tensor, observation: torch.Tensor) -> torch.Tensor:
    """[P, P], the Hessian of the mean KL(old || new) in the new parameters, theta [P] being the old ones."""
    old = distribution(policy.family, policy(theta, observation).detach())

    def kl(theta):
        new = distribution(policy.family, policy(theta, observation))
        return torch.distributions.kl_divergence(old, new).mean()

    return torch.autograd.functional.hessian(kl, theta)


def policy_gradient(policy: Policy, theta: torch.Tensor, batch: Batch) -> torch.Tensor:
    """mean_n grad log pi(a_n | s_n) A_n, one backward pass per sample."""
    total = torch.zeros_like(theta)
    for observation, action, advantage in zip(batch.observation, batch.action, batch.advantage):
        theta = theta.detach().requires_grad_()
        log_prob = distribution(policy.family, policy(theta, observation[None])).log_prob(
            action if isinstance(policy.family, Categorical) else action[None]
        )
        total += torch.autograd.grad(log_prob.sum(), theta)[0] * advantage
    return total / len(batch.advantage)


def sample_terms(policy: Policy, theta: torch.Tensor, batch: Batch):
    """ratio, KL(old || new) and advantage of each sample, one at a time, through torch.distributions."""
    discrete = isinstance(policy.family, Categorical)
    for observation, action, old, advantage in zip(batch.observation, batch.action, batch.old, batch.advantage):
        new = distribution(policy.family, policy(theta, observation[None])[0])
        old = distribution(policy.family, old)
        action = action[0] if discrete else action
        ratio = torch.exp(new.log_prob(action) - old.log_prob(action))
        yield ratio, torch.distributions.kl_divergence(old, new), advantage


def monte_carlo(x: torch.Tensor | np.ndarray) -> tuple[float, float]:
    """The mean of independent draws and its standard error."""
    x = np.asarray(x, dtype=float).reshape(-1)
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(len(x)))
