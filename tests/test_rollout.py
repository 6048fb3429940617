"""Rollouts: advantages against the double sum, running statistics against NumPy on everything seen."""

import numpy as np
import pytest
import torch
from reference import random_policy, sample

from study.policy import Categorical, Gaussian
from study.rollout import Moments, RewardScale, Stream, actor, collect, discounted_sum, gae, generator
from study.task import Step

GAMMA, LAMBDA = np.array([0.9, 0.99, 1.0]), np.array([0.8, 0.95, 0.0])


def episodes(seed, runs=3, steps=40):
    """Random rewards, values and ends; a terminated step is never truncated as well."""
    rng = np.random.default_rng(seed)
    reward, value, following = rng.standard_normal((3, runs, steps))
    kind = rng.choice(3, size=(runs, steps), p=[0.7, 0.15, 0.15])
    return reward, value, following, kind == 1, kind == 2


def double_sum(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """A_t = sum_l (gamma lambda)^l delta_{t+l} within the episode, for one run, as written in the paper."""
    steps = len(reward)
    delta = [
        reward[t] + (0 if terminated[t] else gamma * next_value[t]) - value[t]  # a truncation bootstraps
        for t in range(steps)
    ]
    advantage = np.zeros(steps)
    for t in range(steps):
        for length, later in enumerate(range(t, steps)):
            advantage[t] += (gamma * gae_lambda) ** length * delta[later]
            if terminated[later] or truncated[later]:
                break
    return advantage


@pytest.mark.parametrize("seed", range(5))
def test_gae_is_the_double_sum(seed):
    reward, value, following, terminated, truncated = episodes(seed)
    assert terminated.any() and truncated.any()
    made = gae(reward, value, following, terminated, truncated, GAMMA, LAMBDA)
    for run in range(3):
        mine = (x[run] for x in (reward, value, following, terminated, truncated))
        np.testing.assert_allclose(made[run], double_sum(*mine, GAMMA[run], LAMBDA[run]), rtol=1e-12, atol=1e-12)


def test_gae_with_lambda_one_is_the_discounted_return_less_the_value():
    """Of an unfinished episode, with the value of its last next observation at the end."""
    reward, value, _, none, _ = episodes(0)
    none, gamma = np.zeros_like(none), np.array([0.9, 0.99, 1.0])
    following = np.roll(value, -1, 1)
    made = gae(reward, value, following, none, none, gamma, np.ones(3))
    for run in range(3):
        for t in range(40):
            powers = gamma[run] ** np.arange(40 - t)
            expected = powers @ reward[run, t:] + gamma[run] ** (40 - t) * following[run, -1] - value[run, t]
            np.testing.assert_allclose(made[run, t], expected, rtol=1e-12)


def test_truncation_and_the_end_of_the_horizon_bootstrap_and_termination_does_not():
    one = np.ones((1, 1))
    for terminated, truncated, expected in ((0, 1, 1 + 0.5 * 100 - 10), (1, 0, 1 - 10), (0, 0, 1 + 0.5 * 100 - 10)):
        ends = np.array([[bool(terminated)]]), np.array([[bool(truncated)]])
        assert gae(1 * one, 10 * one, 100 * one, *ends, np.array([0.5]), np.array([0.9])) == expected


@pytest.mark.parametrize("nothing", [np.nan, np.inf])
def test_what_follows_a_termination_counts_as_0_whatever_it_is(nothing):
    reward, value, following, terminated, truncated = episodes(0)
    expected = gae(reward, value, following, terminated, truncated, GAMMA, LAMBDA)
    following = np.where(terminated, nothing, following)
    np.testing.assert_array_equal(gae(reward, value, following, terminated, truncated, GAMMA, LAMBDA), expected)


def test_discounted_sum_is_the_recursion():
    x, decay = np.random.default_rng(0).standard_normal((2, 3, 12))
    expected = np.zeros((3, 13))
    for t in reversed(range(12)):
        expected[:, t] = x[:, t] + decay[:, t] * expected[:, t + 1]
    np.testing.assert_allclose(discounted_sum(x, decay), expected[:, :12], rtol=1e-12)


def test_moments_are_those_of_everything_seen():
    rng = np.random.default_rng(0)
    moments = Moments(2, (3,))
    parts = [rng.normal(100, 3, (2, n, 3)) for n in (1, 7, 2, 50)]
    for i, part in enumerate(parts):
        moments.update(part)
        seen = np.concatenate(parts[: i + 1], 1)
        np.testing.assert_allclose(moments.mean, seen.mean(1), rtol=1e-12)
        np.testing.assert_allclose(moments.variance, seen.var(1), rtol=1e-9, atol=1e-12)
    assert (moments.count == 60).all()


def test_standardise_is_clipped_and_the_identity_before_anything_was_seen():
    moments = Moments(2, (3,))
    x = np.array([[[0.5, -2, 9]], [[-9, 0, 1.0]]])
    np.testing.assert_allclose(moments.standardise(x), x.clip(-5, 5), rtol=1e-7)
    moments.update(np.random.default_rng(0).normal([[[1, 2, 3]], [[-1, -2, -3]]], 4, (2, 500, 3)))
    by_hand = ((x[:, 0] - moments.mean) / np.sqrt(moments.variance + 1e-8)).clip(-5, 5)
    np.testing.assert_allclose(moments.standardise(x)[:, 0], by_hand, rtol=1e-12)
    np.testing.assert_allclose(moments.standardise(x[:, 0]), by_hand, rtol=1e-12)  # [R, D], as acting does


def test_reward_scale_is_a_slow_loop_carried_across_iterations():
    rng, gamma = np.random.default_rng(0), np.array([0.9, 0.99])
    scale, open_return, seen = RewardScale(2), np.zeros(2), [[], []]
    for _ in range(4):
        reward, ended = rng.normal(1, 2, (2, 25)), rng.random((2, 25)) < 0.1
        scale.update(reward, ended, gamma)
        for run in range(2):
            for r, end in zip(reward[run], ended[run]):
                open_return[run] = r + gamma[run] * open_return[run]
                seen[run].append(open_return[run])
                open_return[run] *= not end
        np.testing.assert_allclose(scale.open_return, open_return, rtol=1e-12)
        expected = reward / np.sqrt(np.var(seen, axis=1) + 1e-8)[:, None]
        np.testing.assert_allclose(scale(reward), expected, rtol=1e-9)


def test_reward_scale_restarts_where_an_episode_ended_on_the_last_step():
    scale = RewardScale(1)
    scale.update(np.ones((1, 3)), np.array([[False, False, True]]), np.array([1.0]))
    assert scale.open_return == 0
    scale.update(np.ones((1, 2)), np.zeros((1, 2), bool), np.array([1.0]))
    assert scale.open_return == 2


def test_every_purpose_iteration_and_seed_draws_its_own_numbers():
    keys = [(seed, stream, index) for seed in (0, 1) for stream in range(4) for index in (0, 1)]
    draws = {generator(*key).standard_normal() for key in keys}
    assert len(draws) == len(keys)
    assert generator(3, Stream.NOISE, 5).standard_normal() == generator(3, Stream.NOISE, 5).standard_normal()


class Counter:
    """Two copies of a made-up task: the observation counts steps, the episodes last 3 and 4 steps."""

    def __init__(self, family):
        self.family, self.clock, self.length, self.taken = family, np.zeros(2), np.array([3, 4]), []

    def observation(self):
        return np.stack([self.clock, self.clock**2, -self.clock], 1)

    def step(self, action):
        self.taken.append(action.copy())
        self.clock = self.clock + 1
        final, ended = self.observation(), self.clock == self.length
        self.clock = np.where(ended, 0, self.clock)
        return Step(final, self.observation(), 10 * self.clock, ended & [True, False], ended & [False, True])


@pytest.mark.parametrize("family", [Gaussian(2), Categorical(3)], ids=["gaussian", "categorical"])
def test_collect_is_a_plain_loop(family, rng):
    """Observations as the task gave them, final ones where episodes ended, actions from the stated noise."""
    policy, theta = random_policy(family, rng, runs=2)
    moments = Moments(2, (3,))
    moments.update(np.random.default_rng(1).normal(1, 2, (2, 30, 3)))
    noise = np.stack([family.noise(np.random.default_rng(run), 9) for run in range(2)])
    copies = Counter(family)
    first = copies.observation()
    act = actor(policy, theta, moments.mean, moments.scale())
    made, last = collect(copies, first, act, noise, np.ones(2, bool))
    again = Counter(family)
    observation = again.observation()
    for t in range(9):
        np.testing.assert_array_equal(made.observation[:, t], observation)
        for run in range(2):
            x = torch.from_numpy(moments.standardise(observation)[run])
            phi = policy(theta[run], x[None])
            action = sample(family, phi, torch.from_numpy(noise[run, t])[None])[0]
            np.testing.assert_allclose(made.action[run, t], action, rtol=1e-12)
        step = again.step(made.action[:, t])
        np.testing.assert_array_equal(copies.taken[t], made.action[:, t])
        np.testing.assert_array_equal(made.next_observation[:, t], step.next_observation)
        np.testing.assert_array_equal(made.reward[:, t], step.reward)
        np.testing.assert_array_equal(made.terminated[:, t], step.terminated)
        np.testing.assert_array_equal(made.truncated[:, t], step.truncated)
        observation = step.observation
    np.testing.assert_array_equal(last, observation)
    assert made.terminated[0].sum() == 3 and made.truncated[1].sum() == 2


def test_a_run_that_is_not_alive_gets_action_zero_and_the_others_their_own(rng):
    policy, theta = random_policy(Gaussian(2), rng, runs=2)
    noise = np.random.default_rng(0).standard_normal((2, 5, 2))
    start, moments = Counter(Gaussian(2)).observation(), Moments(2, (3,))
    moments = moments.mean, moments.scale()
    both, _ = collect(Counter(Gaussian(2)), start, actor(policy, theta, *moments), noise, np.ones(2, bool))
    theta[1] = torch.nan
    one, _ = collect(Counter(Gaussian(2)), start, actor(policy, theta, *moments), noise, np.array([True, False]))
    assert (one.action[1] == 0).all()
    np.testing.assert_array_equal(one.action[0], both.action[0])
