"""The union sweeper: a study is a list of grids, because not every arm has every axis (TRPO has no beta)."""

import sys
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class UnionSweeper(Sweeper):
    """Launches the union of `grids`, each crossed with `params` and with the command line.

    A key given on the command line replaces the same key in the grids that have it, and is added to those
    that have not; algorithm=NAME keeps the grids' arms of that algorithm and leaves the others out. Without grids
    this is an ordinary grid over the command line.
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
        chosen = _values(parser, [word for word in arguments if word.startswith("algorithm=")])
        jobs = {}
        for grid in self._of(chosen, parser) or [{}]:
            own = {**self.params, **grid}
            axes = {key: value for key, value in own.items() if key not in given or key == "algorithm" in grid}
            words = [word for word in arguments if "algorithm" not in grid or not word.startswith("algorithm=")]
            overrides = parser.parse_overrides([*words, *(f"{key}={value}" for key, value in axes.items())])
            for job in BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]:
                job = open_settings(job)
                jobs[tuple(job)] = job
        return list(jobs.values())

    def _of(self, chosen: list[str], parser: OverridesParser) -> list[dict[str, Any]]:
        """The grids, of the chosen algorithms alone where any is: their other keys mean nothing to another one."""
        kept, dropped = [], []
        for grid in self.grids:
            if not chosen or "algorithm" not in grid:
                kept.append(grid)
                continue
            own = _values(parser, [f"algorithm={grid['algorithm']}"])
            dropped += [name for name in own if name not in chosen]
            if left := [name for name in own if name in chosen]:
                kept.append({**grid, "algorithm": ",".join(left)})
        names = ", ".join(dict.fromkeys(dropped))
        if self.grids and not kept:
            raise HydraException(f"algorithm={','.join(chosen)}: no grid of this sweep is of it; they are of {names}")
        if dropped:
            print(f"algorithm={','.join(chosen)} leaves out the sweep's arms of {names}", file=sys.stderr, flush=True)
        return kept


def _values(parser: OverridesParser, words: list[str]) -> list[str]:
    """What words such as algorithm=trpo,clip stand for, one by one."""
    jobs = BasicSweeper.split_arguments(parser.parse_overrides(words), max_batch_size=None)[0] if words else []
    return [word.split("=", 1)[1] for job in jobs for word in job]


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
