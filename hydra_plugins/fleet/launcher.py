"""The fleet launcher: composes a sweep's runs and hands all of them over at once."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

# An interpolation that names another value of the same configuration, as ${task.total_steps} does
REFERENCE = re.compile(r"\$\{\.*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\}")

PATIENCE = 10.0  # seconds between two lines while runs are composed


class FleetJob(JobReturn):
    """One run. Runs that differ in their seed alone share one composed config, `arm`; cfg is made when looked at.

    The seed is None where the arm is this run's own.
    """

    def __init__(self, overrides: list[str], index: int, arm: DictConfig, seed: int | None):
        self.arm, self.seed, self.index = arm, seed, index
        super().__init__(overrides=overrides, task_name=arm.hydra.job.name, working_dir=str(Path.cwd()))

    def composed(self) -> DictConfig:
        if self.seed is None:
            return self.arm
        config = OmegaConf.masked_copy(self.arm, list(self.arm))
        with open_dict(config):
            config.seed = self.seed
            config.hydra.job.id = config.hydra.job.num = self.index
            config.hydra.overrides.task = self.overrides
        return config

    @property
    def cfg(self) -> DictConfig:
        config = self.composed()
        return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])

    @property
    def hydra_cfg(self) -> DictConfig:
        return OmegaConf.masked_copy(self.composed(), ["hydra"])

    @cfg.setter
    def cfg(self, _) -> None: ...

    @hydra_cfg.setter
    def hydra_cfg(self, _) -> None: ...


class FleetLauncher(Launcher):
    """For a task function with an attribute `many`: it gets all jobs at once, and what was refused and why.

    many(jobs: list[FleetJob], refused: list[(overrides, exception)]) -> return values in order of the jobs.
    Any other task function is run job by job, as Hydra's basic launcher does.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        if not hasattr(self.task_function, "many"):
            Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
            return [self._run(list(job), index) for index, job in enumerate(job_overrides, initial_job_idx)]

        arms: dict[tuple, DictConfig | Exception] = {}
        jobs, refused = [], []
        began = datetime.now()  # ${now:...} is one moment for all jobs, as Hydra's other launchers have it
        OmegaConf.register_new_resolver("now", lambda form: began.strftime(form), use_cache=True, replace=True)
        try:
            for index, overrides in enumerate(_told(job_overrides), initial_job_idx):
                arm, seed = self._arm(arms, list(overrides), index)
                if isinstance(arm, Exception):
                    refused.append((list(overrides), arm))
                else:
                    jobs.append(FleetJob(list(overrides), index, arm, seed))
            values = self.task_function.many(jobs, refused)
        finally:
            setup_globals()
        for job, value in zip(jobs, values):
            job.return_value, job.status = value, JobStatus.COMPLETED
        return jobs

    def _arm(self, arms: dict, overrides: list[str], index: int) -> tuple[DictConfig | Exception, int | None]:
        """A job's arm, composed once for all its seeds, and its seed; or the job's own configuration and None.

        A resolver (${hydra:job.num}, ${oc.select:seed}, the user's own) may give each job another value, so that what
        has one is composed whole for each.
        """
        seeds = [word for word in overrides if word.lstrip("+~").partition("=")[0] == "seed"]
        if len(seeds) == 1 and seeds[0].startswith("seed=") and type(_value(seeds[0])) is int:
            words = tuple(word for word in overrides if word not in seeds)
            if words not in arms:
                arms[words] = self._composed(list(words), index)
            if isinstance(arms[words], Exception) or _same_for_all_seeds(arms[words]):
                return arms[words], _value(seeds[0])
        return self._composed(overrides, index), None

    def _composed(self, overrides: list[str], index: int) -> DictConfig | Exception:
        try:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = index
                config.hydra.runtime.output_dir = str(Path.cwd())
            if config.hydra.job.chdir:
                raise HydraException("hydra.job.chdir=true: runs of a fleet share one process, hence one folder")
            if config.hydra.job.env_set:
                raise HydraException(
                    "hydra.job.env_set: runs of a fleet share one process; set the variables before the command"
                )
            if _sweeper(config) != _sweeper(self.config):
                chosen = next((word for word in overrides if "experiment" in word.partition("=")[0]), overrides[0])
                raise HydraException(f"{chosen} is itself a sweep, of which one job can't be made: a command for each")
            return config
        except (HydraException, OmegaConfBaseException, ValueError) as error:  # a ValueError: task=null
            return error

    def _run(self, overrides: list[str], index: int) -> JobReturn:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = index
        done = run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return done


def _sweeper(config: DictConfig) -> dict:
    return OmegaConf.to_container(config.hydra.sweeper, resolve=False)


def _same_for_all_seeds(arm: DictConfig) -> bool:
    """Whether nothing in it is made by a resolver or from the seed."""
    container = OmegaConf.to_container(arm, resolve=False)
    container.pop("hydra")
    text = REFERENCE.sub(lambda found: found[0] if "seed" in found[0] else "", repr(container))
    return "${" not in text


@cache
def _value(override: str) -> Any:
    """What KEY=VALUE says, by Hydra's own grammar."""
    return OverridesParser.create().parse_override(override).value()


def _told(jobs: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """The jobs, with a line now and then of how many are composed and how long the others will take."""
    began = said = time.monotonic()
    for count, job in enumerate(jobs):
        if (now := time.monotonic()) > said + PATIENCE:
            from study.console import console, duration

            left = duration((now - began) / count * (len(jobs) - count))
            console.print(f"composing runs: {count} of {len(jobs)}, {left} left", highlight=False)
            said = now
        yield job


@dataclass
class FleetLauncherConfig:
    _target_: str = "hydra_plugins.fleet.launcher.FleetLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="fleet", node=FleetLauncherConfig, provider="fleet")
