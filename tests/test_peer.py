"""TRPO's step beside sb3-contrib's, from the same parameters and the same batch.

Their conventions that differ from ours, and what is done about each:

    KL summed over action dimensions       theirs is a mean for Gaussians: summed here, their function replaced
    KL(old || new)                         theirs is KL(new || old): the same Hessian at the old policy, so the
                                           same step; in their line search, too, swapped here
    standard deviation of the advantages   theirs divides by N - 1, ours by N: normalised by us, theirs off
    conjugate gradients                    theirs start at a random vector of 1e-4: the seed is fixed, both iterate
                                           to convergence
    accepted                               theirs at KL < delta, ours at KL <= delta: no difference here
    shrinking                              theirs by 0.8, ours by 0.5: set to 0.5
    what is returned on failure            theirs logs a KL of 0, ours of the attempt: accepted steps are compared
    Fisher subsampling                     theirs subsamples the gradient, too: off
"""

import gymnasium
import numpy as np
import pytest
import torch
from conftest import configuration
from reference import one, random_batch
from sb3_contrib.trpo import trpo as theirs
from stable_baselines3.common import policies
from stable_baselines3.common.logger import Logger

from study.algorithm import trpo
from study.fleet import Fleet, Rollout
from study.policy import Categorical, Gaussian, Policy

original_kl = theirs.kl_divergence
SAMPLES, HIDDEN, OBSERVATION = 64, (8, 8), 3


class Spaces(gymnasium.Env):
    """Only its spaces are used."""

    def __init__(self, action_space):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATION,), np.float64)
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        return np.zeros(OBSERVATION), {}

    def step(self, action):
        return np.zeros(OBSERVATION), 0.0, True, False, {}


def their_parameters(model) -> list[torch.nn.Parameter]:
    """In our order: weight and bias of each layer, then the log standard deviations."""
    policy = model.policy
    layers = [*policy.mlp_extractor.policy_net[::2], policy.action_net]
    log_std = [policy.log_std] if hasattr(policy, "log_std") else []
    return [parameter for layer in layers for parameter in (layer.weight, layer.bias)] + log_std


def flat(parameters) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in parameters])


def made_the_same(family, delta, rng, monkeypatch):
    """Our fleet of one run with its batch, and their model holding the same parameters and the same batch."""
    numbers = {"max_kl": delta, "cg_iterations": 200}
    changes = {"horizon": SAMPLES, "minibatch_size": 8, "total_steps": SAMPLES, "hidden": list(HIDDEN)}
    config = configuration("cartpole", "trpo", numbers, **changes)
    policy = Policy.make(OBSERVATION, family, HIDDEN)
    theta = 0.5 * torch.randn(1, policy.parameters, generator=rng, dtype=torch.float64)
    batch = random_batch(policy, theta, SAMPLES, rng)
    fleet = Fleet([config], policy, torch.float64)

    if isinstance(family, Gaussian):
        space = gymnasium.spaces.Box(-9, 9, (family.size,), np.float64)
    else:
        space = gymnasium.spaces.Discrete(family.size)
    model = theirs.TRPO(
        "MlpPolicy", Spaces(space), n_steps=SAMPLES, batch_size=SAMPLES, n_critic_updates=0, target_kl=delta,
        cg_max_steps=200, cg_damping=0.1, line_search_shrinking_factor=0.5, line_search_max_iter=11,
        normalize_advantage=False, policy_kwargs={"net_arch": list(HIDDEN)}, seed=0, device="cpu",
    )  # fmt: skip
    model.policy.double()
    monkeypatch.setattr(policies, "preprocess_obs", lambda observation, *_, **__: observation)  # not to float32
    parameters, start = their_parameters(model), 0
    with torch.no_grad():
        for parameter in parameters:
            size = parameter.numel()
            parameter.copy_(theta[0, start : start + size].reshape(parameter.shape))
            start += size
    assert start == policy.parameters

    run = one(batch)
    data = theirs.RolloutBufferSamples(run.observation, run.action, None, run.log_prob, run.advantage, None)
    monkeypatch.setattr(model.rollout_buffer, "get", lambda batch_size: iter([data]))
    monkeypatch.setattr(model.rollout_buffer, "values", np.zeros(2))
    monkeypatch.setattr(model.rollout_buffer, "returns", np.ones(2))
    model._logger = Logger(folder=None, output_formats=[])

    def summed_old_new(new, old):
        kl = torch.distributions.kl_divergence(old.distribution, new.distribution)
        return kl.sum(-1) if kl.ndim > 1 else kl

    monkeypatch.setattr(theirs, "kl_divergence", summed_old_new)
    return fleet, theta, Rollout(batch, None), model


@pytest.mark.parametrize("family", [Gaussian(3), Categorical(4)], ids=["gaussian", "categorical"])
@pytest.mark.parametrize("delta", [0.001, 0.01, 1.0])
def test_trpos_step_is_sb3_contribs_with_its_kl_summed(family, delta, rng, monkeypatch):
    fleet, theta, rollout, model = made_the_same(family, delta, rng, monkeypatch)
    searched = {}

    def recording(operator, b, max_iter):
        searched["direction"] = solver(operator, b, max_iter, residual_tol=1e-24)
        return searched["direction"]

    solver = theirs.conjugate_gradient_solver
    monkeypatch.setattr(theirs, "conjugate_gradient_solver", recording)
    torch.manual_seed(0)
    model.train()

    new, _, metrics = trpo.update(fleet, theta, (), rollout)
    assert metrics["accepted"].item() and model.logger.name_to_value["train/is_line_search_success"] == 1
    step = new[0] - theta[0]
    direction = order_of(model, searched["direction"])
    cosine = torch.nn.functional.cosine_similarity(step, direction, dim=0)
    assert cosine.item() == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(flat(their_parameters(model)), new[0], rtol=0, atol=1e-7)


def order_of(model, direction: torch.Tensor) -> torch.Tensor:
    """Their direction, ordered as named_parameters, in our order of the parameters."""
    actor = [parameter for name, parameter in model.policy.named_parameters() if "value" not in name]
    pieces = dict(zip(map(id, actor), direction.split([parameter.numel() for parameter in actor])))
    return torch.cat([pieces[id(parameter)] for parameter in their_parameters(model)])


def test_sb3_contribs_own_kl_is_the_mean_over_action_dimensions(rng, monkeypatch):
    """Uncorrected, their constraint is looser by the number of action dimensions: the step shows it."""
    delta, size = 0.001, 3
    with monkeypatch.context() as undone:
        fleet, theta, rollout, model = made_the_same(Gaussian(size), delta, rng, undone)
        undone.setattr(theirs, "kl_divergence", original_kl)
        torch.manual_seed(0)
        model.train()
    their_step = flat(their_parameters(model)) - theta[0]
    kl = fleet.policy.family.kl_old_new(
        rollout.batch.old, fleet.policy((theta[0] + their_step)[None], rollout.batch.observation)
    ).mean()
    assert kl > 2 * delta
