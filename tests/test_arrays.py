"""Classic control stepped as arrays: to the bit what Gymnasium's single environments do, or not used at all."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from test_task import copies

from study import arrays
from study.policy import Gaussian

SEEDS = [3, 1, 2, 1]
TASKS = {  # of each kind: its id, a time limit under which it both ends and is cut off, and every argument it takes
    "pendulum:PendulumEnv": ("Pendulum-v1", 70, [{}, {"g": 3}, {"g": -9.81}]),
}
SQUARED = {"pendulum:PendulumEnv"}
ALL = [(id, ends, kwargs) for id, ends, arguments in TASKS.values() for kwargs in arguments]


def test_every_kind_is_tested():
    prefix = "gymnasium.envs.classic_control."
    assert {prefix + name for name in TASKS} == set(arrays.KINDS)
    for name, (_, _, arguments) in TASKS.items():
        assert set().union(*arguments) == arrays.KINDS[prefix + name].kwargs


def alone(id: str, seed: int, actions: np.ndarray, space, **options):
    """What a single environment of Gymnasium gives, step by step: final, next start, reward, terminated, truncated."""
    env = gymnasium.make(id, disable_env_checker=True, **options)
    first, _ = env.reset(seed=seed)
    steps = []
    for action in actions:
        made = env.step(action.astype(space.dtype) if action.shape else space.dtype.type(action))
        final, reward, terminated, truncated, _ = made
        begins = env.reset()[0] if terminated or truncated else final
        steps.append((np.array(final), np.array(begins), float(reward), terminated, truncated and not terminated))
    return first, [np.array(part) for part in zip(*steps)]


@pytest.mark.parametrize("limit", [None, 7, "ends"])
@pytest.mark.parametrize(("id", "ends", "kwargs"), ALL, ids=str)
def test_each_copy_has_the_bits_of_a_single_environment_of_its_seed(id, ends, kwargs, limit):
    limits = {} if limit is None else {"max_episode_steps": ends if limit == "ends" else limit}
    made = copies(id, "gymnasium", SEEDS, **kwargs, **limits)
    assert made._copies._together is not None
    rng, space, steps = np.random.default_rng(0), made._copies.action_space, 1100
    if isinstance(made.family, Gaussian):
        taken = rng.normal(0, 1.5, (steps, len(SEEDS), made.family.size))
        seen = taken.clip(space.low, space.high)
    else:  # for long in one direction
        taken = np.repeat(rng.integers(made.family.size, size=(steps // 10, len(SEEDS), 1)), 10, 0).astype(float)
        seen = taken[..., 0]
    first = made.reset()
    together = [np.array(part) for part in zip(*(vars(made.step(action)).values() for action in taken))]
    cut = ended = 0
    for run, seed in enumerate(SEEDS):
        start, single = alone(id, seed, seen[:, run], space, **kwargs, **limits)
        assert first[run].tobytes() == start.tobytes() and first.dtype == start.dtype
        for here, there in zip(together, single, strict=True):
            assert here.dtype == there.dtype and here[:, run].tobytes() == there.tobytes()
        ended, cut = ended + single[3].sum(), cut + single[4].sum()
    assert cut > 0 if limit == 7 or not ended else ended > 0


@pytest.mark.parametrize("name", TASKS)
def test_thousands_of_states_and_a_square_that_is_a_product_shows(name, monkeypatch):
    """The square of a number and of an array's element differ once in a thousand: rarer than a short trial shows."""
    monkeypatch.setattr(arrays, "TRIED", 3000)
    envs = [gymnasium.make(TASKS[name][0], disable_env_checker=True)]
    assert arrays.Together.of(envs) is not None
    if name in SQUARED:
        monkeypatch.setattr(arrays, "squares", np.square)
        assert arrays.Together.of(envs) is None


class Heavy(PendulumEnv):
    pass


def heavy(**options):
    env = PendulumEnv(**options)
    env.m = 2.0
    return env


@pytest.mark.parametrize(
    "options", [{"g": "10"}, {"g": [10.0]}, {"render_mode": "rgb_array"}, {"disable_env_checker": False}], ids=str
)
def test_other_arguments_are_left_to_gymnasium(options):
    env = gymnasium.make("Pendulum-v1", **{"disable_env_checker": True} | options)
    assert arrays.Together.of([env]) is None


@pytest.mark.parametrize(
    "registered",
    [
        {"entry_point": Heavy},
        {"entry_point": heavy},
        {"entry_point": PendulumEnv},
        {"entry_point": "test_arrays:Heavy"},
        {
            "entry_point": "gymnasium.envs.classic_control.pendulum:PendulumEnv",
            "additional_wrappers": (gymnasium.wrappers.TransformReward.wrapper_spec(func=abs),),
        },
    ],
    ids=["subclass", "function", "class", "string", "wrapper"],
)
def test_an_environment_registered_under_a_known_id_is_stepped_by_itself(registered, monkeypatch):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.delitem(gymnasium.envs.registration.registry, "Pendulum-v1")
    gymnasium.register("Pendulum-v1", max_episode_steps=200, **registered)
    assert arrays.Together.of([gymnasium.make("Pendulum-v1", disable_env_checker=True)]) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", lambda self, action: (self._get_obs(), 0.0, False, False, {})),
        ("_get_obs", lambda self: np.array([*self.state, 0], np.float32)),
    ],
)
def test_a_class_that_was_patched_is_stepped_by_itself(name, value, monkeypatch):
    monkeypatch.setattr(PendulumEnv, name, value)
    assert arrays.Together.of([gymnasium.make("Pendulum-v1", disable_env_checker=True)]) is None


def test_another_layer_of_gymnasium_is_kept():
    env = gymnasium.make("Pendulum-v1", disable_env_checker=True)
    assert arrays.Together.of([env]) is not None
    assert arrays.Together.of([gymnasium.wrappers.ClipReward(env, 0, 1)]) is None
    assert arrays.Together.of([gymnasium.wrappers.TimeLimit(env, 5)]) is None
