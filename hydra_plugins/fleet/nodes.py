"""What every task has, and the one node that takes new keys from the command line without a +."""

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

kwargs = DictConfig({}, flags={"struct": False})
task = {"max_episode_steps": None, "kwargs": kwargs}
ConfigStore.instance().store(name="nodes", node=OmegaConf.create({"task": task}), provider="fleet")
