"""R copies of a task behind one step(), on EnvPool or on gymnasium, with the same meaning.

SAME_STEP: a step that ends an episode returns the true final observation, and the next episode's
first observation beside it. No step's action is ever ignored.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from study import spaces
from study.config import ConfigError, Task, backend
from study.policy import Categorical, Categoricals, Gaussian


@dataclass(frozen=True)
class Step:
    next_observation: np.ndarray  # [R, D], the final one where the episode ended
    observation: np.ndarray  # [R, D], where the next step starts: a new episode's first where one ended
    reward: np.ndarray  # [R]
    terminated: np.ndarray  # [R] bool, a true end: nothing comes after it
    truncated: np.ndarray  # [R] bool, cut off by a time limit: worth the value of next_observation


class Copies:
    """R environments of one task, one seed each. Actions arrive as the policy sampled them, [R, A].

    Actions outside a Box are clipped to it on their way in; log-probabilities are of the unclipped ones.
    """

    def __init__(self, task: Task, seeds: list[int]):
        make = _EnvPool if backend(task) == "envpool" else _Gymnasium
        self._copies = make(task, seeds)
        action, observation = self._copies.action_space, self._copies.observation_space
        self.observation_size = int(np.prod(observation.shape))
        if type(action).__name__ == "Box":
            self.family = Gaussian(int(np.prod(action.shape)))
            self._low, self._high = action.low, action.high
        elif type(action).__name__ == "Discrete":
            self.family = Categorical(int(action.n))
            self._first = int(getattr(action, "start", 0))
        elif type(action).__name__ == "MultiDiscrete":
            self.family = Categoricals(tuple(int(n) for n in action.nvec.ravel()))
            self._first = action.start
        elif type(action).__name__ == "MultiBinary":
            self.family = Categoricals((2,) * int(np.prod(action.shape)))
            self._first = 0
        else:
            raise ConfigError(
                f"task.id={task.id}: actions must be a Box, Discrete, MultiDiscrete or MultiBinary, got {action}"
            )
        self._action_shape, self._action_type = action.shape, action.dtype

    def reset(self) -> np.ndarray:
        """The first observations, [R, D]."""
        return self._flat(self._copies.reset())

    def step(self, action: np.ndarray) -> Step:
        if isinstance(self.family, Gaussian):
            action = action.reshape(-1, *self._action_shape).clip(self._low, self._high)
        else:
            action = action.reshape(-1, *self._action_shape) + self._first
        final, observation, reward, terminated, truncated = self._copies.step(action.astype(self._action_type))
        return Step(self._flat(final), self._flat(observation), reward, terminated, truncated)

    def close(self) -> None:
        self._copies.close()

    def _flat(self, observation: np.ndarray) -> np.ndarray:
        return observation.reshape(len(observation), -1)


def _canonical(task: Task, space):
    try:
        return spaces.canonical(space)
    except ValueError as error:
        raise ConfigError(f"task.id={task.id}: {error}") from None


def _flat_space(space):
    """A Box [D] for what flatten makes of a canonical space; a Box stays as it is."""
    from gymnasium.spaces import Box, flatdim

    return space if isinstance(space, Box) else Box(-np.inf, np.inf, (flatdim(space),), np.float64)


def _flattened(task: Task, env):
    """A gymnasium environment that observes numbers alone."""
    from gymnasium.wrappers import TransformObservation

    space = _canonical(task, env.observation_space)
    flat = _flat_space(space)
    return env if flat is space else TransformObservation(env, lambda x: spaces.flatten_one(space, x), flat)


def _limit(task: Task) -> dict[str, int]:
    """The time limit as both backends take it, if one is asked for."""
    if task.max_episode_steps is None:
        return {}
    if "max_episode_steps" in task.kwargs:
        raise ConfigError("task.max_episode_steps: is in task.kwargs too; give it once")
    return {"max_episode_steps": task.max_episode_steps}


def _cannot(task: Task, library: str, error: Exception) -> ConfigError:
    """Whatever a constructor raises, as one line."""
    if isinstance(error, ConfigError):
        return error
    reason = " ".join(str(error).split()) or type(error).__name__
    given = "".join(f" task.kwargs.{key}={value}" for key, value in task.kwargs.items())
    return ConfigError(f"task.id={task.id}{given}: {library} cannot make it: {reason}")


class _EnvPool:
    """C++ environments. reset(ids) right after an end makes the new episode start without a lost step."""

    def __init__(self, task: Task, seeds: list[int]):
        import envpool

        if task.id not in envpool.list_all_envs():
            raise ConfigError(f"task.id={task.id}: EnvPool has no such environment (try task.backend=gymnasium)")
        try:
            self._pool = envpool.make_gymnasium(
                task.id, num_envs=len(seeds), num_threads=1, env_seed=list(seeds), **_limit(task), **task.kwargs
            )
        except Exception as error:
            raise _cannot(task, "EnvPool", error) from None
        with warnings.catch_warnings():  # float64 bounds in gymnasium's float32 boxes
            warnings.simplefilter("ignore", UserWarning)
            self.action_space, self._space = self._pool.action_space, _canonical(task, self._pool.observation_space)
            self.observation_space = _flat_space(self._space)
        self._id, self._runs = task.id, len(seeds)

    def reset(self):
        observation = self._look(self._pool.reset()[0])
        if observation.shape != (self._runs, int(np.prod(self.observation_space.shape))):
            raise ConfigError(
                f"task.id={self._id}: {self._runs} copies give observations of shape {observation.shape}; "
                "environments of several players are not supported"
            )
        return observation

    def step(self, action):
        final, reward, terminated, truncated, _ = self._pool.step(action)
        final = self._look(final)
        observation, ended = final, terminated | truncated
        if ended.any():
            ids = np.flatnonzero(ended).astype(np.int32)
            observation = final.copy()
            observation[ids] = self._look(self._pool.reset(ids)[0])
        return final, observation, reward, terminated, truncated & ~terminated

    def _look(self, observation) -> np.ndarray:
        return spaces.flatten(self._space, observation)

    def close(self):
        self._pool.close()


class _Gymnasium:
    """Any registered id, also "module:Id-v0" of the user's own; stepped one after the other."""

    def __init__(self, task: Task, seeds: list[int]):
        import gymnasium
        from gymnasium.vector import AutoresetMode, SyncVectorEnv

        try:
            self._vector = SyncVectorEnv(
                [lambda: _flattened(task, gymnasium.make(task.id, **_limit(task), **task.kwargs))] * len(seeds),
                copy=False,
                autoreset_mode=AutoresetMode.SAME_STEP,
            )
        except Exception as error:
            raise _cannot(task, "gymnasium", error) from None
        self._seeds = list(seeds)
        self.action_space = self._vector.single_action_space
        self.observation_space = self._vector.single_observation_space

    def reset(self):
        return self._vector.reset(seed=self._seeds)[0].copy()

    def step(self, action):
        observation, reward, terminated, truncated, info = self._vector.step(action)
        observation, final = observation.copy(), observation.copy()
        for run in np.flatnonzero(terminated | truncated):
            final[run] = info["final_obs"][run]
        return final, observation, reward, terminated.copy(), truncated & ~terminated

    def close(self):
        self._vector.close()
