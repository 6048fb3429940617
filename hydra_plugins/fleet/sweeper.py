"""The union sweeper: a study is a list of grids, because not every arm has every axis (TRPO has no beta)."""

from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class UnionSweeper(Sweeper):
    """Launches the union of `grids`, each crossed with `params` and with the command line.

    A key given on the command line replaces the same key in the grids that have it, and is added to those
    that have not. Without grids this is an ordinary grid over the command line.
    """

    def __init__(self, params: dict[str, Any], grids: list[dict[str, Any]]):
        self.params, self.grids, self.loader = params, grids, None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        return self.launcher.launch(self.jobs(arguments), initial_job_idx=0)

    def jobs(self, arguments: list[str]) -> list[list[str]]:
        """The overrides of every run, duplicates removed."""
        parser = OverridesParser.create(self.loader)  # which knows the options that glob(*) stands for
        given = {override.key_or_group for override in parser.parse_overrides(arguments)}
        jobs = {}
        for grid in self.grids or [{}]:
            axes = {key: value for key, value in {**self.params, **grid}.items() if key not in given}
            overrides = parser.parse_overrides([*arguments, *(f"{key}={value}" for key, value in axes.items())])
            for job in BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]:
                job = open_settings(job)
                jobs[tuple(job)] = job
        return list(jobs.values())


def open_settings(words: list[str]) -> list[str]:
    """Of algorithm=custom the numbers are those of its module, which no file lists: each may be added."""
    if "algorithm=custom" not in words:
        return list(words)
    return [f"++{word.lstrip('+')}" if word.lstrip("+").startswith("algorithm.") else word for word in words]


@dataclass
class UnionSweeperConfig:
    _target_: str = "hydra_plugins.fleet.sweeper.UnionSweeper"
    params: dict[str, Any] = field(default_factory=dict)  # axes of every grid: key -> values as on the command line
    grids: list[dict[str, Any]] = field(default_factory=list)  # the grids' own axes


ConfigStore.instance().store(group="hydra/sweeper", name="union", node=UnionSweeperConfig, provider="fleet")
