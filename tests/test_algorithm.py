"""Each page's update against a slow reference: dense matrices, plain loops, one sample at a time."""

import math

import pytest
import torch
from reference import (
    FAMILIES,
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
from study.penalty import LIMIT


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
    numbers = [
        {"max_kl": max_kl, "damping": damping, "cg_iterations": 100}
        for max_kl in (0.001, 0.01, 0.1, 1.0, 10.0)
        for damping in (0.1, 0.001)
    ]
    fleet, theta, rollout = random_fleet("trpo", family, rng, numbers)
    new, state, metrics = trpo.update(fleet, theta, (), rollout)
    shortened = 0
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
def test_trpo_never_exceeds_max_kl_and_gains(family, rng):
    numbers = [{"max_kl": 10**exponent} for exponent in (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0)]
    fleet, theta, rollout = random_fleet("trpo", family, rng, numbers)
    new, _, metrics = trpo.update(fleet, theta, (), rollout)
    after = fleet.each(change)(new, rollout.batch)
    assert metrics["accepted"].all()
    assert (after.kl <= fleet.settings.max_kl).all() and (after.surrogate_gain > 0).all()
    small = fleet.settings.max_kl <= 1e-3
    assert (after.kl[small] > 0.1 * fleet.settings.max_kl[small]).all(), "a small step nearly fills its bound"


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
def test_trpos_step_is_the_quadratic_penaltys_with_beta_its_multiplier(family, rng):
    """argmax g^T s - beta s^T F s / 2 at beta = lambda* is the very step."""
    fleet, theta, rollout = random_fleet("trpo", family, rng, [{"max_kl": 1e-5, "cg_iterations": 100}])
    new, _, metrics = trpo.update(fleet, theta, (), rollout)
    g = policy_gradient(fleet.policy, theta[0], one(rollout.batch))
    fisher = dense_fisher(fleet.policy, theta[0], rollout.batch.observation[0])
    fisher = fisher + 0.1 * torch.eye(len(g), dtype=g.dtype)
    torch.testing.assert_close(new[0] - theta[0], torch.linalg.solve(metrics["implied_beta"][0] * fisher, g))


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


def ratio_loss(r, kl, advantage, numbers):
    return -r * advantage


def penalised_loss(r, kl, advantage, numbers):
    return -r * advantage + numbers["beta"] * kl


def clipped_loss(r, kl, advantage, numbers):
    limited = min(max(r, 1 - numbers["clip_epsilon"]), 1 + numbers["clip_epsilon"])
    return -min(r * advantage, limited * advantage) + 0 * r  # a graph even where nothing has a gradient


ARMS = {
    "unpenalised": (ratio_loss, [{}, {}]),
    "kl_fixed": (penalised_loss, [{"beta": 0.3}, {"beta": 30.0}]),
    "kl_adaptive": (penalised_loss, [{"beta": 0.5}, {"beta": 8.0}]),
    "clip": (clipped_loss, [{"clip_epsilon": 0.05}, {"clip_epsilon": 0.3}]),
}


@families
@pytest.mark.parametrize("algorithm", ARMS)
def test_an_sgd_update_is_a_loop_over_samples_and_torch_adam(algorithm, family, rng):
    """Each minibatch's loss summed sample by sample through torch.distributions; steps large enough to clip."""
    loss, numbers = ARMS[algorithm]
    fleet, theta, rollout = random_fleet(algorithm, family, rng, numbers, learning_rate=0.02)
    made = page(algorithm)
    new, state, _ = made.update(fleet, theta, made.start(fleet, theta), rollout)
    for run in range(2):
        parameter = torch.nn.Parameter(theta[run].clone())
        optimiser = torch.optim.Adam([parameter], lr=0.02, eps=1e-5)
        batch = one(rollout.batch, run)
        for epoch in rollout.order[run]:
            for some in epoch.split(fleet.minibatch_size):
                minibatch = type(batch)(*(field[some] for field in batch))
                terms = [loss(*term, numbers[run]) for term in sample_terms(fleet.policy, parameter, minibatch)]
                optimiser.zero_grad()
                (sum(terms) / len(terms)).backward()
                optimiser.step()
        torch.testing.assert_close(new[run], parameter.detach(), rtol=1e-8, atol=1e-8)


@families
def test_the_arms_differ_after_several_steps(family, rng):
    """Same start, same batch, same order; a penalty inert after the first gradient would make two arms equal."""
    ends = {}
    for algorithm, (_, numbers) in ARMS.items():
        rng.manual_seed(0)
        fleet, theta, rollout = random_fleet(algorithm, family, rng, numbers, learning_rate=0.02)
        made = page(algorithm)
        ends[algorithm], _, _ = made.update(fleet, theta, made.start(fleet, theta), rollout)
    for a in ends:
        for b in ends:
            assert a == b or (ends[a] - ends[b]).abs().max() > 1e-4


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


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        (0.0, 0.5),
        (TARGET / 1.5 * 0.999, 0.5),
        (TARGET / 1.5 * 1.001, 1),
        (TARGET, 1),
        (TARGET * 1.5 * 0.999, 1),
        (TARGET * 1.5 * 1.001, 2),
        (1e6, 2),
        (math.inf, 2),
        (math.nan, 1),
    ],
)
def test_ppos_rule_halves_below_keeps_inside_and_doubles_above(kl, factor):
    log2_beta = torch.tensor([0.0, 3.0], dtype=torch.float64)
    new = kl_adaptive.adapt(log2_beta, torch.full((2,), kl, dtype=torch.float64), torch.tensor(TARGET))
    torch.testing.assert_close(torch.exp2(new), factor * torch.exp2(log2_beta))


def test_beta_neither_underflows_nor_overflows():
    """It stops at wide bounds, from which the first contrary update leads away."""
    beta, target = torch.tensor([0.0]), torch.tensor(TARGET)
    seen = []
    for kl in [0.0] * 2000 + [1.0] * 2000:
        beta = kl_adaptive.adapt(beta, torch.tensor([kl]), target)
        seen.append(beta.item())
    assert min(seen) == -LIMIT and max(seen) == LIMIT and seen[2000] == -LIMIT + 1
    assert 0 < torch.exp2(torch.tensor(-LIMIT)) and torch.exp2(torch.tensor(LIMIT)).isfinite()


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


def test_the_adaptive_update_at_one_beta_is_the_fixed_one(rng):
    fleet, theta, rollout = random_fleet("kl_adaptive", FAMILIES[0], rng, [{"beta": 3.0}])
    adaptive, _, _ = kl_adaptive.update(fleet, theta, kl_adaptive.start(fleet, theta), rollout)
    fixed, _, _ = kl_fixed.update(fleet, theta, kl_fixed.start(fleet, theta), rollout)
    torch.testing.assert_close(adaptive, fixed)


# Every page


@pytest.mark.parametrize("algorithm, family", suited_families(NAMES))
def test_an_update_together_is_each_run_alone_and_writes_to_nothing_it_was_given(algorithm, family, rng):
    fleet, theta, rollout = random_fleet(algorithm, family, rng, [{}] * 3)
    made = page(algorithm)
    kept = [theta.clone()] + [field.clone() for field in rollout.batch]
    together, _, metrics = made.update(fleet, theta, made.start(fleet, theta), rollout)
    assert all(torch.equal(a, b) for a, b in zip(kept, [theta, *rollout.batch]))
    assert together.shape == theta.shape and together.isfinite().all()
    assert all(metric.shape == (3,) for metric in metrics.values())
    rng.manual_seed(0)
    single, _, _ = random_fleet(algorithm, family, rng, [{}])
    batch = type(rollout.batch)(*(field[1:2] for field in rollout.batch))
    alone, _, _ = made.update(
        single, theta[1:2], made.start(single, theta[1:2]), type(rollout)(batch, rollout.order[1:2])
    )
    torch.testing.assert_close(alone[0], together[1], rtol=1e-9, atol=1e-9)
