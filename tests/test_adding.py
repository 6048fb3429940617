"""What an addition takes, tried in a copy of the checkout: these lines, in these files, and no other."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT

PAGE = '''"""A KL penalty whose coefficient halves at every update, by minibatch SGD.

maximise  mean_n [ ratio_n A_n  -  beta 2^-k KL(old || new)_n ]
"""

from typing import NamedTuple

from torch import Tensor

from study import sgd
from study.algorithm.kl_fixed import loss
from study.settings import AlgorithmSettings, Positive
from study.sgd import Adam


class Settings(AlgorithmSettings):
    beta: Positive


class State(NamedTuple):
    adam: Adam
    beta: Tensor


def start(fleet, theta):
    return State(sgd.start(fleet, theta), fleet.settings.beta.clone())


def update(fleet, theta, state, rollout):
    theta, adam = sgd.descend(fleet, loss, theta, state.adam, rollout, state.beta)
    return theta, State(adam, state.beta / 2), {"beta": state.beta, "half_beta": state.beta / 2}
'''
FILES = {
    "study/algorithm/kl_halving.py": PAGE,
    "conf/algorithm/kl_halving.yaml": "name: kl_halving\nbeta: 4.0  # of the first update\n",
    "conf/task/short_pole.yaml": "name: short_pole\nid: CartPole-v1\nbackend: gymnasium\ntotal_steps: 256\n"
    "max_episode_steps: 20\n",
}
# (file, a line that it has, what is added below): a column, and a factor that differs between runs of one fleet
LINES = [
    (
        "study/record.py",
        "CURVES = {\n",
        '    "half_beta": "half of the penalty coefficient; null where it does not halve",\n',
    ),
    ("conf/config.yaml", "reward_scaling: false", "advantage_bound: null     # larger advantages are cut off\n"),
    ("study/config.py", "    reward_scale: Positive\n", "    advantage_bound: Positive | None = None\n"),
    (
        "study/fleet.py",
        "        raw_advantage = fleet.tensor(raw)\n",
        "        bound = fleet._stack([config.advantage_bound or math.inf for config in self.configs])[:, None]\n"
        "        raw_advantage = raw_advantage.clamp(-bound, bound)\n",
    ),
]


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """The copy's folder of results, after a sweep over all that was added."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("study", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (copy / name).write_text(text)
    for name, line, more in LINES:
        before, found, after = (copy / name).read_text().partition(line)
        rest, newline, after = after.partition("\n") if not line.endswith("\n") else ("", "", after)
        assert found, f"{name} has no {line!r} any more"
        (copy / name).write_text(before + found + rest + newline + more + after)
    words = ["-m", "task=short_pole", "algorithm=kl_halving", "advantage_bound=null,0.1", "name=added"]
    small = ["advantage_normalization=none", "horizon=128", "minibatch_size=64", "epochs=1", "hidden=[8]"]
    small += ["execution.compile=false", "execution.workers=1"]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, "-m", "study", *words, *small], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return copy / "results/added"


def test_an_algorithm_is_a_page_and_its_yaml_a_task_is_a_yaml_a_column_is_a_line(added):
    runs, curves = (pd.read_parquet(added / f"{kind}.parquet") for kind in ("runs", "curves"))
    assert set(runs["task"]) == {"short_pole"} and set(runs["algorithm"]) == {"kl_halving"}
    assert (runs["status"] == "complete").all() and (runs["beta"] == 4).all()
    for _, curve in curves.groupby("run_id"):
        assert curve["beta"].tolist() == [4, 2] and curve["half_beta"].tolist() == [2, 1]
    assert curves["return_mean"].max() <= 20


def test_a_factor_is_a_line_of_the_yaml_a_field_and_its_use(added):
    runs, curves = (pd.read_parquet(added / f"{kind}.parquet") for kind in ("runs", "curves"))
    bound = "advantage_bound=0.1"  # is in the name of the run that has it, and the two share a fleet
    assert sorted(bound in arm for arm in runs["arm"]) == [False, True] and runs["fleet_runs"].tolist() == [2, 2]
    spread = curves.groupby("run_id")["sigma_advantage"].max()
    for run in runs.itertuples():
        assert (spread[run.run_id] <= 0.1) == (bound in run.arm)
