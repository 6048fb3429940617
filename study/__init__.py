"""Penalty versus constraint in policy optimisation, trained in fleets.

A fleet is many runs trained in lockstep as one batched program. One letter per axis, everywhere:

    R  runs of the fleet, the first axis of every tensor that differs between runs
    T  steps of one rollout (the horizon); N samples of a batch or minibatch
    D  observation size; A action size; K distribution parameters of one action; P policy parameters

From Python, study.train(...) and study.sweep(...) are the command line without and with -m.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.launch.api import sweep, train
    from study.settings import ConfigError
else:

    def __getattr__(name):
        """Looked up when asked for: torch and Hydra take seconds to import."""
        if name in __all__:
            module = "study.settings" if name == "ConfigError" else "study.launch.api"
            return getattr(importlib.import_module(module), name)
        raise AttributeError(f"module 'study' has no attribute '{name}'")


__all__ = ["ConfigError", "sweep", "train"]
