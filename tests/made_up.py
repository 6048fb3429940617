"""Environments of the tests' own, as a user would register theirs: task.id=made_up:Clock-v0."""

import random

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple


class Clock(gymnasium.Env):
    """Observes (episode, time, ...) and remembers its actions; ends after `length` steps, reward = time."""

    action_space = Discrete(3, start=5)
    observation_space = Box(-np.inf, np.inf, (2, 3))

    def __init__(self, length=4, truncate=False, poison=None):
        self.length, self.truncate, self.poison = length, truncate, poison  # poison: (seed parity, episode) goes NaN
        self.episode, self.time, self.actions = -1, 0, []

    def _observe(self):
        nan = self.poison is not None and self.parity == self.poison[0] and self.episode >= self.poison[1]
        return np.array([[self.episode, self.time, 0], [1, 2, np.nan if nan else 3]], np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.parity = self.parity if seed is None else seed % 2
        self.episode, self.time = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.actions.append(np.array(action))
        self.time += 1
        ended = self.time == self.length
        return self._observe(), float(self.time), ended and not self.truncate, ended and self.truncate, {}


class Square(Clock):
    action_space = Box(np.array([[-1, -2], [-3, -4]], np.float32), np.array([[1, 2], [3, 4]], np.float32))

    def step(self, action):
        return super().step(np.nan_to_num(action))  # a NaN observed is a NaN done


class Buttons(Clock):
    action_space = MultiDiscrete([[2, 3], [4, 2]], start=[[0, 5], [0, -1]])


class Switches(Clock):
    action_space = MultiBinary((2, 2))


class Letters(Clock):
    """Observes what its space samples."""

    observation_space = Dict(
        {"b": Tuple([Discrete(3, start=-1), MultiBinary((2, 2))]), "a": MultiDiscrete([2, 3]), "c": Box(0, 1, (2, 2))}
    )

    def _observe(self):
        self.observation_space.seed(self.time)
        return self.observation_space.sample()


class Words(Letters):
    observation_space = Dict({"word": Text(4)})


class Pixels(Letters):
    observation_space = Dict({"camera": Box(0, 255, (16, 16, 3), np.uint8)})


class Hands(Clock):
    action_space = Tuple([Discrete(2), Discrete(3)])


class Reused(Clock):
    """Returns one array, changed in place."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = np.zeros((2, 3), np.float32)

    def _observe(self):
        self.seen[:] = super()._observe()
        return self.seen


class Lottery(Clock):
    """Draws from what is not seeded by reset: the class's space, or a generator of its own without a seed."""

    observation_space = Box(-1, 1, (2, 3))

    def __init__(self, own=False, **options):
        super().__init__(**options)
        self.rng = np.random.default_rng() if own else None

    def _observe(self):
        drawn = self.observation_space.sample() * np.random.rand()
        return drawn if self.rng is None else (drawn * self.rng.random()).astype(np.float32)


class Odd(Clock):
    """A user's own way with things.

    observations, rewards  what becomes of them on their way out; a word of FORMS
    fails                  reset, step or close: where it raises
    """

    FORMS = {
        "as they are": lambda x: x,
        "float": float,
        "integer": int,
        "a number's array": lambda x: np.array(float(x)),
        "an array of one": lambda x: np.array([x], np.float32).reshape(1),
        "a list": lambda x: np.asarray(x).tolist(),
        "integers": lambda x: np.asarray(x).astype(np.int64),
        "two": lambda x: np.array([x, x]),
        "no number": lambda x: np.zeros(0),
        "nothing": lambda x: None,
        "a word": str,
        "a complex number": complex,
        "transposed": lambda x: np.asarray(x).T,
    }

    def __init__(self, observations="as they are", rewards="as they are", fails="", still=False, **options):
        super().__init__(**options)
        self.forms, self.fails, self.still = (self.FORMS[observations], self.FORMS[rewards]), fails, still

    def _fail(self, where):
        if self.fails == where:
            raise AttributeError(f"no viewer\nin {where}")

    def _observe(self):
        return self.forms[0](super()._observe())

    def reset(self, **options):
        self._fail("reset")
        return super().reset(**options)

    def step(self, action):
        self._fail("step")
        observation, reward, *rest = super().step(action)
        return observation, self.forms[1](0.0 if self.still else reward), *rest

    def close(self):
        self._fail("close")


class OddNumber(Odd):
    """Observes one number, which its space says is no array."""

    observation_space = Box(-np.inf, np.inf, ())

    def _observe(self):
        return self.forms[0](float(self.time))


class Nothing(Clock):
    observation_space = Box(-1, 1, (0,))

    def _observe(self):
        return np.zeros(0, np.float32)


class Whole(Clock):
    action_space = Box(-2, 5, (2, 2), np.int64)


class Dice(Clock):
    """Draws from the global generators of Python, NumPy and torch; from Python's from step `late` on."""

    observation_space = Box(0, 1, (3,))

    def __init__(self, late=0, **options):
        super().__init__(**options)
        self.late, self.drawn = late, 0

    def _observe(self):
        self.drawn += 1
        python = random.random() if self.drawn > self.late else 0
        return np.array([python, np.random.rand(), torch.rand(()).item()], np.float32)


ALL = [Reused, Lottery, Clock, Square, Buttons, Switches, Letters, Words, Pixels, Hands]
ALL += [Odd, OddNumber, Nothing, Whole, Dice]

for made in ALL:
    gymnasium.register(f"{made.__name__}-v0", entry_point=made, disable_env_checker=True)
