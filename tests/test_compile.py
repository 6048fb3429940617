"""Compiled fleets: the same numbers to rounding, and compiled to the end."""

import numpy as np
import pytest
import torch
from conftest import configuration

from study.fleet import Trainer, can_compile

needs_compiler = pytest.mark.skipif(not can_compile(), reason="no C++ compiler on this machine")


def trained(compile: bool, task: str, algorithm: str, runs: int = 3) -> Trainer:
    shared = {"horizon": 128, "total_steps": 256, "epochs": 2, "hidden": [8], "execution": {"compile": compile}}
    trainer = Trainer([configuration(task, algorithm, seed=seed, **shared) for seed in range(runs)])
    trainer.train()
    return trainer


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["trpo", "kl_fixed"])
def test_compiled_is_eager_to_rounding(algorithm):
    eager, compiled = (trained(compile, "invertedpendulum", algorithm) for compile in (False, True))
    for column in ("kl_after", "surrogate_gain", "implied_beta", "value_loss"):
        np.testing.assert_allclose(compiled.rows[column][0], eager.rows[column][0], rtol=2e-3)


@needs_compiler
@pytest.mark.slow
def test_fleet_after_fleet_stays_compiled_in_one_process(monkeypatch):
    """The compiler's own limit of recompilations raises here instead of turning to eager in silence."""
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    for task, runs in (("cartpole", 3), ("invertedpendulum", 2)):
        trained(True, task, "kl_fixed", runs)
