"""Classic control stepped as arrays: to the bit what Gymnasium's single environments do, or not used at all."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from test_task import copies

from study import arrays
from study.policy import Gaussian

SEEDS = [3, 1, 2, 1]
TASKS = {  # its id, the observed number along which an action is pushed so that episodes end, and its arguments
    "acrobot:AcrobotEnv": ("Acrobot-v1", 5, [{}]),
    "cartpole:CartPoleEnv": ("CartPole-v1", 1, [{}, {"sutton_barto_reward": True}]),
    "continuous_mountain_car:Continuous_MountainCarEnv": (
        "MountainCarContinuous-v0",
        1,
        [{}, {"goal_velocity": 0.03}, {"goal_velocity": 0.0700000001}],
    ),
    "mountain_car:MountainCarEnv": ("MountainCar-v0", 1, [{}, {"goal_velocity": 0.03}]),
    "pendulum:PendulumEnv": ("Pendulum-v1", 2, [{}, {"g": 3}, {"g": -9.81}]),
}
SQUARED = {"Acrobot-v1", "Pendulum-v1"}  # of numbers whose squares have to be rounded
ALL = [(id, along, kwargs) for id, along, arguments in TASKS.values() for kwargs in arguments]


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
        made = env.step(action.astype(space.dtype))
        final, reward, terminated, truncated, _ = made
        begins = env.reset()[0] if terminated or truncated else final
        steps.append((np.array(final), np.array(begins), float(reward), terminated, truncated and not terminated))
    return first, [np.array(part) for part in zip(*steps)]


@pytest.mark.parametrize("limit", [None, 7])
@pytest.mark.parametrize(("id", "along", "kwargs"), ALL, ids=str)
def test_each_copy_has_the_bits_of_a_single_environment_of_its_seed(id, along, kwargs, limit):
    options = kwargs if limit is None else kwargs | {"max_episode_steps": limit}
    made, rng = copies(id, "gymnasium", SEEDS, **options), np.random.default_rng(0)
    assert made._copies._together is not None
    first = observation = made.reset()
    taken, together = [], []
    for _ in range(1100 if limit is None else 40):
        push = np.sign(observation[:, along]) + rng.normal(0, 0.7, len(SEEDS))
        if not isinstance(made.family, Gaussian):
            push = np.rint((push.clip(-1, 1) + 1) / 2 * (made.family.size - 1))
        step = made.step(push[:, None])
        observation = step.observation
        taken.append(push), together.append(step)
    space, taken = made._copies.action_space, np.array(taken)
    together, ends = [np.array(part) for part in zip(*together)], 0
    for run, seed in enumerate(SEEDS):
        actions = taken[:, run, None].clip(space.low, space.high) if hasattr(space, "low") else taken[:, run]
        start, single = alone(id, seed, actions, space, **options)
        assert first[run].tobytes() == start.tobytes() and first.dtype == start.dtype
        for here, there in zip(together, single, strict=True):
            assert here.dtype == there.dtype and here[:, run].tobytes() == there.tobytes()
        ends += single[3].sum()
        assert limit is None or single[4].sum() == 5
    assert (ends > 0) == (limit is None and id != "Pendulum-v1" and kwargs != {"goal_velocity": 0.0700000001})


@pytest.mark.parametrize("name", TASKS)
def test_thousands_of_states_and_a_square_that_is_a_product_shows(name, monkeypatch):
    """The square of a number and of an array's element differ once in a thousand: rarer than a short trial shows."""
    monkeypatch.setattr(arrays, "TRIED", 3000)
    envs = [gymnasium.make(TASKS[name][0], disable_env_checker=True)]
    assert arrays.Together.of(envs) is not None
    if TASKS[name][0] in SQUARED:
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
