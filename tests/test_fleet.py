"""Fleets in lockstep: a run's results are its own, together or alone, interrupted or not, whoever diverges."""

import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CONTINUOUS, configuration
from reference import distribution, one
from test_rollout import double_sum

from study.algorithm import NAMES
from study.config import Task
from study.fleet import Episodes, Trainer
from study.launch import checkpoint, disk
from study.record import CURVES
from study.rollout import Stream, generator

SMALL = {"horizon": 128, "minibatch_size": 32, "epochs": 2}
NUMBERS = {  # three runs whose numbers differ wherever they may
    "trpo": [{"max_kl": 0.01}, {"max_kl": 0.003}, {"max_kl": 0.03}],
    "kl_adaptive": [{"kl_target": 0.01}, {"kl_target": 1e-4}, {"beta": 5.0}],
}


def configs(task=None, algorithm="trpo", iterations=4, seeds=(0, 1, 2), numbers=None, clock=None, **changes):
    """One configuration per seed; of the made-up Clock, where its arguments are given."""
    continuous = algorithm in CONTINUOUS
    task = task or ("invertedpendulum" if continuous else "cartpole")
    settings = SMALL | {"total_steps": iterations * 128} | changes
    numbers = numbers or NUMBERS.get(algorithm, [{}] * 3)
    made = [configuration(task, algorithm, n, seed=seed, **settings) for n, seed in zip(numbers, seeds)]
    if clock is not None:
        own = Task(
            name="clock",
            id=f"made_up:{'Square' if continuous else 'Clock'}-v0",
            backend="gymnasium",
            total_steps=1,
            kwargs=clock,
        )
        made = [config.model_copy(update={"task": own}) for config in made]
    return made


def mixed(algorithms, seeds=(0, 1, 2), **options):
    """Runs of all these algorithms for one fleet, each with every seed; numbers are the defaults."""
    numbers = [{}] * len(seeds)
    return [c for name in algorithms for c in configs(algorithm=name, seeds=seeds, numbers=numbers, **options)]


every_algorithm = pytest.mark.parametrize(  # in one fleet, or in two where they suit no task in common
    "algorithms", [[n for n in NAMES if n not in CONTINUOUS], list(CONTINUOUS)], ids=["most", "continuous"]
)


def same(a: pd.DataFrame, b: pd.DataFrame):
    """Bit for bit; NaN where NaN."""
    pd.testing.assert_frame_equal(a, b, check_exact=True)


class Spy:
    """Stands for an algorithm's page and keeps what each update was given and gave."""

    def __init__(self, trainer: Trainer):
        (part,) = trainer.parts
        self.page, self.seen = part.page, []
        part.page = self

    def update(self, fleet, theta, state, rollout):
        new, state, metrics = self.page.update(fleet, theta, state, rollout)
        self.seen.append(SimpleNamespace(theta=theta, new=new, batch=rollout.batch, order=rollout.order))
        return new, state, metrics


# Together and alone


@pytest.mark.parametrize("algorithm, task", [("trpo", "cartpole"), ("kl_adaptive", "invertedpendulum")])
def test_together_is_alone_to_rounding(task, algorithm):
    """Four updates in float64; learning rate, discount and the algorithm's numbers differ between the runs.

    With 4 conjugate gradient iterations: at 10 the search directions are no longer orthogonal, and rounding is
    multiplied a millionfold before it reaches a parameter.
    """
    numbers = [n | ({"cg_iterations": 4} if algorithm == "trpo" else {}) for n in NUMBERS[algorithm]]
    fleet = configs(task, algorithm, numbers=numbers, diagnostics={"cg_iterations": 4})
    rates = zip(fleet, (0.9, 0.99, 1.0), (1e-3, 3e-4, 1e-4))
    fleet = [c.model_copy(update={"gamma": gamma, "learning_rate": rate}) for c, gamma, rate in rates]
    together = Trainer(fleet, dtype=torch.float64)
    results = together.train()
    for run, config in enumerate(fleet):
        alone = Trainer([config], dtype=torch.float64)
        (result,) = alone.train()
        assert result.status == results[run].status == "complete"
        for name, values in alone.rows.items():
            for mine, theirs in zip(values, together.rows[name]):
                np.testing.assert_allclose(mine[0], theirs[run], rtol=1e-8, atol=1e-10, err_msg=name)
        torch.testing.assert_close(alone.theta[0], together.theta[run], rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(alone.critic_theta[0], together.critic_theta[run], rtol=1e-7, atol=1e-9)
    assert not torch.allclose(together.theta[0], together.theta[1])


def test_a_runs_draws_do_not_depend_on_its_fleet_mates():
    """Seed 1 between other seeds, at another place: the same initial parameters, noise, orders and episodes."""
    few = Trainer(configs(seeds=(0, 1), numbers=[{}] * 2), dtype=torch.float64)
    many = Trainer(configs(seeds=(7, 8, 9, 1), numbers=[{}] * 4), dtype=torch.float64)
    assert torch.equal(few.theta[1], many.theta[3]) and torch.equal(few.critic_theta[1], many.critic_theta[3])
    spies = Spy(few), Spy(many)
    few.train(), many.train()
    for a, b in zip(spies[0].seen, spies[1].seen):
        assert torch.equal(a.order[1], b.order[3])
        assert torch.equal(a.batch.action[1], b.batch.action[3])
        assert torch.equal(a.batch.observation[1], b.batch.observation[3])


def test_runs_of_one_seed_and_one_configuration_are_the_same_run():
    trainer = Trainer(configs(seeds=(4, 4), numbers=[{}] * 2))
    a, b = trainer.train()
    pd.testing.assert_frame_equal(a.curves, b.curves)


def test_algorithms_together_are_alone_to_rounding():
    """Every column of five algorithms' runs in one fleet, two parts of it by one algorithm, in float64."""
    names = ("trpo", "kl_fixed", "kl_bisect", "clip", "trpo", "kl_adaptive")
    alike = {"max_kl": 0.003, "cg_iterations": 4}
    fleet = [
        configs("invertedpendulum", name, seeds=(seed,), numbers=[alike if name == "trpo" else {}],
                diagnostics={"cg_iterations": 4})[0]
        for seed, name in enumerate(names)
    ]  # fmt: skip
    together = Trainer(fleet, dtype=torch.float64)
    assert [part.rows for part in together.parts] == [slice(run, run + 1) for run in range(6)]
    results = together.train()
    for run, config in enumerate(fleet):
        alone = Trainer([config], dtype=torch.float64)
        (result,) = alone.train()
        assert result.status == results[run].status == "complete" and results[run].fleet_runs == 6
        for name, values in alone.rows.items():
            for mine, theirs in zip(values, together.rows[name]):
                np.testing.assert_allclose(mine[0], theirs[run], rtol=1e-8, atol=1e-10, err_msg=f"{config.arm} {name}")
    assert np.isfinite(together.latest("implied_beta")).all() and np.isfinite(together.latest("kl_attempted")).all()
    assert sum(result.wall_seconds for result in results) == pytest.approx(together.seconds.sum())


def test_a_fleet_of_runs_that_cannot_share_one_is_refused():
    with pytest.raises(ValueError, match="fleet_key"):
        Trainer(configs()[:1] + configs(horizon=256)[1:])


# Divergence


@pytest.mark.parametrize("algorithm, task", [("trpo", "cartpole"), ("kl_adaptive", "pendulum"),
                                             ("trpo", "invertedpendulum")])  # fmt: skip
def test_a_fleet_mate_turned_to_nan_changes_no_other_runs_bits(task, algorithm, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes about NaN actions to a file in the current folder
    runs = configs(task, algorithm)
    clean, poisoned = Trainer(runs), Trainer(runs)

    def poison(trainer):
        if trainer.iteration == 2:
            trainer.theta = trainer.theta.clone()
            trainer.theta[1] = torch.nan

    expected, results = clean.train(), poisoned.train(report=poison)
    for run in (0, 2):
        same(results[run].curves, expected[run].curves)
        assert torch.equal(poisoned.theta[run], clean.theta[run])
        assert torch.equal(poisoned.critic_theta[run], clean.critic_theta[run])
    assert [result.status for result in results] == ["complete", "diverged", "complete"]
    assert [len(result.curves) for result in results] == [4, 3, 4], "the row that broke is the last"
    same(results[1].curves[:2], expected[1].curves[:2])


@every_algorithm
def test_a_task_that_emits_nan_stops_its_own_run_only(algorithms):
    """From its 40th episode on one copy observes NaN: that run is frozen as it was before, and marked."""
    clean, poisoned = (
        Trainer(mixed(algorithms, seeds=(0, 1), iterations=3, clock=clock)) for clock in ({}, {"poison": [1, 40]})
    )
    odd = [int(generator(c.seed, Stream.ENVIRONMENT, 0).integers(2**31)) % 2 == 1 for c in clean.configs]
    assert any(odd) and not all(odd)
    thetas = []
    expected = clean.train(report=lambda trainer: thetas.append(trainer.theta))
    results = poisoned.train()
    for run, broken in enumerate(odd):
        columns = [name for name in CURVES if name != "run_id"]
        rows = 2 if broken else 3  # 32 episodes of 4 steps per iteration: the second breaks
        assert results[run].status == ("diverged" if broken else "complete"), results[run].config.arm
        assert len(results[run].curves) == rows
        kept = 1 if broken else 3
        same(results[run].curves[columns][:kept], expected[run].curves[columns][:kept])
        assert torch.equal(poisoned.theta[run], thetas[0 if broken else -1][run])


def test_a_fleet_of_diverged_runs_stops():
    trainer = Trainer(configs(numbers=[{}], seeds=(0,)))

    def poison(trainer):
        trainer.theta = torch.full_like(trainer.theta, torch.nan)

    (result,) = trainer.train(report=poison)
    assert result.status == "diverged" and trainer.iteration == 2 and len(result.curves) == 2


# Chapters and checkpoints


class Interrupted(Exception):
    pass


@pytest.mark.parametrize(("task", "algorithm"), [("cartpole", "trpo"), ("pendulum", "clip"), ("hopper", "trpo")])
def test_a_resumed_training_gives_the_bits_of_an_uninterrupted_one(task, algorithm, tmp_path):
    """Three chapters of two iterations; interrupted within the second and within the third, fresh each time."""
    runs = configs(task, algorithm, iterations=6, chapter=2, reward_scaling=True)
    whole = Trainer(runs)
    expected = whole.train()
    file = tmp_path / "checkpoint.pt"
    for stop in (3, 5):

        def interrupt(trainer, stop=stop):
            if trainer.iteration == stop:
                raise Interrupted

        with pytest.raises(Interrupted):
            checkpoint.train(Trainer(runs), interrupt, file)
    resumed = Trainer(runs)
    iterations = []
    results = checkpoint.train(resumed, lambda trainer: iterations.append(trainer.iteration), file)
    assert iterations == [5, 6], "the finished chapters are not run again"
    for a, b in zip(results, expected):
        same(a.curves, b.curves)
        assert (a.final_return, a.auc_return, a.status) == (b.final_return, b.auc_return, b.status)
    for name in ("theta", "critic_theta"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name))
    assert np.array_equal(resumed.moments.variance, whole.moments.variance)


def test_a_finished_training_is_read_back_from_its_checkpoint(tmp_path):
    runs = configs(chapter=2)
    expected = checkpoint.train(Trainer(runs), path=tmp_path / "checkpoint.pt")
    for a, b in zip(checkpoint.train(Trainer(runs), path=tmp_path / "checkpoint.pt"), expected):
        same(a.curves, b.curves)


def test_a_diverged_run_stays_diverged_after_a_resume(tmp_path):
    runs = configs(iterations=6, chapter=2)

    def poison(trainer):
        if trainer.iteration == 1:
            trainer.theta = trainer.theta.clone()
            trainer.theta[1] = torch.nan

    def stop(trainer):
        poison(trainer)
        if trainer.iteration == 5:
            raise Interrupted

    expected = Trainer(runs).train(report=poison)
    with pytest.raises(Interrupted):
        checkpoint.train(Trainer(runs), stop, tmp_path / "checkpoint.pt")
    results = checkpoint.train(Trainer(runs), path=tmp_path / "checkpoint.pt")
    assert [result.status for result in results] == ["complete", "diverged", "complete"]
    for a, b in zip(results, expected):
        same(a.curves, b.curves)


def test_policies_are_given_raw_centred_or_normalised_advantages():
    seen = {}
    for kind in ("none", "centre", "batch", "minibatch"):
        trainer = Trainer(configs(iterations=1, advantage_normalization=kind))
        spy = Spy(trainer)
        trainer.train()
        seen[kind] = spy.seen[0].batch.advantage.double().numpy()
    raw = seen["none"]  # the first rollout is the same in all of them
    mean, sd = raw.mean(1, keepdims=True), raw.std(1, keepdims=True)
    assert (np.abs(mean) > 1e-3).all() and (np.abs(sd - 1) > 1e-3).all()
    np.testing.assert_allclose(seen["centre"], raw - mean, atol=1e-5)
    np.testing.assert_allclose(seen["batch"], (raw - mean) / sd, rtol=1e-4, atol=1e-5)
    assert np.array_equal(seen["minibatch"], seen["batch"])


def test_a_checkpoint_of_other_runs_is_refused(tmp_path):
    file = tmp_path / "checkpoint.pt"
    checkpoint.train(Trainer(configs(chapter=2)), path=file)
    with pytest.raises(disk.Damaged, match="other runs"):
        checkpoint.load(Trainer(configs(chapter=2, seeds=(0, 1, 5))), file)


def test_a_chapter_opens_new_environments_from_seed_and_chapter():
    """Its first observations are those of fresh copies; no episode reaches over the boundary."""
    runs = configs(iterations=4, chapter=2, clock={"length": 1000})
    trainer = Trainer(runs)
    opened = []
    trainer.train(report=lambda t: opened.append(t.copies))
    assert opened[0] is opened[1] and opened[2] is opened[3] and opened[0] is not opened[2]
    assert trainer.latest("episodes").tolist() == [0, 0, 0] and np.isnan(trainer.latest("return_last100")).all()
    assert trainer.episodes.open_return.tolist() == [sum(range(1, 257))] * 3
    seeds = [int(generator(c.seed, Stream.ENVIRONMENT, 1).integers(2**31)) for c in runs]
    assert trainer.copies._copies._seeds == seeds


# What is recorded


def test_episode_statistics_are_a_slow_loop():
    rng = np.random.default_rng(0)
    episodes, open_return, finished = Episodes(3), [0.0] * 3, [[], [], []]
    for _ in range(12):
        reward, ended = rng.standard_normal((3, 60)), rng.random((3, 60)) < np.array([[0.0], [0.03], [0.4]])
        count, mean, last = episodes.add(reward, ended)
        for run in range(3):
            now = []
            for r, end in zip(reward[run], ended[run]):
                open_return[run] += r
                if end:
                    now.append(open_return[run])
                    open_return[run] = 0.0
            finished[run] += now
            assert count[run] == len(now)
            np.testing.assert_allclose(mean[run], np.mean(now) if now else np.nan, rtol=1e-9, atol=1e-9)
            recent = finished[run][-100:]
            np.testing.assert_allclose(last[run], np.mean(recent) if recent else np.nan, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(episodes.open_return[run], open_return[run], rtol=1e-9, atol=1e-9)
    assert not finished[0] and len(finished[2]) > 200


@pytest.mark.parametrize("algorithm, task", [("trpo", "invertedpendulum"), ("kl_fixed", "cartpole")])
def test_kl_after_is_that_of_the_full_batch_at_the_final_parameters(task, algorithm):
    trainer = Trainer(configs(task, algorithm), dtype=torch.float64)
    spy, policy = Spy(trainer), trainer.fleet.policy
    trainer.train()
    for iteration, seen in enumerate(spy.seen):
        row = {name: values[iteration] for name, values in trainer.rows.items()}
        for run in range(3):
            observation = seen.batch.observation[run]
            old = distribution(policy.family, policy(seen.theta[run], observation))
            new = distribution(policy.family, policy(seen.new[run], observation))
            kl = torch.distributions.kl_divergence(old, new).mean().item()
            np.testing.assert_allclose(row["kl_after"][run], kl, rtol=1e-6, atol=1e-12)
            np.testing.assert_allclose(row["entropy"][run], new.entropy().mean().item(), rtol=1e-9)
            action = seen.batch.action[run]
            action = action if policy.family.extra else action[:, 0]
            ratio = torch.exp(new.log_prob(action) - old.log_prob(action))
            gain = ((ratio - 1) * seen.batch.advantage[run]).mean().item()
            np.testing.assert_allclose(row["surrogate_gain"][run], gain, rtol=1e-6, atol=1e-12)
            np.testing.assert_allclose(row["max_ratio"][run], ratio.max().item(), rtol=1e-9)


@pytest.mark.parametrize("task, dtype", [("cartpole", torch.float32), ("invertedpendulum", torch.float64)])
def test_a_rejected_step_is_recorded_as_no_kl_after_and_the_kl_attempted(task, dtype, monkeypatch):
    """Reporting the rejected step's KL as the update's, or 0 for both, hides what happened."""
    monkeypatch.setattr("study.solver.acceptable", lambda gain, kl, bound: torch.zeros_like(gain, dtype=torch.bool))
    trainer = Trainer(configs(task), dtype=dtype)
    before = trainer.theta.clone()
    for result in trainer.train():
        curves = result.curves
        assert (curves["kl_after"].abs() < 1e-12).all() and (curves["surrogate_gain"].abs() < 1e-6).all()
        assert (curves["kl_attempted"] > 1e-4).all()
        assert (curves["accepted"] == 0).all() and (curves["backtracks"] == 10).all()
    assert torch.equal(trainer.theta, before)


def test_the_policy_that_learns_is_the_policy_that_acted():
    """After the first iteration the actions standardise to the very noise that was drawn: nothing moved meanwhile."""
    trainer = Trainer(configs("invertedpendulum"), dtype=torch.float64)
    spy = Spy(trainer)
    trainer.train()
    for iteration, seen in enumerate(spy.seen[1:], 1):
        for run, config in enumerate(trainer.configs):
            mean, log_std = seen.batch.old[run].chunk(2, -1)
            noise = generator(config.seed, Stream.NOISE, iteration).standard_normal((128, 1))
            standardised = (seen.batch.action[run] - mean) * torch.exp(-log_std)
            np.testing.assert_allclose(standardised, noise, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("reward_scaling", [False, True])
def test_the_algorithm_sees_the_advantages_of_the_true_episodes(normalization, reward_scaling, monkeypatch):
    """GAE by the double sum on what was collected; computed and then used, standardised where that is asked for.

    The value learns from the same sums, never standardised; observations are standardised by all that were seen before.
    """
    from study import fleet

    collected, real = [], fleet.collect
    monkeypatch.setattr(fleet, "collect", lambda *args: collected.append(real(*args)) or collected[-1])
    targets, fit = [], fleet.value.fit
    monkeypatch.setattr(fleet.value, "fit", lambda *args: targets.append(args[4].value_target) or fit(*args))
    runs = configs(
        "hopper", advantage_normalization=normalization, reward_scaling=reward_scaling, reward_scale=0.5, iterations=3
    )
    trainer = Trainer(runs, dtype=torch.float64)
    spy, kept = Spy(trainer), []
    keep = lambda t: kept.append((copy.deepcopy(t.moments), t.critic_theta, t.reward_scale.moments.variance))  # noqa: E731
    trainer.train(report=keep)
    terminated = 0
    for iteration in (1, 2):
        moments, critic_theta, _ = kept[iteration - 1]
        _, _, variance = kept[iteration]
        experience, _ = collected[iteration]
        observed = np.concatenate([before.observation for before, _ in collected[:iteration]], 1)
        np.testing.assert_allclose(moments.mean, observed.mean(1), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(moments.variance, observed.var(1), rtol=1e-9)
        for run, config in enumerate(runs):

            def value(x, run=run, moments=moments, critic_theta=critic_theta):
                standard = torch.from_numpy(moments.standardise(x))
                return trainer.critic(critic_theta, standard)[run, :, 0].detach().numpy()

            reward = 0.5 * experience.reward[run]
            if reward_scaling:
                reward = reward / np.sqrt(variance[run] + 1e-8)
            expected = double_sum(
                reward,
                value(experience.observation),
                value(experience.next_observation),
                experience.terminated[run],
                experience.truncated[run],
                config.gamma,
                config.gae_lambda,
            )
            np.testing.assert_allclose(trainer.rows["sigma_advantage"][iteration][run], expected.std(), rtol=1e-8)
            of_value = expected + value(experience.observation)
            np.testing.assert_allclose(targets[iteration][run], of_value, rtol=1e-6, atol=1e-6)
            if normalization == "batch":
                expected = (expected - expected.mean()) / expected.std()
            seen = one(spy.seen[iteration].batch, run).advantage
            np.testing.assert_allclose(seen, expected, rtol=1e-6, atol=1e-6)
            terminated += experience.terminated[run].sum()
    assert terminated > 5


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["trpo", "clip", "kl_adaptive"])
def test_cartpole_is_learned(algorithm):
    """A random policy's episodes last about 22 steps."""
    runs = [configuration("cartpole", algorithm, seed=seed, total_steps=61440, hidden=[64, 64]) for seed in range(3)]
    returns = [result.final_return for result in Trainer(runs).train()]
    assert np.median(returns) > 150, returns
