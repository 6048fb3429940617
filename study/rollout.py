"""Rollouts: the experience of a fleet in one iteration, and the advantages of its actions.

Everything a run draws in an iteration comes from its own seed and the iteration's number alone. So a run's
draws do not depend on the other runs of its fleet, and a resumed run needs no stored generator state.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from study.policy import Array, Policy
from study.task import Copies


class Batch(NamedTuple):
    """What a policy update learns from; a NamedTuple, because vmap and compile look inside those.

    One run's; a fleet's has a leading [R] on every field.
    """

    observation: Tensor  # [N, D] normalised
    action: Tensor  # [N, A] as sampled
    old: Tensor  # [N, K] phi of the policy that acted
    log_prob: Tensor  # [N] of the action under old
    advantage: Tensor  # [N] as the algorithm sees it


@dataclass(frozen=True)
class Experience:
    """One horizon of raw interaction."""

    observation: np.ndarray  # [R, T, D]
    next_observation: np.ndarray  # [R, T, D], final observations where episodes ended
    action: np.ndarray  # [R, T, A]
    reward: np.ndarray  # [R, T] as the task gave it
    terminated: np.ndarray  # [R, T] bool
    truncated: np.ndarray  # [R, T] bool


class Stream:
    """What a draw is for; the last word of every generator's seed."""

    PARAMETERS, ENVIRONMENT, NOISE, ORDER = range(4)


def generator(seed: int, stream: int, index: int = 0) -> np.random.Generator:
    """A run's own generator for one purpose in one iteration (or chapter)."""
    return np.random.default_rng([seed, stream, index])


class Moments:
    """Running mean and variance per run, in float64; x is [R, n, ...]."""

    def __init__(self, runs: int, shape: tuple[int, ...]):
        self.count = np.zeros(runs)
        self.mean = np.zeros((runs, *shape))
        self.variance = np.ones((runs, *shape))

    def update(self, x: np.ndarray) -> None:
        """Chan's pairwise merge: exact, whatever the batches."""
        n = x.shape[1]
        total = self.count + n
        weight = _like(n / total, self.mean)
        mean, variance = (np.stack([of(own, 0) for own in x]) for of in (np.mean, np.var))  # see standardise
        shift = mean - self.mean
        self.variance = (1 - weight) * self.variance + weight * variance + weight * (1 - weight) * shift**2
        self.mean = self.mean + weight * shift
        self.count = total

    def standardise(self, x: np.ndarray, bound: float = 5.0, dtype: torch.dtype = torch.float64) -> np.ndarray:
        """(x - mean) / std, clipped to +-bound; the identity, clipped, before the first update.

        A run at a time: of 20 runs of 600 inputs each step of the formula would take 200 MB from the system.
        """
        made = torch.empty(x.shape, dtype=dtype)
        mean, scale = map(torch.from_numpy, (self.mean, self.scale()))
        for run, own in enumerate(torch.from_numpy(x)):  # torch: several times NumPy's speed here
            made[run] = standardise(own, mean[run], scale[run], bound)
        return made.numpy()

    def scale(self) -> np.ndarray:
        """[R, ...] what standardise divides by."""
        return np.sqrt(self.variance + 1e-8)


def standardise(x: Array, mean: Array, scale: Array, bound: float = 5.0) -> Array:
    return ((x - mean) / scale).clip(-bound, bound)


def _like(per_run: np.ndarray, x: np.ndarray) -> np.ndarray:
    return per_run.reshape(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class Actor:
    """Actions [R, A] of raw observations [R, D] and noise [R, .], while parameters and moments stand still."""

    act: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __call__(self, observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return self.act(observation, noise)

    def within(
        self, seen: np.ndarray, noise: np.ndarray, actions: np.ndarray, alive: np.ndarray
    ) -> Callable[[int], np.ndarray]:
        """Step t of a rollout: actions [R, A] of seen[:, t] and noise[:, t], put into actions[:, t], too; 0 for runs
        that are not alive. The next step may reuse the array."""
        everyone = alive.all()

        def step(t):
            action = self.act(seen[:, t], noise[:, t])
            actions[:, t] = action = action if everyone else np.where(alive[:, None], action, 0)
            return action

        return step


def actor(policy: Policy, theta: Tensor, mean: np.ndarray, scale: np.ndarray, bound: float = 5.0) -> Actor:
    """The policy under one theta [R, P] for raw observations, whose mean and scale are [R, D]."""
    act = policy.actor(theta)
    return Actor(lambda observation, noise: act(standardise(observation, mean, scale, bound), noise))


def collect(
    copies: Copies, observation: np.ndarray, act: Actor, noise: np.ndarray, alive: np.ndarray
) -> tuple[Experience, np.ndarray]:
    """T steps of every run, from observation [R, D]; noise [R, T, .] decides the actions.

    Returns the experience and the observation [R, D] to go on from. Parameters and statistics of observations stand
    still meanwhile: one policy acts. Runs that are not alive get action 0.
    """
    runs, horizon = noise.shape[:2]
    seen = np.empty((runs, horizon, observation.shape[1]))
    after = np.empty_like(seen)
    actions = np.empty((runs, horizon, copies.family.width))
    reward = np.empty((runs, horizon))
    terminated = np.empty((runs, horizon), bool)
    truncated = np.empty((runs, horizon), bool)
    act_at = act.within(seen, noise, actions, alive)
    for t in range(horizon):
        seen[:, t] = observation
        after[:, t], observation, reward[:, t], terminated[:, t], truncated[:, t] = copies.step(act_at(t))
    return Experience(seen, after, actions, reward, terminated, truncated), observation


def discounted_sum(x: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """y_t = x_t + decay_t y_{t+1}, backwards along axis 1; x and decay [R, T]."""
    # Time-major, because a row of all runs is then contiguous; a NumPy loop, because each step is tiny.
    x, decay = np.ascontiguousarray(x.T), np.ascontiguousarray(decay.T)
    y = np.empty_like(x)
    last = np.zeros_like(x[0])
    for t in range(len(x) - 1, -1, -1):
        last = x[t] + decay[t] * last
        y[t] = last
    return y.T


def gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda) -> np.ndarray:
    """Generalised advantage estimates [R, T] (Schulman et al. 2016, eq. 16).

        A_t = sum_l (gamma lambda)^l delta_{t+l},  delta_t = r_t + gamma V(s_{t+1}) - V(s_t)

    next_value [R, T] is of the true next observation. A terminated step's next value counts as 0, whatever it is; a
    truncated one's counts, and neither lets the sum run on into the next episode. The horizon's last
    step bootstraps in the same way. gamma and gae_lambda are [R].
    """
    gamma, gae_lambda = gamma[:, None], gae_lambda[:, None]
    delta = reward + gamma * np.where(terminated, 0, next_value) - value  # after an end it may be NaN
    return discounted_sum(delta, gamma * gae_lambda * ~(terminated | truncated))


class RewardScale:
    """Divides rewards by the running standard deviation of the discounted return, per run."""

    def __init__(self, runs: int):
        self.moments = Moments(runs, ())
        self.open_return = np.zeros(runs)  # of the episodes still open

    def update(self, reward: np.ndarray, ended: np.ndarray, gamma: np.ndarray) -> None:
        """G_t = r_t + gamma G_{t-1}, restarting after each end; reward and ended [R, T]."""
        began = np.concatenate([np.zeros_like(ended[:, :1]), ended[:, :-1]], 1)
        start = reward.copy()
        start[:, 0] += gamma * self.open_return
        # The same recursion as discounted_sum, run forwards: reverse time.
        returns = discounted_sum(start[:, ::-1], (gamma[:, None] * ~began)[:, ::-1])[:, ::-1]
        self.open_return = np.where(ended[:, -1], 0, returns[:, -1])
        self.moments.update(returns)

    def __call__(self, reward: np.ndarray) -> np.ndarray:
        return reward / np.sqrt(self.moments.variance + 1e-8)[:, None]


def centre(advantage: Tensor) -> Tensor:
    """Zero mean along the last axis."""
    return advantage - advantage.mean(-1, keepdim=True)


def normalise(advantage: Tensor) -> Tensor:
    """Zero mean and unit standard deviation along the last axis."""
    centred = centre(advantage)
    return centred / (centred.square().mean(-1, keepdim=True).sqrt() + 1e-8)


# What policies are given, by advantage_normalization. With "minibatch" each minibatch is normalised again, and what
# looks at the whole batch at once has it as its one minibatch.
ADVANTAGES = {"none": lambda advantage: advantage, "centre": centre, "batch": normalise, "minibatch": normalise}
