"""One thread, as in a worker; and configurations built from the same files a user composes."""

import gc
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from study.config import Config, parse

ROOT = Path(__file__).parent.parent
EMPTY = '<svg width="504pt" height="100pt" viewBox="0 0 504 100"></svg>'

torch.set_num_threads(1)

CONTINUOUS = ("projection",)  # algorithms that discrete actions are refused


def pytest_collection_finish():
    """What is imported stays: the garbage collector need not look through it, a million objects, again and again."""
    gc.collect()
    gc.freeze()


def suited(algorithms: list[str], tasks: list[str]) -> list[tuple[str, str]]:
    """Pairs of them that go together; of the tasks cartpole is discrete."""
    return [(name, task) for name in algorithms for task in tasks if name not in CONTINUOUS or task != "cartpole"]


@cache
def of_file(path: str) -> dict:
    return yaml.safe_load((ROOT / "conf" / path).read_text())


def configuration(task: str = "cartpole", algorithm: str = "trpo", numbers: dict | None = None, **changes) -> Config:
    """The typed config of conf/ with the algorithm's numbers and changes such as seed=3; eager, small networks."""
    container = deepcopy(of_file("config.yaml"))
    del container["defaults"], container["hydra"]
    container["task"] = deepcopy(of_file(f"task/{task}.yaml"))
    container["algorithm"] = deepcopy(of_file(f"algorithm/{algorithm}.yaml")) | (numbers or {})
    container["total_steps"] = container["task"]["total_steps"]
    container["execution"]["compile"] = False
    for key, change in ({"hidden": [16, 16]} | changes).items():
        container[key] = (container[key] or {}) | change if isinstance(change, dict) else change
    return parse(container)


@pytest.fixture(scope="session", autouse=True)
def configurations_read_once():
    """Hydra parses each file of conf/ and of its own anew for every composition, which takes most of its time."""
    try:
        from hydra._internal.core_plugins.file_config_source import FileConfigSource
        from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
    except ImportError:  # another Hydra: slower, nothing else
        yield
        return

    kept = {}
    with pytest.MonkeyPatch.context() as patch:
        for kind in (FileConfigSource, ImportlibResourcesConfigSource):

            def load(source, config_path, read=kind.load_config):
                if source.path not in (str(ROOT / "conf"), "hydra.conf"):
                    return read(source, config_path)
                key = source.provider, source.path, config_path
                if key not in kept:
                    kept[key] = read(source, config_path)
                return deepcopy(kept[key])

            patch.setattr(kind, "load_config", load)
        yield


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def undrawn(monkeypatch):
    leave_undrawn(monkeypatch)


def leave_undrawn(monkeypatch):
    """Reports whose figures are made but neither laid out nor rendered, which takes most of a report's time."""
    from analysis import style

    def drawn(draw, frame):
        with style.own():
            return draw(style.drawable(frame))

    def save(figure, path):
        path.with_suffix(".svg").write_text(EMPTY)
        return EMPTY

    monkeypatch.setattr(style, "drawn", drawn)
    monkeypatch.setattr(style, "save", save)
