"""The constraint's multiplier against a dense solve, and its cross-fitted estimate on pure noise."""

import math

import torch
from reference import FAMILIES, dense_fisher, families, monte_carlo, one, policy_gradient, random_fleet, sample

from study.algorithm import trpo
from study.implied_beta import implied_beta
from study.rollout import normalise

ENOUGH = {"cg_iterations": 80, "damping": 0.1}


@families
def test_implied_beta_is_the_lagrange_multiplier_of_a_dense_solve(family, rng):
    fleet, theta, rollout = random_fleet("unpenalised", family, rng, [{}] * 3, diagnostics=ENOUGH)
    batch = rollout.batch
    delta = torch.tensor([0.003, 0.01, 0.03], dtype=torch.float64)
    made = implied_beta(fleet, theta, batch, delta)
    negative = 0
    for run in range(3):
        mine = one(batch, run)
        first, second = (type(mine)(*(field[half] for field in mine)) for half in (slice(None, 16), slice(16, None)))
        g_a, g_b = policy_gradient(fleet.policy, theta[run], first), policy_gradient(fleet.policy, theta[run], second)
        g = policy_gradient(fleet.policy, theta[run], mine)
        fisher = dense_fisher(fleet.policy, theta[run], mine.observation) + 0.1 * torch.eye(len(g), dtype=g.dtype)
        squared = g @ torch.linalg.solve(fisher, g)
        crossed = g_a @ torch.linalg.solve(fisher, g_b)
        torch.testing.assert_close(made.implied_beta[run], (squared / (2 * delta[run])).sqrt())
        signed = math.copysign(math.sqrt(abs(crossed) / (2 * delta[run])), crossed)
        torch.testing.assert_close(made.implied_beta_crossfit[run].item(), signed, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(made.score_share[run], (squared / mine.advantage.square().mean()).sqrt())
        torch.testing.assert_close(made.gradient_norm[run], g.norm())
        assert made.cg_residual[run] < 1e-9
        negative += crossed < 0
    assert negative, "a negative product must occur, to show that its sign is kept"


@families
def test_implied_beta_is_rms_advantage_times_score_share_over_root_two_delta(family, rng):
    fleet, theta, rollout = random_fleet("unpenalised", family, rng, [{}] * 3, diagnostics={"cg_iterations": 5})
    delta = torch.tensor([0.003, 0.01, 0.03], dtype=torch.float64)
    made = implied_beta(fleet, theta, rollout.batch, delta)
    rms = rollout.batch.advantage.square().mean(-1).sqrt()
    torch.testing.assert_close(made.implied_beta, rms * made.score_share / (2 * delta).sqrt())


def test_implied_beta_scales_with_the_advantages_and_the_inverse_root_of_delta(rng):
    fleet, theta, rollout = random_fleet("unpenalised", FAMILIES[0], rng, [{}])
    delta = torch.tensor([0.01], dtype=torch.float64)
    base = implied_beta(fleet, theta, rollout.batch, delta)
    larger = rollout.batch._replace(advantage=7 * rollout.batch.advantage)
    scaled = implied_beta(fleet, theta, larger, delta)
    torch.testing.assert_close(scaled.implied_beta, 7 * base.implied_beta)
    torch.testing.assert_close(scaled.implied_beta_crossfit, 7 * base.implied_beta_crossfit)
    torch.testing.assert_close(scaled.score_share, base.score_share)
    torch.testing.assert_close(implied_beta(fleet, theta, rollout.batch, 4 * delta).implied_beta, base.implied_beta / 2)


@families
def test_undamped_empirical_fisher_bounds_the_score_share_by_one(family, rng):
    """R^2 is the share of mean A^2 that a regression of the advantages on the scores explains.

    A property of the definition, computed densely: with scores S [N, P] the empirical Fisher matrix is
    S^T S / N and g = S^T A / N, so g^T F^-1 g is the mean square of the fitted advantages.
    """
    fleet, theta, rollout = random_fleet("unpenalised", family, rng, [{}], samples=64)
    batch, policy = one(rollout.batch), fleet.policy
    scores = torch.autograd.functional.jacobian(
        lambda theta: policy.family.log_prob(policy(theta, batch.observation), batch.action), theta[0]
    )
    g = policy_gradient(policy, theta[0], batch)
    torch.testing.assert_close(g, scores.T @ batch.advantage / 64)
    squared = g @ torch.linalg.pinv(scores.T @ scores / 64) @ g
    fitted = scores @ torch.linalg.lstsq(scores, batch.advantage[:, None], driver="gelsd").solution[:, 0]
    torch.testing.assert_close(squared, fitted.square().mean())
    assert 0 < squared / batch.advantage.square().mean() < 1


def test_the_fisher_matrix_uses_every_strided_state(rng):
    diagnostics = ENOUGH | {"fisher_stride": 4}
    fleet, theta, rollout = random_fleet("unpenalised", FAMILIES[0], rng, [{}], diagnostics=diagnostics)
    delta = torch.tensor([0.01], dtype=torch.float64)
    made = implied_beta(fleet, theta, rollout.batch, delta)
    g = policy_gradient(fleet.policy, theta[0], one(rollout.batch))
    fisher = dense_fisher(fleet.policy, theta[0], rollout.batch.observation[0, ::4])
    solved = torch.linalg.solve(fisher + 0.1 * torch.eye(len(g), dtype=g.dtype), g)
    torch.testing.assert_close(made.implied_beta[0], (g @ solved / 0.02).sqrt())


def test_few_iterations_give_less_and_say_so(rng):
    """Truncated conjugate gradients start at 0 and rise: g^T x grows with every iteration."""
    values, residuals = [], []
    for iterations in (1, 3, 10, 40):
        rng.manual_seed(0)
        diagnostics = {"cg_iterations": iterations, "damping": 0.1}
        fleet, theta, rollout = random_fleet("unpenalised", FAMILIES[0], rng, [{}], diagnostics=diagnostics)
        made = implied_beta(fleet, theta, rollout.batch, torch.tensor([0.01], dtype=torch.float64))
        values.append(made.implied_beta.item())
        residuals.append(made.cg_residual.item())
    assert values[0] < values[1] < values[2] <= values[3] * (1 + 1e-9)
    assert residuals[0] > residuals[2] > residuals[3]


@families
def test_on_pure_noise_the_crossfit_averages_zero_and_the_plain_estimate_its_floor(family, rng):
    """Advantages independent of the actions: E[g^T F^-1 g] ~ P / N, here trace(F (F + c)^-1) / N; 3 standard errors.

    Every draw has new actions at the same states. The scores' covariance over actions is the Fisher
    matrix F of those states, so with unit-variance noise E[g g^T] = F / N exactly.
    """
    draws, samples = 400, 64
    fleet, theta, rollout = random_fleet(
        "unpenalised", family, rng, [{}], samples=samples, diagnostics={"cg_iterations": 60, "damping": 0.01}
    )
    policy = fleet.policy
    theta = theta.expand(draws, -1)
    observation = rollout.batch.observation.expand(draws, -1, -1)
    old = policy(theta, observation)
    if family.extra:
        noise = torch.randn(draws, samples, family.size, generator=rng, dtype=torch.float64)
    else:
        noise = -torch.log(-torch.log(torch.rand(draws, samples, family.size, generator=rng, dtype=torch.float64)))
    action = sample(family, old, noise)
    advantage = torch.randn(draws, samples, generator=rng, dtype=torch.float64)
    batch = type(rollout.batch)(observation, action, old, family.log_prob(old, action), advantage)
    made = implied_beta(fleet, theta, batch, torch.full((draws,), 0.01, dtype=torch.float64))

    mean, error = monte_carlo(made.implied_beta_crossfit.sign() * made.implied_beta_crossfit.square())
    assert abs(mean) < 3 * error
    fisher = dense_fisher(policy, theta[0], observation[0])
    damped = fisher + 0.01 * torch.eye(len(fisher), dtype=fisher.dtype)
    floor = torch.trace(torch.linalg.solve(damped, fisher)) / samples / (2 * 0.01)
    mean, error = monte_carlo(made.implied_beta.square())
    assert abs(mean - floor.item()) < 3 * error
    assert 0 < floor * 0.02 < len(fisher) / samples, "at most parameters per sample"


def test_a_signal_shared_by_both_halves_survives_the_crossfit(rng):
    """Advantages that the score explains: both estimates agree, far above the noise."""
    fleet, theta, rollout = random_fleet("unpenalised", FAMILIES[0], rng, [{}], samples=512, diagnostics=ENOUGH)
    batch = rollout.batch
    signal = normalise((batch.action - batch.old[..., :2]).sum(-1))
    made = implied_beta(fleet, theta, batch._replace(advantage=signal), torch.tensor([0.01], dtype=torch.float64))
    assert made.implied_beta_crossfit > 0
    torch.testing.assert_close(made.implied_beta_crossfit, made.implied_beta, rtol=0.15, atol=0)
    assert made.score_share > 0.5


def test_the_diagnostic_of_a_run_in_a_fleet_is_its_own(rng):
    fleet, theta, rollout = random_fleet("unpenalised", FAMILIES[0], rng, [{}] * 3)
    delta = torch.full((3,), 0.01, dtype=torch.float64)
    together = implied_beta(fleet, theta, rollout.batch, delta)
    batch = type(rollout.batch)(*(field[1:2] for field in rollout.batch))
    alone = implied_beta(fleet, theta[1:2], batch, delta[1:2])
    for a, b in zip(alone, together):
        torch.testing.assert_close(a[0], b[1])


def test_trpos_own_multiplier_is_the_diagnostic_with_its_settings(rng):
    """TRPO reports sqrt(s^T F s / 2 delta); after any number of iterations that is sqrt(g^T s / 2 delta)."""
    fleet, theta, rollout = random_fleet("trpo", FAMILIES[0], rng, [{}], diagnostics={"cg_iterations": 10})
    _, _, metrics = trpo.update(fleet, theta, (), rollout)
    made = implied_beta(fleet, theta, rollout.batch, fleet.settings.max_kl)
    torch.testing.assert_close(metrics["implied_beta"], made.implied_beta)
    torch.testing.assert_close(metrics["cg_residual"], made.cg_residual)
