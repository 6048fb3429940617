"""Tasks: both backends are the same environment, and an end is where SAME_STEP says it is.

EnvPool is compiled against a MuJoCo of its own (3.6.0 in EnvPool 1.2.5); gymnasium uses the installed one.
With mujoco 3.6.0 installed all tasks agree to rounding. With 4.0.0 Ant does not (its free joint is integrated
differently by Runge-Kutta), so Ant is compared one step at a time from a common state.
"""

from types import SimpleNamespace

import gymnasium
import mujoco
import numpy as np
import pytest
import yaml
from conftest import ROOT
from made_up import Letters
from reference import monte_carlo

from study import console, process, spaces
from study.config import Task
from study.launch import cluster
from study.policy import Categorical, Gaussian
from study.settings import ConfigError
from study.task import Copies, probe

TASKS = {
    task["name"]: task["id"]
    for path in sorted((ROOT / "conf" / "task").glob("*.yaml"))
    if (task := yaml.safe_load(path.read_text()))["id"] != "???"
}
SEEDS = [11, 12, 13]
STILL = {"reset_noise_scale": 0}  # MuJoCo tasks start from one state
ENVPOOLS_MUJOCO = mujoco.__version__.startswith("3.6.")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """MuJoCo writes its warnings to a file in the current folder."""
    monkeypatch.chdir(tmp_path)


def copies(id: str, backend: str, seeds=SEEDS, **kwargs) -> Copies:
    return Copies(Task(name="a", id=id, backend=backend, total_steps=1, kwargs=kwargs), list(seeds))


def both(id: str, seeds=SEEDS, **kwargs):
    return copies(id, "envpool", seeds, **kwargs), copies(id, "gymnasium", seeds, **kwargs)


def inside(made: Copies) -> list:
    """The bare gymnasium environments."""
    return [env.unwrapped for env in made._copies.envs]


def actions(family, steps: int, runs: int = len(SEEDS)) -> np.ndarray:
    """[T, R, A], some outside the bounds; exact in float32, as gymnasium's MuJoCo tasks round them to."""
    rng = np.random.default_rng(0)
    if isinstance(family, Categorical):
        return rng.integers(family.size, size=(steps, runs, 1)).astype(float)
    return rng.normal(0, 1.5, (steps, runs, family.size)).astype(np.float32).astype(float)


def assert_same(a, b, tolerance):
    np.testing.assert_allclose(a.next_observation, b.next_observation, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(a.reward, b.reward, rtol=1e-6, atol=1e-6)  # EnvPool's are float32
    np.testing.assert_array_equal(a.terminated, b.terminated)
    np.testing.assert_array_equal(a.truncated, b.truncated)


def start_pendulum(env, o):
    env.state = np.array([np.arctan2(o[1], o[0]), o[2]], dtype=np.float64)


def start_cartpole(env, o):
    env.state = np.array(o, dtype=np.float64)


def start_acrobot(env, o):
    env.state = np.array([np.arctan2(o[1], o[0]), np.arctan2(o[3], o[2]), o[4], o[5]], dtype=np.float64)


def start_reacher(env, o):
    env.set_state(np.array([np.arctan2(o[2], o[0]), np.arctan2(o[3], o[1]), o[4], o[5]]), np.array([o[6], o[7], 0, 0]))


def start_pusher(env, o):
    """The object slides along y, then x, from (0.45, -0.05); the goal stands there."""
    env.set_state(np.concatenate([o[:7], [o[18] + 0.05, o[17] - 0.45, 0, 0]]), np.concatenate([o[7:14], np.zeros(4)]))


def start_ant(env, o):
    """The torso's place in the plane is not observed and changes nothing."""
    env.set_state(np.concatenate([[0, 0], o[:13]]), o[13:27])


MUJOCO = [
    name
    for name, id in TASKS.items()
    if id.endswith("-v5") and name not in ("reacher", "pusher") and (name != "ant" or ENVPOOLS_MUJOCO)
]
FROM_OBSERVATION = {
    "cartpole": (start_cartpole, 1e-5, 60),  # observations are float32, and so is the start taken from them
    "pendulum": (start_pendulum, 1e-4, 20),  # from here on EnvPool's turns by more than the speed limit
    "acrobot": (start_acrobot, 1e-4, 40),
    "reacher": (start_reacher, 1e-9, 50),
    "pusher": (start_pusher, 1e-6, 25),
}
LANDERS = ["lunarlander", "lunarlandercontinuous"]
TABLES = {"frozenlake": "FrozenLake8x8-v1", "taxi": "Taxi-v4", "cliffwalking": "CliffWalking-v1"}  # gymnasium's
ENVPOOL_ALONE = set(TASKS) - {*MUJOCO, *FROM_OBSERVATION, *LANDERS, *TABLES, "ant"}


def test_every_task_has_a_test_of_both_backends_or_says_that_one_alone_has_it():
    assert len(TASKS) == 32
    for name in ENVPOOL_ALONE:
        task = Task(**yaml.safe_load((ROOT / f"conf/task/{name}.yaml").read_text()))
        assert task.backend == "envpool" and probe(task)[1] is None
        with pytest.raises(ConfigError, match="gymnasium cannot make it"):
            copies(task.id, "gymnasium")


@pytest.mark.parametrize("name", TABLES)
def test_envpools_toy_text_moves_as_gymnasiums_table_says(name):
    """Every step is one that the table has, with its reward and end; and as often, where chance decides.

    So are the first states, but for EnvPool's taxi: a quarter of its passengers wait where they want to go.
    """
    runs = 200
    made, plain = copies(TASKS[name], "envpool", range(runs)), gymnasium.make(TABLES[name]).unwrapped
    state = made.reset().argmax(1)
    for start in state[plain.initial_state_distrib[state] == 0]:
        assert name == "taxi" and plain.decode(start)[2] == plain.decode(start)[3]
    seen, expected, variance = np.zeros(3)
    for action in actions(made.family, 60, runs):
        step = made.step(action)
        for run, after in enumerate(step.next_observation.argmax(1)):
            ways = plain.P[state[run]][int(action[run, 0])]
            fits = [(s, r, end) == (after, step.reward[run], step.terminated[run]) for _, s, r, end in ways]
            assert any(fits)
            first = sum(p for p, s, *_ in ways if s == ways[0][1])
            seen, expected, variance = seen + (after == ways[0][1]), expected + first, variance + first * (1 - first)
        state = step.observation.argmax(1)
    assert abs(seen - expected) <= 3 * np.sqrt(variance) + 1e-9
    assert (variance > 0) == (name == "frozenlake")


@pytest.mark.parametrize("name", MUJOCO)
def test_both_backends_give_the_same_mujoco_steps_from_the_same_state(name):
    """Across ends and new episodes; 25 steps, because contact multiplies rounding by ten every few steps."""
    fast, slow = both(TASKS[name], **STILL)
    assert type(fast.family) is type(slow.family) is Gaussian and fast.family.size == slow.family.size
    np.testing.assert_allclose(fast.reset(), slow.reset(), rtol=0, atol=1e-12)
    for action in actions(fast.family, 25):
        a, b = fast.step(action), slow.step(action)
        assert_same(a, b, 1e-9)
        np.testing.assert_allclose(a.observation, b.observation, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FROM_OBSERVATION)
def test_both_backends_give_the_same_steps_from_the_first_observation(name):
    """gymnasium's state is set from what EnvPool first shows; until an episode ends."""
    start, tolerance, steps = FROM_OBSERVATION[name]
    fast, slow = both(TASKS[name])
    first = fast.reset()
    slow.reset()
    assert type(fast.family) is type(slow.family) and fast.family.size == slow.family.size
    for run, (env, observation) in enumerate(zip(inside(slow), first)):
        start(env, observation)
        if slow._copies._together is not None:
            slow._copies._together.begin(run)
    running, compared = np.ones(len(SEEDS), bool), 0
    for action in actions(fast.family, steps):
        a, b = fast.step(action), slow.step(action)
        np.testing.assert_allclose(a.next_observation[running], b.next_observation[running], tolerance, tolerance)
        np.testing.assert_allclose(a.reward[running], b.reward[running], max(tolerance, 1e-6), max(tolerance, 1e-6))
        np.testing.assert_array_equal(a.terminated[running], b.terminated[running])
        np.testing.assert_array_equal(a.truncated[running], b.truncated[running])
        compared += running.sum()
        running &= ~(a.terminated | a.truncated)
    assert compared >= 8 * len(SEEDS)


def test_the_pendulum_that_is_trained_keeps_its_speed_limit():
    """EnvPool 1.2.5 turns Pendulum-v1 by the speed before its limit of 8, as v0 did; conf/ takes gymnasium's."""
    task = Task(**yaml.safe_load((ROOT / "conf" / "task" / "pendulum.yaml").read_text()))
    made = Copies(task, [5])
    observation, limited = made.reset()[0], 0
    for _ in range(150):
        push = 2.0 if observation[2] >= 0 else -2.0  # with the motion: soon at the limit
        after = made.step(np.array([[push]])).next_observation[0]
        turn = np.angle(complex(*after[:2]) / complex(*observation[:2]))
        np.testing.assert_allclose(turn, 0.05 * after[2], rtol=0, atol=1e-5)
        limited += abs(after[2]) == 8
        observation = after
    assert limited > 20


def test_both_backends_step_the_ant_alike_from_a_common_state():
    """One step at a time, 300 times: whatever the installed MuJoCo, ends agree and a step differs little."""
    fast, slow = both(TASKS["ant"])
    observation = fast.reset()
    slow.reset()
    gaps = []
    for action in actions(fast.family, 100):
        for env, seen in zip(inside(slow), observation):
            start_ant(env, seen)
        a, b = fast.step(action), slow.step(action)
        np.testing.assert_array_equal(a.terminated, b.terminated)
        gaps.append(np.abs(a.next_observation - b.next_observation).max(1))
        observation = a.observation
    assert np.median(gaps) < (1e-9 if ENVPOOLS_MUJOCO else 1e-4)


class Chosen:
    """Stands for a LunarLander's random generator: flat terrain and a chosen initial push."""

    def __init__(self, push):
        self.push = list(push)

    def uniform(self, low, high, size=None):
        if size is not None:
            return np.full(size, 0.5 * (low + high))
        return self.push.pop(0) if self.push else 0.0  # engines without dispersion


@pytest.mark.parametrize("name", LANDERS)
def test_lunarlanders_fall_alike_in_both_backends(name):
    """Neither terrain nor initial push can be handed to EnvPool, and the engines kick at random.

    So gymnasium's push is chosen to give EnvPool's first observation (they are linearly related), and the
    lander falls with its engines off: observations and rewards agree. What is random is
    compared in distribution below.
    """
    seeds = range(20, 28)
    fast, slow = both(TASKS[name], seeds)
    first = fast.reset()

    def pushed(env, push):
        env._np_random = Chosen(push)
        return env.reset()[0]

    slow.reset()
    for env, target in zip(inside(slow), first):
        base = pushed(env, [0, 0])
        response = np.stack([(pushed(env, f) - base)[[2, 3]] / 500 for f in ([500, 0], [0, 500])], 1).astype(float)
        again = pushed(env, np.linalg.solve(response, (target - base)[[2, 3]].astype(float)))
        np.testing.assert_allclose(again, target, rtol=0, atol=2e-5)
    idle = np.zeros((len(seeds), fast.family.size if isinstance(fast.family, Gaussian) else 1))
    for _ in range(40):
        a, b = fast.step(idle), slow.step(idle)
        np.testing.assert_allclose(a.next_observation, b.next_observation, rtol=0, atol=2e-4)
        np.testing.assert_allclose(a.reward, b.reward, rtol=0, atol=2e-2)
        assert not (a.terminated | b.terminated | a.truncated | b.truncated).any()


def random_landings(backend: str, episodes: int = 240) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, lengths, and kicks (velocity gained in the first step of each engine) under random actions."""
    runs = 24
    made = copies(TASKS["lunarlander"], backend, range(100, 100 + runs))
    observation = made.reset()
    rng = np.random.default_rng(0)
    total, length, fresh = np.zeros(runs), np.zeros(runs), np.ones(runs, bool)
    # The first `episodes / runs` episodes of each copy: stopping at a count over all would favour short ones.
    done = [[] for _ in range(runs)]
    kicks = []
    while min(map(len, done)) < episodes // runs:
        action = rng.integers(4, size=(runs, 1)).astype(float)
        step = made.step(action)
        for run in np.flatnonzero(fresh & (action[:, 0] == 2)):
            kicks.append(step.next_observation[run, [2, 3, 5]] - observation[run, [2, 3, 5]])
        observation = step.observation
        total, length = total + step.reward, length + 1
        fresh = step.terminated | step.truncated
        for run in np.flatnonzero(fresh):
            done[run].append((total[run], length[run]))
            total[run] = length[run] = 0
    done = np.array([run[: episodes // runs] for run in done]).reshape(-1, 2)
    return done[:, 0], done[:, 1], np.array(kicks)


def test_lunarlanders_are_alike_in_distribution_in_both_backends():
    """Random actions: mean return, length and kick of the main engine within three standard errors."""
    fast, slow = random_landings("envpool"), random_landings("gymnasium")
    pairs = [(fast[0], slow[0]), (fast[1], slow[1])] + list(zip(fast[2].T, slow[2].T))
    for a, b in pairs:
        (mean_a, error_a), (mean_b, error_b) = monte_carlo(a), monte_carlo(b)
        assert abs(mean_a - mean_b) < 3 * np.hypot(error_a, error_b)
        spread_a, spread_b = monte_carlo((a - mean_a) ** 2), monte_carlo((b - mean_b) ** 2)
        assert abs(spread_a[0] - spread_b[0]) < 3 * np.hypot(spread_a[1], spread_b[1])


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
@pytest.mark.parametrize("id", ["Pendulum-v1", "HalfCheetah-v5", "LunarLander-v3"])
def test_no_step_is_lost_at_a_time_limit(id, backend):
    """With episodes of 5 steps the ends come at 5, 10, 15: an inserted reset step would make it 5, 11, 17."""
    made = copies(id, backend, max_episode_steps=5)
    first = made.reset()
    for t, action in enumerate(actions(made.family, 16), 1):
        step = made.step(action)
        assert (step.truncated == (t % 5 == 0)).all() and not step.terminated.any()
        same = (step.observation == step.next_observation).all(1)
        assert (same == (t % 5 != 0)).all()
        if t == 5 and id == "HalfCheetah-v5":  # a start has small velocities, a final observation large ones
            assert np.abs(step.next_observation[:, 8:]).max() > 2 * np.abs(step.observation[:, 8:]).max()
    assert not np.array_equal(first, step.observation)


@pytest.mark.parametrize("id", ["CliffWalking-v1", "CliffWalkingSlippery-v1"])
def test_a_time_limit_that_envpool_takes_and_forgets_is_kept(id):
    """Its new episodes start where episodes start, also right after steps that were cut off."""
    made = copies(id, "envpool", max_episode_steps=3)
    first = made.reset()
    right, up = np.ones((3, 1)), np.zeros((3, 1))
    for t in range(1, 13):
        step = made.step(up if t % 2 else right)
        assert (step.truncated == (t % 3 == 0)).all() and not step.terminated.any()
        assert t % 3 or (np.array_equal(step.observation, first) and not np.array_equal(step.next_observation, first))


def test_a_time_limit_counts_each_copys_own_steps():
    """The first copy reaches the goal after 13 of 20 steps and then stands still; the others only stand still."""
    made = copies("CliffWalking-v1", "envpool", max_episode_steps=20)
    made.reset()
    up, right, down, left = range(4)
    way = [up, *[right] * 11, down, *[left] * 20]
    for t, action in enumerate(way, 1):
        step = made.step(np.array([[action], [left], [left]]))
        assert step.terminated.tolist() == [t == 13, False, False]
        assert step.truncated.tolist() == [t == 33, t == 20, t == 20]


@pytest.mark.parametrize("name", ["hopper", "inverteddoublependulum"])
def test_the_new_episode_starts_from_the_start_and_the_old_one_ends_at_its_end(name):
    """Without start noise the first observation is known; EnvPool agrees with a plain gymnasium loop."""
    made = copies(TASKS[name], "envpool", **STILL)
    first = made.reset()
    plain = [gymnasium.make(TASKS[name], **STILL) for _ in SEEDS]
    for env in plain:
        env.reset(seed=0)
    ends = 0
    for action in actions(made.family, 60):
        step = made.step(action)
        for run, env in enumerate(plain):
            clipped = action[run].clip(env.action_space.low, env.action_space.high).astype(np.float32)
            observation, reward, terminated, truncated, _ = env.step(clipped)
            np.testing.assert_allclose(step.next_observation[run], observation, rtol=1e-7, atol=1e-7)
            np.testing.assert_allclose(step.reward[run], reward, rtol=1e-6, atol=1e-6)
            assert step.terminated[run] == terminated and step.truncated[run] == truncated
            if terminated:
                observation, _ = env.reset()
                np.testing.assert_allclose(step.observation[run], first[run], rtol=0, atol=1e-12)
                ends += 1
            np.testing.assert_allclose(step.observation[run], observation, rtol=1e-7, atol=1e-7)
    assert ends > 3


@pytest.mark.parametrize(
    "id",
    [
        "CartPole-v1",
        "Hopper-v5",
        "Taxi-v3",
        "CliffWalking-v1",
        "CheetahRun-v1",
        "LunarLanderContinuous-v3",
        "FetchReach-v4",
    ],
)
def test_steps_past_envpools_own_layer_are_those_through_it(id):
    direct, through = copies(id, "envpool"), copies(id, "envpool")
    assert direct._copies._direct is not None
    through._copies._direct = None
    np.testing.assert_array_equal(direct.reset(), through.reset())
    for action in actions(direct.family, 300):
        one, other = direct.step(action)._asdict(), through.step(action)._asdict()
        for name, part in one.items():
            assert part.dtype == other[name].dtype
            np.testing.assert_array_equal(part, other[name])


def test_gymnasium_copies_are_plain_loops_with_one_seed_each():
    made = copies("CartPole-v1", "gymnasium")
    observation = made.reset()
    plain = [gymnasium.make("CartPole-v1") for _ in SEEDS]
    np.testing.assert_array_equal(observation, [env.reset(seed=seed)[0] for env, seed in zip(plain, SEEDS)])
    for action in actions(made.family, 80):
        step = made.step(action)
        for run, env in enumerate(plain):
            final, reward, terminated, truncated, _ = env.step(int(action[run, 0]))
            np.testing.assert_array_equal(step.next_observation[run], final)
            assert (step.reward[run], step.terminated[run], step.truncated[run]) == (reward, terminated, truncated)
            np.testing.assert_array_equal(step.observation[run], env.reset()[0] if terminated else final)


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
@pytest.mark.parametrize("id", ["CartPole-v1", "Hopper-v5", "LunarLander-v3"])
def test_a_copy_depends_on_its_own_seed_only(id, backend):
    together, alone = copies(id, backend, SEEDS), copies(id, backend, SEEDS[1:2])
    assert np.array_equal(together.reset()[1:2], alone.reset())
    ended = 0
    for action in actions(together.family, 160):
        a, b = together.step(action), alone.step(action[1:2])
        assert np.array_equal(a.observation[1:2], b.observation) and a.reward[1] == b.reward[0]
        ended += b.terminated[0]
    assert ended, "the seed must decide later episodes, too"


@pytest.mark.parametrize("truncate", [False, True])
def test_a_users_own_environment_is_imported_and_keeps_same_step_semantics(truncate):
    """Its observation has two dimensions and its actions start at 5."""
    made = copies("made_up:Clock-v0", "auto", SEEDS[:2], length=3, truncate=truncate)
    assert made.family.size == 3 and isinstance(made.family, Categorical) and made.observation_size == 6
    np.testing.assert_array_equal(made.reset(), [[0, 0, 0, 1, 2, 3]] * 2)
    for t in range(1, 8):
        episode, time = divmod(t, 3)
        ended = time == 0
        step = made.step(np.array([[t % 3], [0.0]]))
        before = [episode - 1, 3, 0, 1, 2, 3] if ended else [episode, time, 0, 1, 2, 3]
        np.testing.assert_array_equal(step.next_observation, [before] * 2)
        np.testing.assert_array_equal(step.observation, [[episode, time, 0, 1, 2, 3]] * 2)
        assert (step.reward == (3 if ended else time)).all()
        assert (step.truncated == (ended and truncate)).all() and (step.terminated == (ended and not truncate)).all()
    taken = [env.actions for env in inside(made)]
    assert [int(a) for a in taken[0]] == [5 + t % 3 for t in range(1, 8)] and {int(a) for a in taken[1]} == {5}


def test_box_actions_are_clipped_on_their_way_in_only():
    made = copies("made_up:Square-v0", "gymnasium", SEEDS[:2])
    made.reset()
    action = np.array([[-9, -9, 9, 9], [0.5, 1.5, -2.5, 3.5]])
    kept = action.copy()
    made.step(action)
    np.testing.assert_array_equal(inside(made)[0].actions[0], [[-1, -2], [3, 4]])
    np.testing.assert_array_equal(inside(made)[1].actions[0], [[0.5, 1.5], [-2.5, 3.5]])
    np.testing.assert_array_equal(action, kept)


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_actions_beyond_the_bounds_act_as_the_bounds(backend):
    made = copies("Pendulum-v1", backend, [3, 3])
    made.reset()
    step = made.step(np.array([[2.0], [50.0]]))
    np.testing.assert_array_equal(step.next_observation[0], step.next_observation[1])
    assert step.reward[0] == step.reward[1]


@pytest.mark.parametrize(
    ("id", "backend", "words"),
    [
        ("made_up:Hands-v0", "auto", "actions must be a Box, Discrete, MultiDiscrete or MultiBinary"),
        ("made_up:Words-v0", "auto", "observations must be made of .* got Text"),
        ("made_up:Pixels-v0", "auto", "observations hold an image of shape"),
        ("CarRacing-v3", "envpool", "observations hold an image of shape"),
        ("Cig-v1", "envpool", "observations hold an image of shape"),  # EnvPool cannot make it: a segmentation fault
        ("NoSuchTask-v0", "auto", "gymnasium cannot make it"),
        ("no_such_module:NoSuchTask-v0", "auto", "gymnasium cannot make it"),
        ("NoSuchTask-v0", "envpool", "EnvPool has no such environment"),
    ],
)
def test_a_task_that_cannot_be_made_is_refused_in_one_line(id, backend, words):
    with pytest.raises(ConfigError, match=words) as caught:
        copies(id, backend)
    assert id in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("id", "sizes", "start"),
    [("Buttons", (2, 3, 4, 2), [[0, 5], [0, -1]]), ("Switches", (2, 2, 2, 2), np.zeros((2, 2)))],
)
def test_actions_of_several_parts_reach_the_environment_in_its_own_shape(id, sizes, start):
    made = copies(f"made_up:{id}-v0", "gymnasium", SEEDS[:2], length=50)
    assert made.family.sizes == sizes
    made.reset()
    taken = np.array([[size - 1 for size in sizes], [0] * 4], float)
    made.step(taken)
    for env, action in zip(inside(made), taken):
        np.testing.assert_array_equal(env.actions[0], action.reshape(2, 2) + start)


def test_nested_observations_are_flattened_as_gymnasium_does_in_sorted_order():
    made = copies("made_up:Letters-v0", "gymnasium", SEEDS[:2], length=3)
    space = Letters.observation_space

    def expected(time):
        space.seed(time)
        value = space.sample()
        return gymnasium.spaces.flatten(space, value)

    assert list(space.spaces) == ["a", "b", "c"] and made.observation_size == 5 + 7 + 4
    np.testing.assert_array_equal(made.reset(), [expected(0)] * 2)
    for time in (1, 2, 3):
        step = made.step(np.zeros((2, 1)))
        np.testing.assert_array_equal(step.next_observation, [expected(time)] * 2)
    np.testing.assert_array_equal(step.observation, [expected(0)] * 2)


def test_batches_are_flattened_as_one_observation_is():
    space = spaces.canonical(Letters.observation_space)
    space.seed(0)
    observations = [space.sample() for _ in range(20)]
    batch = gymnasium.vector.utils.concatenate(
        space, observations, gymnasium.vector.utils.create_empty_array(space, 20)
    )
    one_by_one = [spaces.flatten_one(space, observation) for observation in observations]
    np.testing.assert_array_equal(spaces.flatten(space, batch), one_by_one)


def test_a_dict_of_envpool_comes_in_sorted_order():
    made = copies("FetchReach-v4", "envpool")
    pool = made._copies._pool
    assert list(pool.observation_space) != sorted(pool.observation_space)
    final, *_ = pool.reset()
    again = copies("FetchReach-v4", "envpool").reset()
    np.testing.assert_array_equal(again, np.concatenate([final[key] for key in sorted(final)], 1))


@pytest.mark.parametrize("id", ["FrozenLake8x8-v1", "CliffWalking-v1"])
def test_toy_text_is_one_hot_in_both_backends(id):
    fast, slow = copies(id, "envpool"), copies(id, "gymnasium")
    assert fast.observation_size == slow.observation_size and fast.family.size == slow.family.size
    for made in (fast, slow):
        first = made.reset()
        assert ((first == 0) | (first == 1)).all() and (first.sum(1) == 1).all()
    if id == "CliffWalking-v1":  # no chance in it
        fast.reset(), slow.reset()
        for action in actions(fast.family, 30):
            a, b = fast.step(action), slow.step(action)
            np.testing.assert_array_equal(a.next_observation, b.next_observation)
            np.testing.assert_array_equal(a.reward, b.reward)


def test_an_array_changed_in_place_ends_as_a_fresh_one():
    fresh, reused = (copies(f"made_up:{name}-v0", "gymnasium", length=3) for name in ("Clock", "Reused"))
    np.testing.assert_array_equal(fresh.reset(), reused.reset())
    for _ in range(7):
        a, b = fresh.step(np.zeros((3, 1))), reused.step(np.zeros((3, 1)))
        np.testing.assert_array_equal(a.next_observation, b.next_observation)
        np.testing.assert_array_equal(a.observation, b.observation)


def test_spaces_and_global_generators_are_seeded_and_an_own_generator_is_named():
    def task(**kwargs):
        return Task(name="a", id="made_up:Lottery-v0", backend="gymnasium", total_steps=1, kwargs=kwargs)

    assert probe(task())[1] is None
    assert "not reproducible" in probe(task(own=True))[1]
    np.testing.assert_array_equal(Copies(task(), [1, 2]).reset()[1:], Copies(task(), [2]).reset())


def test_gymnasium_s_warnings_are_said_once_and_not_again_by_workers(monkeypatch, capfd):
    monkeypatch.setattr(gymnasium.logger, "warn", gymnasium.logger.warn)
    monkeypatch.setattr(console, "said", set())
    console.hear_gymnasium()
    for _ in range(2):
        for backend in ("gymnasium", "envpool"):  # EnvPool's side clears what Python remembers of warnings
            copies("CartPole-v0" if backend == "gymnasium" else "CartPole-v1", backend).close()
    err = capfd.readouterr().err
    assert err.count("CartPole-v0 is out of date") == 1 and "note: gymnasium:" in err and "registration.py" not in err
    sentence = next(said for said in console.said if "out of date" in said)

    def fails(*_):
        gymnasium.logger.warn(sentence)
        gymnasium.logger.warn("another, %d %%", 100)
        raise ValueError("no more is needed")

    monkeypatch.setattr(process, "fit", lambda: None)
    monkeypatch.setattr(cluster.Work, "_checkpoint", fails)
    monkeypatch.setattr(console, "said", set())
    cluster.Work(SimpleNamespace(configs=[None]), None, "", frozenset([sentence])).train(None)
    err = capfd.readouterr().err
    assert "out of date" not in err and err.count("another, 100 %") == 1
