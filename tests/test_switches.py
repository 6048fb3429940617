"""The tricks of PPO's implementations: each against another way to compute it, and nothing while it is off."""

import numpy as np
import pytest
from conftest import configuration

from study import fleet
from study.fleet import Trainer


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
