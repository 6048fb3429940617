"""The fleet launcher: composes a sweep's runs and hands all of them over at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException


class FleetJob(JobReturn):
    """One run. Runs that differ in their seed alone share one composed config, `arm`; cfg is made when looked at."""

    def __init__(self, overrides: list[str], index: int, arm: DictConfig, seed: Any):
        self.arm, self.seed, self.index = arm, seed, index
        super().__init__(overrides=overrides, task_name=arm.hydra.job.name, working_dir=str(Path.cwd()))

    def composed(self) -> DictConfig:
        config = OmegaConf.masked_copy(self.arm, list(self.arm))
        with open_dict(config):
            if self.seed is not None:
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
        for index, overrides in enumerate(job_overrides, initial_job_idx):
            seeds = [override for override in overrides if override.startswith("seed=")]
            words = tuple(override for override in overrides if not override.startswith("seed="))
            if words not in arms:
                arms[words] = self._arm(words)
            if isinstance(arms[words], Exception):
                refused.append((list(overrides), arms[words]))
            else:
                jobs.append(FleetJob(list(overrides), index, arms[words], _value(seeds[-1]) if seeds else None))
        if jobs:
            HydraConfig.instance().set_config(jobs[-1].composed())
        for job, value in zip(jobs, self.task_function.many(jobs, refused)):
            job.return_value, job.status = value, JobStatus.COMPLETED
        return jobs

    def _arm(self, overrides: tuple[str, ...]) -> DictConfig | Exception:
        """Composed once for all its seeds."""
        try:
            arm = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            if arm.hydra.job.chdir:
                raise HydraException("hydra.job.chdir=true: runs of a fleet share one process, hence one folder")
            if arm.hydra.job.env_set:
                raise HydraException(
                    "hydra.job.env_set: runs of a fleet share one process; set the variables before the command"
                )
            return arm
        except (HydraException, OmegaConfBaseException) as error:
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


@cache
def _value(override: str) -> Any:
    """What KEY=VALUE says, by Hydra's own grammar."""
    return OverridesParser.create().parse_override(override).value()


@dataclass
class FleetLauncherConfig:
    _target_: str = "hydra_plugins.fleet.launcher.FleetLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="fleet", node=FleetLauncherConfig, provider="fleet")
