"""Gymnasium's classic control stepped as arrays: the numbers that each copy's own step() gives, to the bit.

An environment keeps its constructor, its generator and its reset(). step() alone is replaced, and only where the
environment is Gymnasium's own class, made as Gymnasium registers it, and gives the same bits when it is tried.

Sums, products, sines and cosines of an array are those of its elements. Powers are not: NumPy squares an array by
multiplying, a number by the C library's pow, and one in a thousand differs in its last bit. So each element is squared
by itself, and the operations of an equation keep Gymnasium's order.
"""

import math
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


def cosines(x: np.ndarray) -> np.ndarray:
    """The C library's, of each number by itself, [R] float64; NumPy's may have another last bit."""
    return np.array(list(map(math.cos, x.tolist())))


def mountain_car(env: Any, state: np.ndarray, action: np.ndarray, fresh: np.ndarray) -> Moved:
    position, velocity = state
    velocity = velocity + ((action - 1) * env.force + cosines(3 * position) * -env.gravity)
    velocity = velocity.clip(-env.max_speed, env.max_speed)
    position = (position + velocity).clip(env.min_position, env.max_position)
    velocity = np.where((position == env.min_position) & (velocity < 0), 0, velocity)
    terminated = (position >= env.goal_position) & (velocity >= env.goal_velocity)
    return Moved(
        np.array([position, velocity]), _observed(position, velocity), np.full(len(position), -1.0), terminated
    )


def continuous_mountain_car(env: Any, state: np.ndarray, action: np.ndarray, fresh: np.ndarray) -> Moved:
    """Gymnasium keeps the state in float32 from an episode's second step on, in float64 before."""
    force = action[:, 0].clip(env.min_action, env.max_action)
    moved = _drive(env, state.astype(np.float32), force)
    if fresh.any():
        moved = tuple(np.where(fresh, first, later) for first, later in zip(_drive(env, state, force), moved))
    position, velocity, terminated = moved
    reward = np.where(terminated, 100.0, 0.0) - squares(action[:, 0].astype(np.float64)) * 0.1
    observation = _observed(position, velocity)
    return Moved(observation.T.astype(np.float64), observation, reward, terminated)


def _drive(env: Any, state: np.ndarray, force: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position, velocity and whether the goal is reached, in the type of the state."""
    position, velocity = state
    velocity = velocity + (force * env.power - (0.0025 * cosines(3 * position)).astype(np.float32))
    fast, back = velocity > env.max_speed, velocity < -env.max_speed
    enough = np.where(fast, env.max_speed >= env.goal_velocity, velocity >= env.goal_velocity)
    enough = np.where(back, -env.max_speed >= env.goal_velocity, enough)  # a limit is compared before it is rounded
    velocity = velocity.clip(-env.max_speed, env.max_speed)
    position = (position + velocity).clip(env.min_position, env.max_position)
    velocity = np.where((position == env.min_position) & (velocity < 0), velocity.dtype.type(0), velocity)
    return position, velocity, (position >= env.goal_position) & enough


def cartpole(env: Any, state: np.ndarray, action: np.ndarray, fresh: np.ndarray) -> Moved:
    x, speed, angle, turn = state
    force, cosine, sine = np.where(action == 1, env.force_mag, -env.force_mag), np.cos(angle), np.sin(angle)
    pushed = (force + env.polemass_length * np.square(turn) * sine) / env.total_mass
    inertia = env.length * (4.0 / 3.0 - env.masspole * np.square(cosine) / env.total_mass)
    turning = (env.gravity * sine - cosine * pushed) / inertia
    speeding = pushed - env.polemass_length * turning * cosine / env.total_mass
    x, speed = x + env.tau * speed, speed + env.tau * speeding
    angle, turn = angle + env.tau * turn, turn + env.tau * turning
    terminated = np.abs(x) > env.x_threshold
    terminated |= np.abs(angle) > env.theta_threshold_radians
    reward = np.where(terminated, -1.0, 0.0) if env._sutton_barto_reward else np.ones(len(x))
    return Moved(np.array([x, speed, angle, turn]), _observed(x, speed, angle, turn), reward, terminated)


def acrobot(env: Any, state: np.ndarray, action: np.ndarray, fresh: np.ndarray) -> Moved:
    """Fourth-order Runge-Kutta over one time step under a constant torque."""
    torque, dt = np.array(env.AVAIL_TORQUE, np.float64)[action], env.dt
    one = _swing(env, state, torque)
    two = _swing(env, state + dt / 2.0 * one, torque)
    three = _swing(env, state + dt / 2.0 * two, torque)
    four = _swing(env, state + dt * three, torque)
    first, second, speed, turn = state + dt / 6.0 * (one + 2 * two + 2 * three + four)
    first, second = _wrapped(first), _wrapped(second)
    speed, turn = speed.clip(-env.MAX_VEL_1, env.MAX_VEL_1), turn.clip(-env.MAX_VEL_2, env.MAX_VEL_2)
    cosine = np.cos(first)
    terminated = -cosine - np.cos(second + first) > 1.0
    observation = _observed(cosine, np.sin(first), np.cos(second), np.sin(second), speed, turn)
    return Moved(np.array([first, second, speed, turn]), observation, np.where(terminated, 0.0, -1.0), terminated)


def _swing(env: Any, state: np.ndarray, torque: np.ndarray) -> np.ndarray:
    """The state's derivative in time, [4, R]; the equations of Sutton and Barto's book, not of the NeurIPS paper."""
    m1, m2, l1 = env.LINK_MASS_1, env.LINK_MASS_2, env.LINK_LENGTH_1
    lc1, lc2, inertia, g = env.LINK_COM_POS_1, env.LINK_COM_POS_2, env.LINK_MOI, 9.8
    first, second, speed, turn = state
    cosine, sine = np.cos(second), np.sin(second)
    d1 = m1 * lc1**2 + m2 * (l1**2 + lc2**2 + 2 * l1 * lc2 * cosine) + inertia + inertia
    d2 = m2 * (lc2**2 + l1 * lc2 * cosine) + inertia
    phi2 = m2 * lc2 * g * np.cos(first + second - np.pi / 2.0)
    phi1 = -m2 * l1 * lc2 * squares(turn) * sine - 2 * m2 * l1 * lc2 * turn * speed * sine
    phi1 = phi1 + (m1 * lc1 + m2 * l1) * g * np.cos(first - np.pi / 2) + phi2
    pull = torque + d2 / d1 * phi1 - m2 * l1 * lc2 * squares(speed) * sine - phi2
    turning = pull / (m2 * lc2**2 + inertia - squares(d2) / d1)
    return np.array([speed, turn, -(d2 * turning + phi1) / d1, turning])


def _wrapped(angle: np.ndarray) -> np.ndarray:
    """Turned by whole turns, one after the other, until it lies in [-pi, pi]."""
    while (above := angle > np.pi).any():
        angle = np.where(above, angle - 2 * np.pi, angle)
    while (below := angle < -np.pi).any():
        angle = np.where(below, angle + 2 * np.pi, angle)
    return angle


class Kind(NamedTuple):
    equations: Equations
    kwargs: frozenset[str]  # of its constructor, besides those that only concern pictures
    low: tuple[float, ...]  # of the states it is tried from, [S]
    high: tuple[float, ...]


CONTROL = "gymnasium.envs.classic_control."
KINDS = {
    CONTROL + "acrobot:AcrobotEnv": Kind(acrobot, frozenset(), (-4, -4, -13, -29), (4, 4, 13, 29)),
    CONTROL + "cartpole:CartPoleEnv": Kind(
        cartpole, frozenset({"sutton_barto_reward"}), (-2.5, -3, -0.22, -3), (2.5, 3, 0.22, 3)
    ),
    CONTROL + "continuous_mountain_car:Continuous_MountainCarEnv": Kind(
        continuous_mountain_car, frozenset({"goal_velocity"}), (-1.2, -0.07), (0.6, 0.07)
    ),
    CONTROL + "mountain_car:MountainCarEnv": Kind(
        mountain_car, frozenset({"goal_velocity"}), (-1.2, -0.07), (0.6, 0.07)
    ),
    CONTROL + "pendulum:PendulumEnv": Kind(pendulum, frozenset({"g"}), (-20, -8), (20, 8)),
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
                observation, reward, *ends, _ = env.step(action)
                made = np.array(env.state, np.float64), observation, np.float64(reward)
                here = moved.state[:, run], moved.observation[run], moved.reward[run]
                if [x.tobytes() for x in made] != [x.tobytes() for x in here] or ends != [moved.terminated[run], False]:
                    return False
                if ends[0]:
                    break
    except Exception:  # which the environment is to raise itself
        return False
    return True
