"""One module per algorithm, called its page.

A page has

    Settings                                 its numbers, with bounds; a float may differ per run
    start(fleet, theta) -> state             a NamedTuple of [R, ...] tensors, kept between updates
    update(fleet, theta, state, rollout) -> (theta, state, metrics)

A page may be outside of the package: algorithm=custom algorithm.module=my_package.my_algorithm.

theta is [R, P]; metrics are columns of curves.parquet, [R] each. Losses are written for one run.
"""

import importlib
import pkgutil
from types import ModuleType

NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__))


def page(name: str, module: str | None = None) -> ModuleType:
    """The module of an algorithm, one of NAMES; or the module of that name."""
    return importlib.import_module(module or f"study.algorithm.{name}")
