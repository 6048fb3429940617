"""execution.device: an update makes no tensor without saying where, and a CUDA device gives the CPU's numbers.

Where there is no accelerator the first must do: a tensor of the CPU can get among those of a device in one way
only, by a factory that is not told the device.
"""

import numpy as np
import pytest
import torch
from conftest import suited
from test_fleet import Interrupted, configs, mixed, same
from torch.overrides import TorchFunctionMode

from study import fleet, implied_beta, value
from study.algorithm import NAMES
from study.fleet import Trainer
from study.launch import checkpoint

FACTORIES = {
    getattr(torch, name)
    for name in "zeros ones full empty tensor as_tensor arange linspace eye rand randn randperm randint".split()
}


class Told(TorchFunctionMode):
    """Refuses factories that are not told the device, and keeps the devices the others are told."""

    def __init__(self):
        super().__init__()
        self.devices = []

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        if function in FACTORIES:
            assert keywords.get("device") is not None, f"{function.__name__} is not told the device"
            self.devices.append(keywords["device"])
        return function(*arguments, **keywords)


def test_a_factory_that_is_not_told_the_device_is_refused():
    with Told() as told:
        torch.ones(3, device="cpu")
        with pytest.raises(AssertionError, match="zeros is not told"):
            torch.zeros(3)
    assert told.devices == ["cpu"]


def test_an_update_makes_every_tensor_on_the_fleets_device(monkeypatch):
    trainer = Trainer(mixed(NAMES, seeds=(0,), task="invertedpendulum", iterations=2))
    told = Told()

    def watched(function):
        def watching(*arguments):
            with told:
                return function(*arguments)

        return watching

    monkeypatch.setattr(trainer, "_update", watched(trainer._update))
    monkeypatch.setattr(fleet, "implied_beta", watched(implied_beta.implied_beta))
    monkeypatch.setattr(value, "fit", watched(value.fit))
    monkeypatch.setattr(trainer, "_freeze_broken", watched(trainer._freeze_broken))
    trainer.train()
    assert trainer.iteration == 2 and np.isfinite(trainer.latest("kl_after")).all()
    assert [part.page.__name__.rpartition(".")[2] for part in trainer.parts] == NAMES
    assert told.devices and {torch.device(device) for device in told.devices} == {trainer.fleet.device}


# On a CUDA device. Learning is there, the environments are here.

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
CUDA = {"device": "cuda"}


@on_cuda
@pytest.mark.parametrize("algorithm, task", suited(NAMES, ["cartpole", "hopper"]))
def test_cuda_gives_the_cpus_numbers(task, algorithm):
    """Eager and in float64, where all that is left between them is rounding: every column of the curves.

    The residual of conjugate gradients that have converged, below 1e-7, is rounding alone: no digits in common.
    """
    here = Trainer(configs(task, algorithm), torch.float64)
    there = Trainer(configs(task, algorithm, execution=CUDA), torch.float64)
    for a, b in zip(there.train(), here.train()):
        assert a.status == b.status == "complete"
        for column in b.curves.columns.drop("run_id"):
            atol = 1e-7 if column == "cg_residual" else 1e-9
            np.testing.assert_allclose(a.curves[column], b.curves[column], rtol=1e-6, atol=atol, err_msg=column)
    assert there.theta.device.type == "cuda" and here.theta.device.type == "cpu"
    torch.testing.assert_close(there.theta.cpu(), here.theta, rtol=1e-6, atol=1e-9)


@on_cuda
@pytest.mark.parametrize("algorithm", ["trpo", "kl_adaptive", "clip"])
def test_compiled_for_cuda_is_eager_on_the_cpu_to_rounding(algorithm):
    """As test_compile.py has it between compiled and eager on the CPU, in float32."""
    shared = {"horizon": 128, "epochs": 2, "hidden": [8], "numbers": [{}] * 3, "iterations": 2}
    here = Trainer(configs("invertedpendulum", algorithm, **shared))
    there = Trainer(configs("invertedpendulum", algorithm, execution=CUDA | {"compile": True}, **shared))
    here.train(), there.train()
    for column in ("kl_after", "surrogate_gain", "implied_beta", "value_loss"):
        np.testing.assert_allclose(there.rows[column][0], here.rows[column][0], rtol=2e-3, err_msg=column)


@on_cuda
@pytest.mark.parametrize("algorithm", ["trpo", "kl_adaptive"])
def test_on_cuda_too_a_resumed_training_gives_the_same_bits(algorithm, tmp_path):
    runs = configs("hopper", algorithm, chapter=2, execution=CUDA)
    expected = Trainer(runs).train()

    def interrupt(trainer):
        if trainer.iteration == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        checkpoint.train(Trainer(runs), interrupt, tmp_path / "checkpoint.pt")
    for a, b in zip(checkpoint.train(Trainer(runs), path=tmp_path / "checkpoint.pt"), expected):
        same(a.curves, b.curves)
