"""Environments of the tests' own, as a user would register theirs: task.id=made_up:Clock-v0."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete


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
    action_space = MultiDiscrete([2, 3])


class Letters(Clock):
    observation_space = Discrete(4)


for made in (Clock, Square, Buttons, Letters):
    gymnasium.register(f"{made.__name__}-v0", entry_point=made, disable_env_checker=True)
