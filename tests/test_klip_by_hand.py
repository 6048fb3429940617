"""The second program of KLip-PPO's CartPole, part by part against torch and against the study's own."""

import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

from study.rollout import Moments, gae

sys.path.append(str(ROOT / "benchmarks"))
import klip_by_hand as by_hand

RUNS = len(by_hand.RUNS)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_advantages_are_the_studys():
    rng = np.random.default_rng(0)
    reward, value, following = rng.normal(size=(3, 50, RUNS))
    terminated, truncated = rng.random((2, 50, RUNS)) < 0.1
    made = by_hand.advantages(reward, value, following, terminated, terminated | truncated)
    numbers = (np.full(RUNS, by_hand.GAMMA), np.full(RUNS, by_hand.LAMBDA))
    expected = gae(*(own.T for own in (reward, value, following, terminated, truncated)), *numbers)
    np.testing.assert_allclose(made.T, expected)


def test_observations_are_standardised_as_in_the_study():
    rng, seen, moments = np.random.default_rng(0), by_hand.Seen(raw=False), Moments(RUNS, (4,))
    for size in (30, 50):
        x = rng.normal(2, 3, (RUNS, size, 4))
        seen.update(x), moments.update(x)
    np.testing.assert_allclose(seen(x), moments.standardise(x, 10.0), rtol=1e-5)


def test_a_network_and_the_bound_of_its_gradient_are_torchs():
    parameters, x = by_hand.network(2, 0.01), torch.randn(RUNS, 7, 4)
    (100 * by_hand.forward(parameters, x).square().sum()).backward()
    before = [own.grad.clone() for own in parameters]
    by_hand.bound(parameters)
    for run in (0, RUNS - 1):
        layers = [nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)]
        theirs = nn.Sequential(*layers)
        for layer, weight, bias in zip(layers[::2], parameters[::2], parameters[1::2]):
            layer.weight.data, layer.bias.data = weight[run].T.detach(), bias[run, 0].detach()
        torch.testing.assert_close(by_hand.forward(parameters, x)[run], theirs(x[run]))
        (100 * theirs(x[run]).square().sum()).backward()
        torch.testing.assert_close(before[0][run], theirs[0].weight.grad.T)
        assert nn.utils.clip_grad_norm_(theirs.parameters(), by_hand.BOUND) > by_hand.BOUND
        torch.testing.assert_close(parameters[0].grad[run], theirs[0].weight.grad.T)


def test_losses_sample_by_sample():
    logits, old = torch.randn(RUNS, 6, 2), torch.log_softmax(torch.randn(RUNS, 6, 2), -1)
    action, advantage, beta = torch.randint(2, (RUNS, 6)), torch.randn(RUNS, 6), torch.rand(RUNS)
    expected = 0.0
    for run, (arm, _) in enumerate(by_hand.RUNS):
        for sample in range(6):
            new, was = (torch.distributions.Categorical(logits=own[run, sample]) for own in (logits, old))
            ratio = (new.log_prob(action[run, sample]) - was.log_prob(action[run, sample])).exp().item()
            gain = ratio * advantage[run, sample].item()
            kept = min(max(ratio, 0.8), 1.2) * advantage[run, sample].item()
            kl = torch.distributions.kl_divergence(was, new).item()
            expected -= (min(gain, kept) if arm == "clip" else gain - beta[run].item() * kl) / 6
    assert by_hand.policy_loss(beta, logits, old, action, advantage).item() == pytest.approx(expected, rel=1e-4)
    value, before, target = torch.randn(3, RUNS, 6)
    moved = [min(max(v - b, -0.2), 0.2) + b for v, b in zip(value.flatten().tolist(), before.flatten().tolist())]
    squares = [max((v - t) ** 2, (m - t) ** 2) for v, m, t in zip(value.flatten(), moved, target.flatten())]
    assert by_hand.value_loss(value, before, target).item() == pytest.approx(0.5 * sum(squares).item() / 6, rel=1e-4)
