"""Forks begin at a kept point of a source run: under the source's own numbers they are its continuation."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import configuration
from torch.utils._pytree import tree_flatten

from study.config import Fork
from study.fleet import Trainer
from study.launch import runner, snapshots
from study.settings import ConfigError

SMALL = {"horizon": 128, "minibatch_size": 32, "epochs": 2, "chapter": 2}
AT = 500  # within the fourth iteration: kept and begun at its end, after two chapters


def kl_fixed(folder, name, beta, seed, iterations, begin=None, snapshots=(), arm=None):
    execution = {"results": str(folder), "workers": 1, "snapshots": list(snapshots)}
    made = None if begin is None else {"source": str(folder / begin), "arm": arm or WHICH, "at": AT}
    changes = SMALL | {"total_steps": iterations * 128, "execution": execution, "name": name, "fork": made}
    return configuration("cartpole", "kl_fixed", {"beta": beta}, seed=seed, **changes)


WHICH = kl_fixed(Path(), "source", 3.0, 0, 6).arm  # the sources'


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    runner.run([kl_fixed(folder, "source", 3.0, seed, 6, snapshots=[AT]) for seed in (0, 1)])
    return folder


def test_a_fork_begins_where_its_source_was(source):
    straight = Trainer([kl_fixed(source, "straight", 3.0, seed, 4) for seed in (0, 1)])
    straight.train()
    forks = [kl_fixed(source, "forks", 30.0, seed, 2, begin="source") for seed in (0, 1)]
    forked = Trainer(forks, points=snapshots.points(forks))
    assert forked.origin == 4
    for name in ("theta", "critic_theta"):
        assert torch.equal(getattr(forked, name), getattr(straight, name))
    for ours, theirs in zip(tree_flatten(forked._learned())[0], tree_flatten(straight._learned())[0]):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(forked._statistics(), straight._statistics()):
        for name in ours:
            assert np.array_equal(ours[name], theirs[name])


def test_under_the_source_s_own_number_a_fork_goes_on_as_the_source_did(source):
    """In new environments and with other chapters its draws differ; its first update is of the same policy."""
    forks = [kl_fixed(source, "forks", beta, seed, 2, begin="source") for beta in (3.0, 30.0) for seed in (0, 1)]
    rows = runner.run(forks).set_index("run_id")
    assert (rows["status"] == "complete").all()
    curves = pd.read_parquet(source / "forks" / "curves.parquet").set_index(["run_id", "iteration"])
    first = curves.loc[[(config.run_id, 0) for config in forks]]
    before = first["implied_beta"].to_numpy().reshape(2, 2)  # [beta, seed] measured before the update
    assert np.allclose(before[0], before[1], rtol=1e-5)  # same policy, environments and draws whatever the beta
    assert not np.isclose(before[0, 0], before[0, 1], rtol=1e-3)  # but another point for another seed
    kl = first["kl_after"].to_numpy().reshape(2, 2)
    assert (kl[1] < kl[0]).all()


def test_forks_and_runs_from_the_beginning_are_different_runs(tmp_path):
    fork_of, whole = kl_fixed(tmp_path, "x", 3.0, 0, 2, begin="source"), kl_fixed(tmp_path, "x", 3.0, 0, 2)
    assert fork_of.run_id != whole.run_id and fork_of.fleet_key != whole.fleet_key
    assert "fork" not in whole.identity  # runs of older studies keep their ids


def test_a_fork_without_a_point_is_refused_in_one_line(source, tmp_path):
    source = shutil.copytree(source, tmp_path / "own")
    cases = {
        "no runs.parquet": kl_fixed(source, "forks", 3.0, 0, 2, begin="nowhere"),
        "instead of one; the arms there are kl_fixed beta=3 ": kl_fixed(
            source, "forks", 3.0, 0, 2, begin="source", arm="trpo max_kl=0.01"
        ),
        "seed 7": kl_fixed(source, "forks", 3.0, 7, 2, begin="source"),
    }
    later = kl_fixed(source, "forks", 3.0, 0, 2, begin="source")
    cases["execution.snapshots=[640]"] = later.model_copy(
        update={"fork": Fork(source=str(source / "source"), arm=WHICH, at=640)}
    )
    for words, config in cases.items():
        with pytest.raises(ConfigError, match=words.replace("[", r"\[").replace("]", r"\]")) as refused:
            runner.check([config])
        assert "\n" not in str(refused.value)
    damaged = snapshots.source(later)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="train the source study again"):
        snapshots.check([later])


def test_a_fleet_of_forks_without_their_points_is_refused_in_one_line(source):
    for points in (None, [{}]):
        with pytest.raises(ValueError, match="a fleet of 2 forks needs as many points"):
            Trainer([kl_fixed(source, "forks", 3.0, seed, 2, begin="source") for seed in (0, 1)], points=points)
