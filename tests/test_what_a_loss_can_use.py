"""docs/how-to/algorithms.md lists what a loss can use: all there is, callable as written, of the shapes it says."""

import inspect
import re

import pytest
import torch
from conftest import ROOT

from study import objective, sgd, solver
from study.objective import Change
from study.policy import Categorical, Categoricals, Gaussian, Policy
from study.rollout import Batch

PAGE = (ROOT / "docs/how-to/algorithms.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \| ([^|]+?) \| (.+) \|$", PAGE, re.M)
N, D = 6, 3


def test_nothing_is_missing():
    names = {row[0].split("(")[0] for row in ROWS}
    functions = {
        name
        for name, one in vars(objective).items()
        if inspect.isfunction(one) and one.__module__ == objective.__name__
    }
    family = {"log_prob", "entropy", "kl_old_new", "metric"}
    apart = {"phi", "noise", "sampler", "weight"}  # how a policy is made and acts, and what of it fused.py needs
    for kind in (Gaussian, Categorical, Categoricals):
        assert {
            name for name in vars(kind) if not name.startswith("_") and callable(getattr(kind, name))
        } == family | apart
    expected = {f"batch.{field}" for field in Batch._fields} | {f"policy.family.{name}" for name in family}
    assert names == expected | functions | {"policy"}
    assert len(ROWS) == len(names)


@pytest.mark.parametrize(
    "family", [Gaussian(2), Categorical(4), Categoricals((2, 3))], ids=lambda one: type(one).__name__
)
def test_each_is_callable_as_written_and_has_its_shape(family):
    policy = Policy.make(D, family, (5,))
    draws = torch.Generator().manual_seed(0)
    theta, vector = torch.randn(2, policy.parameters, generator=draws, dtype=torch.float64)
    observation = torch.randn(N, D, generator=draws, dtype=torch.float64)
    old = policy(theta + 0.1, observation)
    action = torch.zeros(
        N, {"Gaussian": 2, "Categorical": 1, "Categoricals": 2}[type(family).__name__], dtype=torch.float64
    )
    batch = Batch(observation, action, old, family.log_prob(old, action), torch.arange(N, dtype=torch.float64) - 2)
    phi = policy(theta, observation)
    known = {name: getattr(objective, name) for name in vars(objective) if not name.startswith("_")}
    known |= {
        "policy": policy,
        "theta": theta,
        "phi": phi,
        "batch": batch,
        "observation": observation,
        "vector": vector,
    }
    known |= {"tangent": torch.ones_like(phi), "advantage": batch.advantage, "clip_epsilon": torch.tensor(0.2)}
    sizes = {"N": N, "D": D, "A": action.shape[1], "K": phi.shape[1], "P": policy.parameters}
    for text, shape, _ in ROWS:
        own = known | ({"ratio": objective.ratio(policy, phi, batch)} if text.startswith("killed") else {})
        made = eval(text, {}, own)
        if shape == "several":
            assert isinstance(made, Change) and all(f"`{field}`" in PAGE for field in Change._fields)
            continue
        letters = [] if shape == "scalar" else re.findall(r"[A-Z]", shape)
        assert tuple(made.shape) == tuple(sizes[letter] for letter in letters), text


def test_what_else_an_update_has_is_there():
    for module, names in ((sgd, ("descend", "epochs", "start")), (solver, ("acceptable", "bisect", "where"))):
        assert all(f"`{name}`" in PAGE and callable(getattr(module, name)) for name in names)
