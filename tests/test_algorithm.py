"""Each page's update against a slow reference: dense matrices, plain loops, one sample at a time."""

import pytest
import torch
from reference import (
    dense_fisher,
    families,
    one,
    policy_gradient,
    random_fleet,
    sample_terms,
    suited_families,
)

from study.algorithm import NAMES, clip, kl_adaptive, kl_fixed, page, trpo, unpenalised
from study.objective import change
from study.policy import Gaussian


def mean_terms(policy, theta, batch):
    """Mean ratio * advantage and mean KL, summed sample by sample."""
    ratio, kl, advantage = (torch.stack(terms) for terms in zip(*sample_terms(policy, theta, batch)))
    return (ratio * advantage).mean(), kl.mean()


# TRPO


def dense_trpo(policy, theta, batch, max_kl, damping, backtracks):
    """The update with a dense Hessian, a direct solve and a loop over step lengths."""
    g = policy_gradient(policy, theta, batch)
    fisher = dense_fisher(policy, theta, batch.observation) + damping * torch.eye(len(theta), dtype=theta.dtype)
    s = torch.linalg.solve(fisher, g)
    lagrange = torch.sqrt(s @ fisher @ s / (2 * max_kl))
    before, _ = mean_terms(policy, theta, batch)
    attempted = None
    for k in range(backtracks + 1):
        candidate = theta + 0.5**k * s / lagrange
        after, kl = mean_terms(policy, candidate, batch)
        attempted = kl if k == 0 else attempted
        if after - before > 0 and kl <= max_kl:
            return candidate, lagrange, k, True, attempted
    return theta, lagrange, backtracks, False, attempted


@families
def test_trpo_is_the_dense_update(family, rng):
    """To 1e-8 in every parameter; runs of different max_kl and damping, some of them backtracking."""
    pairs = ((0.001, 0.1), (0.01, 0.001), (0.1, 0.1), (1.0, 0.001), (10.0, 0.1), (10.0, 0.001))
    numbers = [{"max_kl": max_kl, "damping": damping, "cg_iterations": 100} for max_kl, damping in pairs]
    fleet, theta, rollout = random_fleet("trpo", family, rng, numbers)
    new, state, metrics = trpo.update(fleet, theta, (), rollout)
    after, shortened = fleet.each(change)(new, rollout.batch), 0
    assert (after.kl <= fleet.settings.max_kl).all() and (after.surrogate_gain > 0).all()
    for run, number in enumerate(numbers):
        batch = one(rollout.batch, run)
        expected = dense_trpo(fleet.policy, theta[run], batch, number["max_kl"], number["damping"], 10)
        candidate, lagrange, backtracks, accepted, attempted = expected
        assert accepted
        torch.testing.assert_close(new[run], candidate, rtol=0, atol=1e-8)
        torch.testing.assert_close(metrics["implied_beta"][run], lagrange, rtol=1e-8, atol=0)
        torch.testing.assert_close(metrics["kl_attempted"][run], attempted, rtol=1e-6, atol=1e-12)
        assert metrics["backtracks"][run] == backtracks and metrics["accepted"][run]
        shortened += backtracks > 0
    assert 0 < shortened < len(numbers), "some runs must backtrack and some not"


@families
def test_trpos_full_step_lies_on_the_boundary_of_the_damped_quadratic_model(family, rng):
    fleet, theta, rollout = random_fleet("trpo", family, rng, [{"max_kl": 1e-6, "damping": 0.1}] * 3)
    new, _, metrics = trpo.update(fleet, theta, (), rollout)
    assert (metrics["backtracks"] == 0).all()
    for run in range(3):
        step = new[run] - theta[run]
        fisher = dense_fisher(fleet.policy, theta[run], rollout.batch.observation[run])
        quadratic = 0.5 * (step @ fisher @ step + 0.1 * step @ step)
        torch.testing.assert_close(quadratic.item(), 1e-6, rtol=1e-6, atol=0)
        # The true KL is what damping leaves of it.
        torch.testing.assert_close(metrics["kl_attempted"][run], 0.5 * step @ fisher @ step, rtol=1e-2, atol=0)


@families
def test_trpo_rejects_what_it_cannot_improve_and_stays_bit_for_bit(family, rng):
    """Negative curvature, a zero gradient and a NaN are rejected; the run beside them steps as if alone."""
    fleet, theta, rollout = random_fleet("trpo", family, rng, [{}] * 4)
    fleet.settings.damping[0] = -50  # no configuration allows it: stands for curvature gone wrong
    advantage = rollout.batch.advantage.clone()
    advantage[1], advantage[2, 0] = 0, torch.nan
    batch = rollout.batch._replace(advantage=advantage)
    new, _, metrics = trpo.update(fleet, theta, (), type(rollout)(batch, rollout.order))
    assert metrics["accepted"].tolist() == [False, False, False, True]
    assert torch.equal(new[:3], theta[:3]) and not torch.equal(new[3], theta[3])
    assert metrics["backtracks"].tolist()[:3] == [10, 10, 10]
    after = fleet.each(change)(new, batch)
    assert (after.kl[:3] == 0).all()


@families
def test_a_rejected_step_reports_the_kl_it_attempted(family, rng):
    """With no shortening allowed, steps that leave the bound are undone: kl_after 0, kl_attempted above max_kl."""
    numbers = [{"max_kl": 5.0, "backtracks": 1, "damping": 0.0001}] * 12
    fleet, theta, rollout = random_fleet("trpo", family, rng, numbers)
    new, _, metrics = trpo.update(fleet, theta, (), rollout)
    rejected = ~metrics["accepted"]
    assert rejected.any()
    assert torch.equal(new[rejected], theta[rejected])
    assert (fleet.each(change)(new, rollout.batch).kl[rejected] == 0).all()
    assert (metrics["kl_attempted"][rejected] > 0).all()


# SGD arms


@families
def test_a_larger_beta_moves_the_policy_less(family, rng):
    fleet, theta, rollout = random_fleet(
        "kl_fixed", family, rng, [{"beta": 10.0**e} for e in (-2, -1, 0, 1, 2)], learning_rate=0.003, epochs=10
    )
    theta = theta[:1].expand(5, -1)
    batch = type(rollout.batch)(*(field[:1].expand(5, *field.shape[1:]) for field in rollout.batch))
    rollout = type(rollout)(batch, rollout.order[:1].expand(5, -1, -1))
    new, _, metrics = kl_fixed.update(fleet, theta, kl_fixed.start(fleet, theta), rollout)
    kl = fleet.each(change)(new, batch).kl
    assert (kl[1:] < kl[:-1]).all() and kl[0] > 10 * kl[-1]
    assert torch.equal(metrics["beta"], fleet.settings.beta)


@families
def test_clip_with_a_wide_epsilon_is_unpenalised_and_a_clipped_sample_has_no_gradient(family, rng):
    fleet, theta, rollout = random_fleet("clip", family, rng, [{}])
    policy, batch = fleet.policy, one(rollout.batch)
    elsewhere = theta[0] + 0.3 * torch.randn(theta.shape[1], generator=rng, dtype=torch.float64)
    wide = clip.loss(policy, elsewhere, batch, torch.tensor(1e6, dtype=torch.float64))
    torch.testing.assert_close(wide, unpenalised.loss(policy, elsewhere, batch))
    killed = 0
    for n in range(32):
        sample = type(batch)(*(field[n : n + 1] for field in batch))
        (ratio, _, advantage), *_ = sample_terms(policy, elsewhere, sample)
        gradient = torch.func.grad(lambda t, s=sample: clip.loss(policy, t, s, 0.1))(elsewhere)
        beyond = (advantage > 0 and ratio > 1.1) or (advantage < 0 and ratio < 0.9)
        assert (gradient == 0).all() == bool(beyond)
        killed += bool(beyond)
    assert 0 < killed < 32


# The adaptive rule

TARGET = 0.01


@families
def test_beta_follows_the_kl_of_the_full_batch_after_all_epochs_and_acts_on_the_next_update(family, rng):
    """Once per update, not per minibatch; the update itself runs at the old beta."""
    fleet, theta, rollout = random_fleet("kl_adaptive", family, rng, [{"beta": 2.0}] * 3, learning_rate=0.003)
    state = kl_adaptive.start(fleet, theta)
    probe, _, _ = kl_adaptive.update(fleet, theta, state, rollout)
    kl = torch.stack([mean_terms(fleet.policy, probe[run], one(rollout.batch, run))[1] for run in range(3)])
    fleet.settings.kl_target = kl * torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)  # below, inside, above
    new, after, metrics = kl_adaptive.update(fleet, theta, state, rollout)
    assert torch.equal(new, probe), "the target does not act on this update"
    torch.testing.assert_close(metrics["beta"], torch.full((3,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(torch.exp2(after.log2_beta), torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    _, _, metrics = kl_adaptive.update(fleet, new, after, rollout)
    torch.testing.assert_close(metrics["beta"], torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))


# Every page


@pytest.mark.parametrize("algorithm, family", suited_families(NAMES))
def test_an_update_together_is_each_run_alone_and_writes_to_nothing_it_was_given(algorithm, family, rng):
    fleet, theta, rollout = random_fleet(algorithm, family, rng, [{}] * 3)
    made = page(algorithm)
    kept = [theta.clone()] + [field.clone() for field in rollout.batch]
    together, _, metrics = made.update(fleet, theta, made.start(fleet, theta), rollout)
    assert all(torch.equal(a, b) for a, b in zip(kept, [theta, *rollout.batch]))
    assert together.shape == theta.shape and together.isfinite().all()
    if isinstance(family, Gaussian):  # log std was once missing from a trained set of parameters (openai/baselines#262)
        assert (together[:, -2:] != theta[:, -2:]).all()
    assert all(metric.shape == (3,) for metric in metrics.values())
    rng.manual_seed(0)
    single, _, _ = random_fleet(algorithm, family, rng, [{}])
    batch = type(rollout.batch)(*(field[1:2] for field in rollout.batch))
    alone, _, _ = made.update(
        single, theta[1:2], made.start(single, theta[1:2]), type(rollout)(batch, rollout.order[1:2])
    )
    torch.testing.assert_close(alone[0], together[1], rtol=1e-9, atol=1e-9)
