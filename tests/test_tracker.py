"""Trackers of wandb's kind: they get what the store holds, need no network, and never stop training."""

import json
import struct
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from conftest import configuration

from study.launch import runner, tracker
from study.settings import ConfigError

SMALL = {"horizon": 128, "minibatch_size": 32, "epochs": 1, "total_steps": 384, "name": "a/s"}


def configs(folder, choice, fleet_size=32):
    execution = {"results": str(folder), "workers": 1, "tracker": choice, "fleet_size": fleet_size}
    return [configuration(seed=seed, execution=execution, **SMALL) for seed in (0, 1)]


class Fake(ModuleType):
    """What the study uses of wandb's and trackio's API; raises where it is told to."""

    def __init__(self, name, raises=None):
        super().__init__(name)
        self.__file__, self.raises, self.runs = __file__, raises, []
        self.Settings = dict

    def init(self, **options):
        print("* initialized")
        self._fail("init")
        self.runs.append((options, [], []))
        return self

    def log(self, values, step):
        self._fail("log")
        self.runs[-1][1].append((values, step))

    def finish(self):
        self.runs[-1][2].append("finished")
        self._fail("finish")

    def _fail(self, where):
        if where == self.raises:
            raise ConnectionError(f"no answer\nin {where}")


@pytest.fixture(autouse=True)
def own_mode(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)


@pytest.mark.parametrize("choice", ["wandb", "trackio"])
def test_a_run_of_the_tracker_is_a_run_of_the_store(choice, tmp_path, monkeypatch, capfd):
    fake = Fake(choice)
    monkeypatch.setitem(sys.modules, choice, fake)
    runner.run(configs(tmp_path, choice))
    runs, curves = (pd.read_parquet(tmp_path / f"a/s/{kind}.parquet") for kind in ("runs", "curves"))
    assert len(fake.runs) == 2 and capfd.readouterr().out == ""
    for (options, logged, ended), run in zip(fake.runs, runs.sort_values("seed").itertuples()):
        assert options["project"] == "a-s" and options["group"] == f"cartpole {run.arm}"
        assert options["name"] == f"cartpole {run.arm} seed={run.seed}" and ended == ["finished"]
        held = options["config"]
        assert (held["run_id"], held["final_return"], held["status"]) == (run.run_id, run.final_return, "complete")
        assert held["horizon"] == 128 and held["algorithm"]["max_kl"] == 0.01 and "execution" not in held
        mine = curves[curves["run_id"] == run.run_id].drop(columns="run_id")
        assert [step for _, step in logged] == mine["env_steps"].tolist() == [128, 256, 384]
        for (values, _), (_, row) in zip(logged, mine.iterrows()):
            known = row.dropna()
            assert values.keys() == set(known.index)
            np.testing.assert_allclose([values[name] for name in known.index], known, rtol=1e-6)
        assert options.get("mode") == ("offline" if choice == "wandb" else None)
        assert options.get("id") == (run.run_id if choice == "wandb" else None)
    assert not (fake.runs[0][0].get("dir") and fake.runs[0][0]["dir"] != str(tmp_path / "a/s"))


def test_the_users_own_mode_of_wandb_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setitem(sys.modules, "wandb", fake := Fake("wandb"))
    runner.run(configs(tmp_path, "wandb")[:1])
    assert fake.runs[0][0]["mode"] == "online"


@pytest.mark.parametrize("choice, where", [("wandb", "init"), ("wandb", "finish"), ("trackio", "log")])
def test_one_that_fails_is_one_line_and_every_run_is_trained(choice, where, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, choice, fake := Fake(choice, where))
    rows = runner.run(configs(tmp_path, choice, fleet_size=1))
    said = capfd.readouterr().err
    assert (rows["status"] == "complete").all() and len(rows) == 2
    assert said.count("note:") == 1 and f"{choice} cannot be written (ConnectionError: no answer in {where})" in said
    assert len(fake.runs) == (where != "init") and all(ended for _, _, ended in fake.runs)


@pytest.mark.parametrize("choice", ["wandb", "trackio", "tensorboard"])
def test_one_that_is_not_installed_is_refused_before_training(choice, tmp_path, monkeypatch):
    (tmp_path / choice).mkdir()  # a folder that the tracker itself has made is no package
    for name in [name for name in sys.modules if name.partition(".")[0] == choice]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ConfigError, match=f"execution.tracker={choice}: needs it: pip install {choice}"):
        tracker.check(choice)
    sys.modules.pop(choice, None)


def records(content):
    """The records of one of wandb's files, which is a log of LevelDB with a head of 7 bytes."""
    place, found, open_ = 7, [], b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        open_ += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            found.append(open_)
            open_ = b""
    return found


def test_wandb_itself_writes_the_store_s_numbers_without_a_network(tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    runner.run(configs(tmp_path, "wandb")[:1])
    assert "note:" not in capfd.readouterr().err
    (file,) = tmp_path.glob("a/s/wandb/offline-run-*/run-*.wandb")
    held = [Record.FromString(each) for each in records(file.read_bytes())]
    (run,) = (each.run for each in held if each.WhichOneof("record_type") == "run")
    curves = pd.read_parquet(tmp_path / "a/s/curves.parquet")
    assert run.run_id == curves["run_id"][0] and run.project == "a-s"
    history = [each.history for each in held if each.WhichOneof("record_type") == "history"]
    rows = [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in each.item} for each in history]
    assert [row["_step"] for row in rows] == curves["env_steps"].tolist()
    np.testing.assert_allclose([row["kl_after"] for row in rows], curves["kl_after"], rtol=1e-6)
