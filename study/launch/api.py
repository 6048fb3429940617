"""Training from Python, through Hydra and the runner as the command line does: returns frames, raises ConfigError."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.fleet.sweeper import of_each_job, open_settings
from study import process
from study.config import Config
from study.files import CONF
from study.launch import runner
from study.launch.command import _parsed, explain, no_file, parsed
from study.launch.store import Store
from study.settings import ConfigError


class Frames(NamedTuple):
    """The runs asked for, whether trained now or finished before; the columns are in results/README.md.

    - `runs`: one row per run.
    - `curves`: one row per run and iteration.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame


@process.kept()
def train(*overrides: str, **settings: Any) -> Frames:
    """One run, as `python -m study KEY=VALUE ...` trains it.

    Keys with dots are given as `**{"algorithm.beta": 3}` or as the words of the command line. A run that is finished
    already is read and not trained again. Raises ConfigError for what the command line would refuse, before training.
    """
    configs: list[Config] = []
    words = [*overrides, *(f"{key}={_word(value)}" for key, value in settings.items())]
    _through_hydra("run", lambda cfg: configs.append(_parsed(cfg)), words)
    return _trained(configs)


@process.kept()
def sweep(*overrides: str, **settings: Any) -> Frames:
    """Many runs, as `python -m study -m KEY=VALUES ...` trains them; a list, tuple or range is an axis.

    A value that is a list itself stands in a list: `hidden=[[64, 64]]`. Axes multiply. Runs that are finished already
    are read and not trained again. Raises ConfigError for what the command line would refuse, before training.
    """
    configs: list[Config] = []

    class Task:
        def __call__(self, cfg: Any) -> None:
            raise NotImplementedError  # the launcher takes `many`

        def many(self, jobs: list, refused: list) -> list:
            configs.extend(parsed(jobs, refused)[0])
            return [None] * len(jobs)

    _through_hydra("multirun", Task(), [*overrides, *(f"{key}={_axis(value)}" for key, value in settings.items())])
    return _trained(configs)


def _through_hydra(how: str, task: Callable, words: list[str]) -> None:
    words = open_settings(words)
    if how == "multirun":
        words = [*of_each_job(words), "hydra.mode=MULTIRUN"]  # as -m does
    before = Singleton.get_state()  # a caller may be an application of Hydra itself
    caller, HydraConfig.instance().cfg = HydraConfig.instance().cfg, None  # whose ${hydra:...} are no values of a run
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="study"):
            start = getattr(GlobalHydra.instance().hydra, how)
            done = start("config", task, words, with_log_configuration=False)
        if how == "run":
            done.return_value  # noqa: B018  raises what the task has raised
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, words)) from None
    except ValueError as error:
        raise (ConfigError(explain(error, words)) if no_file(error) else error) from None
    finally:
        Singleton.set_state(before)
        HydraConfig.instance().cfg = caller


def _trained(configs: list[Config]) -> Frames:
    if any(config.execution.dry_run for config in configs):
        raise ConfigError("execution.dry_run=true: from the command line only")
    runs = runner.run(configs).reset_index(drop=True)
    curves = pd.concat([Store(folder).curves() for folder in dict.fromkeys(config.study for config in configs)])
    return Frames(runs, curves[curves["run_id"].isin(runs["run_id"])].reset_index(drop=True))


def _axis(value: Any) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        value = list(value)
        if not value:
            return "range(0,0)"  # refused by the sweeper
        return ",".join(_word(one) for one in value)
    return _word(value)


def _word(value: Any) -> str:
    """A value as the command line spells it; a string is taken as it stands."""
    if hasattr(value, "item") and not hasattr(value, "__len__"):  # a number of NumPy
        value = value.item()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path):
        return "'" + str(value).replace("'", "\\'") + "'"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_word(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ",".join(_word(one) for one in value) + "]"
    return str(value)
