"""A wheel outside of any checkout, and what it may not take from where it happens to lie."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT

TASK = "name: mine\nid: CartPole-v1\nbackend: gymnasium\ntotal_steps: 128\n"
EXPERIMENT = """# @package _global_
name: own
horizon: 64
epochs: 1
hidden: [8]
execution: {compile: false, workers: 1}
hydra:
  sweeper:
    params: {task: mine}
    grids: [{algorithm: trpo}]
"""


@pytest.mark.slow
def test_the_wheel_trains_outside_of_the_checkout(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--error-unmatch", "pyproject.toml"], check=True, capture_output=True
    )
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path / "wheel", clone]
    subprocess.run(wheel, check=True)
    # Installed into a folder of another repository, from which no commit may come
    folder = tmp_path / "a folder"
    folder.mkdir()
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", "-C", folder, *words], check=True)
    install = [*pip, "install", "--no-deps", "--target", folder / "site", *(tmp_path / "wheel").glob("*.whl")]
    subprocess.run(install, check=True)
    for file, text in (("task/mine.yaml", TASK), ("experiment/own.yaml", EXPERIMENT)):
        (folder / "conf" / file).parent.mkdir(parents=True)
        (folder / "conf" / file).write_text(text)
    environment = os.environ | {"PYTHONPATH": str(folder / "site")}

    def python(*words):
        return subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )

    done = python("-m", "study", "--config-dir", "conf", "-m", "+experiment=own")
    assert done.returncode == 0, done.stderr
    runs = pd.read_parquet(folder / "results/own/runs.parquet")
    assert runs["task"].tolist() == ["mine"] and runs["commit"].tolist() == [""]
    where = python("-c", "import study, analysis, hydra_plugins.fleet as f; print(study.__file__, f.__file__)")
    assert where.stdout.count(str(folder / "site")) == 2
