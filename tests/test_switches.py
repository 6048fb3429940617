"""The tricks of PPO's implementations: each against another way to compute it, and nothing while it is off."""

import numpy as np
import pytest
import torch
from conftest import configuration

from study import fleet
from study.fleet import Trainer
from study.settings import ConfigError


def trainer(task="cartpole", algorithm="kl_fixed", numbers=None, seeds=(0, 1), compile=False, **changes) -> Trainer:
    shared = {"horizon": 128, "total_steps": 256, "minibatch_size": 32, "epochs": 2, "execution": {"compile": compile}}
    return Trainer([configuration(task, algorithm, numbers, seed=seed, **shared | changes) for seed in seeds])


@pytest.fixture
def rewards(monkeypatch):
    """What the advantages were computed from, [R, T] per iteration."""
    seen, real = [], fleet.gae
    monkeypatch.setattr(fleet, "gae", lambda reward, *others: seen.append(reward) or real(reward, *others))
    return seen


@pytest.mark.parametrize("reward_scaling", [False, True])
def test_rewards_are_clipped_after_they_are_scaled(rewards, reward_scaling):
    """The first iteration's experience is the same with and without."""
    shared = {"task": "pendulum", "reward_scaling": reward_scaling, "reward_scale": 0.5, "total_steps": 128}
    (free := trainer(**shared)).train()
    bound = float(np.median(-rewards[0]))
    (clipped := trainer(**shared, reward_clip=bound)).train()
    expected = [[max(-bound, min(bound, reward)) for reward in run] for run in rewards[0]]
    assert 0 < bound < -rewards[0].min()
    np.testing.assert_array_equal(rewards[1], expected)
    np.testing.assert_array_equal(clipped.reward_scale.moments.variance, free.reward_scale.moments.variance)
    np.testing.assert_array_equal(clipped.latest("return_mean"), free.latest("return_mean"))


def test_runs_of_one_fleet_have_the_switches_in_common():
    keys = {configuration("cartpole", reward_clip=bound, seed=seed).fleet_key for bound in (1, 2) for seed in (0, 1)}
    assert len(keys) == 2
    assert configuration(learning_rate=1.0).fleet_key == configuration(learning_rate=2.0).fleet_key


# Annealing


def by_hand(made: Trainer, **changes) -> Trainer:
    """The run that `made` is without its switch, with the numbers of every iteration set from outside."""

    def follow(t):
        left = torch.nn.Parameter(torch.zeros(1))
        schedule = torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD([left], lr=1.0), lambda k: 1 - k / 4)
        for _ in range(t.iteration):
            schedule.optimizer.step(), schedule.step()
        (factor,) = schedule.get_last_lr()
        for each in (t.fleet, *(part.fleet for part in t.parts)):
            for name, full in changes.items():
                holder = each.settings if name == "clip_epsilon" else each
                setattr(holder, name, torch.full_like(each.gamma, factor * full))

    made.train(report=follow)
    return made


@pytest.mark.parametrize("compile", [False, "auto"])
def test_the_learning_rates_are_torchs_linear_schedule(compile):
    """Of several arms in one fleet; after the first of four iterations the policy of TRPO alone is not touched."""
    shared = {"horizon": 128, "total_steps": 512, "minibatch_size": 32, "epochs": 2, "execution": {"compile": compile}}
    shared |= {"learning_rate": 0.002, "value_learning_rate": 0.001}
    arms = ["clip", "fixpo", "kl_fixed", "trpo"]
    free, annealed, expected = (
        Trainer([configuration("cartpole", arm, **shared, **switch) for arm in arms])
        for switch in ({}, {"anneal_learning_rate": True}, {})
    )
    by_hand(expected, learning_rate=0.002, value_learning_rate=0.001)
    free.train(), annealed.train()
    torch.testing.assert_close(annealed.theta, expected.theta, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(annealed.critic_theta, expected.critic_theta, rtol=1e-5, atol=1e-6)
    assert ((annealed.critic_theta - free.critic_theta).abs().amax(1) > 1e-3).all()
    for run, arm in enumerate(arms):
        np.testing.assert_array_equal(free.rows["kl_after"][0][run], annealed.rows["kl_after"][0][run])
        assert free.rows["value_loss"][0][run] == annealed.rows["value_loss"][0][run]
        assert free.rows["value_loss"][1][run] != annealed.rows["value_loss"][1][run]
        assert (free.rows["kl_after"][1][run] == annealed.rows["kl_after"][1][run]) == (arm == "trpo")


@pytest.mark.parametrize("algorithm", ["clip", "kl_per_sample", "simple_policy_optimization"])
def test_the_clip_range_is_torchs_linear_schedule(algorithm):
    shared = {"algorithm": algorithm, "numbers": {"clip_epsilon": 0.02}, "learning_rate": 0.003, "total_steps": 512}
    free, annealed, expected = trainer(**shared), trainer(**shared, anneal_clip_range=True), trainer(**shared)
    by_hand(expected, clip_epsilon=0.02)
    free.train(), annealed.train()
    torch.testing.assert_close(annealed.theta, expected.theta, rtol=1e-5, atol=1e-6)
    assert ((annealed.theta - free.theta).abs().amax(1) > 1e-3).all()


@pytest.mark.parametrize(
    "algorithm, switch, reason",
    [
        ("trpo", {"anneal_clip_range": True}, "trpo has no clip_epsilon"),
        ("kl_fixed", {"anneal_clip_range": True}, "kl_fixed has no clip_epsilon"),
        ("lr_adaptive", {"anneal_learning_rate": True}, "lr_adaptive has its own rule"),
    ],
)
def test_a_switch_that_would_change_nothing_is_refused(algorithm, switch, reason):
    with pytest.raises(ConfigError, match=reason):
        configuration("cartpole", algorithm, **switch)
