"""Hydra's own acceptance suite for launchers, on the fleet launcher; and what it does for a fleet beyond that."""

import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
from hydra.version import _UNSPECIFIED_, VersionBase
from test_command_line import SMALL, command

from hydra_plugins.fleet import launcher
from hydra_plugins.fleet.launcher import FleetLauncher
from hydra_plugins.fleet.sweeper import UnionSweeper

# All cases of the three suites run and pass; they give the launcher a task function without `many`, which it runs
# job by job. A task function with `many` is handed all jobs at once in one process: for it, a directory
# (hydra.job.chdir) or environment variables (hydra.job.env_set) of each run's own cannot be had, and are refused.


@pytest.fixture
def as_hydra_starts(hydra_restore_singletons):
    """The suite counts on the version base of a fresh process, whatever other tests have set."""
    VersionBase.instance().version_base = _UNSPECIFIED_


def test_discovery():
    """As `--info plugins` lists them."""
    for kind, ours in ((Launcher, FleetLauncher), (Sweeper, UnionSweeper)):
        assert ours.__name__ in [plugin.__name__ for plugin in Plugins.instance().discover(kind)]


@pytest.mark.usefixtures("as_hydra_starts")
@pytest.mark.parametrize("launcher_name, overrides", [("fleet", [])])
class TestFleetLauncher(LauncherTestSuite):
    pass


@pytest.mark.usefixtures("as_hydra_starts")
@pytest.mark.parametrize("launcher_name, overrides", [("fleet", ["hydra.sweeper.max_batch_size=2"])])
class TestFleetLauncherInBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({}, ["-m", "hydra/launcher=fleet", "hydra/job_logging=disabled"])],
)
class TestFleetLauncherIntegration(IntegrationTestSuite):
    @pytest.fixture(autouse=True)
    def importable(self, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("override, word", [("hydra.job.chdir=true", "chdir"), ("+hydra.job.env_set.X=1", "env_set")])
def test_what_a_fleet_cannot_have_is_refused_in_one_line(override, word, tmp_path, monkeypatch, capfd):
    code, said = command(monkeypatch, capfd, "-m", *SMALL, override, f"execution.results={tmp_path / 'r'}")
    assert code == 2 and said.count("error:") == 1 and f"hydra.job.{word}" in said
    assert not (tmp_path / "r").exists()


def test_arms_are_composed_once_and_seeds_are_their_own(tmp_path, monkeypatch, capfd):
    from study.launch import runner

    seen, composed, load = [], [], ConfigLoaderImpl.load_sweep_config
    monkeypatch.setattr(runner, "run", lambda configs: (seen.extend(configs), sys.exit())[0])
    monkeypatch.setattr(
        ConfigLoaderImpl, "load_sweep_config", lambda *arguments: (composed.append(1), load(*arguments))[1]
    )
    arguments = ["-m", *SMALL, "algorithm=trpo,clip", "seed=range(50)", f"execution.results={tmp_path}"]
    _, said = command(monkeypatch, capfd, *arguments)
    assert said == "" and len(composed) == 2 and len({config.run_id for config in seen}) == 100
    assert [config.seed for config in seen] == [*range(50), *range(50)]
    from test_command_line import composed as alone

    config = alone(*SMALL, "algorithm=clip", "seed=7", f"execution.results={tmp_path}")
    assert config == seen[57] and config.run_id == seen[57].run_id and config.arm == seen[57].arm


def test_composing_many_runs_says_how_far_it_is(monkeypatch, capfd):
    at = iter([0.0, 4.0, 8.0, 12.0, 16.0])
    monkeypatch.setattr(launcher, "time", SimpleNamespace(monotonic=lambda: next(at)))
    assert list(launcher._told(["a", "b", "c", "d"])) == ["a", "b", "c", "d"]
    assert capfd.readouterr().err.split("\n") == ["composing runs: 2 of 4, 12 s left", ""]


def test_a_value_made_from_the_seed_is_its_own(tmp_path, monkeypatch, capfd):
    from study.launch import runner

    seen = []
    monkeypatch.setattr(runner, "run", lambda configs: (seen.extend(configs), sys.exit())[0])
    command(monkeypatch, capfd, "-m", *SMALL, "seed=1,2", "name=of_${seed}", f"execution.results={tmp_path}")
    assert [config.name for config in seen] == ["of_1", "of_2"]
