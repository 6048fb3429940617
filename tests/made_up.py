"""Environments of the tests' own, as a user would register theirs: task.id=made_up:Clock-v0."""

import gymnasium
import numpy as np
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


for made in (Reused, Lottery, Clock, Square, Buttons, Switches, Letters, Words, Pixels, Hands):
    gymnasium.register(f"{made.__name__}-v0", entry_point=made, disable_env_checker=True)
