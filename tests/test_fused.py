"""Fused fleets: the eager path's numbers to rounding in float32, and bits that no fleet-mate changes."""

import importlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import configuration, suited
from reference import draw
from torch.fx.experimental.proxy_tensor import make_fx

from study import compiler, fused, sgd, value
from study.algorithm import NAMES, kl_fixed, unpenalised, vmpo
from study.fleet import Fleet, Rollout, Trainer
from study.objective import change, fisher_vector_product, mean_entropy, surrogate_at, surrogate_gradient
from study.policy import Categorical, Categoricals, Gaussian, Network, Policy, StateGaussian, join
from study.rollout import Batch, actor
from study.sgd import Adam
from study.solver import conjugate_gradient
from study.value import Targets

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")
named = {"ids": lambda family: f"{type(family).__name__}{family.size}"}
COLUMNS = ("kl_after", "surrogate_gain", "implied_beta", "value_loss", "entropy", "max_ratio")


def trained(task: str, algorithms: str | list[str], compile: bool | str, seeds=range(3), **changes) -> Trainer:
    """One iteration of a fleet; nothing but what is fused may be compiled."""
    algorithms = [algorithms] if isinstance(algorithms, str) else algorithms
    shared = {"horizon": 96, "total_steps": 96, "minibatch_size": 48, "epochs": 2, "hidden": [20, 7]} | {
        "execution": {"compile": compile}
    }
    trainer = Trainer(
        [configuration(task, name, seed=seed, **shared | changes) for name in algorithms for seed in seeds]
    )
    assert trainer.fleet.fused == bool(compile)
    trainer.train()
    return trainer


@pytest.mark.parametrize("shape", [(3, 1), (17, 64, 64, 1), (5, 8, 3), (33, 40, 70, 6)])
@pytest.mark.parametrize("samples", [1, 64, 150])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_networks_derivatives_are_autograds(shape, samples, activation, rng):
    """Forwards, J^T u and F v against torch in float64; F v and J^T u of two vectors per run at once."""
    network, runs = Network(shape, activation), 2
    policy = Policy(network, Gaussian(shape[-1]))
    theta = 0.4 * torch.randn(runs, policy.parameters, generator=rng)
    x = 2 * torch.randn(runs, samples, shape[0], generator=rng)
    u = torch.randn(2 * runs, samples, shape[-1], generator=rng)
    v = torch.randn(2 * runs, policy.parameters, generator=rng)
    kernel = fused.Kernel(network)
    kept, fisher = kernel.keep(runs, samples), fused.Fisher(policy, theta, x, torch.tensor([0.1, 0.0]))
    made = kernel.forward(theta, x, kept), kernel.transposed(theta, kept, u)[:, : network.parameters], fisher(v)
    for s in range(2 * runs):
        run = s % runs

        def function(parameters, run=run):
            return network(parameters, x[run].double())

        at = theta[run, : network.parameters].double()
        out, transposed = torch.func.vjp(function, at)
        damped = fisher_vector_product(policy, *(of.double() for of in (theta[run], x[run], v[s])))
        damped += (0.1 if run == 0 else 0) * v[s]
        for mine, true in zip((made[0][run], made[1][s], made[2][s]), (out, transposed(u[s].double())[0], damped)):
            torch.testing.assert_close(mine.double(), true, rtol=1e-4, atol=1e-5 * float(true.abs().max()))


def one_hot(runs, samples, inputs, rng, places=1):
    """[R, N, D] with so many ones in each row, normalised like observations: no number of them is 0 or 1 any more."""
    where = torch.rand(runs, samples, inputs, generator=rng).topk(places).indices
    x = torch.zeros(runs, samples, inputs).scatter_(2, where, 1.0)
    mean, scale = x.mean(1, keepdim=True), (x.var(1, keepdim=True) + 1e-8).sqrt()
    return ((x - mean) / scale).clip(-5, 5).contiguous()


@pytest.mark.parametrize("inputs, places", [(40, 1), (64, 1), (300, 1), (300, 2)])
@pytest.mark.parametrize("samples", [64, 150])
def test_one_hot_inputs_are_looked_up(inputs, places, samples, rng):
    """Forwards, J^T u, F v and a value fit against float64; the second run's inputs are dense."""
    network, critic = Network((inputs, 20, 7, 3)), Network((inputs, 20, 7, 1))
    x = one_hot(2, samples, inputs, rng, places)
    x[1] = torch.randn(samples, inputs, generator=rng)
    few = fused.Few.of(x)
    assert few.most[0] > 0 and few.most[1] == 0
    theta = 0.4 * torch.randn(2, network.parameters, generator=rng)
    order = torch.stack([torch.randperm(samples, generator=rng) for _ in range(2)])
    u = torch.randn(2, samples, 3, generator=rng)
    v = torch.randn(2, network.parameters, generator=rng)
    kernel = fused.Kernel(network)
    kept = kernel.keep(2, samples)
    policy, states = Policy(network, Categorical(3)), torch.stack([own[rows] for own, rows in zip(x, order)])
    made = kernel.forward(theta, x, kept, order, few)
    made = made, kernel.transposed(theta, kept, u, few), fused.Fisher(policy, theta, states, torch.zeros(2))(v)
    for run in range(2):

        def function(parameters, run=run):
            return network(parameters, x[run, order[run]].double())

        at = theta[run].double()
        out, transposed = torch.func.vjp(function, at)
        product = fisher_vector_product(policy, at, states[run].double(), v[run].double())
        for mine, true in zip(made, (out, transposed(u[run].double())[0], product)):
            torch.testing.assert_close(mine[run].double(), true, rtol=1e-4, atol=1e-5 * float(true.abs().max()))

    theta = 0.1 * torch.randn(2, critic.parameters, generator=rng)
    target, order, rate, size = (
        torch.randn(2, samples, generator=rng),
        order.unsqueeze(1),
        torch.full((2,), 1e-2),
        samples // 2,
    )
    mine, _ = fused.fit_squares(critic, theta, Adam.start(theta), x, target, order, rate, size)
    slow = unfused(problem(Gaussian(2), rng)[0])
    true, _ = sgd.minimise(
        slow, value.loss, critic, theta, Adam.start(theta), Targets(x, target), order, rate, size=size
    )
    torch.testing.assert_close(mine, true, rtol=0, atol=1e-5)
    alone, _ = fused.fit_squares(critic, theta[:1], Adam.start(theta[:1]), x[:1], target[:1], order[:1], rate[:1], size)
    assert torch.equal(alone[0], mine[0]), "a run's bits are its own"


@pytest.mark.parametrize("family", [Gaussian(2), Categorical(9), Categoricals((3, 2))])
@pytest.mark.parametrize("inputs, hidden", [(3, (64, 64)), (40, (20, 7)), (500, (40,)), (5, ())])
@pytest.mark.parametrize("activation, bound", [("tanh", 5.0), ("relu", 0.5), ("relu", np.inf)])
def test_the_actor_is_the_eager_one(family, inputs, hidden, activation, bound, rng):
    """Of dense observations, of some that are mostly 0, and of none but zeros; each run by its own parameters."""
    policy = Policy.make(inputs, family, hidden, activation)
    theta = 0.3 * torch.randn(4, policy.parameters, generator=rng)
    numbers = np.random.default_rng(0)
    mean, scale = numbers.normal(0, 1, (4, inputs)), numbers.uniform(0.1, 2, (4, inputs))
    observation = numbers.normal(1, 3, (4, inputs))
    observation[1:, 2:], observation[2] = 0, 0
    noise = np.stack([family.noise(numbers, 1)[0] for _ in range(4)])
    made = fused.actor(policy, theta, mean, scale, bound)(observation, noise)
    true = actor(policy, theta.double(), mean, scale, bound)(observation, noise)
    np.testing.assert_allclose(made, true, rtol=1e-4, atol=1e-5)
    alone = fused.actor(policy, theta[1:2], mean[1:2], scale[1:2], bound)(observation[1:2], noise[1:2])
    np.testing.assert_array_equal(alone, made[1:2])


@pytest.mark.parametrize(
    "family", [Gaussian(1), Gaussian(17), StateGaussian(3), Categorical(5), Categoricals((3, 2, 20))], **named
)
@pytest.mark.parametrize("inputs", [3, 40])
def test_a_rollout_has_the_bits_of_single_steps_sampled_in_numpy(family, inputs, rng):
    """Of runs that are alive and one that is not, in any order; ties, and what is not a number, among the outputs."""
    policy, runs, horizon, numbers = Policy.make(inputs, family, (20, 7)), 4, 6, np.random.default_rng(0)
    theta = 0.3 * torch.randn(runs, policy.parameters, generator=rng)
    noise = np.stack([family.noise(numbers, horizon) for _ in range(runs)])
    seen, alive = numbers.normal(1, 3, (runs, horizon, inputs)), np.array([True, True, False, True])
    theta[1], noise[1, 2], noise[0, 4, -1] = 0, 0, np.nan  # outputs that are equal
    seen[3, 5, 0], seen[1, 3, 1:] = np.nan, 0
    act = fused.actor(policy, theta, np.zeros((runs, inputs)), np.ones((runs, inputs)))
    actions = np.full((runs, horizon, family.width), -1.0)
    step = act.within(seen, noise, actions, alive)
    for t in (0, 3, 1, 2, 5, 4):
        made, true = step(t), act(seen[:, t], noise[:, t])
        assert made.dtype == true.dtype and np.array_equal(made, actions[:, t], equal_nan=True)
        true[2] = 0
        assert made.tobytes() == true.tobytes() or (np.isnan(true).any() and np.array_equal(made, true, equal_nan=True))


def test_what_is_not_finite_reaches_the_actor(rng):
    policy = Policy.make(2, Gaussian(1), (4,))
    theta = torch.randn(2, policy.parameters, generator=rng)
    act = fused.actor(policy, theta, np.zeros((2, 2)), np.ones((2, 2)))
    action = act(np.array([[np.nan, 0], [np.inf, 0]]), np.zeros((2, 1)))
    assert np.isnan(action[0, 0]) and np.isfinite(action[1, 0])


def test_dense_inputs_are_not_looked_up(rng):
    x = one_hot(1, 64, 300, rng, places=20)
    assert fused.Few.of(x) is None and fused.Few.of(x[..., :31]) is None and fused.Few.of(x[:, :2]) is None


@pytest.mark.parametrize("algorithm", ["kl_fixed", "trpo"])
def test_fused_is_eager_on_one_hot_observations(algorithm):
    eager, made = (trained("taxi", algorithm, compile) for compile in (False, "auto"))
    for column in COLUMNS:
        np.testing.assert_allclose(made.rows[column][0], eager.rows[column][0], rtol=2e-3, atol=1e-6, err_msg=column)
    torch.testing.assert_close(made.theta, eager.theta, rtol=0, atol=2e-4)
    torch.testing.assert_close(made.critic_theta, eager.critic_theta, rtol=0, atol=2e-4)


@pytest.mark.parametrize("task", ["cartpole", "invertedpendulum"])
def test_fused_is_eager_to_rounding(task):
    """Every algorithm that suits the task, in one fleet."""
    algorithms = [name for name, _ in suited(NAMES, [task])]
    eager, made = (trained(task, algorithms, compile) for compile in (False, "auto"))
    of = [config.algorithm.name for config in made.configs]
    for column in COLUMNS:
        for name, mine, true in zip(of, made.rows[column][0], eager.rows[column][0]):
            np.testing.assert_allclose(mine, true, rtol=2e-3, atol=1e-6, err_msg=f"{name} {column}")
    for name, *thetas in zip(of, made.theta, eager.theta, made.critic_theta, eager.critic_theta):
        torch.testing.assert_close(*thetas[:2], rtol=0, atol=2e-4, msg=lambda said, name=name: f"{name}: {said}")
        torch.testing.assert_close(*thetas[2:], rtol=0, atol=2e-4, msg=lambda said, name=name: f"{name}: {said}")
    assert [part.fleet.configs[0].algorithm.name for part in made.parts] == algorithms
    assert not any(part.fleet.unfused for part in made.parts), "every page's loss is fused"


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.01},
        {"max_grad_norm": 0.05},
        {"max_grad_norm": 1e3, "optimizer": "sgd", "learning_rate": 0.01},  # longer than any gradient
        {"advantage_normalization": "minibatch"},
        {"entropy_coefficient": 0.3},
        {"activation": "relu"},
        {"minibatch_size": 96},
        {"hidden": []},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_fused_is_eager_under_other_settings(changes):
    task, algorithm = "invertedpendulum", "kl_fixed"
    eager, made = (trained(task, algorithm, compile, **changes) for compile in (False, "auto"))
    torch.testing.assert_close(made.theta, eager.theta, rtol=0, atol=2e-4)
    assert not made.parts[0].fleet.unfused


def problem(family, rng, samples=96):
    """A fleet of two, its parameters and a rollout of three minibatches."""
    runs = [
        configuration("cartpole", "kl_fixed", seed=seed, minibatch_size=32, execution={"compile": "auto"})
        for seed in range(2)
    ]
    policy = Policy.make(3, family, (8,))
    fleet = Fleet(runs, policy)
    theta = 0.3 * torch.randn(2, policy.parameters, generator=rng)
    observation = torch.randn(2, samples, 3, generator=rng)
    old = policy(theta, observation)
    action = draw(family, old, rng)
    batch = Batch(observation, action, old, family.log_prob(old, action), torch.randn(2, samples, generator=rng))
    order = torch.stack([torch.stack([torch.randperm(samples, generator=rng) for _ in range(2)]) for _ in range(2)])
    return fleet, theta, Rollout(batch, order)


def unfused(fleet):
    runs = [configuration("cartpole", "kl_fixed", seed=config.seed, minibatch_size=32) for config in fleet.configs]
    return Fleet(runs, fleet.policy)


@pytest.mark.parametrize("family", [Gaussian(2), Categorical(3), Categoricals((3, 2))])
def test_fused_steps_are_the_eager_ones(family, rng):
    fleet, theta, rollout = problem(family, rng)
    beta = torch.tensor([0.5, 3.0])
    made, state = sgd.descend(fleet, kl_fixed.loss, theta, Adam.start(theta), rollout, beta)
    true, other = sgd.descend(unfused(fleet), kl_fixed.loss, theta, Adam.start(theta), rollout, beta)
    torch.testing.assert_close(made, true, rtol=0, atol=1e-5)
    for a, b in zip(state, other):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    critic = Network((3, 8, 1))
    theta = torch.randn(2, critic.parameters, generator=rng)
    targets = Targets(rollout.batch.observation, rollout.batch.advantage)
    fits = [value.fit(f, critic, theta, Adam.start(theta), targets, rollout.order) for f in (fleet, unfused(fleet))]
    torch.testing.assert_close(fits[0][0], fits[1][0], rtol=0, atol=1e-5)
    assert (fits[0][0] - theta).abs().max() > 1e-3


def known(name):
    module, _, function = name.rpartition(".")
    name = function if module == "study.objective" else module.rpartition(".")[2]
    return pytest.param(getattr(importlib.import_module(module), function), id=name)


KNOWN = [known(name) for name in fused.LOSSES]
KNOWN += [
    pytest.param(sgd.with_entropy(each.values[0]), id=f"{each.id} with entropy")
    for each in KNOWN
    if each.id not in ("fixpo", "mean_entropy")  # no objectives
]
WITHOUT_NUMBERS = unpenalised.loss, surrogate_at, mean_entropy
ONE_CALL = [Gaussian(1), Gaussian(6), StateGaussian(3), Categorical(2), Categorical(5), Categoricals((3, 2, 4))]
same_torch = pytest.mark.usefixtures("torchs")


@pytest.fixture
def torchs():
    if fused._torchs() is None:
        pytest.skip("this torch has its exponentials elsewhere")


def known_problem(loss, family, rng, samples=96):
    """As problem(), with the batch and the numbers that the loss takes, and another policy than the one that acted."""
    fleet, theta, rollout = problem(family, rng, samples)
    bare = getattr(loss, "__wrapped__", loss)
    if bare is vmpo.loss:
        batch = rollout.batch
        weighted = vmpo.Weighted(batch.observation, batch.action, batch.old, batch.advantage.abs())
        rollout = Rollout(weighted, rollout.order)
    numbers = () if bare in WITHOUT_NUMBERS else (torch.tensor([0.3, 0.9]),)
    numbers = numbers if bare is loss else (torch.tensor([0.7, 0.2]), *numbers)
    return fleet, theta + 0.2 * torch.randn(theta.shape, generator=rng), rollout, numbers


@same_torch
@pytest.mark.parametrize("loss", KNOWN)
@pytest.mark.parametrize("family", ONE_CALL, **named)
def test_a_known_slope_is_autograds(loss, family, rng):
    """In float64 by the definition in Python; of ratios and divergences up to large ones, two blocks of samples."""
    fleet, theta, rollout, numbers = known_problem(loss, family, rng)
    batch = rollout.batch
    phi = fleet.policy(theta, batch.observation)
    outputs, rest = phi[..., : family.outputs].contiguous(), phi[:, 0, family.outputs :].contiguous()
    if not isinstance(family, Gaussian):
        outputs[:, ::3] *= 8  # so that log ratios are beyond 1, too
    fields = fused._fields(batch)
    made = fused.Kernel(fleet.policy.network).slope(outputs, rest, fused._loss(loss, fleet.policy, fields, numbers))
    exact = {name: field.double() for name, field in fields.items()}, tuple(number.double() for number in numbers)
    true = fused.derivative(loss, fleet.policy, type(batch))(outputs.double(), rest.double(), *exact)
    for mine, its in zip(made, true):
        torch.testing.assert_close(mine.double(), its, rtol=1e-4, atol=1e-5 * float(true[0].abs().max()))
    assert torch.cat([its.flatten() for its in true]).abs().max() > 1e-3


@same_torch
@pytest.mark.parametrize("loss", KNOWN)
@pytest.mark.parametrize(
    "family, sizes",
    [
        (Gaussian, (1, 3, 8, 17, 40)),
        (StateGaussian, (2,)),
        (Categorical, (2, 7)),
        (Categoricals, ((2, 2), (3, 7, 2), (2,) * 17)),
    ],
)
def test_a_known_slope_has_the_bits_of_torchs(loss, family, sizes):
    bare = getattr(loss, "__wrapped__", loss)
    batch, count = vmpo.Weighted if bare is vmpo.loss else Batch, (bare not in WITHOUT_NUMBERS) + (bare is not loss)
    assert all(fused._same(loss, batch, family, size, n, count) for size in sizes for n in (1, 64, 300))


@same_torch
@pytest.mark.parametrize("loss", KNOWN)
@pytest.mark.parametrize(
    "family, optimizer, bound, size, normalization",
    [
        (Gaussian(6), "adam", None, 32, "batch"),
        (StateGaussian(3), "sgd", None, 70, "minibatch"),
        (Categorical(5), "adam", 0.02, 96, "batch"),
        (Categoricals((3, 2)), "adam", None, 32, "batch"),
    ],
    ids=["adam", "minibatches", "bound", "categoricals"],
)
def test_an_inner_loop_in_one_call_has_the_bits_of_minibatch_by_minibatch(
    loss, family, optimizer, bound, size, normalization, rng, monkeypatch
):
    """70 of 96 samples leave a shorter last minibatch."""
    fleet, theta, rollout, numbers = known_problem(loss, family, rng)
    fleet.advantage_normalization = normalization
    batch, order = rollout.batch, rollout.order
    bound, rate = None if bound is None else torch.full((2,), bound), torch.full((2,), 0.01)
    arguments = fleet, loss, fleet.policy, theta, Adam.start(theta), batch, order, rate, numbers, optimizer, bound, size
    made, state = fused.minimise(*arguments)
    assert not fleet.made, "no slope was asked of torch"
    monkeypatch.setattr(fused, "_known", lambda *_: None)
    true, other = fused.minimise(*arguments)
    assert fleet.made and torch.equal(made, true) and all(map(torch.equal, state, other))
    assert (made - theta).abs().max() > 1e-3


def test_a_changed_definition_is_the_one_that_is_learned_from(rng):
    """Under the name that fused.cpp knows."""
    fleet, theta, rollout = problem(Gaussian(2), rng)

    def changed(policy, theta, batch, beta):
        return -kl_fixed.loss(policy, theta, batch, beta)

    changed.__module__, changed.__qualname__ = kl_fixed.loss.__module__, kl_fixed.loss.__qualname__
    beta = torch.tensor([0.5, 3.0])
    made, _ = sgd.descend(fleet, changed, theta, Adam.start(theta), rollout, beta)
    true, _ = sgd.descend(unfused(fleet), changed, theta, Adam.start(theta), rollout, beta)
    other, _ = sgd.descend(unfused(fleet), kl_fixed.loss, theta, Adam.start(theta), rollout, beta)
    torch.testing.assert_close(made, true, rtol=0, atol=1e-5)
    assert fleet.made and (made - other).abs().max() > 1e-4


@same_torch
@pytest.mark.slow
@pytest.mark.parametrize("capability", ["avx2", "avx512"])
def test_processors_without_avx512_have_known_slopes_too(capability, tmp_path):
    """Built for them; torch uses what it would use there, or here."""
    words = (
        "from study import fused; from study.algorithm import kl_fixed; from study.rollout import Batch;"
        "fused.FLAGS.append('-mno-avx512f'); assert fused.library().lanes() == 8;"
        "sizes = {fused.Categoricals: (3, 2)};"
        "print(*(fused._same(kl_fixed.loss, Batch, of, sizes.get(of, 6), 100, 1) for of in fused.FAMILIES))"
    )
    own = {"TORCH_EXTENSIONS_DIR": str(tmp_path), "ATEN_CPU_CAPABILITY": capability}
    made = subprocess.run(
        [sys.executable, "-c", words], env=os.environ | own, check=True, capture_output=True, text=True
    )
    assert made.stdout.split() == ["True"] * 4


@pytest.mark.parametrize("family", [Gaussian(2), Categorical(3), Categoricals((3, 2))])
def test_fused_fisher_vector_products_are_the_eager_ones(family, rng):
    """Of three vectors per run at once, against float64."""
    fleet, theta, rollout = problem(family, rng)
    v = torch.randn(6, theta.shape[1], generator=rng)
    made, states = fleet.fisher(theta, rollout.batch.observation)(v), rollout.batch.observation
    for s in range(6):
        at = theta[s % 2].double(), states[s % 2].double(), v[s].double()
        true = fisher_vector_product(fleet.policy, *at)
        torch.testing.assert_close(made[s].double(), true, rtol=1e-4, atol=1e-5 * float(true.abs().max()))


SOLVED = [Gaussian(2), Gaussian(9), StateGaussian(3), Categorical(3), Categorical(18), Categoricals((3, 9))]


@pytest.mark.parametrize("family", SOLVED, **named)
def test_conjugate_gradients_in_one_call_have_the_bits_of_torchs(family, rng):
    """Of two right-hand sides per run, one of them 0, beyond convergence; and they solve what a dense solve does."""
    fleet, theta, rollout = problem(family, rng, 300)
    states, damping = rollout.batch.observation, torch.tensor([0.3, 0.05])
    fisher, b = fleet.fisher(theta, states, damping), torch.randn(4, theta.shape[1], generator=rng)
    b[1] = 0
    assert isinstance(fisher, fused.Fisher)
    for iterations in (1, 10, 60):
        made, true = (conjugate_gradient(of, b, iterations) for of in (fisher, lambda v: fisher(v)))
        assert all(map(torch.equal, made, true))
    for s in range(4):
        at, its = theta[s % 2].double(), states[s % 2].double()
        product = torch.func.vmap(lambda v, at=at, its=its: fisher_vector_product(fleet.policy, at, its, v))
        unit = torch.eye(len(at), dtype=torch.float64)
        exact = torch.linalg.solve(product(unit) + damping[s % 2] * unit, b[s].double())
        torch.testing.assert_close(made[0][s].double(), exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))


@pytest.mark.parametrize("family", SOLVED, **named)
@pytest.mark.parametrize("samples", [1, 150])
def test_fisher_information_has_the_bits_of_the_definition(family, samples, rng):
    """Of a network without hidden layers, whose J v is the network of the parameters v."""
    policy, kernel = Policy.make(5, family, ()), fused.Kernel(Network((5, family.outputs)))
    theta, v = torch.randn(2, 2, policy.parameters, generator=rng)
    x, kept = torch.randn(2, samples, 5, generator=rng), kernel.keep(2, samples)
    phi, along = (
        policy.family.phi(kernel.forward(of, x, kept), of[:, kernel.network.parameters :]) for of in (theta, v)
    )
    moved = family.metric(phi, along)
    true = kernel.transposed(theta, kept, moved[..., : family.outputs])
    true[:, kernel.network.parameters :] = moved[..., family.outputs :].sum(1)
    assert torch.equal(fused.Fisher(policy, theta, x, torch.zeros(2))(v), true / samples)


@same_torch
@pytest.mark.parametrize("loss", [surrogate_at, mean_entropy])
@pytest.mark.parametrize("family", ONE_CALL, **named)
def test_a_gradient_in_one_call_has_the_bits_of_torchs_slope(loss, family, rng, monkeypatch):
    fleet, theta, rollout, _ = known_problem(loss, family, rng, 150)
    made = fused.gradient(fleet, loss, fleet.policy, theta, rollout.batch)
    assert not fleet.made and made.abs().max() > 1e-3
    monkeypatch.setattr(fused, "_known", lambda *_: None)
    assert torch.equal(fused.gradient(fleet, loss, fleet.policy, theta, rollout.batch), made) and fleet.made


@same_torch
@pytest.mark.parametrize("algorithm", ["kl_fixed", "trpo"])
def test_training_starts_without_dynamo(algorithm):
    """Which takes a second to import."""
    words = (
        "import sys; from conftest import configuration; from study.fleet import Trainer;"
        f"configs = [configuration('cartpole', '{algorithm}', seed=s, horizon=64, total_steps=64, minibatch_size=32,"
        "execution={'compile': 'auto'}) for s in range(2)]; trainer = Trainer(configs);"
        "assert trainer.fleet.fused; trainer.train(); print('torch._dynamo' in sys.modules)"
    )
    where = os.environ | {"PYTHONPATH": os.pathsep.join(["tests", *sys.path])}
    made = subprocess.run([sys.executable, "-c", words], env=where, check=True, capture_output=True, text=True)
    assert made.stdout.split()[-1] == "False"


@pytest.mark.parametrize("family", [Gaussian(2), Categorical(3), Categoricals((3, 2))])
def test_fused_gradients_and_diagnostics_are_autograds(family, rng):
    """The surrogate's gradient, an update's change and the policy's phi against the definitions in float64."""
    fleet, theta, rollout = problem(family, rng)
    batch, policy = rollout.batch, fleet.policy
    new = theta + 0.1 * torch.randn(theta.shape, generator=rng)
    made = fleet.surrogate_gradient(new, batch), fleet.each(change)(new, batch)
    phi = fleet.outputs(policy, new, batch.observation)
    for run in range(2):
        at, its = new[run].double(), Batch(*(field[run].double() for field in batch))
        true = surrogate_gradient(policy, at, its)
        torch.testing.assert_close(made[0][run].double(), true, rtol=1e-4, atol=1e-5 * float(true.abs().max()))
        for mine, exact in zip(made[1], change(policy, at, its)):
            torch.testing.assert_close(mine[run].double(), exact, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(phi[run].double(), policy(at, its.observation), rtol=1e-4, atol=1e-5)


def test_a_function_that_looks_at_theta_itself_goes_the_ordinary_way(rng):
    fleet, theta, rollout = problem(Gaussian(2), rng)

    def length(policy, theta, batch):
        return policy(theta, batch.observation).sum() + theta.square().sum()

    torch.testing.assert_close(
        fleet.each(length)(theta, rollout.batch), unfused(fleet).each(length)(theta, rollout.batch)
    )


def decayed(policy, theta, batch, beta):
    return kl_fixed.loss(policy, theta, batch, beta) + 0.1 * sum(part.square().sum() for part in theta)


def elsewhere(policy, theta, batch, beta):
    return kl_fixed.loss(policy, theta, batch, beta) + policy(theta, batch.observation + 1).square().mean()


OTHER_USES = {
    "a layer's parameters": lambda policy, theta, observation: policy.network.split(theta),
    "split": lambda policy, theta, observation: join(policy.split(join(theta))).square().sum(),
    "a slice": lambda policy, theta, observation: theta[0].sum(),
    "a product": lambda policy, theta, observation: (2 * join(theta)).sum(),
    "a function of torch": lambda policy, theta, observation: torch.norm(observation),
    "a method": lambda policy, theta, observation: observation.square().mean(),
    "beside a tensor": lambda policy, theta, observation: (torch.ones(3) @ observation.mT).mean(),
    "a comparison": lambda policy, theta, observation: (observation > 0).float().mean(),
}


@pytest.mark.parametrize("use", OTHER_USES)
def test_whatever_else_a_loss_does_with_its_stand_ins_says_unfused(use, rng):
    """And no other error, since no other one sends the loss the ordinary way."""
    fleet, theta, rollout = problem(Gaussian(2), rng)

    def loss(policy, theta, batch, beta):
        return kl_fixed.loss(policy, theta, batch, beta) + OTHER_USES[use](policy, theta, batch.observation)

    order, beta = rollout.order, torch.tensor([0.5, 3.0])
    with pytest.raises(fused.Unfused):
        fused.minimise(
            fleet, loss, fleet.policy, theta, Adam.start(theta), rollout.batch, order, beta, (beta,), "adam", None, 32
        )


@pytest.mark.parametrize("error", [AssertionError, MemoryError, RuntimeError, AttributeError])
def test_an_error_within_the_fused_path_is_raised_and_changes_no_path(error, rng, monkeypatch):
    fleet, theta, rollout = problem(Gaussian(2), rng)
    rate = fleet.learning_rate

    def fail(*_, **__):
        raise error("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(fused.Kernel, "descend_loss", fail)
        patch.setattr(fused.Kernel, "descend", fail)
        with pytest.raises(error, match="on purpose"):
            sgd.descend(fleet, kl_fixed.loss, theta, Adam.start(theta), rollout, rate)
    changed = fleet.each(change)
    with monkeypatch.context() as patch:
        patch.setattr(fused.Kernel, "forward", fail)
        with pytest.raises(error, match="on purpose"):
            changed(theta, rollout.batch)
    monkeypatch.setattr(Policy, "__call__", fail)  # the ordinary way
    sgd.descend(fleet, kl_fixed.loss, theta, Adam.start(theta), rollout, rate)
    changed(theta, rollout.batch)
    assert not fleet.unfused


@pytest.mark.parametrize("loss", [decayed, elsewhere])
def test_a_loss_that_looks_at_more_than_outputs_goes_the_ordinary_way(loss, rng):
    fleet, theta, rollout = problem(Gaussian(2), rng)
    beta = torch.tensor([0.5, 3.0])
    made, _ = sgd.descend(fleet, loss, theta, Adam.start(theta), rollout, beta)
    true, _ = sgd.descend(unfused(fleet), loss, theta, Adam.start(theta), rollout, beta)
    assert fleet.unfused == {loss} and torch.equal(made, true)


@pytest.mark.parametrize("algorithm", ["kl_fixed", "clip"])
def test_a_fused_inner_loop_and_value_fit_are_the_runs_own_bits(algorithm, monkeypatch):
    """Alone, and beside other runs at another place."""
    seen = []
    real = Trainer._update

    def update(trainer, rollout):
        before = trainer.theta
        metrics = real(trainer, rollout)
        seen.append((before, rollout.batch, rollout.order, trainer.theta))
        return metrics

    monkeypatch.setattr(Trainer, "_update", update)
    trainer = trained("invertedpendulum", algorithm, "auto", seeds=range(20))
    (theta, batch, order, new), (part,) = seen[0], trainer.parts
    alone = Rollout(Batch(*(field[13:14] for field in batch)), order[13:14])
    fleet = Fleet(trainer.configs[13:14], trainer.fleet.policy)
    made, *_ = part.page.update(fleet, theta[13:14], part.page.start(fleet, theta[13:14]), alone)
    assert torch.equal(made[0], new[13]) and not torch.equal(new[13], new[12])


def test_tanh_and_adam_keep_what_is_not_finite():
    network = Network((1, 4, 1))
    theta, x = torch.ones(1, network.parameters), torch.tensor([[[torch.nan], [torch.inf], [-torch.inf], [1e30]]])
    made = fused.Kernel(network).forward(theta, x)[0, :, 0]
    assert made[0].isnan() and torch.equal(made[1:], torch.tensor([5.0, -3.0, 5.0]))


def test_processes_that_start_at_once_share_one_library(tmp_path):
    words = "from pathlib import Path; import sys; from study import fused; print(fused.build(Path(sys.argv[1])))"
    command = [sys.executable, "-c", words, str(tmp_path / "new folder")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    made = {process.communicate()[0] for process in started}
    assert len(made) == 1 and len(list((tmp_path / "new folder").glob("*.so"))) == 1


def test_without_a_compiler_training_goes_on_and_one_line_says_so(monkeypatch, capfd):
    monkeypatch.setattr(fused, "library", fused.library.__wrapped__)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(compiler, "_lost", [])
    runs = [
        configuration(seed=seed, horizon=96, total_steps=96, minibatch_size=48, execution={"compile": "auto"})
        for seed in range(2)
    ]
    trainer = Trainer(runs)
    assert not trainer.fleet.fused and trainer.train()[0].status == "complete"
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("does not work here") == 1 and "no-such-compiler" in said and "g++" in said


def test_a_traced_slope_does_once_what_it_can_and_has_the_bits_of_the_untraced_one():
    def loss(x, beta):
        return -(torch.log_softmax(x, -1).exp() * x).mean() + beta * torch.log_softmax(x, -1).square().sum()

    slope = torch.func.vmap(torch.func.grad(loss))
    arguments = torch.randn(3, 5, 4), torch.rand(3)
    plain, made = make_fx(slope)(*arguments), fused.traced(slope, *arguments)
    targets = [str(node.target) for node in made.graph.nodes]
    assert targets.count("aten._log_softmax.default") == 1 and "aten.ones_like.default" not in targets
    assert len(targets) < 0.8 * len(plain.graph.nodes)
    for _ in range(2):
        arguments = torch.randn(3, 5, 4), torch.rand(3)
        assert torch.equal(made(*arguments), plain(*arguments)) and torch.equal(made(*arguments), slope(*arguments))


def test_a_function_that_writes_in_place_is_traced_without_that():
    def function(x):
        found = torch.zeros_like(x)
        found.add_(x)
        return found + torch.zeros_like(x)

    made, x = fused.traced(function, torch.randn(3)), torch.randn(3)
    assert torch.equal(made(x), x) and torch.equal(made(x), x)
