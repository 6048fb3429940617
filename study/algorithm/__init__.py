"""One page per algorithm.

A page is a module with

    Settings                                 its numbers, with bounds; a float may differ per run
    start(fleet, theta) -> state             a NamedTuple of [R, ...] tensors, kept between updates
    update(fleet, theta, state, rollout) -> (theta, state, facts)

theta is [R, P]; facts are columns of curves.parquet, [R] each. Losses are written for one run.
"""

import importlib
import pkgutil
from types import ModuleType

NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__))


def page(name: str) -> ModuleType:
    """The module of an algorithm, one of NAMES."""
    return importlib.import_module(f"study.algorithm.{name}")
