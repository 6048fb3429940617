"""Five tiny tasks of rising difficulty, their values and best actions known, for every arm."""

import gymnasium
import numpy as np
import pytest
from conftest import CONTINUOUS, configuration

from study.algorithm import NAMES
from study.config import Task
from study.fleet import Trainer
from study.policy import Gaussian

GAMMA = 0.9


class Probe(gymnasium.Env):
    """Episodes of `length` steps; reward(observation, action) at the end of each."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    length = 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        self.seen = self.first()
        return np.array([self.seen], np.float32), {}

    def step(self, action):
        self.step_number += 1
        ended = self.step_number == self.length
        reward = self.reward(self.seen, action) if ended else 0.0
        self.seen = self.seen + 1 if self.length > 1 else self.seen
        return np.array([self.seen], np.float32), reward, ended, False, {}

    def first(self):
        return 0.0


class Either(Probe):
    """The first observation is -1 or 1."""

    def first(self):
        return float(self.np_random.choice([-1, 1]))


class ConstantReward(Probe):
    def reward(self, seen, action):
        return 1.0


class ObservationDependent(Either):
    def reward(self, seen, action):
        return seen


class Delayed(Probe):
    length = 2

    def reward(self, seen, action):
        return 1.0


class ActionDependent(Probe):
    def reward(self, seen, action):
        return 1.0 if action == 1 else -1.0


class Both(Either):
    def reward(self, seen, action):
        return seen if action == 1 else -seen


class BothContinuous(Either):
    action_space = gymnasium.spaces.Box(-2, 2, (1,))

    def reward(self, seen, action):
        return 1.0 - abs(float(action[0]) - seen)


for probe in (ConstantReward, ObservationDependent, Delayed, ActionDependent, Both, BothContinuous):
    gymnasium.register(f"{probe.__name__}-v0", entry_point=probe)

VALUES = {  # of each first observation, once the critic has seen enough
    "ConstantReward": {0.0: 1.0},
    "ObservationDependent": {-1.0: -1.0, 1.0: 1.0},
    "Delayed": {0.0: GAMMA, 1.0: 1.0},
}
LEARNERS = [name for name in NAMES if name != "kl_theory"]
NUMBERS = {
    "natural_gradient": {"beta": 2.0},
    "kl_stop": {"kl_target": 0.03},
    "kl_bisect": {"tolerance": 0.1, "max_tries": 8},
    "simple_policy_optimization": {"clip_epsilon": 0.5},
}
SEEDS = (0, 1)


def trained(algorithms: list[str], probe: str, iterations: int = 30, **changes) -> Trainer:
    """One fleet of all these algorithms, each with every seed, after its budget."""
    task = Task(name=probe, id=f"{probe}-v0", backend="gymnasium", total_steps=64 * iterations)
    settings = {
        "total_steps": 64 * iterations, "horizon": 64, "epochs": 4, "minibatch_size": 32, "hidden": [16],
        "learning_rate": 0.01, "value_learning_rate": 0.02, "gamma": GAMMA, "execution": {"compile": "auto"},
        "diagnostics": {"fisher_stride": 1, "cg_iterations": 2},
    }  # fmt: skip
    settings |= changes
    trainer = Trainer(
        [
            configuration("cartpole", name, NUMBERS.get(name, {}), seed=seed, **settings).model_copy(
                update={"task": task}
            )
            for name in algorithms
            for seed in SEEDS
        ]
    )
    trainer.train()
    return trainer


def by_algorithm(trainer: Trainer, values) -> dict[str, np.ndarray]:
    """[seeds, ...] of values [R, ...]."""
    names = [config.algorithm.name for config in trainer.configs]
    return {name: np.array([v for n, v in zip(names, values) if n == name]) for name in dict.fromkeys(names)}


def critics(trainer: Trainer, observations: list[float]) -> np.ndarray:
    """[R, n] the critics' values at observations."""
    raw = np.broadcast_to(np.array(observations)[None, :, None], (len(trainer.configs), len(observations), 1))
    seen = trainer.fleet.tensor(trainer.moments.standardise(raw))
    return trainer.critic(trainer.critic_theta, seen).squeeze(-1).detach().numpy()


QUICK = ["trpo", "kl_fixed", "clip"]


@pytest.mark.parametrize("probe", VALUES)
def test_the_critic_learns_the_values(probe):
    """Beside a few arms: no action changes what is observed or rewarded here, and no page has a critic of its own."""
    trainer = trained(QUICK, probe, iterations=15, minibatch_size=64, value_learning_rate=0.04)
    expected = list(VALUES[probe].values())
    for name, found in by_algorithm(trainer, critics(trainer, list(VALUES[probe]))).items():
        np.testing.assert_allclose(found, [expected] * len(SEEDS), atol=0.1, err_msg=name)
    assert trainer.alive.all()


@pytest.mark.parametrize(
    "probe, algorithms",
    [("ActionDependent", QUICK), ("Both", [name for name in LEARNERS if name not in CONTINUOUS])],
)
def test_every_arm_that_can_learn_finds_the_best_action(probe, algorithms):
    """Each on the harder of the two."""
    trainer = trained(algorithms, probe)
    for name, found in by_algorithm(trainer, trainer.latest("return_last100")).items():
        assert (found > 0.8).all(), (name, found)


@pytest.mark.parametrize(
    "algorithms",
    [QUICK, pytest.param([name for name in LEARNERS if name not in QUICK], marks=pytest.mark.slow)],
    ids=["quick", "others"],
)
def test_every_arm_that_can_learn_finds_the_best_continuous_action(algorithms):
    trainer = trained(algorithms, "BothContinuous", iterations=60)
    assert isinstance(trainer.fleet.policy.family, Gaussian)
    better = trainer.latest("return_last100") - trainer.rows["return_mean"][0]
    for name, gain in by_algorithm(trainer, better).items():
        assert (gain > 0.5).all(), (name, gain)


def test_kl_theory_does_not_learn_because_its_steps_are_tiny():
    trainer = trained(["kl_theory", "kl_fixed"], "ActionDependent", gamma=0.99)
    beta, kl = (by_algorithm(trainer, np.stack(trainer.rows[name], 1)) for name in ("beta", "kl_after"))
    assert (beta["kl_theory"] > 4 * 0.99 / 0.01).all()
    assert (by_algorithm(trainer, trainer.latest("return_last100"))["kl_theory"] < 0.8).all()
    assert np.max(kl["kl_theory"]) < 0.1 * np.max(kl["kl_fixed"])
