"""The union sweeper: a study is a list of grids, because not every arm has every axis (TRPO has no beta)."""

import itertools
import math
import sys
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType, Transformer
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

MOST = 1_000_000  # runs of one sweep


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
        # As they are written: ${seed} in them is each job's own, and not that of the command.
        own = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
        self.params, self.grids = own.get("params") or {}, own.get("grids") or []
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
            axes = {
                key: value for key, value in own.items() if key.lstrip("+~") not in given or key == "algorithm" in grid
            }
            words = [word for word in arguments if "algorithm" not in grid or not word.startswith("algorithm=")]
            words += [f"{key}={_spelled(value)}" for key, value in axes.items()]
            for job in crossed(parser.parse_overrides(words)):
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
    return [word.split("=", 1)[1] for job in crossed(parser.parse_overrides(words)) for word in job]


def crossed(overrides: list[Override]) -> list[list[str]]:
    """The words of every job, in the order in which they were given and which Hydra applies alone.

    Of a key that is given again the last word counts, unless a {...} could be merged into what was there, or a + makes
    it an error alone too. Raises HydraException where a word names no value.
    """
    axes = []
    for place, override in enumerate(overrides):
        alike = [other for other in overrides[place:] if other.get_key_element() == override.get_key_element()]
        replaced = override.type in (OverrideType.CHANGE, OverrideType.FORCE_ADD)
        if len(alike) == 1 or not replaced or any("{" in other.input_line for other in alike):
            axes.append(_each(override))
    if math.prod(map(len, axes)) > MOST:
        raise HydraException(f"more than {MOST:,} runs in one sweep, the most that are composed: give fewer values")
    return [list(job) for job in itertools.product(*axes)]


def _each(override: Override) -> list[str]:
    """The word itself, or one for each value of a sweep's axis."""
    given, key = override.input_line, override.get_key_element()
    if not override.is_sweep_override():
        return [given]
    if override.is_interval_sweep():
        raise HydraException(f"{given}: an interval has no single values; give them as 1,2,3 or range(START,STOP,STEP)")
    try:
        values = list(itertools.islice(override.sweep_iterator(), MOST + 1))
    except (HydraException, ValueError) as error:  # a step of 0
        raise HydraException(f"{given}: {error}") from None
    if not values and isinstance(override._value, Glob):
        options = override.config_loader.get_group_options(override.key_or_group, results_filter=ObjectType.CONFIG)
        there = f"there are {', '.join(options)}" if options else f"{key} is not chosen among files: write its values"
        raise HydraException(f"{given}: matches nothing, so that there is no run; {there}")
    if not values:
        raise HydraException(f"{given}: has no value, so that there is no run; range(START,STOP) ends before STOP")
    return [f"{key}={_written(value, given)}" for value in values]


def _written(value: Any, given: str) -> str:
    """One value of an axis as a word of its own has it. Hydra's own spelling of an interpolation may not parse."""
    if isinstance(value, bool | int | float) or value is None:
        return Transformer.str(value)
    parser = OverridesParser.create()
    for text in (value, Transformer.str(value)) if isinstance(value, str) else (Transformer.str(value),):
        try:
            if repr(parser.parse_override(f"key={text}").value()) == repr(Override._convert_value(value)):
                return text
        except HydraException:
            pass
    raise HydraException(f"{given}: {value} cannot be one value among others; give it alone, in a command of its own")


def _spelled(value: Any) -> str:
    """A value of a YAML file as the command line has it; a string is taken as it stands."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_spelled(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spelled, value)) + "]"
    return str(value)


def open_settings(words: list[str]) -> list[str]:
    """Of algorithm=custom the numbers are those of its module, which no file lists: each may be added."""
    if "algorithm=custom" not in words:
        return list(words)
    return [f"++{word.lstrip('+')}" if word.lstrip("+").startswith("algorithm.") else word for word in words]


def of_each_job(words: list[str]) -> list[str]:
    """A sweep's words for Hydra, which tries those with one value on the default algorithm and task first.

    With algorithm=clip,kl_fixed the beta of algorithm.beta=1 is none of the default algorithm's: as choice(1) it waits
    for the jobs.
    """
    parser, parsed = OverridesParser.create(), []
    for word in words:
        try:
            parsed.append(parser.parse_override(word))
        except HydraException:  # Hydra itself will say what is wrong with it
            parsed.append(None)
    swept = {one.key_or_group for one in parsed if one and one.is_sweep_override()} & {"algorithm", "task"}
    made = []
    for word, one in zip(words, parsed):
        later = f"{one.get_key_element()}=choice({word.partition('=')[2]})" if one and not one.is_delete() else word
        if one and one.key_or_group.split(".")[0] in swept and "." in one.key_or_group and not one.is_sweep_override():
            try:
                (value,) = parser.parse_override(later).sweep_iterator()
                word = later if repr(Override._convert_value(value)) == repr(one.value()) else word
            except (HydraException, ValueError):
                pass
        made.append(word)
    return made


@dataclass
class UnionSweeperConfig:
    _target_: str = "hydra_plugins.fleet.sweeper.UnionSweeper"
    params: dict[str, Any] = field(default_factory=dict)  # axes of every grid: key -> values as on the command line
    grids: list[dict[str, Any]] = field(default_factory=list)  # the grids' own axes


ConfigStore.instance().store(group="hydra/sweeper", name="union", node=UnionSweeperConfig, provider="fleet")
