"""The tricks of PPO's implementations: each against another way to compute it, and nothing while it is off."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import configuration
from reference import (
    FAMILIES,
    dense_fisher,
    distribution,
    families,
    one,
    policy_gradient,
    random_fleet,
    random_policy,
    sample,
    sample_terms,
)
from scipy.stats import kstest

from study import fleet, sgd, value
from study.algorithm import fixpo, kl_fixed, trpo
from study.config import SWITCHES, Config
from study.fleet import Fleet, Trainer
from study.launch import policies
from study.policy import Gaussian, Network, Policy, StateGaussian
from study.rollout import Stream, generator
from study.settings import ConfigError
from study.sgd import Adam
from study.value import Targets


def trainer(task="cartpole", algorithm="kl_fixed", numbers=None, seeds=(0, 1), compile=False, **changes) -> Trainer:
    shared = {"horizon": 128, "total_steps": 256, "minibatch_size": 32, "epochs": 2, "execution": {"compile": compile}}
    return Trainer([configuration(task, algorithm, numbers, seed=seed, **shared | changes) for seed in seeds])


@pytest.fixture
def rewards(monkeypatch):
    """What the advantages were computed from, [R, T] per iteration."""
    seen, real = [], fleet.gae
    monkeypatch.setattr(fleet, "gae", lambda reward, *others: seen.append(reward) or real(reward, *others))
    return seen


@pytest.mark.parametrize("reward_scaling", [False, True])
def test_rewards_are_clipped_after_they_are_scaled(rewards, reward_scaling):
    """The first iteration's experience is the same with and without."""
    shared = {"task": "pendulum", "reward_scaling": reward_scaling, "reward_scale": 0.5, "total_steps": 128}
    (free := trainer(**shared)).train()
    bound = float(np.median(-rewards[0]))
    (clipped := trainer(**shared, reward_clip=bound)).train()
    expected = [[max(-bound, min(bound, reward)) for reward in run] for run in rewards[0]]
    assert 0 < bound < -rewards[0].min()
    np.testing.assert_array_equal(rewards[1], expected)
    np.testing.assert_array_equal(clipped.reward_scale.moments.variance, free.reward_scale.moments.variance)
    np.testing.assert_array_equal(clipped.latest("return_mean"), free.latest("return_mean"))


def test_switches_are_off_and_then_no_part_of_a_runs_name():
    """conf/config.yaml and the fields' own defaults agree, so the names of older runs stay."""
    came_later = {name for name, field in Config.model_fields.items() if not field.is_required()}
    assert set(SWITCHES) < came_later and not came_later & configuration("cartpole").identity.keys()


def test_runs_of_one_fleet_have_the_switches_in_common():
    keys = {configuration("cartpole", reward_clip=bound, seed=seed).fleet_key for bound in (1, 2) for seed in (0, 1)}
    assert len(keys) == 2
    assert configuration(learning_rate=1.0).fleet_key == configuration(learning_rate=2.0).fleet_key


# Annealing


def by_hand(made: Trainer, **changes) -> Trainer:
    """The run that `made` is without its switch, with the numbers of every iteration set from outside."""

    def follow(t):
        left = torch.nn.Parameter(torch.zeros(1))
        schedule = torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD([left], lr=1.0), lambda k: 1 - k / 4)
        for _ in range(t.iteration):
            schedule.optimizer.step(), schedule.step()
        (factor,) = schedule.get_last_lr()
        for each in (t.fleet, *(part.fleet for part in t.parts)):
            for name, full in changes.items():
                holder = each.settings if name == "clip_epsilon" else each
                if holder is not None:  # of a fleet of several arms each part has its own
                    setattr(holder, name, torch.full_like(each.gamma, factor * full))

    made.train(report=follow)
    return made


def without_with_and_without(switch: str, arms: list[str], numbers=None, compile=False, **changes) -> list[Trainer]:
    """Fleets of several arms, four iterations each; the second with the switch."""
    shared = {"horizon": 128, "total_steps": 512, "minibatch_size": 32, "epochs": 2, "execution": {"compile": compile}}
    each = [[configuration("cartpole", arm, numbers, **shared | changes | on) for arm in arms]
            for on in ({}, {switch: True}, {})]  # fmt: skip
    return list(map(Trainer, each))


@pytest.mark.parametrize("compile", [False, "auto"])
def test_the_learning_rates_are_torchs_linear_schedule(compile):
    """After the first of four iterations the policy of TRPO alone is not touched."""
    arms, rates = ["clip", "fixpo", "kl_fixed", "trpo"], {"learning_rate": 0.002, "value_learning_rate": 0.001}
    free, annealed, expected = without_with_and_without("anneal_learning_rate", arms, compile=compile, **rates)
    by_hand(expected, **rates)
    free.train(), annealed.train()
    torch.testing.assert_close(annealed.theta, expected.theta, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(annealed.critic_theta, expected.critic_theta, rtol=1e-5, atol=1e-6)
    assert ((annealed.critic_theta - free.critic_theta).abs().amax(1) > 1e-3).all()
    for run, arm in enumerate(arms):
        np.testing.assert_array_equal(free.rows["kl_after"][0][run], annealed.rows["kl_after"][0][run])
        assert free.rows["value_loss"][0][run] == annealed.rows["value_loss"][0][run]
        assert free.rows["value_loss"][1][run] != annealed.rows["value_loss"][1][run]
        assert (free.rows["kl_after"][1][run] == annealed.rows["kl_after"][1][run]) == (arm == "trpo")


def test_the_clip_range_is_torchs_linear_schedule():
    arms, numbers = ["clip", "kl_per_sample", "simple_policy_optimization"], {"clip_epsilon": 0.02}
    made = without_with_and_without("anneal_clip_range", arms, numbers, learning_rate=0.003)
    free, annealed, expected = made
    by_hand(expected, clip_epsilon=0.02)
    free.train(), annealed.train()
    torch.testing.assert_close(annealed.theta, expected.theta, rtol=1e-5, atol=1e-6)
    assert ((annealed.theta - free.theta).abs().amax(1) > 1e-3).all()


@pytest.mark.parametrize(
    "algorithm, switch, reason",
    [
        ("trpo", {"anneal_clip_range": True}, "trpo has no clip_epsilon"),
        ("kl_fixed", {"anneal_clip_range": True}, "kl_fixed has no clip_epsilon"),
        ("lr_adaptive", {"anneal_learning_rate": True}, "lr_adaptive has its own rule"),
        ("projection", {"state_dependent_std": True}, "projection projects one std"),
    ],
)
def test_a_switch_that_would_change_nothing_is_refused(algorithm, switch, reason):
    with pytest.raises(ConfigError, match=reason):
        configuration("cartpole", algorithm, **switch)


# The entropy bonus


def bonus(family, phi):
    """By torch.distributions."""
    return distribution(family, phi).entropy().mean()


@families
def test_the_entropy_bonus_is_in_a_plain_loop_over_torch_adam(family, rng):
    numbers = [{"beta": 0.5}, {"beta": 4.0}]
    fleet, theta, rollout = random_fleet("kl_fixed", family, rng, numbers, entropy_coefficient=0.3, learning_rate=0.01)
    new, _ = sgd.descend(fleet, kl_fixed.loss, theta, Adam.start(theta), rollout, fleet.settings.beta)
    for run in range(2):
        parameter = torch.nn.Parameter(theta[run].clone())
        optimiser, batch = torch.optim.Adam([parameter], lr=0.01, eps=1e-5), one(rollout.batch, run)
        for epoch in rollout.order[run]:
            for some in epoch.split(fleet.minibatch_size):
                optimiser.zero_grad()
                part = type(batch)(*(field[some] for field in batch))
                loss = kl_fixed.loss(fleet.policy, parameter, part, numbers[run]["beta"])
                (loss - 0.3 * bonus(family, fleet.policy(parameter, part.observation))).backward()
                optimiser.step()
        torch.testing.assert_close(new[run], parameter.detach())


@families
def test_trpos_objective_has_the_entropy_bonus(family, rng):
    """Its gradient and its gain, sample by sample."""
    fleet, theta, rollout = random_fleet("trpo", family, rng, [{}, {}], entropy_coefficient=0.3)
    gradient = fleet.surrogate_gradient(theta, rollout.batch)
    new = theta + 0.1 * torch.randn(theta.shape, generator=rng, dtype=theta.dtype)
    gain, kl = fleet.gain_and_kl(new, rollout.batch)
    for run in range(2):
        batch = one(rollout.batch, run)

        def objective(at, batch=batch):
            surrogate = torch.stack([ratio * a for ratio, _, a in sample_terms(fleet.policy, at, batch)]).mean()
            return surrogate + 0.3 * bonus(family, fleet.policy(at, batch.observation))

        at = theta[run].clone().requires_grad_()
        torch.testing.assert_close(gradient[run], torch.autograd.grad(objective(at), at)[0])
        torch.testing.assert_close(gain[run], objective(new[run]) - objective(theta[run]))
        kls = torch.stack([each for _, each, _ in sample_terms(fleet.policy, new[run], batch)])
        torch.testing.assert_close(kl[run], kls.mean())


def test_with_nothing_to_gain_trpo_widens_the_policy(rng):
    """Of advantages 0 the entropy alone is left: each of A log std grows by sqrt(delta / A), the mean stays."""
    fleet, theta, rollout = random_fleet(
        "trpo", Gaussian(2), rng, [{"damping": 0.0, "max_kl": 0.02}], entropy_coefficient=0.3
    )
    still = rollout.batch._replace(advantage=torch.zeros_like(rollout.batch.advantage))
    new, _, metrics = trpo.update(fleet, theta, (), dataclasses.replace(rollout, batch=still))
    moved = torch.zeros_like(theta)
    moved[:, -2:] = (0.02 / 2) ** 0.5
    torch.testing.assert_close(new - theta, moved, rtol=1e-6, atol=1e-9)
    assert metrics["backtracks"].item() == 0 and metrics["accepted"].item() == 1


def test_the_fix_up_is_no_objective(rng, monkeypatch):
    """FixPO's steps down the KL alone have no entropy bonus."""
    fleet, theta, rollout = random_fleet("fixpo", Gaussian(2), rng, [{"kl_bound": 1e-6}], entropy_coefficient=0.3)
    seen, minimise = set(), sgd.minimise
    monkeypatch.setattr(
        sgd, "minimise", lambda fleet, loss, *rest, **own: seen.add(loss) or minimise(fleet, loss, *rest, **own)
    )
    fixpo.update(fleet, theta, fixpo.start(fleet, theta), rollout)
    assert seen == {sgd.with_entropy(kl_fixed.loss), fixpo.fixup_loss}


@pytest.mark.parametrize("algorithm", ["trpo", "clip", "fixpo"])
def test_the_entropy_bonus_is_the_same_fused(algorithm):
    shared = {"task": "invertedpendulum", "algorithm": algorithm, "total_steps": 128, "entropy_coefficient": 0.3}
    eager, made = trainer(**shared), trainer(**shared, compile="auto")
    eager.train(), made.train()
    torch.testing.assert_close(made.theta, eager.theta, rtol=0, atol=2e-4)
    np.testing.assert_allclose(made.latest("implied_beta"), eager.latest("implied_beta"), rtol=2e-3)
    assert not made.parts[0].fleet.unfused
    assert (made.latest("entropy") > trained_without(shared).latest("entropy")).all()


def trained_without(shared: dict) -> Trainer:
    (made := trainer(**shared | {"entropy_coefficient": 0.0})).train()
    return made


# Value-loss clipping


def critic_problem(rng, dtype=torch.float64):
    critic = Network((3, 8, 1))
    theta = torch.randn(2, critic.parameters, generator=rng, dtype=torch.float64).to(dtype)
    x = torch.randn(2, 32, 3, generator=rng, dtype=torch.float64).to(dtype)
    target = 3 * torch.randn(2, 32, generator=rng, dtype=torch.float64).to(dtype)
    order = torch.stack([torch.stack([torch.randperm(32, generator=rng) for _ in range(4)]) for _ in range(2)])
    return critic, theta, Targets(x, target), order


def test_the_clipped_value_loss_is_a_plain_loop_over_torch_adam(rng):
    """The loss by cases, sample by sample: a value beyond the bound that came nearer to its target stays."""
    fleet, _, _ = random_fleet("trpo", FAMILIES[0], rng, [{}, {}], value_clip=0.2, value_learning_rate=0.02)
    critic, theta, targets, order = critic_problem(rng)
    new, _ = value.fit(fleet, critic, theta, Adam.start(theta), targets, order)
    free = random_fleet("trpo", FAMILIES[0], rng, [{}, {}], value_learning_rate=0.02)[0]
    assert not torch.allclose(new, value.fit(free, critic, theta, Adam.start(theta), targets, order)[0])
    stops = 0
    for run in range(2):
        parameter = torch.nn.Parameter(theta[run].clone())
        optimiser = torch.optim.Adam([parameter], lr=0.02, eps=1e-5)
        before = critic(theta[run], targets.observation[run])[:, 0]
        for epoch in order[run]:
            for some in epoch.split(fleet.minibatch_size):
                terms = []
                for n in some.tolist():
                    v, goal = critic(parameter, targets.observation[run, n : n + 1])[0, 0], targets.value_target[run, n]
                    edge = before[n] + 0.2 if v > before[n] else before[n] - 0.2
                    stopped = (v - before[n]).abs() > 0.2 and (edge - goal).abs() > (v - goal).abs()
                    terms.append((edge - goal) ** 2 + 0 * v if stopped else (v - goal) ** 2)
                    stops += bool(stopped)
                optimiser.zero_grad()
                torch.stack(terms).mean().backward()
                optimiser.step()
        torch.testing.assert_close(new[run], parameter.detach())
    assert stops > 10


def test_the_clipped_value_loss_is_the_same_fused(rng):
    critic, theta, targets, order = critic_problem(rng, torch.float32)
    policy, fits = random_policy(FAMILIES[0], rng)[0], []
    for compile in (False, "auto"):
        own = {"value_clip": 0.2, "minibatch_size": 32, "value_learning_rate": 0.02, "execution": {"compile": compile}}
        of = Fleet([configuration("cartpole", seed=seed, **own) for seed in (0, 1)], policy)
        fits.append(value.fit(of, critic, theta, Adam.start(theta), targets, order)[0])
        assert of.fused == bool(compile) and not of.unfused
    torch.testing.assert_close(*fits, rtol=0, atol=1e-5)
    assert (fits[0] - theta).abs().max() > 0.01


def test_a_far_bound_clips_no_value():
    shared = {"algorithm": "trpo", "value_learning_rate": 0.003}
    free, far, near = trainer(**shared), trainer(**shared, value_clip=1e6), trainer(**shared, value_clip=0.01)
    free.train(), far.train(), near.train()
    torch.testing.assert_close(far.critic_theta, free.critic_theta, rtol=1e-5, atol=1e-6)
    assert (near.latest("value_loss") > free.latest("value_loss")).all()


# Activation


@pytest.mark.parametrize("activation, module", [("tanh", torch.nn.Tanh), ("relu", torch.nn.ReLU)])
def test_networks_have_torchs_activation(activation, module, rng):
    """Outputs and gradients of torch's own modules; what acts, in NumPy, is the same."""
    policy = Policy.make(3, Gaussian(2), (8, 6), activation)
    theta = torch.randn(1, policy.parameters, generator=rng, dtype=torch.float64)
    x = torch.randn(9, 3, generator=rng, dtype=torch.float64)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 8), module(), torch.nn.Linear(8, 6), module(), torch.nn.Linear(6, 2)
    ).double()
    torch.nn.utils.vector_to_parameters(theta[0, : policy.network.parameters], theirs.parameters())
    mean = policy(theta[0], x)[:, :2]
    torch.testing.assert_close(mean, theirs(x).detach())
    gradient = torch.func.grad(lambda at: policy(at, x)[:, :2].square().sum())(theta[0])
    theirs(x).square().sum().backward()
    of_theirs = torch.cat([parameter.grad.flatten() for parameter in theirs.parameters()])
    torch.testing.assert_close(gradient[: policy.network.parameters], of_theirs)
    acted = [policy.actor(theta)(each[None].numpy(), np.zeros((1, 2)))[0] for each in x]
    np.testing.assert_allclose(acted, mean.numpy(), rtol=1e-12)


@pytest.mark.parametrize("algorithm", ["trpo", "clip"])
def test_relu_is_of_both_networks_and_the_same_fused(algorithm):
    shared = {"task": "invertedpendulum", "algorithm": algorithm, "total_steps": 128, "activation": "relu"}
    eager, made = trainer(**shared), trainer(**shared, compile="auto")
    assert eager.fleet.policy.network.activation == eager.critic.activation == "relu"
    eager.train(), made.train()
    torch.testing.assert_close(made.theta, eager.theta, rtol=0, atol=2e-4)
    torch.testing.assert_close(made.critic_theta, eager.critic_theta, rtol=0, atol=2e-4)
    np.testing.assert_allclose(made.latest("implied_beta"), eager.latest("implied_beta"), rtol=2e-3)


# Initialisation


def of_torch(kind: str, inputs: int, outputs: int) -> torch.nn.Linear:
    layer = torch.nn.Linear(inputs, outputs)
    if kind == "xavier":
        torch.nn.init.xavier_uniform_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return layer


@pytest.mark.parametrize("kind", ["xavier", "torch"])
def test_initial_weights_have_the_distribution_of_torchs(kind):
    """Every layer's weights and biases, by the test of Kolmogorov and Smirnov and by their bounds."""
    torch.manual_seed(0)
    sizes = (40, 150, 60, 70)
    theta = Policy.make(40, Gaussian(70), (150, 60)).initial(np.random.default_rng(0), kind)
    assert (theta[-70:] == 0).all() and theta.dtype == torch.float64
    for inputs, outputs in zip(sizes, sizes[1:]):
        theirs = of_torch(kind, inputs, outputs)
        for true in (theirs.weight, theirs.bias):
            mine, theta = theta[: true.numel()].numpy(), theta[true.numel() :]
            true = true.detach().double().flatten().numpy()
            assert kstest(mine, true).pvalue > 0.01
            assert np.abs(mine).max() <= 1.01 * max(np.abs(true).max(), 1e-9) or len(mine) < 200
    assert len(theta) == 70


@pytest.mark.parametrize("initialization", ["xavier", "torch"])
@pytest.mark.parametrize("compile", [False, "auto"])
def test_the_first_batch_is_learned_from_as_it_was_acted_on(initialization, compile, monkeypatch):
    """The log-probabilities of the actions are those of the noise that made them, in every iteration."""
    seen, update = [], Trainer._update
    monkeypatch.setattr(Trainer, "_update", lambda self, rollout: seen.append(rollout.batch) or update(self, rollout))
    shared = {"task": "pendulum", "algorithm": "trpo", "initialization": initialization, "compile": compile}
    made = trainer(**shared)
    made.train()
    assert len(seen) == 2 and made.config.initialization == initialization
    for iteration, batch in enumerate(seen):
        log_std = batch.old[..., 1:].double()
        for run, config in enumerate(made.configs):
            noise = torch.from_numpy(
                made.fleet.policy.family.noise(generator(config.seed, Stream.NOISE, iteration), 128)
            )
            expected = torch.distributions.Normal(0, 1).log_prob(noise) - log_std[run]
            torch.testing.assert_close(batch.log_prob[run].double(), expected[:, 0], rtol=0, atol=2e-5)


# Observation clipping


@pytest.mark.parametrize("task, bound", [("pendulum", 0.5), ("taxi", None)])
@pytest.mark.parametrize("compile", [False, "auto"])
def test_observations_are_clipped_in_learning_and_in_acting(task, bound, compile, monkeypatch):
    """Learning sees what NumPy makes of the raw ones. What acted is that policy: its draws are the actions."""
    batches, raw, update, collect = [], [], Trainer._update, fleet.collect
    monkeypatch.setattr(Trainer, "_update", lambda self, made: batches.append(made.batch) or update(self, made))
    monkeypatch.setattr(fleet, "collect", lambda *args: raw.append(collect(*args)) or raw[-1])
    made = trainer(task=task, algorithm="trpo", observation_clip=bound, compile=compile)
    made.train()
    first = raw[0][0].observation  # the second batch is standardised by its statistics too
    mean, std = first.mean(1, keepdims=True), np.sqrt(first.var(1, keepdims=True) + 1e-8)
    for batch, (experience, _) in zip(batches, raw):
        expected = (experience.observation - mean) / std
        assert (np.abs(expected) > (bound or 5)).any()
        if bound is not None:
            expected = np.minimum(np.maximum(expected, -bound), bound)
        np.testing.assert_allclose(batch.observation.numpy(), expected, rtol=1e-4, atol=1e-5)
    family = made.fleet.policy.family
    noise = np.stack([family.noise(generator(config.seed, Stream.NOISE, 1), 128) for config in made.configs])
    acted = sample(family, batches[1].old.double(), torch.from_numpy(noise))
    torch.testing.assert_close(batches[1].action.double(), acted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("task", ["pendulum", "cartpole"])
@pytest.mark.parametrize("compile", [False, "auto"])
def test_raw_observations_are_seen_in_learning_and_in_acting(task, compile, monkeypatch, tmp_path):
    batches, raw, update, collect = [], [], Trainer._update, fleet.collect
    monkeypatch.setattr(Trainer, "_update", lambda self, made: batches.append(made.batch) or update(self, made))
    monkeypatch.setattr(fleet, "collect", lambda *args: raw.append(collect(*args)) or raw[-1])
    made = trainer(task=task, observation_normalization=False, observation_clip=None, compile=compile)
    made.train()
    assert made.config.condition.endswith("observation_normalization=false observation_clip=none")
    for batch, (experience, _) in zip(batches, raw):
        np.testing.assert_allclose(batch.observation.numpy(), experience.observation, rtol=1e-6)
    family = made.fleet.policy.family
    noise = np.stack([family.noise(generator(config.seed, Stream.NOISE, 1), 128) for config in made.configs])
    acted = sample(family, batches[1].old.double(), torch.from_numpy(noise))
    torch.testing.assert_close(batches[1].action.double(), acted, rtol=0, atol=2e-5)


def test_raw_observations_are_not_cut_off_without_a_word():
    with pytest.raises(ConfigError, match=r"cut off at \+-5; with it, observation_clip=null"):
        trainer(observation_normalization=False)


@pytest.mark.parametrize("state_dependent_std", [False, True])
def test_a_kept_policy_acts_by_the_switches_it_was_trained_with(state_dependent_std, tmp_path):
    switches = {"activation": "relu", "observation_clip": 0.5, "state_dependent_std": state_dependent_std}
    made = trainer(task="pendulum", seeds=(0,), **switches)
    made.train()
    mean, scale, x = made.moments.mean, made.moments.scale(), np.array([[0.3, -0.9, 4.0]])
    file = tmp_path / "policy"
    file.write_bytes(policies.content(made.config, made.fleet.policy, made.theta[0], mean[0], scale[0], {}))
    acted = [
        act(x, np.zeros((1, 1))) for act in (policies.read(file).actor(1), made.fleet.actor(made.theta, made.moments))
    ]
    np.testing.assert_array_equal(*acted)
    bounded = np.clip((x - mean) / scale, -0.5, 0.5)
    by_hand = made.fleet.policy(made.theta[0], torch.from_numpy(bounded).float())[0, 0]
    np.testing.assert_allclose(acted[0][0, 0], by_hand.item(), rtol=1e-5)


# The standard deviation


def test_a_std_per_state_is_the_second_half_of_torchs_network(rng):
    policy = Policy.make(3, StateGaussian(2), (8,))
    theta = torch.randn(1, policy.parameters, generator=rng, dtype=torch.float64)
    x, noise = (torch.randn(5, n, generator=rng, dtype=torch.float64) for n in (3, 2))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)).double()
    torch.nn.utils.vector_to_parameters(theta[0], theirs.parameters())  # all of theta: no parameter is the std's own
    mean, log_std = theirs(x).detach().chunk(2, -1)
    torch.testing.assert_close(policy(theta[0], x), torch.cat([mean, log_std], -1))
    acted = [policy.actor(theta)(a[None].numpy(), b[None].numpy())[0] for a, b in zip(x, noise)]
    np.testing.assert_allclose(acted, mean + log_std.exp() * noise, rtol=1e-12)
    true = torch.distributions.Normal(mean, log_std.exp()).log_prob(noise).sum(-1)
    torch.testing.assert_close(policy.family.log_prob(policy(theta[0], x), noise), true)


def test_trpos_gradient_and_fisher_matrix_of_a_std_per_state(rng):
    fleet, theta, rollout = random_fleet("trpo", StateGaussian(2), rng, [{}, {}])
    x, v = rollout.batch.observation, torch.randn(theta.shape, generator=rng, dtype=theta.dtype)
    products = fleet.fisher(theta, x)(v)
    for run in range(2):
        torch.testing.assert_close(products[run], dense_fisher(fleet.policy, theta[run], x[run]) @ v[run])
    gradient = fleet.surrogate_gradient(theta, rollout.batch)
    torch.testing.assert_close(gradient[1], policy_gradient(fleet.policy, theta[1], one(rollout.batch, 1)))


@pytest.mark.parametrize("algorithm", ["trpo", "kl_fixed", "vmpo"])
def test_a_std_per_state_is_the_same_fused(algorithm, monkeypatch):
    batches, update = [], Trainer._update
    monkeypatch.setattr(Trainer, "_update", lambda self, made: batches.append(made.batch) or update(self, made))
    shared = {"task": "pendulum", "algorithm": algorithm, "state_dependent_std": True, "initial_log_std": -0.7}
    eager, made = trainer(**shared, total_steps=128), trainer(**shared, compile="auto")
    eager.train()
    assert ((batches[0].old[..., 1] + 0.7).abs() < 0.1).all() and (batches[0].old[..., 1].std(-1) > 0).all()
    made.train()
    assert not made.parts[0].fleet.unfused
    for column in ("kl_after", "entropy", "implied_beta"):
        np.testing.assert_allclose(made.rows[column][0], eager.rows[column][0], rtol=2e-3, atol=1e-6)
    noise = np.stack([made.fleet.policy.family.noise(generator(c.seed, Stream.NOISE, 1), 128) for c in made.configs])
    mean, log_std = batches[2].old.double().chunk(2, -1)
    torch.testing.assert_close(
        batches[2].action.double(), mean + log_std.exp() * torch.from_numpy(noise), rtol=0, atol=2e-5
    )


def test_the_first_std_is_the_one_asked_for():
    made = trainer(task="pendulum", algorithm="trpo", initial_log_std=-0.7)
    assert (made.theta[:, -1] == torch.tensor(-0.7)).all()
    expected = torch.distributions.Normal(0, torch.tensor(-0.7).exp()).entropy().item()
    made.train()
    np.testing.assert_allclose(made.rows["entropy"][0], expected, atol=0.1)


@pytest.mark.parametrize("switch", [{"initial_log_std": -0.7}, {"state_dependent_std": True}])
def test_a_discrete_task_has_no_std(switch):
    with pytest.raises(ConfigError, match="CartPole-v1 is discrete"):
        trainer(**switch)
