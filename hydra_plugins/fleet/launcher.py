"""The fleet launcher: composes a sweep's runs and hands all of them over at once."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict


class FleetLauncher(Launcher):
    """Needs a task function with an attribute `many`: a list of configs in, a list of return values out."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        composed: dict[tuple, DictConfig] = {}
        jobs = []
        for index, overrides in enumerate(job_overrides, initial_job_idx):
            jobs.append(self._job(list(overrides), index, composed))
        values = self.task_function.many([job.cfg for job in jobs])
        for job, value in zip(jobs, values):
            job.return_value, job.status = value, JobStatus.COMPLETED
        return jobs

    def _job(self, overrides: list[str], index: int, composed: dict[tuple, DictConfig]) -> JobReturn:
        """One run's config. Composed once per arm: runs that differ in their seed alone are copies."""
        seeds = [override for override in overrides if override.startswith("seed=")]
        arm = tuple(override for override in overrides if override not in seeds)
        if arm not in composed:
            composed[arm] = self.hydra_context.config_loader.load_sweep_config(self.config, list(arm))
        config = copy.deepcopy(composed[arm])
        with open_dict(config):
            if seeds:
                config.merge_with_dotlist(seeds[-1:])
            config.hydra.job.id = config.hydra.job.num = index
            config.hydra.overrides.task = overrides
            hydra = OmegaConf.create({"hydra": config.pop("hydra")})
        job = JobReturn(overrides=overrides, cfg=config, hydra_cfg=hydra, task_name=hydra.hydra.job.name)
        job.working_dir = str(hydra.hydra.sweep.dir)
        HydraConfig.instance().set_config(OmegaConf.merge(hydra, config))
        return job


@dataclass
class FleetLauncherConfig:
    _target_: str = "hydra_plugins.fleet.launcher.FleetLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="fleet", node=FleetLauncherConfig, provider="fleet")
