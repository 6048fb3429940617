"""Surrogate, mean KL and curvature against dense and sample-by-sample references."""

import pytest
import torch
from reference import (
    dense_fisher,
    distribution,
    draw,
    families,
    monte_carlo,
    one,
    policy_gradient,
    random_batch,
    random_policy,
    sample,
    sample_terms,
)
from torch.func import grad, hessian

from study.algorithm import clip, kl_fixed, unpenalised
from study.objective import change, fisher_vector_product, mean_kl, ratio, surrogate, surrogate_gradient
from study.policy import Categorical, Categoricals, Gaussian


@pytest.fixture
def problem(family, rng):
    """Policy, theta [P] of the old policy, its batch, and parameters [P] some way off."""
    policy, theta = random_policy(family, rng)
    batch = one(random_batch(policy, theta, 40, rng))
    elsewhere = theta[0] + 0.2 * torch.randn(theta.shape[1], generator=rng, dtype=torch.float64)
    return policy, theta[0], batch, elsewhere


@families
def test_fisher_vector_product_is_the_dense_hessian_of_the_mean_kl(problem, rng):
    policy, theta, batch, _ = problem
    fisher = dense_fisher(policy, theta, batch.observation)
    for _ in range(3):
        v = torch.randn(theta.shape, generator=rng, dtype=torch.float64)
        torch.testing.assert_close(fisher_vector_product(policy, theta, batch.observation, v), fisher @ v)


@families
def test_fisher_vector_product_is_the_gauss_newton_matrix_of_sample_jacobians(problem):
    policy, theta, batch, _ = problem
    total = torch.zeros(len(theta), len(theta), dtype=torch.float64)
    for observation in batch.observation:
        jacobian = torch.autograd.functional.jacobian(lambda theta, o=observation: policy(theta, o[None])[0], theta)
        phi = policy(theta, observation[None])[0]
        metric = hessian(lambda new, old=phi: policy.family.kl_old_new(old, new))(phi)
        total += jacobian.T @ metric @ jacobian
    product = torch.stack(
        [fisher_vector_product(policy, theta, batch.observation, v) for v in torch.eye(len(theta), dtype=torch.float64)]
    )
    torch.testing.assert_close(product, total / len(batch.observation))


@families
def test_fisher_vector_product_in_a_fleet_is_each_run_alone(family, rng):
    policy, theta = random_policy(family, rng, runs=3)
    batch = random_batch(policy, theta, 20, rng)
    v = torch.randn(theta.shape, generator=rng, dtype=torch.float64)
    together = torch.func.vmap(lambda t, o, v: fisher_vector_product(policy, t, o, v))(theta, batch.observation, v)
    alone = [fisher_vector_product(policy, theta[r], batch.observation[r], v[r]) for r in range(3)]
    torch.testing.assert_close(together, torch.stack(alone))


@families
def test_surrogate_kl_and_change_are_means_over_samples_of_the_full_batch(problem):
    policy, theta, batch, elsewhere = problem
    ratios, kls, advantages = (torch.stack(terms) for terms in zip(*sample_terms(policy, elsewhere, batch)))
    phi, new = policy(elsewhere, batch.observation), change(policy, elsewhere, batch)
    torch.testing.assert_close(ratio(policy, phi, batch), ratios)
    torch.testing.assert_close(surrogate(policy, phi, batch), (ratios * advantages).mean())
    torch.testing.assert_close(mean_kl(policy, phi, batch), kls.mean())
    torch.testing.assert_close(new.surrogate_gain, (ratios * advantages).mean() - advantages.mean())
    torch.testing.assert_close(new.kl, kls.mean())
    torch.testing.assert_close(new.max_ratio, ratios.max())
    entropies = distribution(policy.family, policy(elsewhere, batch.observation)).entropy()
    torch.testing.assert_close(new.entropy, entropies.mean())
    still = change(policy, theta, batch)
    assert still.surrogate_gain == 0 and still.kl == 0 and still.max_ratio == 1


@families
def test_surrogate_gradient_at_the_old_policy_is_the_policy_gradient(problem):
    policy, theta, batch, _ = problem
    torch.testing.assert_close(surrogate_gradient(policy, theta, batch), policy_gradient(policy, theta, batch))


@families
def test_surrogate_gradient_agrees_with_finite_differences(problem):
    policy, _, batch, elsewhere = problem
    step = 1e-5
    central = [
        (
            surrogate(policy, policy(elsewhere + step * e, batch.observation), batch)
            - surrogate(policy, policy(elsewhere - step * e, batch.observation), batch)
        )
        / (2 * step)
        for e in torch.eye(len(elsewhere), dtype=torch.float64)
    ]
    torch.testing.assert_close(surrogate_gradient(policy, elsewhere, batch), torch.stack(central), rtol=1e-6, atol=1e-8)


def test_log_std_gets_gradient_and_curvature(rng):
    """Left out of the trained parameters, the standard deviation never moves."""
    policy, theta = random_policy(Gaussian(2), rng)
    batch = one(random_batch(policy, theta, 40, rng))
    assert (surrogate_gradient(policy, theta[0], batch)[-2:] != 0).all()
    log_std = torch.zeros_like(theta[0])
    log_std[-1] = 1
    expected = 2 * log_std  # the Fisher information of a log standard deviation
    torch.testing.assert_close(fisher_vector_product(policy, theta[0], batch.observation, log_std), expected)


@families
def test_both_directions_of_the_kl_share_their_hessian_at_the_old_policy(problem):
    policy, theta, batch, elsewhere = problem

    def kl_new_old(theta):
        return policy.family.kl_old_new(policy(theta, batch.observation), batch.old).mean()

    def kl_old_new(theta):
        return mean_kl(policy, policy(theta, batch.observation), batch)

    torch.testing.assert_close(hessian(kl_new_old)(theta), hessian(kl_old_new)(theta))
    assert (kl_new_old(elsewhere) - kl_old_new(elsewhere)).abs() > 1e-4, "elsewhere they differ"


@families
def test_the_kl_in_the_loss_is_flat_at_the_old_policy_and_pulls_back_elsewhere(problem):
    """A KL between the new policy and itself, or with its old side recomputed, would be zero everywhere."""
    policy, theta, batch, elsewhere = problem

    def penalty(theta, beta):
        weight = torch.as_tensor(beta, dtype=torch.float64)
        return kl_fixed.loss(policy, theta, batch, weight) - unpenalised.loss(policy, theta, batch)

    assert abs(penalty(theta, 3.0)) < 1e-15
    assert grad(penalty)(theta, 3.0).abs().max() < 1e-14
    torch.testing.assert_close(penalty(elsewhere, 3.0), 3 * penalty(elsewhere, 1.0))
    assert penalty(elsewhere, 3.0) > 1e-3
    assert grad(penalty)(elsewhere, 3.0) @ (elsewhere - theta) > 0


@families
def test_the_advantage_is_the_one_in_the_batch(problem):
    """Standardised advantages computed and then not used leave the gradient unscaled."""
    policy, theta, batch, _ = problem
    scaled = batch._replace(advantage=10 * batch.advantage)
    torch.testing.assert_close(surrogate_gradient(policy, theta, scaled), 10 * surrogate_gradient(policy, theta, batch))
    for loss in (unpenalised.loss, lambda *x: clip.loss(*x, 0.2), lambda *x: kl_fixed.loss(*x, 1.0)):
        torch.testing.assert_close(
            grad(lambda t: loss(policy, t, scaled))(theta),  # noqa: B023
            10 * grad(lambda t: loss(policy, t, batch))(theta),  # noqa: B023
        )


@families
def test_sampled_fisher_information_agrees_with_the_analytic_product(family, rng):
    """v^T F v = E (v^T grad log pi)^2, the actions drawn from the policy, within three standard errors."""
    policy, theta = random_policy(family, rng)
    observation = torch.randn(1, 3, generator=rng, dtype=torch.float64)
    phi = policy(theta[0], observation)
    v = torch.randn(theta.shape[1], generator=rng, dtype=torch.float64)
    actions = sample(family, phi, torch.randn(20_000, family.size, generator=rng, dtype=torch.float64))
    if isinstance(family, Categorical):
        actions = torch.multinomial(phi.softmax(-1)[0], 20_000, replacement=True, generator=rng)[:, None].double()
    elif isinstance(family, Categoricals):
        actions = draw(family, phi[0].expand(20_000, -1), rng)
    tangent = torch.func.jvp(lambda t: policy(t, observation), (theta[0],), (v,))[1]
    along = torch.func.vmap(lambda a: torch.func.jvp(lambda p: family.log_prob(p, a[None]), (phi,), (tangent,))[1][0])(
        actions
    )
    mean, error = monte_carlo(along.square())
    assert abs(mean - (v @ fisher_vector_product(policy, theta[0], observation, v)).item()) < 3 * error
