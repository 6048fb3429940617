"""Gymnasium's classic control stepped as arrays: the numbers that each copy's own step() gives, to the bit.

An environment keeps its constructor, its generator and its reset(). step() alone is replaced, and only where the
environment is Gymnasium's own class, made as Gymnasium registers it, and gives the same bits when it is tried.

Sums, products, sines and cosines of an array are those of its elements. Powers are not: NumPy squares an array by
multiplying, a number by the C library's pow, and one in a thousand differs in its last bit. So each element is squared
by itself, and the operations of an equation keep Gymnasium's order.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

TRIED = 64  # states


class Moved(NamedTuple):
    state: np.ndarray  # [S, R]
    observation: np.ndarray  # [R, D]
    reward: np.ndarray  # [R]
    terminated: np.ndarray  # [R] bool


# One step of a bare environment's equations: its constants, state [S, R], action [R, ...] as Gymnasium is given it,
# and which copies have just been reset.
Equations = Callable[[Any, np.ndarray, np.ndarray, np.ndarray], Moved]


def squares(x: np.ndarray) -> np.ndarray:
    """Of each number by itself, [R] in the type of x."""
    return np.array([each**2 for each in (x.tolist() if x.dtype == np.float64 else x)], x.dtype)


def _observed(*columns: np.ndarray) -> np.ndarray:
    """[R, D] float32."""
    observation = np.empty((len(columns[0]), len(columns)), np.float32)
    for place, column in enumerate(columns):
        observation[:, place] = column
    return observation


def pendulum(env: Any, state: np.ndarray, action: np.ndarray, fresh: np.ndarray) -> Moved:
    angle, speed = state
    torque = action[:, 0].clip(-env.max_torque, env.max_torque)
    upright = (angle + np.pi) % (2 * np.pi) - np.pi
    cost = squares(upright) + 0.1 * squares(speed) + 0.001 * squares(torque)
    gravity, inertia = 3 * env.g / (2 * env.l), env.m * env.l**2
    speed = speed + (gravity * np.sin(angle) + 3.0 / inertia * torque) * env.dt
    speed = speed.clip(-env.max_speed, env.max_speed)
    angle = angle + speed * env.dt
    observation = _observed(np.cos(angle), np.sin(angle), speed)
    return Moved(np.array([angle, speed]), observation, -cost, np.zeros(len(cost), bool))


class Kind(NamedTuple):
    equations: Equations
    kwargs: frozenset[str]  # of its constructor, besides those that only concern pictures
    low: tuple[float, ...]  # of the states it is tried from, [S]
    high: tuple[float, ...]


KINDS = {
    "gymnasium.envs.classic_control.pendulum:PendulumEnv": Kind(pendulum, frozenset({"g"}), (-20, -8), (20, 8)),
}


class Together:
    """R copies stepped as one. A copy's state is its environment's after reset(), and its own from then on."""

    def __init__(self, envs: list, kind: Kind, limit: float):
        self._bare, self._equations, self._limit = [env.unwrapped for env in envs], kind.equations, limit
        self._state = np.empty((len(kind.low), len(envs)))
        self._age = np.zeros(len(envs))

    @classmethod
    def of(cls, envs: list) -> "Together | None":
        """None for whatever might be another task than the equations."""
        from gymnasium.wrappers import OrderEnforcing, TimeLimit

        env = envs[0]
        bare, spec = env.unwrapped, env.spec
        name = f"{type(bare).__module__}:{type(bare).__qualname__}"
        kind = KINDS.get(name)
        if kind is None or spec is None or spec.entry_point != name or not spec.kwargs.keys() <= kind.kwargs:
            return None
        if not all(isinstance(value, (int, float)) for value in spec.kwargs.values()):
            return None
        limit = np.inf
        if type(env) is TimeLimit:
            env, limit = env.env, env._max_episode_steps
        if type(env) is not OrderEnforcing or env.env is not bare or not _agree(bare, kind):
            return None
        return cls(envs, kind, limit)

    def begin(self, run: int) -> None:
        """After the reset of its environment."""
        self._state[:, run] = self._bare[run].state
        self._age[run] = 0

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Observations, rewards, terminated, truncated."""
        self._state, observation, reward, terminated = self._equations(
            self._bare[0], self._state, action, self._age == 0
        )
        self._age += 1
        return observation, reward, terminated, self._age >= self._limit


def _agree(bare: Any, kind: Kind) -> bool:
    """Whether equations and environment make the same first and second steps from states all over its space."""
    env, rng, space = deepcopy(bare), np.random.default_rng(0), deepcopy(bare.action_space)
    space.seed(0)
    state = rng.uniform(kind.low, kind.high, (TRIED, len(kind.low))).T
    actions = np.array([[space.sample() for _ in range(TRIED)] for _ in range(2)])
    try:
        first = kind.equations(env, state, actions[0], np.ones(TRIED, bool))
        second = kind.equations(env, first.state, actions[1], np.zeros(TRIED, bool))
        env.reset(seed=0)
        for run in range(TRIED):
            env.reset()
            env.state = state[:, run].copy()
            for moved, action in zip((first, second), actions[:, run]):
                observation, reward, terminated, truncated, _ = env.step(action)
                same = observation.tobytes() == moved.observation[run].tobytes() and reward == moved.reward[run]
                if not same or terminated != moved.terminated[run] or truncated:
                    return False
                if terminated:
                    break
    except Exception:  # which the environment is to raise itself
        return False
    return True
