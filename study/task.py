"""R copies of a task behind one step(), on EnvPool or on gymnasium, with the same meaning.

SAME_STEP: a step that ends an episode returns the true final observation, and the next episode's
first observation beside it. No step's action is ever ignored.
"""

import importlib
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch

from study import apart, arrays, origin, simulators, spaces
from study.config import Task, backend
from study.console import console
from study.policy import Categorical, Categoricals, Gaussian, Policy
from study.settings import ConfigError

YOUNG = 20  # steps after which an environment is no longer looked at closely
OWN = {"num_envs", "batch_size", "num_threads", "env_seed", "seed"}  # EnvPool's arguments that the study sets


class Step(NamedTuple):
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
        self._task, self._steps = task, 0
        self._copies = _made(task, seeds)
        action, observation = self._copies.action_space, self._copies.observation_space
        self.observation_size = int(np.prod(observation.shape))
        if self.observation_size == 0:
            raise ConfigError(f"task.id={task.id}: observations have no number in them, got {observation}")
        if type(action).__name__ == "Box":
            self.family = Gaussian(int(np.prod(action.shape)))
            self._low, self._high, self._first = action.low, action.high, None
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

    @property
    def origin(self) -> str:
        """The packages and versions that the environment comes from."""
        return self._copies.origin

    def reset(self) -> np.ndarray:
        """The first observations, [R, D]."""
        with _called(), apart.PLACE, apart.MODES:
            return self._flat(self._copies.reset())

    @contextmanager
    def rollout(self):
        """Around many steps: the process is the environments' own where the policy does not depend on it."""
        with apart.PLACE, apart.MODES.outlasted():
            yield

    def step(self, action: np.ndarray) -> Step:
        action = action.reshape(-1, *self._action_shape)
        if self._first is None:
            action = np.minimum(np.maximum(action, self._low), self._high)  # a fifth of clip()'s time
            if self._action_type.kind in "iub":
                action = np.rint(np.nan_to_num(action))
        else:
            action = action + self._first
        final, observation, reward, terminated, truncated = self._step(action.astype(self._action_type, copy=False))
        after = self._flat(final)
        return Step(after, after if observation is final else self._flat(observation), reward, terminated, truncated)

    def _step(self, action: np.ndarray) -> tuple:
        try:
            if self._steps >= YOUNG and not apart.MODES.theirs:
                return self._copies.step(action)
            self._steps += 1
            with apart.MODES if self._steps <= YOUNG else apart.MODES.exchanged():
                return self._copies.step(action)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise apart.EnvironmentExit(error) from error

    def close(self) -> None:
        """Whatever it raises is one note: results do not depend on it."""
        try:
            with _called(), apart.PLACE, apart.MODES:
                self._copies.close()
        except Exception as error:
            if self._task.id not in _warned:
                _warned.add(self._task.id)
                console.print(f"[yellow]note:[/] {self._task.id}: its close() raises {_reason(error)}", highlight=False)

    def _flat(self, observation: np.ndarray) -> np.ndarray:
        return observation.reshape(len(observation), -1)


@contextmanager
def _called():
    """An environment that ends the program ends nothing; Ctrl-C does."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise apart.EnvironmentExit(error) from error


def _canonical(task: Task, space):
    try:
        return spaces.canonical(space)
    except ValueError as error:
        raise ConfigError(f"task.id={task.id}: {error}") from None


def _flat_space(space):
    """A Box [D] for what flatten makes of a canonical space; a Box stays as it is."""
    from gymnasium.spaces import Box, flatdim

    return space if isinstance(space, Box) else Box(-np.inf, np.inf, (flatdim(space),), np.float64)


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


_warned: set[str] = set()


def _made(task: Task, seeds: list[int]):
    """The backend's copies. Raises ConfigError, whatever the environment raises."""
    library, make = ("EnvPool", _EnvPool) if backend(task) == "envpool" else ("gymnasium", _Gymnasium)
    try:
        with _called(), apart.PLACE, apart.MODES:
            return make(task, seeds)
    except Exception as error:
        raise _cannot(task, library, error) from None


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


class Probed(NamedTuple):
    """What trying an environment has shown."""

    origin: str
    differs: str | None  # that it is not reproducible
    shares: str | None  # that its copies disturb each other
    outside: str | None  # that its observations leave their Box
    keeps: tuple[str, ...]  # wrappers that keep statistics over its life
    policy: Policy  # a linear one for its observations and actions


def probe(task: Task, steps: int = YOUNG, together: bool = True) -> Probed:
    """Tries two copies of one seed alone under the same random actions, and one of them among others (`together`).

    Of a gymnasium environment as many steps as two episodes need where that takes half a second, else as many as
    given; two seconds each at most. Raises ConfigError if it cannot be made, or if its reset or one of the given number
    of steps raises or gives what cannot be learned from.
    """
    first, seen = _tried(task, [0], steps)
    _, again = _tried(task, [0], steps, len(seen) - 1)
    differs = shares = None
    if (at := _parted(seen, again)) is not None:
        differs = (
            f"task.id={task.id} is not reproducible: two copies differ {at}, with one seed and "
            "the same actions; it draws from something that neither reset(seed=) nor a global generator governs, or "
            "keeps what an earlier copy left"
        )
    elif together and backend(task) == "gymnasium":  # EnvPool's share nothing: they are made for one process
        shares = _shares(task, steps, seen)
        with suppress(ConfigError):  # of a copy that the others have broken for good
            if shares is not None and _parted(seen, _tried(task, [0], steps, len(seen) - 1)[1]) is not None:
                shares = None  # chance, after all: alone it differs too
    inner = first._copies
    policy = Policy.make(first.observation_size, first.family, ())
    return Probed(first.origin, differs, shares, getattr(inner, "outside", None), getattr(inner, "keeps", ()), policy)


def _shares(task: Task, steps: int, alone: list[tuple]) -> str | None:
    """How a copy among others differs from the same copy alone."""
    try:
        _, among = _tried(task, [1, 0, 2], steps, len(alone) - 1, run=1)
    except ConfigError as error:
        return f"a copy beside others: {str(error).removeprefix(f'task.id={task.id}').removeprefix(': ')}"
    at = _parted(alone, among)
    if at is None:
        return None
    return f"{at} a copy among others differs from the same copy alone, with the same seed and actions"


def _parted(one: list[tuple], other: list[tuple]) -> str | None:
    """When two copies differ first, if they do."""
    for step, pair in enumerate(zip(one, other)):
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*pair)):
            return f"at step {step}" if step else "at the first reset"
    return None


def _tried(task: Task, seeds: list[int], steps: int, most: int | None = None, run: int = 0) -> tuple[Copies, list]:
    """The closed copies, and what one of them has seen: the first reset and each step, `most` at most."""
    copies, began = Copies(task, seeds), time.monotonic()
    family, doing, ended = copies.family, "its first reset", 0
    rngs = [np.random.default_rng([0, seed] if seed else 0) for seed in seeds]
    further = 1000 if backend(task) == "gymnasium" else steps
    try:
        with copies.rollout():
            seen = [(copies.reset()[run],)]
            sample = family.sampler(np.zeros((len(seeds), family.extra)))
            noise = np.stack([family.noise(rng, max(steps, further)) for rng in rngs])
            for step in range(further if most is None else most):
                doing = "its first step" if step == 0 else f"step {step + 1}"
                try:
                    made = copies.step(sample(np.zeros((len(seeds), family.outputs)), noise[:, step]))
                except Exception:
                    if step < steps:
                        raise
                    break  # its own runs may meet that too, and fail
                seen.append(tuple(part[run] for part in made))
                ended += bool(made.terminated[run] or made.truncated[run])
                seconds = time.monotonic() - began
                if seconds > 2 or (step + 1 >= steps and most is None and (ended > 1 or seconds > 0.5)):
                    break
        return copies, seen
    except Exception as error:
        raise ConfigError(f"task.id={task.id}: {doing} raises {_reason(error)}") from None
    finally:
        copies.close()


class _EnvPool:
    """C++ environments. reset(ids) right after an end makes the new episode start without a lost step."""

    def __init__(self, task: Task, seeds: list[int]):
        envpool = simulators.envpool()
        if task.id not in envpool.list_all_envs():
            raise ConfigError(f"task.id={task.id}: EnvPool has no such environment (try task.backend=gymnasium)")
        if taken := OWN & task.kwargs.keys():
            name = min(taken)
            raise ConfigError(f"task.kwargs.{name}={task.kwargs[name]}: the study sets it; leave it out")
        self.origin = origin.package("envpool")
        options = _limit(task) | deepcopy(task.kwargs)
        with warnings.catch_warnings():  # float64 bounds in gymnasium's float32 boxes
            warnings.simplefilter("ignore", UserWarning)
            # Known before anything is made: EnvPool ends the process over some that see images (Cig-v1).
            _canonical(task, envpool.make_spec(task.id, **deepcopy(options)).observation_space)
            self._pool = envpool.make_gymnasium(
                task.id, num_envs=len(seeds), num_threads=1, env_seed=list(seeds), **options
            )
            self.action_space, self._space = self._pool.action_space, _canonical(task, self._pool.observation_space)
            self.observation_space = _flat_space(self._space)
        self._id, self._runs = task.id, len(seeds)
        self._direct = _Direct.of(self._pool)
        # Kept here too: EnvPool's CliffWalking accepts a time limit and ignores it.
        self._limit = task.max_episode_steps or task.kwargs.get("max_episode_steps") or np.inf
        self._clock, self._due, self._began = 0, self._limit, np.zeros(len(seeds))  # steps; the next copy's limit

    def reset(self):
        self._clock, self._due, self._began[:] = 0, self._limit, 0
        begun = self._begin(np.arange(self._runs, dtype=np.int32))
        observation = self._look(begun)
        if observation.shape != (self._runs, int(np.prod(self.observation_space.shape))):
            raise ConfigError(
                f"task.id={self._id}: {self._runs} copies give observations of shape {observation.shape}; "
                "environments of several players are not supported"
            )
        spaces.check(self._space, begun, self._runs)
        return observation

    def step(self, action):
        final, reward, terminated, truncated = (self._direct or self._pool).step(action)[:4]
        final = self._look(final)
        self._clock += 1
        if self._clock < self._due and not (np.count_nonzero(terminated) or np.count_nonzero(truncated)):
            return final, final, reward, terminated, truncated  # most steps, in half the time of what follows
        truncated = truncated | (self._clock - self._began >= self._limit)
        ended = terminated | truncated
        self._began[ended] = self._clock
        self._due = self._began.min() + self._limit
        ids = np.flatnonzero(ended).astype(np.int32)
        observation = final.copy()
        observation[ids] = self._look(self._begin(ids))
        return final, observation, reward, terminated, truncated & ~terminated

    def _begin(self, ids):
        return (self._direct or self._pool).reset(ids)[0]

    def _look(self, observation) -> np.ndarray:
        return spaces.flatten(self._space, observation)

    def close(self):
        self._pool.close()


class _Direct:
    """A pool without its layer in Python, which takes as long as twenty steps of CartPole do."""

    def __init__(self, pool):
        keys = list(pool._state_keys)
        self._pool, self._ids, self._type = pool, pool.all_env_ids, pool._spec._action_spec[-1][0]
        self._ends = [keys.index(key) for key in ("reward", "done", "trunc")]
        self._parts = {key.partition(":")[2]: place for place, key in enumerate(keys) if key.split(":")[0] == "obs"}
        self._nested, self._checked = hasattr(pool.observation_space, "spaces"), False
        self._place = next(iter(self._parts.values()), None)  # of what is not nested

    @classmethod
    def of(cls, pool) -> "_Direct | None":
        """None where actions or nested observations have several parts, or this EnvPool keeps them elsewhere."""
        try:
            made = cls(pool)
            plain = list(pool._spec._action_keys[:-1]) == ["env_id", "players.env_id"]
            known = set(made._parts) == set(pool.observation_space) if made._nested else len(made._parts) == 1
            return made if plain and known and pool.config.get("max_num_players", 1) == 1 else None
        except (AttributeError, ValueError):
            return None

    def step(self, action):
        if not self._checked:
            self._pool._check_action(self._pool._from(action))
            self._checked = True
        self._pool._send([self._ids, self._ids, np.ascontiguousarray(action, self._type)])
        observation, state = self._receive()
        reward, done, truncated = (state[place] for place in self._ends)
        return observation, reward, done > truncated, truncated

    def reset(self, ids):
        self._pool._reset(ids)
        return self._receive()

    def _receive(self):
        state = self._pool._recv()
        if not self._nested:
            return state[self._place], state
        return {name: state[place] for name, place in self._parts.items()}, state


class _Gymnasium:
    """Any registered id, also "module:Id-v0" of the user's own; stepped one after the other, or as arrays.

    Observations are copied before the environment is touched again: many change one array in place.
    """

    def __init__(self, task: Task, seeds: list[int]):
        import gymnasium

        self._seeds = list(seeds)
        self._draws = [_Draws(seed) for seed in seeds]
        random.seed(seeds[0])  # for environments that turn to it late, see _Draws
        options = {"disable_env_checker": True} | _limit(task) | task.kwargs
        self.envs = []
        try:
            for draws in self._draws:
                with draws:
                    self.envs.append(gymnasium.make(_spec(task.id), **deepcopy(options)))
        except BaseException:
            with suppress(Exception, SystemExit):
                self.close()  # a simulator of which there can be but one is free again
            raise
        self.action_space = self.envs[0].action_space
        module, colon, name = task.id.rpartition(":")
        if (spec := self.envs[0].spec) is not None and spec.id != name:  # a second name would be a second task
            raise ConfigError(f"task.id={task.id}: an id without its version; give task.id={module}{colon}{spec.id}")
        self._space = _canonical(task, self.envs[0].observation_space)
        self.observation_space = _flat_space(self._space)
        self._box = self._space is self.observation_space
        self.outside: str | None = None  # of the first observations
        self.keeps = tuple(name for layer in _layers(self.envs[0]) if (name := type(layer).__name__) in KEEPERS)
        self._looked = 0
        self.origin = origin.environment(self.envs[0], task)
        self._together = arrays.Together.of(self.envs)

    def reset(self):
        observation = self._empty()
        for run, (env, draws, seed) in enumerate(zip(self.envs, self._draws, self._seeds)):
            with draws:
                for layer in _layers(env):
                    _seed_spaces(layer, seed)
                observation[run] = self._begin(run, seed=seed)
            if env.action_space != self.action_space:
                raise ValueError(f"copies have different action spaces: {self.action_space} and {env.action_space}")
        return observation

    def step(self, action):
        if self._together is None:
            return self._one_by_one(action)
        final, reward, terminated, truncated = self._together.step(action)
        observation = final
        if (ended := terminated | truncated).any():
            observation = final.copy()
            for run in np.flatnonzero(ended):
                observation[run] = self._begin(run)
        return final, observation, reward, terminated, truncated & ~terminated

    def _one_by_one(self, action):
        final, observation, reward = self._empty(), self._empty(), np.empty(len(self.envs))
        terminated, truncated = np.empty((2, len(self.envs)), bool)
        for run, (env, draws) in enumerate(zip(self.envs, self._draws)):
            with draws:
                made = env.step(action[run])
                if len(made) != 5:
                    raise ValueError(f"step() gives {len(made)} values instead of gymnasium's 5")
                observation[run] = final[run] = self._look(made[0])
                reward[run], terminated[run], truncated[run] = _number(made[1]), _truth(made[2]), _truth(made[3])
                if terminated[run] or truncated[run]:
                    observation[run] = self._begin(run)
        return final, observation, reward, terminated, truncated & ~terminated

    def close(self):
        failed = None
        for env in self.envs:
            try:
                env.close()
            except (Exception, SystemExit) as error:  # the others are closed all the same
                failed = error
        if failed is not None:
            raise failed

    def _begin(self, run: int, **options) -> np.ndarray:
        made = self.envs[run].reset(**options)
        if not isinstance(made, tuple) or len(made) != 2:
            raise ValueError("reset() does not give gymnasium's pair of observation and info")
        if self._together is not None:
            self._together.begin(run)
        return self._look(made[0])

    def _empty(self) -> np.ndarray:
        return np.empty((len(self.envs), *self.observation_space.shape), self.observation_space.dtype)

    def _look(self, observation: Any) -> np.ndarray:
        """As the space says it is. Raises ValueError."""
        if self._looked < YOUNG:
            self._looked += 1
            self.outside = self.outside or spaces.outside(self._space, observation)
        if not self._box:
            return spaces.flatten_one(self._space, observation)
        seen = np.asarray(observation)
        box = self._space
        return seen if seen.dtype == box.dtype and seen.shape == box.shape else spaces.fitted(box, seen)


KEEPERS = {"NormalizeObservation", "NormalizeReward", "VecNormalize"}  # wrappers with running statistics


def _spec(id: str) -> Any:
    """What gymnasium makes a copy from: wrappers that an id is registered with are handed the registry's arguments."""
    import gymnasium

    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError:
            return id  # gymnasium says it
    spec = gymnasium.registry.get(name)
    return deepcopy(spec) if spec is not None and spec.additional_wrappers else id


def _truth(flag: Any) -> bool:
    if type(flag) is bool:
        return flag
    value = np.asarray(flag)
    if value.size != 1 or value.dtype.kind not in "biuf" or value.item() not in (0, 1):
        raise ValueError(f"terminated or truncated is neither true nor false: {flag!r}")
    return bool(value.item())


def _number(reward: Any) -> float:
    if type(reward) is float:
        return reward
    number = np.asarray(reward)
    if number.size != 1 or number.dtype.kind not in "biuf":
        raise ValueError(f"a reward that is not one number: {reward!r}")
    return float(number.item())


def _layers(env) -> Iterator:
    """The wrappers from outside in, and the environment itself."""
    while env is not env.unwrapped:
        yield env
        env = env.env
    yield env


def _seed_spaces(layer, seed: int) -> None:
    """Gives one copy's layer spaces of its own, seeded: those of its class are shared by all copies."""
    from gymnasium import Space

    scopes = (*map(vars, reversed(type(layer).__mro__)), vars(layer))
    spaces = {name: value for scope in scopes for name, value in scope.items() if isinstance(value, Space)}
    for name, space in deepcopy(spaces).items():
        space.seed(seed)
        setattr(layer, name, space)


class _Draws:
    """The global generators of NumPy, torch and Python as one copy of an environment sees them: from its seed alone.

    Two microseconds per step; Python's takes 25, so it is exchanged only if the copy has used it in the beginning.
    """

    WATCHED = 100  # calls

    def __init__(self, seed: int):
        self._numpy = np.random.MT19937(seed)
        self._torch = torch.Generator().manual_seed(seed).get_state()
        self._python = random.Random(seed).getstate()
        self._calls, self._uses_python = 0, False

    def __enter__(self):
        self._outside = np.random.get_bit_generator(), torch.get_rng_state(), None
        if self._uses_python or self._calls < self.WATCHED:
            self._outside = *self._outside[:2], random.getstate()
            random.setstate(self._python)
        self._calls += 1
        np.random.set_bit_generator(self._numpy)
        torch.set_rng_state(self._torch)

    def __exit__(self, *_):
        numpy, torch_, python = self._outside
        np.random.set_bit_generator(numpy)
        self._torch = torch.get_rng_state()
        torch.set_rng_state(torch_)
        if python is not None:
            after = random.getstate()
            self._uses_python |= after != self._python
            self._python = after
            random.setstate(python)
