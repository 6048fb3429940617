"""Actor and critic: distributions against torch.distributions and Monte Carlo, networks against torch.nn."""

import math

import numpy as np
import pytest
import torch
from reference import distribution, draw, families, monte_carlo, random_phi, sample
from torch.distributions import kl_divergence

from study.policy import Categorical, Categoricals, Gaussian, Network, Policy

DRAWS = 100_000


@families
def test_log_prob_is_that_of_torch_distributions(family, rng):
    phi = random_phi(family, (50,), rng)
    action = draw(family, phi, rng)
    theirs = distribution(family, phi).log_prob(action[:, 0] if isinstance(family, Categorical) else action)
    torch.testing.assert_close(family.log_prob(phi, action), theirs)


@families
def test_entropy_is_that_of_torch_distributions(family, rng):
    phi = random_phi(family, (50,), rng)
    torch.testing.assert_close(family.entropy(phi), distribution(family, phi).entropy())


@families
def test_kl_is_of_old_from_new_and_not_the_reverse(family, rng):
    old, new = random_phi(family, (50,), rng), random_phi(family, (50,), rng)
    p, q = distribution(family, old), distribution(family, new)
    torch.testing.assert_close(family.kl_old_new(old, new), kl_divergence(p, q))
    assert (kl_divergence(p, q) - kl_divergence(q, p)).abs().mean() > 0.1, "the draw must tell the directions apart"


def test_kl_sums_over_action_dimensions(rng):
    """Libraries that average instead allow the action size times the stated KL."""
    old, new = random_phi(Gaussian(3), (50,), rng), random_phi(Gaussian(3), (50,), rng)
    apart = [Gaussian(1).kl_old_new(old[:, i::3], new[:, i::3]) for i in range(3)]
    torch.testing.assert_close(Gaussian(3).kl_old_new(old, new), sum(apart))


@families
def test_kl_and_entropy_agree_with_monte_carlo(family, rng):
    old, new = random_phi(family, (1,), rng), 0.5 * random_phi(family, (1,), rng)
    action = draw(family, old.expand(DRAWS, -1), rng)
    log_old, log_new = family.log_prob(old.expand(DRAWS, -1), action), family.log_prob(new.expand(DRAWS, -1), action)
    for estimate, closed in [(log_old - log_new, family.kl_old_new(old, new)), (-log_old, family.entropy(old))]:
        mean, error = monte_carlo(estimate)
        assert abs(mean - closed.item()) < 3 * error


@families
def test_kl_is_zero_at_the_old_policy_and_positive_elsewhere(family, rng):
    old = random_phi(family, (50,), rng)
    assert (family.kl_old_new(old, old) == 0).all()
    assert (family.kl_old_new(old, old + 0.1 * random_phi(family, (50,), rng)) > 0).all()


@families
def test_metric_is_the_hessian_of_the_kl(family, rng):
    for phi, tangent in zip(random_phi(family, (5,), rng), random_phi(family, (5,), rng)):
        hessian = torch.func.hessian(lambda new, old=phi: family.kl_old_new(old, new))(phi)
        torch.testing.assert_close(family.metric(phi, tangent), hessian @ tangent)


@families
def test_metric_is_the_covariance_of_the_score(family, rng):
    """E[score score^T] = F, the other definition of Fisher information, by Monte Carlo."""
    phi, tangent = random_phi(family, (1,), rng), random_phi(family, (1,), rng)
    action = draw(family, phi.expand(DRAWS, -1), rng)
    leaf = phi.expand(DRAWS, -1).clone().requires_grad_()
    (score,) = torch.autograd.grad(family.log_prob(leaf, action).sum(), leaf)
    along = (score * tangent).sum(-1)
    mean, error = monte_carlo(along.square())
    assert abs(mean - (tangent * family.metric(phi, tangent)).sum().item()) < 3 * error
    mean, error = monte_carlo(along)
    assert abs(mean) < 3 * error, "the score has mean zero"


def test_gaussian_samples_have_the_density_of_log_prob(rng):
    family, phi = Gaussian(2), random_phi(Gaussian(2), (1,), rng)
    noise = torch.from_numpy(family.noise(np.random.default_rng(0), DRAWS))
    action = sample(family, phi, noise)
    mean, log_std = phi.chunk(2, -1)
    change_of_variables = distribution(family, torch.zeros(4, dtype=torch.float64)).log_prob(noise) - log_std.sum()
    torch.testing.assert_close(family.log_prob(phi.expand(DRAWS, -1), action), change_of_variables)
    for i in range(2):
        centre, error = monte_carlo(action[:, i])
        assert abs(centre - mean[0, i].item()) < 3 * error
        spread, error = monte_carlo((action[:, i] - mean[0, i]).square())
        assert abs(spread - (2 * log_std[0, i]).exp().item()) < 3 * error
    correlation, error = monte_carlo((action[:, 0] - mean[0, 0]) * (action[:, 1] - mean[0, 1]))
    assert abs(correlation) < 3 * error


def test_categorical_samples_have_the_frequencies_of_log_prob(rng):
    family, phi = Categorical(4), random_phi(Categorical(4), (1,), rng)
    action = sample(family, phi, torch.from_numpy(family.noise(np.random.default_rng(0), DRAWS)))
    assert action.shape == (DRAWS, 1) and action.dtype == phi.dtype
    for choice in range(4):
        frequency, error = monte_carlo((action == choice).double())
        assert abs(frequency - family.log_prob(phi, torch.tensor([[choice]])).exp().item()) < 3 * error


@families
def test_a_small_kl_is_not_rounding_noise_in_single_precision(family, rng):
    """A large beta moves the policy so little that a careless float32 formula returns noise of either sign."""
    old = random_phi(family, (200,), rng)
    new = old + 1e-4 * random_phi(family, (200,), rng)
    old32, new32 = old.float(), new.float()
    exact = family.kl_old_new(old32.double(), new32.double()).mean()
    assert 1e-10 < exact < 1e-7
    torch.testing.assert_close(family.kl_old_new(old32, new32).mean().double(), exact, rtol=1e-2, atol=0)


@families
def test_kl_of_a_collapsed_policy_is_finite(family):
    """Probabilities that underflow, and a step that turns them round."""
    gaussian = isinstance(family, Gaussian)
    phi = torch.tensor([[5.0, 0, -20, -20]] if gaussian else [[200.0, 0, -200, -200, 200][: family.size]])
    new = phi + 1 if gaussian else phi.flip(-1)
    gradient = torch.func.grad(lambda new: family.kl_old_new(phi, new).sum())(new)
    assert family.kl_old_new(phi, new).isfinite().all() and gradient.isfinite().all()


def test_a_fleet_of_networks_is_each_network_alone(rng):
    policy = Policy.make(3, Gaussian(2), (8, 8))
    theta = torch.randn(4, policy.parameters, generator=rng, dtype=torch.float64)
    x = torch.randn(4, 6, 3, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(policy(theta, x), torch.stack([policy(theta[run], x[run]) for run in range(4)]))


def layers(network: Network, theta: torch.Tensor):
    """Weights and biases, cut by hand."""
    start = 0
    for inputs, outputs in zip(network.sizes, network.sizes[1:]):
        weight = theta[start : start + inputs * outputs].reshape(outputs, inputs)
        yield weight, theta[start + inputs * outputs : start + (inputs + 1) * outputs]
        start += (inputs + 1) * outputs
    assert start == len(theta)


@pytest.mark.parametrize("sizes", [(5, 64, 64, 3), (300, 16, 32, 1)])
def test_initial_weights_are_orthogonal_with_the_stated_gains(sizes):
    network = Network(sizes)
    made = list(layers(network, network.initial(np.random.default_rng(0), last_gain=0.3)))
    for (weight, bias), gain in zip(made, [math.sqrt(2), math.sqrt(2), 0.3]):
        gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(gram, gain**2 * torch.eye(len(gram), dtype=torch.float64))
        assert (bias == 0).all()


def test_initial_weights_are_uniform_over_the_orthogonal_matrices():
    """Haar measure: the entries have mean 0, which a QR decomposition without its sign fix does not give."""
    network = Network((3, 3))
    draws = [network.initial(np.random.default_rng(seed), 1.0)[:9].numpy() for seed in range(4000)]
    for entry in np.array(draws).T:
        mean, error = monte_carlo(entry)
        assert abs(mean) < 3 * error
        square, error = monte_carlo(entry**2)
        assert abs(square - 1 / 3) < 3 * error


@families
def test_the_first_policy_hardly_looks_and_has_unit_standard_deviation(family):
    policy = Policy.make(5, family, (64, 64))
    theta = policy.initial(np.random.default_rng(0))
    assert theta.dtype == torch.float64 and len(theta) == policy.parameters
    (*_, (weight, bias)) = layers(policy.network, theta[: policy.network.parameters])
    small = torch.linalg.svdvals(weight)
    torch.testing.assert_close(small, torch.full_like(small, 0.01))
    assert (bias == 0).all() and (theta[policy.network.parameters :] == 0).all()
    assert policy.family.extra == (2 if isinstance(family, Gaussian) else 0)


def test_log_std_is_state_independent_and_among_the_parameters(rng):
    policy = Policy.make(3, Gaussian(2), (4,))
    theta = torch.randn(policy.parameters, generator=rng, dtype=torch.float64)
    theta[-2:] = torch.tensor([0.5, -0.25])
    phi = policy(theta, torch.randn(7, 3, generator=rng, dtype=torch.float64))
    torch.testing.assert_close(phi[:, 2:], torch.tensor([[0.5, -0.25]], dtype=torch.float64).expand(7, -1))


def test_a_product_of_one_categorical_is_that_categorical_bit_for_bit(rng):
    one, product = Categorical(3), Categoricals((3,))
    phi, new = random_phi(one, (50,), rng), random_phi(one, (50,), rng)
    action = draw(one, phi, rng)
    noise = one.noise(np.random.default_rng(0), 50)
    assert np.array_equal(noise, product.noise(np.random.default_rng(0), 50))
    for name, given in [
        ("log_prob", (phi, action)),
        ("entropy", (phi,)),
        ("kl_old_new", (phi, new)),
        ("metric", (phi, new)),
    ]:
        assert torch.equal(getattr(one, name)(*given), getattr(product, name)(*given)), name
    assert torch.equal(sample(one, phi, torch.from_numpy(noise)), sample(product, phi, torch.from_numpy(noise)))


def test_a_product_draws_each_component_with_its_own_probabilities(rng):
    family = Categoricals((2, 4, 3))
    phi = random_phi(family, (1,), rng)
    drawn = sample(family, phi, torch.from_numpy(family.noise(np.random.default_rng(0), DRAWS)))
    for part, column in zip(phi.split(family.sizes, -1), drawn.T):
        for value, p in enumerate(torch.softmax(part[0], -1)):
            mean, error = monte_carlo((column == value).double())
            assert abs(mean - p.item()) < 4 * error
