"""execution.device where there is no accelerator: an update makes no tensor without saying where.

A tensor of the CPU can get among those of a device in one way only: a factory that is not told the device.
"""

import numpy as np
import pytest
import torch
from test_fleet import configs
from torch.overrides import TorchFunctionMode

from study import fleet, implied_beta, value
from study.algorithm import NAMES
from study.fleet import Trainer

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


@pytest.mark.parametrize("algorithm", NAMES)
def test_an_update_makes_every_tensor_on_the_fleets_device(algorithm, monkeypatch):
    trainer = Trainer(configs("invertedpendulum", algorithm, iterations=2))
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
    assert told.devices and {torch.device(device) for device in told.devices} == {trainer.fleet.device}
