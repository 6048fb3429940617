"""Each arm's mathematics: first updates against slow loops, identities between arms, what masks hold."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from reference import (
    FAMILIES,
    dense_fisher,
    distribution,
    families,
    one,
    policy_gradient,
    random_batch,
    random_fleet,
    suited_families,
)
from torch.utils._pytree import tree_map

from study.algorithm import NAMES, clip, kl_adaptive, kl_per_sample, page
from study.fleet import Rollout
from study.penalty import LIMIT
from study.policy import Categorical, Gaussian
from study.rollout import Batch
from study.sgd import Adam, epochs
from study.solver import bisect, conjugate_gradient

SGD_ARMS = [name for name in NAMES if name not in ("trpo", "natural_gradient")]


def updated(fleet, theta, rollout, algorithm, state=None):
    """theta, state and metrics after one update of an algorithm's page."""
    made = page(algorithm)
    return made.update(fleet, theta, made.start(fleet, theta) if state is None else state, rollout)


def slow_terms(policy, theta, batch: Batch):
    """ratio, KL(old || new), KL(new || old), advantage [n] through torch.distributions.

    test_algorithm.py takes one sample at a time (reference.sample_terms).
    """
    new, old = distribution(policy.family, policy(theta, batch.observation)), distribution(policy.family, batch.old)
    action = batch.action[:, 0] if isinstance(policy.family, Categorical) else batch.action
    divergence = torch.distributions.kl_divergence
    ratio = torch.exp(new.log_prob(action) - old.log_prob(action))
    return ratio, divergence(old, new), divergence(new, old), batch.advantage


def slow_descent(fleet, theta, rollout: Rollout, run: int, loss, size: int = 8):
    """theta [P] of one run after plain loops over epochs and minibatches with an optimizer of torch.optim."""
    parameter, rate = torch.nn.Parameter(theta[run].clone()), fleet.learning_rate[run].item()
    choices = {"adam": lambda p: torch.optim.Adam(p, rate, eps=1e-5), "sgd": lambda p: torch.optim.SGD(p, rate)}
    optimizer = choices[fleet.optimizer]([parameter])
    for epoch in rollout.order[run]:
        for some in epoch.split(size):
            optimizer.zero_grad()
            minibatch = Batch(*(field[some] for field in one(rollout.batch, run)))
            loss(*slow_terms(fleet.policy, parameter, minibatch)).backward()
            optimizer.step()
    return parameter.detach()


def slow_kl(fleet, theta, rollout, run):
    return slow_terms(fleet.policy, theta, one(rollout.batch, run))[1].mean()


def penalised(beta):
    return lambda r, kl, _, a: -(r * a).mean() + beta * kl.mean()


def clipped(epsilon):
    def loss(r, kl, _, a):
        return -sum(min(x * y, min(max(x, 1 - epsilon), 1 + epsilon) * y) for x, y in zip(r, a)) / len(r)

    return loss


def hinged(beta, target):
    return lambda r, kl, _, a: penalised(beta)(r, kl, _, a) + 1000 * max(0, kl.mean() - 2 * target) ** 2


def reversed_kl(beta):
    return lambda r, kl, reverse, a: -(r * a).mean() + beta * reverse.mean()


def quadratic(epsilon):
    return lambda r, kl, _, a: -sum(x * y - abs(y) * (x - 1) ** 2 / (2 * epsilon) for x, y in zip(r, a)) / len(r)


def unpenalised(r, kl, _, a):
    return -(r * a).mean()


TARGET = 1e-5  # nats; small, so that the hinge and the bounds of the rules are met on the way
FIRST_UPDATES = {  # algorithm, numbers (of each run its own where there are two), loss(numbers) by the equation
    "unpenalised": ("unpenalised", {}, lambda n: unpenalised),
    "clip": ("clip", {"clip_epsilon": (0.01, 0.3)}, lambda n: clipped(n["clip_epsilon"])),
    "kl_per_sample": ("kl_per_sample", {"clip_epsilon": (0.01, 0.3)}, lambda n: clipped(n["clip_epsilon"])),
    "kl_fixed": ("kl_fixed", {"beta": (0.7, 30.0)}, lambda n: penalised(n["beta"])),
    "kl_replay": ("kl_replay", {"beta": (0.7, 30.0)}, lambda n: penalised(n["beta"])),
    "ppo": ("kl_adaptive", {"beta": (0.7, 8.0), "rule": "ppo"}, lambda n: penalised(n["beta"])),
    "modular_rl": ("kl_adaptive", {"beta": 0.7, "rule": "modular_rl", "kl_target": TARGET},
                   lambda n: hinged(0.7, TARGET)),
    "log_space": ("kl_adaptive", {"beta": 0.7, "rule": "log_space"}, lambda n: penalised(0.7)),
    "kl_dual": ("kl_dual", {"beta": (0.7, 8.0)}, lambda n: penalised(n["beta"])),
    "minibatches": ("kl_scheduled", {"beta": (0.7, 8.0), "full_batch": False}, lambda n: reversed_kl(n["beta"])),
    "full batch": ("kl_scheduled", {"beta": (0.7, 8.0), "full_batch": True}, lambda n: reversed_kl(n["beta"])),
    "kl_stop": ("kl_stop", {"kl_target": 1e9}, lambda n: unpenalised),
    "kl_reverse": ("kl_reverse", {"beta": (0.7, 8.0)}, lambda n: reversed_kl(n["beta"])),
    "spo": ("simple_policy_optimization", {"clip_epsilon": (0.01, 0.3)}, lambda n: quadratic(n["clip_epsilon"])),
}  # fmt: skip


@families
@pytest.mark.parametrize("optimizer, rate", [("adam", 0.01), ("sgd", 0.001)])
@pytest.mark.parametrize("which", FIRST_UPDATES)
def test_first_update_is_the_slow_loop(which, optimizer, rate, family, rng):
    algorithm, given, loss = FIRST_UPDATES[which]
    numbers = [{key: n[run] if isinstance(n, tuple) else n for key, n in given.items()} for run in range(2)]
    changes = {"optimizer": optimizer, "learning_rate": rate, "total_steps": 10 * 32}
    fleet, theta, rollout = random_fleet(algorithm, family, rng, numbers, **changes)
    new, _, _ = updated(fleet, theta, rollout, algorithm)
    for run, own in enumerate(numbers):
        slow = slow_descent(fleet, theta, rollout, run, loss(own), 32 if own.get("full_batch") else 8)
        assert (slow - theta[run]).abs().max() > 1e-5
        torch.testing.assert_close(new[run], slow, rtol=0, atol=1e-8)


def slow_implied(fleet, theta, rollout, run, delta):
    """The two implied betas' squares by dense solves: cross-fitted between halves, and of the full batch."""
    batch, half = one(rollout.batch, run), len(rollout.batch.advantage[run]) // 2
    fisher = dense_fisher(fleet.policy, theta[run], batch.observation)
    fisher = fisher + fleet.diagnostics.damping * torch.eye(len(fisher), dtype=torch.float64)
    halves = [Batch(*(field[part] for field in batch)) for part in (slice(half), slice(half, None))]
    g_a, g_b = (policy_gradient(fleet.policy, theta[run], part) for part in halves)
    g = (g_a + g_b) / 2
    crossed, squared = g_a @ torch.linalg.solve(fisher, g_b), g @ torch.linalg.solve(fisher, g)
    return crossed.item() / (2 * delta), squared.item() / (2 * delta)


MEASURED = {"diagnostics": {"cg_iterations": 60, "max_kl": 0.02}, "learning_rate": 0.01}


@families
def test_updates_of_kl_measured_are_the_slow_loop_with_the_dense_solves_beta_which_then_stays(family, rng):
    numbers = [{"factor": 0.5, "measure": 2}, {"factor": 2.0, "measure": 2}]
    fleet, theta, rollout = random_fleet("kl_measured", family, rng, numbers, **MEASURED)
    state, squares = None, [[], []]
    for k in range(3):
        new, state, metrics = updated(fleet, theta, rollout, "kl_measured", state)
        for run in range(2):
            if k < 2:
                squares[run].append(slow_implied(fleet, theta, rollout, run, 0.02))
            crossed, squared = (sum(values) / len(values) for values in zip(*squares[run]))
            beta = numbers[run]["factor"] * math.sqrt(max(crossed, 0.01 * squared))
            assert metrics["beta"][run].item() == pytest.approx(beta, rel=1e-7)
            if k == 0:
                slow = slow_descent(fleet, theta, rollout, run, penalised(beta))
                torch.testing.assert_close(new[run], slow, rtol=0, atol=1e-8)
        theta, rollout = new, next_rollout(fleet, new, rollout, rng)
    assert (state.count == 2).all()


def next_rollout(fleet, theta, rollout, rng):
    """Another one, under theta."""
    batch = random_batch(fleet.policy, theta, rollout.order.shape[-1], rng)
    return Rollout(batch, rollout.order)


@families
def test_kl_measured_is_the_fixed_penalty_once_it_has_measured(family, rng):
    """And in the unit of the advantages: c times as large ones give c times the beta, floor or not."""
    fleet, theta, rollout = random_fleet("kl_measured", family, rng, [{}] * 4, **MEASURED)
    state = page("kl_measured").start(fleet, theta)
    ten = torch.full((4,), 10.0, dtype=torch.float64)
    state = state._replace(crossed=90 * torch.tensor([1, 1, -1, 0]).double(), squared=10 * ten, count=ten)
    new, after, metrics = updated(fleet, theta, rollout, "kl_measured", state)
    torch.testing.assert_close(metrics["beta"], torch.tensor([3, 3, 0.1 * 10**0.5, 0.1 * 10**0.5]).double())
    assert all(torch.equal(a, b) for a, b in zip(after[1:], state[1:]))
    fixed = random_fleet("kl_fixed", family, rng, [{"beta": beta} for beta in metrics["beta"].tolist()], **MEASURED)[0]
    fixed.policy = fleet.policy
    torch.testing.assert_close(new, updated(fixed, theta, rollout, "kl_fixed")[0], rtol=0, atol=1e-12)
    larger = Rollout(rollout.batch._replace(advantage=7 * rollout.batch.advantage), rollout.order)
    betas = [updated(fleet, theta, made, "kl_measured")[2]["beta"] for made in (rollout, larger)]
    torch.testing.assert_close(betas[1], 7 * betas[0])


def slow_weights(advantage, bound):
    """V-MPO's temperature and weights of one batch, by SciPy's minimum of the dual."""
    top = np.sort(advantage)[len(advantage) // 2 :]

    def dual(log_eta):
        eta = math.exp(log_eta)
        return eta * bound + eta * (scipy.special.logsumexp(top / eta) - math.log(len(top)))

    options = {"xatol": 1e-10}
    eta = math.exp(scipy.optimize.minimize_scalar(dual, bounds=(-10, 20), method="bounded", options=options).x)
    weights = np.where(advantage >= top.min(), np.exp(advantage / eta - (top / eta).max()), 0)
    return eta, weights / weights.sum()


@families
def test_first_update_of_vmpo_is_the_slow_loop_with_the_temperature_that_minimises_the_dual(family, rng):
    numbers = [{"temperature_bound": bound, "beta": beta} for bound, beta in ((0.05, 0.7), (1.0, 3.0))]
    fleet, theta, rollout = random_fleet("vmpo", family, rng, numbers, learning_rate=0.01)
    new, state, metrics = updated(fleet, theta, rollout, "vmpo")
    for run, number in enumerate(numbers):
        batch = one(rollout.batch, run)
        eta, weights = slow_weights(batch.advantage.numpy(), number["temperature_bound"])
        assert metrics["temperature"][run].item() == pytest.approx(eta, rel=1e-4)
        parameter = torch.nn.Parameter(theta[run].clone())
        adam = torch.optim.Adam([parameter], 0.01, eps=1e-5)
        for some in rollout.order[run].reshape(-1, 8):
            minibatch = Batch(*(field[some] for field in batch))
            ratio, kl, _, _ = slow_terms(fleet.policy, parameter, minibatch)
            log_prob = ratio.log() + minibatch.log_prob
            adam.zero_grad()
            (-32 * (torch.from_numpy(weights)[some] * log_prob).mean() + number["beta"] * kl.mean()).backward()
            adam.step()
        torch.testing.assert_close(new[run], parameter.detach(), rtol=0, atol=1e-5)
        relative = slow_kl(fleet, new[run], rollout, run) / 0.01
        moved = math.log(number["beta"]) + 0.1 * (relative - 1)
        assert state.log2_beta[run].item() * math.log(2) == pytest.approx(moved.item(), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vmpos_weights_are_free_of_the_advantages_unit_and_bounded_where_they_can_be(dtype, rng):
    made = page("vmpo")
    advantage = torch.randn(4, 50, generator=rng, dtype=torch.float64).to(dtype)
    advantage[3] = 0
    settings = SimpleNamespace(temperature_bound=torch.tensor([0.01, 0.3, 100.0, 0.1]), top_share=torch.full((4,), 0.5))
    psi, eta = made.weigh(advantage, settings)
    again, larger = made.weigh(7 * advantage + 3, settings)
    torch.testing.assert_close(again[[0, 1, 3]], psi[[0, 1, 3]], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(larger[:2], 7 * eta[:2], rtol=1e-3, atol=0)
    kl = torch.special.xlogy(psi, psi * 25).sum(-1)
    torch.testing.assert_close(kl[:2], settings.temperature_bound[:2].to(dtype), rtol=1e-3, atol=0)
    assert ((psi > 0).sum(-1)[:2] == 25).all() and (psi[0] > 0).equal(advantage[0] > advantage[0].median())
    assert psi[2].max() == 1  # no temperature is cold enough for this bound: the best action alone
    assert (psi[3] == 1 / 50).all()  # nothing to tell apart


PROJECTION = {"mean_bound": 2e-4, "std_bound": 1e-5}


def solved(objective, bounded, start, bound):
    """x that minimises the objective where bounded(x) <= bound, by SciPy."""
    constraint = {"type": "ineq", "fun": lambda x: (bound - bounded(x)) / bound}
    options = {"ftol": 1e-14, "maxiter": 500}
    return scipy.optimize.minimize(objective, start, constraints=[constraint], options=options, method="SLSQP").x


def variances(p, q):
    """KL of two zero-mean Gaussians with these variances."""
    return 0.5 * (p / q - 1 - np.log(p / q)).sum()


@pytest.mark.parametrize("scale", [0.003, 0.1, 1.0, 2.0])
def test_projection_is_the_nearest_gaussian_within_the_bounds(scale, rng):
    """Nearest and bounded in the same two distances: the mean's with the old std, and KL(. || .) of the stds."""
    mean, old_mean, log_std, old_log_std = scale * torch.randn(4, 3, generator=rng, dtype=torch.float64)
    bound, old_std = torch.tensor(0.01, dtype=torch.float64), old_log_std.exp().numpy()
    made = page("projection").project_mean(mean[None], old_mean[None], old_log_std[None], bound)[0]

    def distance(x, center):
        return 0.5 * (((x - center.numpy()) / old_std) ** 2).sum()

    x = solved(lambda x: distance(x, mean), lambda x: distance(x, old_mean), old_mean.numpy(), 0.01)
    np.testing.assert_allclose(made, x, atol=1e-5)
    made = page("projection").project_std(log_std, old_log_std, bound)
    new, old = (2 * log_std).exp().numpy(), (2 * old_log_std).exp().numpy()
    of_new, of_old = (lambda x: variances(np.exp(2 * x), new)), (lambda x: variances(np.exp(2 * x), old))
    np.testing.assert_allclose(made, solved(of_new, of_old, old_log_std.numpy(), 0.01), atol=1e-4)
    if scale == 0.003:
        assert torch.equal(made, log_std)  # within the bound already: untouched, to the bit
    else:
        assert variances((2 * made).exp().numpy(), old) == pytest.approx(0.01, rel=1e-5)


def test_projection_leaves_a_policy_within_its_bounds_untouched(rng):
    """To the bit; and an update with wide bounds is unpenalised."""
    mean, old_mean, log_std = torch.randn(3, 5, 2, generator=rng, dtype=torch.float64)
    wide = torch.tensor(1e3, dtype=torch.float64)
    assert torch.equal(page("projection").project_mean(mean, old_mean, log_std, wide), mean)
    assert torch.equal(page("projection").project_std(log_std[0], log_std[1], wide), log_std[0])
    family, bounds = Gaussian(2), {"mean_bound": 1e30, "std_bound": 1e30}
    fleet, theta, rollout = random_fleet("projection", family, rng, [bounds], learning_rate=0.003)
    plain = random_fleet("unpenalised", family, rng, learning_rate=0.003)[0]
    plain.policy = fleet.policy
    expected = updated(plain, theta, rollout, "unpenalised")[0]
    torch.testing.assert_close(updated(fleet, theta, rollout, "projection")[0], expected, rtol=0, atol=1e-12)


def test_projections_derivatives_are_finite_differences(rng):
    """Through the mean's closed form and through the root that the std's needs, within the bounds and beyond."""
    mean, old_mean, old_log_std = torch.randn(3, 6, 2, generator=rng, dtype=torch.float64)
    for bound in (0.01, 1.0, 1e3):
        bound = torch.tensor(bound, dtype=torch.float64)
        log_std = old_log_std[0] + torch.tensor([0.3, -1.0], dtype=torch.float64)
        of_mean = mean.requires_grad_(), old_mean, old_log_std, bound
        assert torch.autograd.gradcheck(page("projection").project_mean, of_mean)
        assert torch.autograd.gradcheck(
            page("projection").project_std, (log_std.requires_grad_(), old_log_std[0], bound)
        )


def slow_projection(phi, old, mean_bound, std_bound):
    """One state's projected mean and std, NumPy, eta by SciPy."""
    (mean, log_std), (old_mean, old_log_std) = np.split(phi, 2), np.split(old, 2)
    m = 0.5 * (((mean - old_mean) / np.exp(old_log_std)) ** 2).sum()
    w = math.sqrt(m / mean_bound) - 1 if m > mean_bound else 0
    new, before = np.exp(2 * log_std), np.exp(2 * old_log_std)

    def between(eta):
        return (1 + eta) / (1 / new + eta / before)

    eta = 0.0
    if variances(new, before) > std_bound:
        eta = scipy.optimize.brentq(lambda eta: variances(between(eta), before) - std_bound, 0, 1e6, xtol=1e-14)
    return (mean + w * old_mean) / (1 + w), np.sqrt(between(eta)), m > mean_bound, eta > 0


def test_first_update_of_projection_is_the_slow_loop_with_numerical_derivatives(rng):
    """SGD down differences of a loss summed sample by sample, whose projections are SciPy's."""
    numbers, rate, seen = [PROJECTION | {"coefficient": c} for c in (8.0, 0.5)], 0.01, set()
    changes = {"optimizer": "sgd", "learning_rate": rate}
    fleet, theta, rollout = random_fleet("projection", Gaussian(2), rng, numbers, **changes)
    new, _, _ = updated(fleet, theta, rollout, "projection")
    for run in range(2):
        batch, parameter = one(rollout.batch, run), theta[run].clone()

        def slow_loss(parameter, targets, some, batch=batch, coefficient=numbers[run]["coefficient"]):
            phi, total = fleet.policy(parameter, batch.observation[some]).numpy(), 0.0
            for n, i in enumerate(some):
                mean, std, *_ = slow_projection(phi[n], batch.old[i].numpy(), 2e-4, 1e-5)
                log_prob = scipy.stats.norm.logpdf(batch.action[i].numpy(), mean, std).sum()
                total -= math.exp(log_prob - batch.log_prob[i]) * batch.advantage[i].item()
                target_mean, target_std = targets[n][:2]
                away = 0.5 * (((phi[n][:2] - target_mean) / target_std) ** 2).sum()
                total += coefficient * away
            return total / len(some)

        for some in rollout.order[run].reshape(-1, 8):
            phi = fleet.policy(parameter, batch.observation[some]).numpy()
            targets = [slow_projection(phi[n], batch.old[i].numpy(), 2e-4, 1e-5) for n, i in enumerate(some)]
            seen |= {target[2:] for target in targets}
            gradient = torch.zeros_like(parameter)
            for p in range(len(parameter)):
                step = 1e-6 * (torch.arange(len(parameter)) == p)
                gradient[p] = (
                    slow_loss(parameter + step, targets, some) - slow_loss(parameter - step, targets, some)
                ) / 2e-6
            parameter = parameter - rate * gradient
        phi = fleet.policy(parameter, batch.observation[:1]).numpy()[0]
        parameter[-2:] = torch.from_numpy(np.log(slow_projection(phi, batch.old[0].numpy(), 2e-4, 1e-5)[1]))
        torch.testing.assert_close(new[run], parameter, rtol=0, atol=1e-7)
    assert seen == {(False, False), (True, False), (False, True), (True, True)}


@families
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_first_update_of_lr_adaptive_is_the_slow_loop_whose_rate_moves_before_every_step(optimizer, family, rng):
    numbers = [{"kl_target": 1e-4, "rate_max": 0.02}, {"kl_target": 1e-5}]
    fleet, theta, rollout = random_fleet("lr_adaptive", family, rng, numbers, optimizer=optimizer, learning_rate=0.01)
    new, state, metrics = updated(fleet, theta, rollout, "lr_adaptive")
    for run in range(2):
        parameter, rate, seen = torch.nn.Parameter(theta[run].clone()), 0.01, set()
        made = (
            torch.optim.SGD([parameter], rate) if optimizer == "sgd" else torch.optim.Adam([parameter], rate, eps=1e-5)
        )
        target, highest = numbers[run]["kl_target"], numbers[run].get("rate_max", 0.01)
        for step, some in enumerate(rollout.order[run].reshape(-1, 8)):
            terms = slow_terms(fleet.policy, parameter, Batch(*(field[some] for field in one(rollout.batch, run))))
            kl = terms[1].mean().item()
            factor = 1 if step == 0 else 1 / 1.5 if kl > 2 * target else 1.5 if kl < target / 2 else 1
            rate = min(max(factor * rate, 1e-5), highest)
            seen.add(factor)
            made.param_groups[0]["lr"] = rate
            made.zero_grad()
            unpenalised(*terms).backward()
            made.step()
        assert len(seen) > 1
        torch.testing.assert_close(new[run], parameter.detach(), rtol=0, atol=1e-8)
        assert metrics["learning_rate"][run].item() == pytest.approx(rate)
    small = state._replace(rate=torch.full_like(state.rate, 1e-5))
    again = updated(fleet, theta, rollout, "lr_adaptive", small)[2]["learning_rate"]
    assert (again <= 1e-5 * 1.5**8 * (1 + 1e-12)).all()  # it goes on from the state's rate, by 1.5 per step at most


@families
@pytest.mark.parametrize("statistic", ["max", "mean"])
def test_first_update_of_fixpo_is_the_slow_loop_with_its_fixup(statistic, family, rng):
    numbers = {"kl_bound": 3e-4, "statistic": statistic, "fixup_size": 16, "fixup_passes": 3, "beta_rate": 0.1}
    fleet, theta, rollout = random_fleet("fixpo", family, rng, [numbers, numbers], learning_rate=0.003)
    new, state, metrics = updated(fleet, theta, rollout, "fixpo")
    assert metrics["fixup_steps"].sum() > 0
    for run in range(2):
        parameter, beta = torch.nn.Parameter(theta[run].clone()), torch.nn.Parameter(torch.ones(()).double())
        adam = torch.optim.Adam([parameter], 0.003, eps=1e-5)
        beta_adam = torch.optim.Adam([beta], 0.1, eps=1e-5)
        steps = 0

        def terms(some, parameter=parameter, run=run):
            return slow_terms(fleet.policy, parameter, Batch(*(field[some] for field in one(rollout.batch, run))))

        def bounded(kl):
            return max(kl.tolist()) if statistic == "max" else sum(kl.tolist()) / len(kl)

        def step(loss, some, parameter=parameter, beta=beta, adam=adam, beta_adam=beta_adam, terms=terms):
            ratio, kl, _, advantage = terms(some)
            adam.zero_grad()
            loss(ratio, kl, None, advantage, beta.item()).backward()
            adam.step()
            beta.grad = torch.tensor(3e-4 - 2 * bounded(kl), dtype=torch.float64)
            beta_adam.step()
            beta.data.clamp_(min=0)

        for epoch in rollout.order[run]:
            for some in epoch.split(8):
                step(lambda r, kl, _, a, beta: penalised(beta)(r, kl, _, a), some)
            for _ in range(3):
                far = False
                for some in epoch.split(16):
                    if bounded(terms(some)[1]) > 3e-4:
                        far, steps = True, steps + 1
                        step(lambda r, kl, _, a, beta: beta * kl.mean(), some)
                if not far:
                    break
        torch.testing.assert_close(new[run], parameter.detach(), rtol=0, atol=1e-8)
        assert metrics["fixup_steps"][run] == steps and metrics["accepted"][run] == (not far)
        assert state.beta[run].item() == pytest.approx(beta.item())


@families
def test_fixpo_leaves_no_state_beyond_its_bound(family, rng):
    numbers = {"kl_bound": 0.01, "fixup_size": 8, "fixup_passes": 500, "beta_rate": 0.1}
    fleet, theta, rollout = random_fleet("fixpo", family, rng, [numbers], learning_rate=0.01)
    new, _, metrics = updated(fleet, theta, rollout, "fixpo")
    assert metrics["accepted"].all() and metrics["fixup_steps"] > 0
    assert slow_terms(fleet.policy, new[0], one(rollout.batch))[1].max() <= 0.01
    free = random_fleet("kl_fixed", family, rng, [{"beta": 1.0}], learning_rate=0.01)[0]
    free.policy = fleet.policy
    without = updated(free, theta, rollout, "kl_fixed")[0]
    assert slow_terms(fleet.policy, without[0], one(rollout.batch))[1].max() > 0.01


@families
def test_fixpo_without_a_bound_and_with_a_constant_beta_is_the_fixed_penalty(family, rng):
    numbers = {"kl_bound": 1e30, "beta_rate": 0.0, "beta": 0.7}
    fleet, theta, rollout = random_fleet("fixpo", family, rng, [numbers])
    fixed = random_fleet("kl_fixed", family, rng, [{"beta": 0.7}])[0]
    fixed.policy = fleet.policy
    expected = updated(fixed, theta, rollout, "kl_fixed")[0]
    torch.testing.assert_close(updated(fleet, theta, rollout, "fixpo")[0], expected, rtol=0, atol=1e-12)


@families
def test_lr_adaptive_without_a_reachable_target_or_without_room_is_unpenalised(family, rng):
    plain, theta, rollout = random_fleet("unpenalised", family, rng, learning_rate=0.003)
    expected = updated(plain, theta, rollout, "unpenalised")[0]
    for numbers in ({"kl_target": 1e30, "rate_max": 0.003}, {"rate_min": 0.003, "rate_max": 0.003}):
        fleet = random_fleet("lr_adaptive", family, rng, [numbers], learning_rate=0.003)[0]
        fleet.policy = plain.policy
        torch.testing.assert_close(updated(fleet, theta, rollout, "lr_adaptive")[0], expected, rtol=0, atol=1e-12)


@families
def test_the_ratio_penalty_turns_the_gradient_back_where_clipping_stops_it(family, rng):
    """A sample's loss is lowest at ratio 1 + sign(A) epsilon."""
    fleet, theta, rollout = random_fleet("simple_policy_optimization", family, rng)
    batch = one(rollout.batch)

    def loss(log_ratio, sample):
        """Of one sample; a ratio is reached by moving the old log-probability, since the loss sees ratios alone."""
        log_prob = fleet.policy.family.log_prob(fleet.policy(theta[0], sample.observation), sample.action)
        moved = sample._replace(log_prob=log_prob - log_ratio)
        return page("simple_policy_optimization").loss(fleet.policy, theta[0], moved, 0.2)

    for n in range(4):
        sample = Batch(*(field[n : n + 1] for field in batch))
        best = 1 + 0.2 * sample.advantage.sign().item()
        for factor, sign in ((0.99, -1), (1.01, 1)):
            ratio = torch.tensor(factor * best, dtype=torch.float64)
            assert torch.func.grad(loss)(ratio.log(), sample).sign() == sign


@families
def test_both_directions_of_the_kl_agree_for_small_steps_and_not_for_large_ones(family, rng):
    for rate, near in ((1e-5, True), (0.05, False)):
        made = {}
        for algorithm in ("kl_fixed", "kl_reverse"):
            rng.manual_seed(1)
            fleet, theta, rollout = random_fleet(algorithm, family, rng, [{"beta": 3.0}], learning_rate=rate)
            made[algorithm] = updated(fleet, theta, rollout, algorithm)[0] - theta
        difference = (made["kl_fixed"] - made["kl_reverse"]).norm() / made["kl_fixed"].norm()
        assert (difference < 1e-3) == near


@families
def test_first_update_of_kl_theory_is_the_slow_loop_with_the_theorys_beta(family, rng):
    fleet, theta, rollout = random_fleet("kl_theory", family, rng, [{}, {}], gamma=0.9)
    new, _, metrics = updated(fleet, theta, rollout, "kl_theory")
    for run in range(2):
        beta = 4 * max(abs(a) for a in rollout.batch.advantage[run].tolist()) * 0.9 / (1 - 0.9)
        assert metrics["beta"][run].item() == pytest.approx(beta)
        slow = slow_descent(fleet, theta, rollout, run, penalised(beta))
        torch.testing.assert_close(new[run], slow, rtol=0, atol=1e-8)


def test_kl_theory_refuses_gamma_one(rng):
    with pytest.raises(ValueError, match="gamma=1"):
        random_update = random_fleet("kl_theory", FAMILIES[0], rng, gamma=1.0)
        updated(*random_update, "kl_theory")


@families
@pytest.mark.parametrize("stride", [1, 2])
def test_first_update_of_natural_gradient_is_the_dense_solve(stride, family, rng):
    numbers = [{"beta": beta, "damping": 0.1, "cg_iterations": 60, "fisher_stride": stride} for beta in (0.5, 20.0)]
    fleet, theta, rollout = random_fleet("natural_gradient", family, rng, numbers)
    new, _, metrics = updated(fleet, theta, rollout, "natural_gradient")
    for run, beta in enumerate((0.5, 20.0)):
        batch = one(rollout.batch, run)
        fisher = dense_fisher(fleet.policy, theta[run], batch.observation[::stride])
        fisher = fisher + 0.1 * torch.eye(len(fisher), dtype=torch.float64)
        gradient = policy_gradient(fleet.policy, theta[run], batch)
        s = torch.linalg.solve(fisher, gradient)
        torch.testing.assert_close(new[run], theta[run] + s / beta, rtol=0, atol=1e-8)
        implied = math.sqrt(gradient @ s / (2 * 0.01))
        assert metrics["implied_beta"][run].item() == pytest.approx(implied, rel=1e-8)


@families
def test_trpo_without_line_search_takes_the_full_step_of_the_dense_solve(family, rng):
    numbers = [{"max_kl": delta, "line_search": False, "cg_iterations": 60} for delta in (0.01, 1.0)]
    fleet, theta, rollout = random_fleet("trpo", family, rng, numbers)
    new, _, metrics = updated(fleet, theta, rollout, "trpo")
    assert "accepted" not in metrics
    for run, delta in enumerate((0.01, 1.0)):
        batch = one(rollout.batch, run)
        fisher = dense_fisher(fleet.policy, theta[run], batch.observation)
        fisher = fisher + 0.1 * torch.eye(len(fisher), dtype=torch.float64)
        gradient = policy_gradient(fleet.policy, theta[run], batch)
        s = torch.linalg.solve(fisher, gradient)
        step = s * torch.sqrt(2 * delta / (s @ fisher @ s))
        torch.testing.assert_close(new[run], theta[run] + step, rtol=0, atol=1e-8)


# Identities


@pytest.mark.parametrize("algorithm, family", suited_families([name for name in SGD_ARMS if name != "vmpo"]))
def test_every_sgd_arm_takes_the_policy_gradient_as_its_first_step(algorithm, family, rng):
    """At the old policy the KL has no slope and nothing is clipped; so MDPO with one full-batch step, too."""
    fleet, theta, rollout = random_fleet(
        algorithm, family, rng, epochs=1, minibatch_size=32, optimizer="sgd", learning_rate=0.1
    )
    new, _, _ = updated(fleet, theta, rollout, algorithm)
    expected = theta[0] + 0.1 * policy_gradient(fleet.policy, theta[0], one(rollout.batch))
    torch.testing.assert_close(new[0], expected, rtol=0, atol=1e-12)


@families
@pytest.mark.parametrize("normalization", ["none", "minibatch"])
def test_kl_per_sample_has_the_gradient_of_clip_on_every_minibatch(normalization, family, rng):
    numbers = [{"clip_epsilon": 0.02}, {"clip_epsilon": 0.1}]
    changes = {"advantage_normalization": normalization, "learning_rate": 0.02, "optimizer": "sgd"}
    fleet, theta, rollout = random_fleet("kl_per_sample", family, rng, numbers, **changes)
    epsilon = fleet.settings.clip_epsilon
    for order in rollout.order.repeat(1, 10, 1).split(8, dim=-1):  # SGD steps are gradients
        for minibatch in order.split(1, dim=1):
            one_step = (theta, Adam.start(theta), rollout.batch, minibatch, epsilon)
            theirs, _ = epochs(fleet, clip.loss, *one_step)
            theta, _ = epochs(fleet, kl_per_sample.loss, *one_step)
            torch.testing.assert_close(theta, theirs, rtol=0, atol=1e-14)
    share = updated(fleet, theta, rollout, "kl_per_sample")[2]["clipped_share"]
    assert (share > 0).all()  # something was killed


@families
@pytest.mark.parametrize("algorithm", ["clip", "kl_per_sample"])
def test_clipped_share_counts_the_samples_without_a_gradient(algorithm, family, rng):
    fleet, theta, rollout = random_fleet(
        algorithm, family, rng, [{"clip_epsilon": 0.05}, {"clip_epsilon": 0.2}], epochs=20, learning_rate=0.01
    )
    new, _, metrics = updated(fleet, theta, rollout, algorithm)
    for run, epsilon in enumerate((0.05, 0.2)):
        batch, dead = one(rollout.batch, run), 0
        for n in range(32):
            parameter = new[run].clone().requires_grad_()
            clip.loss(fleet.policy, parameter, Batch(*(f[n : n + 1] for f in batch)), epsilon).backward()
            dead += int((parameter.grad == 0).all())
        assert metrics["clipped_share"][run].item() == dead / 32
        assert 0 < dead < 32


@families
def test_natural_gradient_with_the_implied_beta_is_trpos_step_before_the_line_search(family, rng):
    fleet, theta, rollout = random_fleet("trpo", family, rng, [{"line_search": False}] * 2)
    trpo, _, metrics = updated(fleet, theta, rollout, "trpo")
    numbers = [{"beta": beta} for beta in metrics["implied_beta"].tolist()]
    rng.manual_seed(0)
    other, same_theta, same_rollout = random_fleet("natural_gradient", family, rng, numbers)
    torch.testing.assert_close(theta, same_theta)
    new, _, _ = updated(other, same_theta, same_rollout, "natural_gradient")
    torch.testing.assert_close(new, trpo, rtol=0, atol=1e-12)


@families
def test_natural_gradient_with_both_safeguards_is_trpo(family, rng):
    fleet, theta, rollout = random_fleet("trpo", family, rng, [{"max_kl": 0.01}, {"max_kl": 0.5}])
    trpo, _, trpo_metrics = updated(fleet, theta, rollout, "trpo")
    numbers = [{"max_kl": delta, "rescale": True, "line_search": True} for delta in (0.01, 0.5)]
    fleet = random_fleet("natural_gradient", family, rng, numbers)[0]
    new, _, metrics = updated(fleet, theta, rollout, "natural_gradient")
    torch.testing.assert_close(new, trpo, rtol=0, atol=0)
    torch.testing.assert_close(metrics["beta"], trpo_metrics["implied_beta"])
    assert {name: metrics[name].tolist() for name in trpo_metrics} == {k: v.tolist() for k, v in trpo_metrics.items()}


@families
def test_kl_is_delta_times_lambda_over_beta_squared_for_small_steps(family, rng):
    """Runs alike but for their beta: 10, 100 and 1000 times the implied one."""
    factors = torch.tensor([10.0, 100.0, 1000.0], dtype=torch.float64)
    numbers = [{"damping": 0.0, "cg_iterations": 60, "beta": 1.0}] * 3
    fleet, theta, rollout = random_fleet("natural_gradient", family, rng, numbers)
    theta, rollout = theta[:1].expand_as(theta), alike(rollout)
    implied = updated(fleet, theta, rollout, "natural_gradient")[2]["implied_beta"]
    fleet.settings.beta = factors * implied
    new, _, _ = updated(fleet, theta, rollout, "natural_gradient")
    kl = torch.stack([slow_kl(fleet, new[run], rollout, run) for run in range(3)])
    off = (kl / (0.01 / factors**2) - 1).abs()
    assert off[2] < 0.003 and off[1] < off[0] and off[2] < off[1]


def alike(rollout):
    """The first run's, of every run."""
    batch, order = tree_map(lambda x: x[:1].expand_as(x), (tuple(rollout.batch), rollout.order))
    return Rollout(Batch(*batch), order)


# Rules that move beta


RULES = {  # {KL over its target: factor of beta}
    "ppo": {0: 0.5, 0.66: 0.5, 0.67: 1, 1: 1, 1.5: 1, 1.51: 2, 1e8: 2, math.inf: 2, math.nan: 1},
    "modular_rl": {0: 1 / 1.5, 0.69: 1 / 1.5, 0.71: 1, 1.29: 1, 1.31: 1.5, math.nan: 1},
    "log_space": {0: 0.98, 0.9: 0.99, 1: 1, 1.1: 1.01, 50: 1.02, math.nan: 1},
}
rules = pytest.mark.parametrize("rule", RULES)


@rules
def test_a_rule_moves_beta_by_the_kl_over_its_target(rule):
    kl, factor = (torch.tensor(list(part), dtype=torch.float64) for part in (RULES[rule], RULES[rule].values()))
    before = torch.linspace(-3, 3, len(kl), dtype=torch.float64)
    after = kl_adaptive.adapt(before, kl, torch.ones_like(kl), rule)
    torch.testing.assert_close(after.exp2(), factor * before.exp2())


@rules
def test_beta_neither_underflows_nor_overflows(rule):
    """An unbounded factor once reached infinity (ray-project/ray#18492)."""
    kl, log2_beta = torch.tensor([0.0, math.inf]), torch.zeros(2)
    for _ in range(3000):
        log2_beta = kl_adaptive.adapt(log2_beta, kl, torch.ones(2), rule)
    assert log2_beta.tolist() == [-LIMIT, LIMIT]
    beta = log2_beta.exp2()
    assert (beta > 0).all() and beta.square().isfinite().all()
    back = kl_adaptive.adapt(log2_beta, torch.tensor([1e6, 0.0]), torch.ones(2), rule)
    assert back[0] > -LIMIT and back[1] < LIMIT  # and it finds back at once


@families
def test_beta_moves_once_per_update_by_the_kl_of_the_full_batch(family, rng):
    """A rule applied in every minibatch moves beta hundreds of times (torchrl adapts inside its forward pass)."""
    numbers = [{"beta": 2.0, "kl_target": target} for target in (1e-9, 1e3)]
    fleet, theta, rollout = random_fleet("kl_dual", family, rng, numbers)
    new, state, metrics = updated(fleet, theta, rollout, "kl_dual")
    assert metrics["beta"].tolist() == [2, 2]
    kl = slow_kl(fleet, new[1], rollout, 1).item()
    assert state.log2_beta[1].exp2().item() == pytest.approx(2 * math.exp(0.1 * (kl / 1e3 - 1)), rel=1e-8)
    assert state.log2_beta[0] == LIMIT  # a large excess goes to the bound, not to infinity


def test_kl_scheduled_anneals_from_beta_to_the_number_of_updates_times_beta(rng):
    fleet, theta, rollout = random_fleet("kl_scheduled", FAMILIES[0], rng, [{"beta": 0.5}], total_steps=4 * 32)
    state, betas = None, []
    for _ in range(4):
        theta, state, metrics = updated(fleet, theta, rollout, "kl_scheduled", state)
        betas.append(metrics["beta"].item())
    assert betas == pytest.approx([0.5, 0.5 / 0.75, 0.5 / 0.5, 0.5 / 0.25])


# Masks


@families
def test_kl_stop_holds_parameters_and_adam_of_stopped_runs_only(family, rng):
    targets = [0.0, 0.02, 1e9]
    numbers = [{"kl_target": 1e-12 if t == 0 else t} for t in targets]
    fleet, theta, rollout = random_fleet("kl_stop", family, rng, numbers, epochs=12, learning_rate=0.01)
    new, adam, metrics = updated(fleet, theta, rollout, "kl_stop")
    run_epochs = [int(x) for x in metrics["epochs_run"]]
    assert run_epochs[0] == 1 < run_epochs[1] < run_epochs[2] == 12
    assert adam.count.tolist() == [4 * n for n in run_epochs]
    for run, n in enumerate(run_epochs):
        short = Rollout(rollout.batch, rollout.order[:, :n])
        slow = slow_descent(fleet, theta, short, run, unpenalised)
        torch.testing.assert_close(new[run], slow, rtol=0, atol=1e-8)
        if 1 < n < 12:  # the first epoch that exceeds the target is the last one run
            before = slow_descent(fleet, theta, Rollout(rollout.batch, rollout.order[:, : n - 1]), run, unpenalised)
            assert slow_kl(fleet, before, rollout, run) <= targets[run] < slow_kl(fleet, slow, rollout, run)


BISECT = {"epochs": 6, "learning_rate": 0.01}


@families
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_kl_bisect_ends_on_the_constraint_by_the_inner_loop_of_kl_fixed(optimizer, family, rng):
    betas = (0.3, 2.0, 3.0)
    fleet, theta, rollout = random_fleet("kl_bisect", family, rng, [{}] * 3, **BISECT, optimizer=optimizer)
    slow = [slow_descent(fleet, theta, rollout, run, penalised(beta)) for run, beta in enumerate(betas)]
    targets = [slow_kl(fleet, new, rollout, run).item() for run, new in enumerate(slow)]
    fleet.settings.kl_target = torch.tensor(targets, dtype=torch.float64)
    new, state, metrics = updated(fleet, theta, rollout, "kl_bisect")
    assert metrics["accepted"].all() and (metrics["tries"] <= 10).all()
    for run, target in enumerate(targets):
        assert slow_kl(fleet, new[run], rollout, run).item() == pytest.approx(target, rel=0.01)
        slow = slow_descent(fleet, theta, rollout, run, penalised(metrics["beta"][run].item()))
        torch.testing.assert_close(new[run], slow, rtol=0, atol=1e-7)
    assert metrics["beta"].tolist() == pytest.approx(betas, rel=0.4)
    assert (state.adam.count == (0 if optimizer == "sgd" else 6 * 4)).all()  # of one try, not of all
    again = updated(fleet, theta, rollout, "kl_bisect", state._replace(adam=Adam.start(theta)))
    assert (again[2]["tries"] == 1).all()  # the search starts at the last beta
    torch.testing.assert_close(again[0], new, rtol=0, atol=0)


def test_conjugate_gradients_do_not_underflow_once_they_have_converged():
    """In float32 the square of a vanishing residual, still positive, met a product that was 0: an infinite step."""
    diagonal = torch.tensor([[0.1, 0.35, 1.0, 5.0]])
    b = torch.tensor([[0.1, 0.2, 0.05, 0.02]])
    for iterations in range(1, 40):
        x, residual = conjugate_gradient(lambda v: diagonal * v, b, iterations)
        assert x.isfinite().all() and residual.isfinite().all()
    torch.testing.assert_close(x, b / diagonal)


@pytest.mark.parametrize("start", [-40.0, -3.0, 0.0, 7.0, 12.0, 40.0])
def test_bisection_finds_the_root_of_a_falling_function_that_rises_again(start):
    """As the KL does: flat without a penalty, then about beta^-2, then up, where large penalties are unstable."""

    def function(x):
        return 1 / (scale + 0.2 * 4**x) + 1e-9 * 2 ** (2 * x), x.clone()

    scale = torch.tensor([0.01, 0.1, 0.5, 2.0], dtype=torch.float64)  # at the last the value never reaches 1
    x = torch.full_like(scale, start)
    root = bisect(function, x, x, torch.full_like(x, 0.01), 30, limit=40.0)
    assert root.solved.tolist() == [True, True, True, False]
    torch.testing.assert_close(function(root.x)[0][:3], torch.ones(3).double(), rtol=0, atol=0.01)
    assert (root.x[:3] < 10).all()  # on the falling side
    assert root.x[3] == -40
    assert torch.equal(root.made, root.x)
    assert (root.tries <= 22).all()


def test_bisection_keeps_the_nearest_try_where_there_is_no_root():
    def function(x):
        return 2 + (x - 3).square(), x.clone()

    x = torch.zeros(1)
    root = bisect(function, x, x, torch.full_like(x, 0.01), 30, limit=40.0)
    assert not root.solved and root.x == 3 and root.made == 3 and root.tries < 30


def test_kl_bisect_together_is_alone(rng):
    numbers = [{"kl_target": target, "beta": beta} for target, beta in ((0.003, 1.0), (0.01, 300.0), (10.0, 1.0))]
    fleet, theta, rollout = random_fleet("kl_bisect", FAMILIES[0], rng, numbers, **BISECT)
    together, _, metrics = updated(fleet, theta, rollout, "kl_bisect")
    for run in range(3):
        alone_fleet = random_fleet("kl_bisect", FAMILIES[0], rng, numbers[run : run + 1], **BISECT)[0]
        alone_fleet.policy = fleet.policy
        alone_rollout = Rollout(Batch(*(f[run : run + 1] for f in rollout.batch)), rollout.order[run : run + 1])
        alone, _, alone_metrics = updated(alone_fleet, theta[run : run + 1], alone_rollout, "kl_bisect")
        torch.testing.assert_close(together[run], alone[0], rtol=0, atol=1e-9)
        assert metrics["tries"][run] == alone_metrics["tries"][0]


@families
def test_kl_bisect_says_so_where_the_optimizer_and_not_the_penalty_limits_the_step(family, rng):
    numbers = [{"kl_target": 10.0}, {"kl_target": 0.005}]
    fleet, theta, rollout = random_fleet("kl_bisect", family, rng, numbers, **BISECT)
    new, state, metrics = updated(fleet, theta, rollout, "kl_bisect")
    assert metrics["accepted"].tolist() == [False, True]
    assert metrics["beta"][0].item() == 2.0**-40
    slow = slow_descent(fleet, theta, rollout, 0, unpenalised)
    torch.testing.assert_close(new[0], slow, rtol=0, atol=1e-7)
    again = updated(fleet, theta, rollout, "kl_bisect", state)[2]
    assert again["tries"][0] == 1  # and knows at once in the next update


@pytest.mark.parametrize("algorithm", NAMES)
def test_a_broken_run_leaves_its_neighbours_bit_for_bit_unchanged(algorithm, rng):
    fleet, theta, rollout = random_fleet(algorithm, FAMILIES[0], rng, [{}, {}, {}], learning_rate=0.01)
    clean, _, _ = updated(fleet, theta, rollout, algorithm)
    advantage = rollout.batch.advantage.clone()
    advantage[1] = math.nan
    broken, _, metrics = updated(
        fleet, theta, Rollout(rollout.batch._replace(advantage=advantage), rollout.order), algorithm
    )
    assert torch.equal(broken[0], clean[0]) and torch.equal(broken[2], clean[2])
    if "accepted" in metrics:
        assert not metrics["accepted"][1]
        if algorithm != "fixpo":  # whose first step is taken before anything is tested; Trainer freezes what it broke
            assert torch.equal(broken[1], theta[1])  # rejected, not silently stepped (rllab#24, sb3-contrib#38)


def test_a_natural_gradient_too_long_is_shortened_and_both_kls_are_kept(rng):
    """A log that reports 0, or the rejected step's KL, hides what the line search did (sb3-contrib#240)."""
    numbers = [{"line_search": True, "damping": 0.0, "max_kl": delta, "beta": 0.1} for delta in (1.0, 1e-4)]
    fleet, theta, rollout = random_fleet("natural_gradient", FAMILIES[0], rng, numbers)
    new, _, metrics = updated(fleet, theta, rollout, "natural_gradient")
    for run, delta in enumerate((1.0, 1e-4)):
        kl = slow_kl(fleet, new[run], rollout, run).item()
        assert kl <= delta
        if metrics["backtracks"][run] > 0:
            assert metrics["kl_attempted"][run] > kl
    assert metrics["backtracks"].max() > 0


def test_no_gradient_means_no_step_and_nothing_broken(rng):
    """A zero gradient divides nothing by nothing, with a line search or without."""
    for line_search in (True, False):
        fleet, theta, rollout = random_fleet("trpo", FAMILIES[0], rng, [{"line_search": line_search}])
        batch = rollout.batch._replace(advantage=torch.zeros_like(rollout.batch.advantage))
        new, _, _ = updated(fleet, theta, Rollout(batch, rollout.order), "trpo")
        assert torch.equal(new, theta)


# Optimizer


@families
def test_a_reset_optimizer_makes_every_update_a_first_one(family, rng):
    kept, theta, rollout = random_fleet("kl_fixed", family, rng, learning_rate=0.01)
    reset = random_fleet("kl_fixed", family, rng, learning_rate=0.01, reset_optimizer=True)[0]
    reset.policy = kept.policy
    _, state, _ = updated(kept, theta, rollout, "kl_fixed")
    fresh, _, _ = updated(kept, theta, rollout, "kl_fixed")
    after_reset, after, _ = updated(reset, theta, rollout, "kl_fixed", state)
    after_kept, _, _ = updated(kept, theta, rollout, "kl_fixed", state)
    assert torch.equal(after_reset, fresh) and not torch.equal(after_kept, fresh)
    assert after.count.item() == 8


@pytest.mark.parametrize("algorithm", SGD_ARMS)
def test_every_sgd_arm_takes_the_optimizer_of_the_configuration(algorithm, rng):
    made = {}
    for optimizer in ("adam", "sgd"):
        rng.manual_seed(0)
        fleet, theta, rollout = random_fleet(algorithm, FAMILIES[0], rng, optimizer=optimizer)
        made[optimizer] = updated(fleet, theta, rollout, algorithm)[0] - theta
    assert made["adam"].norm() > 2 * made["sgd"].norm() > 0  # Adam does not know the gradient's scale
