"""The inner loop: Adam against torch.optim, minibatches against plain loops."""

import pytest
import torch
from reference import FAMILIES, families, one, random_fleet
from torch.func import grad

from study import value
from study.algorithm import kl_fixed
from study.policy import Network
from study.rollout import normalise
from study.sgd import Adam, adam_step, descend, minibatches, minimise
from study.value import Targets, explained_variance


def test_adam_is_torch_adam_with_ppos_epsilon(rng):
    theta = torch.randn(6, generator=rng, dtype=torch.float64)
    parameter = torch.nn.Parameter(theta.clone())
    theirs = torch.optim.Adam([parameter], lr=0.01, eps=1e-5)
    adam = Adam.start(theta)
    for scale in (1.0, 1e-6, 10.0, 1e-4, 1.0):  # small gradients: there epsilon matters
        gradient = scale * torch.randn(6, generator=rng, dtype=torch.float64)
        theta, adam = adam_step(theta, gradient, adam, torch.tensor(0.01, dtype=torch.float64))
        parameter.grad = gradient.clone()
        theirs.step()
        torch.testing.assert_close(theta, parameter.detach())
    assert adam.count == 5


def test_minibatches_show_every_sample_once_and_in_the_order_given(rng):
    runs, samples, size = 3, 12, 4
    batch = Targets(
        torch.arange(runs * samples * 2, dtype=torch.float64).reshape(runs, samples, 2),
        torch.arange(runs * samples, dtype=torch.float64).reshape(runs, samples),
    )
    order = torch.stack([torch.randperm(samples, generator=rng) for _ in range(runs)])
    made = Targets(*map(torch.stack, zip(*minibatches(batch, order, size))))
    assert made.observation.shape == (3, runs, size, 2) and made.value_target.shape == (3, runs, size)
    for run in range(runs):
        seen = torch.cat([made.value_target[m, run] for m in range(samples // size)])
        torch.testing.assert_close(seen, batch.value_target[run][order[run]])
        assert sorted(seen.tolist()) == batch.value_target[run].tolist()
        together = torch.cat([made.observation[m, run] for m in range(samples // size)])
        torch.testing.assert_close(together, batch.observation[run][order[run]])  # fields stay together


@families
def test_descend_normalises_each_minibatch_in_a_plain_loop_over_torch_adam(family, rng):
    numbers = [{"beta": 0.5}, {"beta": 4.0}]
    fleet, theta, rollout = random_fleet("kl_fixed", family, rng, numbers, advantage_normalization="minibatch")
    beta = fleet.settings.beta
    new, adam = descend(fleet, kl_fixed.loss, theta, Adam.start(theta), rollout, beta)
    for run in range(2):
        parameter = torch.nn.Parameter(theta[run].clone())
        optimiser = torch.optim.Adam([parameter], lr=fleet.learning_rate[run].item(), eps=1e-5)
        batch, steps = one(rollout.batch, run), 0
        for epoch in range(fleet.epochs):
            for start in range(0, 32, fleet.minibatch_size):
                some = rollout.order[run, epoch, start : start + fleet.minibatch_size]
                minibatch = type(batch)(*(field[some] for field in batch))
                a = minibatch.advantage
                minibatch = minibatch._replace(advantage=(a - a.mean()) / (a.std(correction=0) + 1e-8))
                optimiser.zero_grad()
                kl_fixed.loss(fleet.policy, parameter, minibatch, beta[run]).backward()
                optimiser.step()
                steps += 1
        torch.testing.assert_close(new[run], parameter.detach())
        assert adam.count[run] == steps == 8


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_bounded_gradient_is_torchs_clip_grad_norm(optimizer, rng):
    """Three runs: bounded often, bounded never, and not bounded at all beside them."""
    changes = {"optimizer": optimizer, "learning_rate": 0.01, "epochs": 3}
    fleet, theta, rollout = random_fleet("kl_fixed", FAMILIES[0], rng, [{"beta": 0.5}] * 3, **changes)
    free, _ = descend(fleet, kl_fixed.loss, theta, Adam.start(theta), rollout, fleet.settings.beta)
    fleet.max_grad_norm = torch.tensor([0.3, 1e6, torch.inf], dtype=torch.float64)
    new, _ = descend(fleet, kl_fixed.loss, theta, Adam.start(theta), rollout, fleet.settings.beta)
    torch.testing.assert_close(new[1:], free[1:], rtol=0, atol=0)
    parameter, bounded = torch.nn.Parameter(theta[0].clone()), 0
    choices = {"adam": lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-5), "sgd": lambda p: torch.optim.SGD(p, lr=0.01)}
    optimiser, batch = choices[optimizer]([parameter]), one(rollout.batch)
    for epoch in rollout.order[0]:
        for some in epoch.split(fleet.minibatch_size):
            optimiser.zero_grad()
            kl_fixed.loss(fleet.policy, parameter, type(batch)(*(field[some] for field in batch)), 0.5).backward()
            bounded += torch.nn.utils.clip_grad_norm_([parameter], 0.3) > 0.3
            optimiser.step()
    assert bounded > 6
    torch.testing.assert_close(new[0], parameter.detach())


def test_learning_rates_differ_per_run(rng):
    fleet, theta, rollout = random_fleet("kl_fixed", FAMILIES[0], rng, [{}, {}])
    fleet.learning_rate[1] = 0
    new, _ = descend(fleet, kl_fixed.loss, theta, Adam.start(theta), rollout, fleet.settings.beta)
    assert torch.equal(new[1], theta[1]) and not torch.equal(new[0], theta[0])


def test_the_value_fit_is_a_plain_loop_over_torch_adam(rng):
    fleet, _, rollout = random_fleet("trpo", FAMILIES[0], rng, [{}, {}])
    critic = Network((3, 4, 1))
    theta = torch.randn(2, critic.parameters, generator=rng, dtype=torch.float64)
    targets = Targets(rollout.batch.observation, torch.randn(2, 32, generator=rng, dtype=torch.float64))
    new, _ = value.fit(fleet, critic, theta, Adam.start(theta), targets, rollout.order)
    for run in range(2):
        parameter = torch.nn.Parameter(theta[run].clone())
        optimiser = torch.optim.Adam([parameter], lr=fleet.value_learning_rate[run].item(), eps=1e-5)
        for epoch in rollout.order[run]:
            for some in epoch.split(fleet.minibatch_size):
                optimiser.zero_grad()
                prediction = critic(parameter, targets.observation[run, some])[:, 0]
                torch.nn.functional.mse_loss(prediction, targets.value_target[run, some]).backward()
                optimiser.step()
        torch.testing.assert_close(new[run], parameter.detach())


def test_explained_variance_is_one_for_the_truth_and_zero_for_a_constant(rng):
    target = torch.randn(3, 50, generator=rng, dtype=torch.float64)
    guess = torch.stack([target[0], torch.full((50,), 3.0, dtype=torch.float64), target[2] + target[2]])
    torch.testing.assert_close(explained_variance(guess, target), torch.tensor([1.0, 0, 0], dtype=torch.float64))


def test_normalise_gives_zero_mean_and_unit_deviation_for_each_run(rng):
    x = 5 + torch.randn(3, 40, generator=rng, dtype=torch.float64) * torch.tensor([[0.1], [1], [30]])
    standard = normalise(x)
    for run in range(3):
        torch.testing.assert_close(standard[run], (x[run] - x[run].mean()) / (x[run].std(correction=0) + 1e-8))
    assert (normalise(torch.full((2, 5), 3.0)) == 0).all(), "a constant is no reason for a NaN"


def test_minimise_finds_the_least_squares_solution(rng):
    """Many steps on a problem with a known answer."""
    fleet, _, _ = random_fleet("trpo", FAMILIES[0], rng, [{}, {}], epochs=1)
    x = torch.randn(2, 32, 3, generator=rng, dtype=torch.float64)
    truth = torch.randn(2, 4, generator=rng, dtype=torch.float64)
    critic = Network((3, 1))
    targets = Targets(x, critic(truth, x).squeeze(-1))
    order = torch.stack([torch.stack([torch.randperm(32, generator=rng) for _ in range(150)]) for _ in range(2)])
    rate = torch.full((2,), 0.05, dtype=torch.float64)
    found, _ = minimise(fleet, value.loss, critic, torch.zeros_like(truth), Adam.start(truth), targets, order, rate)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-4)
    residual = grad(lambda t: value.loss(critic, t, Targets(x[0], targets.value_target[0])))(found[0])
    assert residual.abs().max() < 1e-3
