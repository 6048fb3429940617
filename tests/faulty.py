"""Environments that break on purpose: task.id=faulty:Faulty-v0. What breaks is in task.kwargs."""

import os
import signal
import time
from pathlib import Path

import gymnasium
import numpy as np


class Faulty(gymnasium.Env):
    """Walks on a line. The run is known by the seed its environment was reset with.

    raise_for  seeds whose environment raises at its 40th step
    kill_for   seeds whose environment kills its process at its 40th step; once only if there is a file name `mark`
    nan_for    seeds whose reward is NaN from its 40th step on
    log        a file that gets a line "seed pid" at every seeded reset

    FAULTY_SLOW in the environment are seconds per step.
    """

    observation_space = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, raise_for=(), kill_for=(), nan_for=(), mark="", log=""):
        self.raise_for, self.kill_for, self.nan_for = set(raise_for), set(kill_for), set(nan_for)
        self.mark, self.log = mark, log
        self.slow = float(os.environ.get("FAULTY_SLOW", 0))
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.seed, self.steps = seed, 0
            if self.log:
                with open(self.log, "a") as file:
                    file.write(f"{seed} {os.getpid()}\n")
        self.place = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        self.left = 20
        return self.place.copy(), {}

    def step(self, action):
        self.steps += 1
        self.left -= 1
        time.sleep(self.slow)
        if self.steps == 40 and self.seed in self.raise_for:
            raise ZeroDivisionError("on purpose")
        if self.steps == 40 and self.seed in self.kill_for and not (self.mark and Path(self.mark).exists()):
            if self.mark:
                Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.place[0] += 0.1 if action else -0.1
        self.place[1] = self.np_random.normal()
        reward = -abs(float(self.place[0]))
        if self.steps >= 40 and self.seed in self.nan_for:
            reward = float("nan")
        return self.place.copy(), reward, False, self.left == 0, {}


gymnasium.register("Faulty-v0", Faulty)
