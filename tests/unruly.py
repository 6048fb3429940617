"""Environments that do something to their process, their arguments or each other: task.id=unruly:Unruly-v0."""

import locale
import os
import signal
import sys
import tempfile
import warnings

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from made_up import Clock

ELSEWHERE = os.path.realpath(tempfile.gettempdir())
OTHER = "C" if locale.setlocale(locale.LC_ALL) != "C" else "C.UTF-8"


def _leave(*_):
    sys.exit(3)


# What it does, and what it then expects to find at its later calls.
ACTS = {
    "folder": (lambda: os.chdir(ELSEWHERE), lambda: os.getcwd() == ELSEWHERE),
    "variable": (lambda: os.environ.update(UNRULY="yes"), lambda: os.environ.get("UNRULY") == "yes"),
    "lost variable": (lambda: os.environ.pop("HOME", None), lambda: "HOME" not in os.environ),
    "path": (lambda: sys.path.insert(0, ELSEWHERE), lambda: sys.path[0] == ELSEWHERE),
    "locale": (
        lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
        lambda: locale.setlocale(locale.LC_ALL) == "C.UTF-8",
    ),
    "mask": (lambda: os.umask(0o123), None),
    "gradients": (lambda: torch.set_grad_enabled(False), lambda: not torch.is_grad_enabled()),
    "dtype": (lambda: torch.set_default_dtype(torch.float64), lambda: torch.get_default_dtype() is torch.float64),
    "device": (lambda: torch.set_default_device("meta"), lambda: torch.get_default_device().type == "meta"),
    "threads": (lambda: torch.set_num_threads(2), lambda: torch.get_num_threads() == 2),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True),
        torch.are_deterministic_algorithms_enabled,
    ),
    "denormals": (lambda: torch.set_flush_denormal(True), lambda: not torch.full((1,), 1e-40).mul(1).any()),
    "numpy's errors": (lambda: np.seterr(all="raise"), None),
    "warnings": (lambda: warnings.simplefilter("error"), None),
    "Ctrl-C": (lambda: signal.signal(signal.SIGINT, _leave), None),
    "output": (lambda: setattr(sys, "stdout", open(os.devnull, "w")), None),
    "generators": (lambda: (np.random.seed(0), torch.manual_seed(0)), None),
}


class Unruly(Clock):
    """act   what it does, of ACTS
    where    init, reset or step: when it does so
    late     the step, or the reset, in which it does"""

    def __init__(self, act, where, late=1, **options):
        super().__init__(**options)
        self.act, self.where, self.late, self.calls, self.done = act, where, late, {}, False
        self._at("init")

    def _at(self, where):
        self.calls[where] = self.calls.get(where, 0) + 1
        does, finds = ACTS[self.act]
        if self.done and finds is not None:
            assert finds(), f"{self.act} is not as it was left"
        if where == self.where and self.calls[where] == self.late:
            does()
            self.done = True

    def reset(self, **options):
        self._at("reset")
        return super().reset(**options)

    def step(self, action):
        self._at("step")
        return super().step(action)


ENDS = {
    "exit": lambda: sys.exit(),
    "zero": lambda: sys.exit(0),
    "text": lambda: sys.exit("the window was closed"),
    "quit": lambda: quit(),
    "generator": lambda: (_ for _ in ()).throw(GeneratorExit("odd")),
    "keyboard": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
}


class Ends(Clock):
    """Ends the program at its init, reset, step or close, from its `late` call on."""

    def __init__(self, how, where, late=1, **options):
        super().__init__(**options)
        self.how, self.where, self.late, self.calls = how, where, late, 0
        self._at("init")

    def _at(self, where):
        if where == self.where:
            self.calls += 1
            if self.calls >= self.late:
                ENDS[self.how]()

    def reset(self, **options):
        self._at("reset")
        return super().reset(**options)

    def step(self, action):
        self._at("step")
        return super().step(action)

    def close(self):
        self._at("close")


class Greedy(Clock):
    """Takes what it is given apart, in its constructor or at each reset; the reward says what it got."""

    def __init__(self, given, where="init", **options):
        super().__init__(**options)
        self.given, self.where, self.got = given, where, 0
        if where == "init":
            self._take()

    def _take(self):
        self.got = self.given.pop("bonus", 0) + (self.given["deep"]["list"].pop() if self.given["deep"]["list"] else 0)
        self.given["deep"].setdefault("more", []).append(1)

    def reset(self, **options):
        if self.where == "reset":
            self._take()
        return super().reset(**options)

    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, float(self.got), *rest


WORLD = np.zeros(2)


class Line(gymnasium.Env):
    """A ball on a line; `kind` says what of it lies outside the copy."""

    observation_space = Box(-100, 100, (2,), np.float64)
    action_space = Discrete(2)
    goal, last, alive = 0.0, None, 0
    rng = np.random.default_rng(0)

    def __init__(self, kind):
        self.kind, self.place = kind, WORLD if kind == "array" else np.zeros(2)
        if kind == "instance":
            assert Line.alive == 0, "the simulator is in use"
            Line.alive += 1
        Line.last = self

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.place[:] = 0, self.np_random.uniform(-1, 1, 2)
        if self.kind == "goal":
            Line.goal = self.np_random.uniform(-1, 1)
        return self.place.copy(), {}

    def step(self, action):
        self.time += 1
        world = Line.last.place if self.kind == "last" else self.place
        world[0] += 1 if action else -1
        if self.kind == "chance":
            world[1] = np.random.default_rng().random()
        if self.kind == "draws":
            world[1] = Line.rng.random()
        if self.kind == "seeded":
            world[1] = self.np_random.random()
        return world.copy(), -abs(world[0] - Line.goal), False, self.time == 10, {}

    def close(self):
        if self.kind == "instance":
            Line.alive -= 1


class Says(Clock):
    """Observes what it is told to, from its `late` observation on; before, what fits."""

    def __init__(self, space, good, bad, late=0):
        super().__init__()
        self.observation_space, self.good, self.bad, self.late, self.seen = space, good, bad, late, 0

    def _observe(self):
        self.seen += 1
        return self.bad if self.seen > self.late else self.good


class Lesson(Clock):
    """Nothing but a Clock, to be wrapped by statistics."""


for made in (Unruly, Ends, Greedy, Line, Lesson):
    gymnasium.register(f"{made.__name__}-v0", entry_point=made, disable_env_checker=True)
gymnasium.register(
    "Normalised-v0",
    lambda: gymnasium.wrappers.NormalizeReward(gymnasium.wrappers.NormalizeObservation(Lesson())),
    disable_env_checker=True,
)
