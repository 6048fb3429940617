"""Whole runs of every arm: the columns they fill, what they resume, what a reward's scale does to them."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import configuration, suited

from study.algorithm import NAMES
from study.fleet import Trainer
from study.launch import checkpoint
from study.record import CURVES
from study.settings import ConfigError

ALWAYS = (
    "env_steps", "episodes", "kl_after", "kl_attempted", "surrogate_gain", "entropy", "implied_beta",
    "implied_beta_crossfit", "sigma_advantage", "score_share", "gradient_norm", "cg_residual", "explained_variance",
    "value_loss", "max_ratio", "kl_max", "kl_p99",
)  # fmt: skip
SOMETIMES = {
    "beta": {name for name in NAMES if name.startswith("kl_")} - {"kl_per_sample", "kl_stop"}
    | {"natural_gradient", "fixpo", "vmpo"},
    "backtracks": {"trpo"},
    "accepted": {"trpo", "kl_bisect", "fixpo"},
    "fixup_steps": {"fixpo"},
    "temperature": {"vmpo"},
    "tries": {"kl_bisect"},
    "epochs_run": {"kl_stop"},
    "clipped_share": {"clip", "kl_per_sample", "simple_policy_optimization"},
    "learning_rate": {"lr_adaptive"},
}
SHORT = {
    "horizon": 128, "total_steps": 3 * 128, "epochs": 2, "minibatch_size": 32, "hidden": [8],
    "diagnostics": {"cg_iterations": 3},
}  # fmt: skip


def runs(algorithm, numbers=({}, {}), seeds=(0, 1), task="cartpole", dtype=torch.float32, **changes) -> Trainer:
    configs = [configuration(task, algorithm, n, seed=seed, **(SHORT | changes)) for n, seed in zip(numbers, seeds)]
    return Trainer(configs, dtype)


def every_arm(task, **changes) -> Trainer:
    """Two seeds of each algorithm that suits the task, in one fleet."""
    pairs = [(name, seed) for name, _ in suited(NAMES, [task]) for seed in (0, 1)]
    return Trainer([configuration(task, name, seed=seed, **(SHORT | changes)) for name, seed in pairs])


@cache
def trained(task):
    """Every arm in two chapters, of two iterations and of one, trained in one go; and the results."""
    trainer = every_arm(task, chapter=2)
    return trainer, trainer.train()


every_task = pytest.mark.parametrize("task", ["cartpole", "invertedpendulum"])


@every_task
def test_every_arm_fills_every_column_that_applies_to_it_in_every_iteration(task):
    for result in trained(task)[1]:
        curves, algorithm = result.curves, result.config.algorithm.name
        assert result.status == "complete" and list(curves.columns) == list(CURVES)
        assert curves["run_id"].unique().tolist() == [result.config.run_id]
        assert curves["iteration"].tolist() == [0, 1, 2] and curves["env_steps"].tolist() == [128, 256, 384]
        assert np.isfinite(curves[list(ALWAYS)]).all(axis=None), algorithm
        for column, arms in SOMETIMES.items():
            assert curves[column].notna().all() if algorithm in arms else curves[column].isna().all(), column
        if algorithm == "trpo":
            assert (curves["kl_after"] <= result.config.algorithm.max_kl).all()
        elif algorithm in ("kl_fixed", "kl_adaptive", "clip", "unpenalised"):
            assert (curves["kl_after"] == curves["kl_attempted"]).all()
        assert result.final_return == curves["return_last100"].iloc[-1]
        np.testing.assert_allclose(result.auc_return, curves["return_mean"].mean())


@pytest.mark.parametrize("normalization, task", [("none", "cartpole"), ("batch", "invertedpendulum"),
                                                 ("minibatch", "invertedpendulum")])  # fmt: skip
def test_implied_beta_is_the_advantages_scale_times_the_scores_share(normalization, task, monkeypatch):
    """implied_beta = s R / sqrt(2 delta), row by row; s is the rms of the advantages as the algorithm saw them."""
    seen, update = [], Trainer._update
    rms = lambda made: made.batch.advantage.square().mean(-1).sqrt().double().numpy()  # noqa: E731
    monkeypatch.setattr(Trainer, "_update", lambda self, made: seen.append(rms(made)) or update(self, made))
    for run, result in enumerate(every_arm(task, advantage_normalization=normalization, reward_scale=7.0).train()):
        delta, s = getattr(result.config.algorithm, "max_kl", 0.01), np.array([each[run] for each in seen])
        expected = s * result.curves["score_share"] / np.sqrt(2 * delta)
        np.testing.assert_allclose(result.curves["implied_beta"], expected, rtol=1e-4)
        if normalization != "none":  # unit variance
            np.testing.assert_allclose(s, 1, atol=1e-4)


@every_task
def test_every_arm_resumes_to_the_same_bits(task, tmp_path):
    """State that a page keeps between updates (Adam, beta, the update's number) is in the checkpoint."""
    path, (whole, expected) = tmp_path / "checkpoint.pt", trained(task)

    def interrupt(trainer):
        if trainer.iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.train(every_arm(task, chapter=2), interrupt, path)
    resumed = every_arm(task, chapter=2)
    for ours, theirs in zip(checkpoint.train(resumed, path=path), expected, strict=True):
        pd.testing.assert_frame_equal(ours.curves, theirs.curves, check_exact=True)
    assert torch.equal(resumed.theta, whole.theta) and torch.equal(resumed.critic_theta, whole.critic_theta)


# A reward's scale


def with_a_silent_critic(trainer: Trainer) -> Trainer:
    """Value 0 throughout, so that raw advantages scale as the rewards do."""
    trainer.critic_theta = torch.zeros_like(trainer.critic_theta)
    trainer.train()
    return trainer


def scaled(algorithm, numbers, **changes) -> Trainer:
    """One seed with rewards x 1 and x 100, raw advantages, in one fleet; changes may hold a pair per key."""
    settings = SHORT | {"advantage_normalization": "none", "value_learning_rate": 1e-30, "total_steps": 5 * 128}
    pairs = {"reward_scale": (1.0, 100.0)} | changes
    configs = [
        configuration("cartpole", algorithm, numbers[i], **settings | {key: pair[i] for key, pair in pairs.items()})
        for i in (0, 1)
    ]
    return with_a_silent_critic(Trainer(configs, torch.float64))


def test_a_reward_scale_leaves_kl_fixed_on_its_path_if_beta_is_scaled_with_it():
    trainer = scaled("kl_fixed", ({"beta": 2.0}, {"beta": 200.0}), optimizer=("sgd", "sgd"), learning_rate=(0.1, 0.001))
    torch.testing.assert_close(trainer.theta[0], trainer.theta[1], rtol=0, atol=1e-10)
    np.testing.assert_allclose(*np.array(trainer.rows["implied_beta"]).T * [[100.0], [1.0]], rtol=1e-8)
    adam = scaled("kl_fixed", ({"beta": 2.0}, {"beta": 200.0}))  # Adam divides the scale out, all but its epsilon
    torch.testing.assert_close(adam.theta[0], adam.theta[1], rtol=0, atol=2e-3)


def test_a_reward_scale_moves_kl_fixed_if_beta_is_not_scaled_with_it():
    kl = scaled("kl_fixed", ({"beta": 2.0}, {"beta": 2.0}), epochs=(20, 20)).latest("kl_after")
    assert kl[1] > 2 * kl[0]


@pytest.mark.parametrize("algorithm", ["trpo", "kl_bisect", "kl_stop"])
def test_a_constraint_ignores_the_rewards_scale(algorithm):
    numbers = [{"damping": 0.1}] * 2 if algorithm == "trpo" else [{"kl_target": 1e-4}] * 2
    if algorithm == "kl_bisect":
        numbers = [{"kl_target": 1e-4, "beta": beta, "tolerance": 1e-8, "max_tries": 60} for beta in (1.0, 100.0)]
    changes = {} if algorithm == "trpo" else {"optimizer": ("sgd", "sgd"), "learning_rate": (0.1, 0.001)}
    trainer = scaled(algorithm, numbers, **changes)
    torch.testing.assert_close(trainer.theta[0], trainer.theta[1], rtol=0, atol=1e-6)


# Replay


@pytest.fixture
def source(tmp_path):
    """A study of two seeds of one arm, and of another arm."""
    results = runs("trpo").train()
    curves = pd.concat([result.curves for result in results])
    table = [
        {"run_id": r.config.run_id, "task": r.config.task.name, "arm": "trpo max_kl=0.01", "seed": r.config.seed}
        for r in results
    ]
    table.append(table[0] | {"run_id": "another", "arm": "clip"})
    curves.to_parquet(tmp_path / "curves.parquet")
    pd.DataFrame(table).to_parquet(tmp_path / "runs.parquet")
    return tmp_path / "curves.parquet", results


def replay(path, mean="none", arm="trpo max_kl=0.01", **changes) -> Trainer:
    numbers = {"beta": None, "source": str(path), "source_arm": arm, "mean": mean}
    return runs("kl_replay", (numbers, numbers), **changes)


def test_kl_replay_uses_the_implied_betas_of_the_same_seed_update_by_update(source):
    path, results = source
    for mine, theirs in zip(replay(path).train(), results):
        np.testing.assert_allclose(mine.curves["beta"], theirs.curves["implied_beta"], rtol=1e-6)
    for mine, theirs in zip(replay(path, "geometric").train(), results):
        constant = np.exp(np.log(theirs.curves["implied_beta"]).mean())
        np.testing.assert_allclose(mine.curves["beta"], constant, rtol=1e-6)


def test_kl_replay_names_what_is_missing(source, tmp_path):
    path, _ = source
    with pytest.raises(ConfigError, match="nothing.*is missing"):
        replay(tmp_path / "nothing" / "curves.parquet")
    with pytest.raises(ConfigError, match="arm 'trpo', task cartpole, seed 0: 0 runs.*clip, trpo max_kl=0.01"):
        replay(path, arm="trpo")
    with pytest.raises(ConfigError, match="seed 5: 0 runs"):
        replay(path, seeds=(5, 6))
    with pytest.raises(ConfigError, match="3 positive implied betas for the 4 updates"):
        replay(path, total_steps=4 * 128)


@pytest.mark.parametrize("numbers", [{"beta": None}, {"source": "x"}, {"beta": None, "source": "x"}])
def test_kl_replay_wants_either_a_constant_or_a_source(numbers):
    with pytest.raises(ConfigError, match="either beta, or source and source_arm"):
        configuration("cartpole", "kl_replay", numbers)


# The value fit


def test_the_value_fit_has_its_own_adam_whatever_the_policys_optimizer():
    """One iteration under Adam kept, Adam reset and plain SGD: different policies, the same critic."""
    changes = ({}, {"reset_optimizer": True}, {"optimizer": "sgd", "reset_optimizer": True})
    first = [runs("kl_fixed", total_steps=128, **change) for change in changes]
    for trainer in first:
        trainer.train()
    for trainer in first[1:]:
        assert torch.equal(trainer.critic_theta, first[0].critic_theta)
    assert not torch.equal(first[0].theta, first[2].theta)
    for change, steps in zip(changes, (24, 8, 0)):  # of the policy's Adam, after three iterations of eight steps
        trainer = runs("kl_fixed", **change)
        trainer.train()
        assert (trainer.critic_adam.count == 24).all() and (trainer.parts[0].state.count == steps).all()


def test_an_arms_name_tells_its_leading_number_and_its_optimizer():
    plain = {"hidden": [64, 64]}
    assert configuration("cartpole", "natural_gradient", **plain).arm == "natural_gradient beta=3"
    assert configuration("cartpole", "kl_bisect", **plain).arm == "kl_bisect kl_target=0.01"
    other = configuration("cartpole", "kl_fixed", **plain, optimizer="sgd", reset_optimizer=True).arm
    assert other == "kl_fixed beta=1 optimizer=sgd reset_optimizer=true"
    plain, bounded = (configuration("cartpole", "kl_fixed", **plain, max_grad_norm=bound) for bound in (None, 0.5))
    assert bounded.arm == "kl_fixed beta=1 max_grad_norm=0.5"
    assert "max_grad_norm" not in plain.identity and bounded.run_id != plain.run_id
    assert bounded.fleet_key == plain.fleet_key  # a fleet may have both
