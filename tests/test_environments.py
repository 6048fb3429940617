"""What users' own environments do: odd forms, errors, chance, edits. Taken, or one line; nothing silently wrong."""

import gc
import random
import re
import sys
import warnings
from types import SimpleNamespace

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from test_command_line import command
from test_sweeps import _interrupt, environment_seed
from test_task import copies, inside

from study import origin
from study.config import Task
from study.launch import runner
from study.settings import ConfigError
from study.task import probe

SMALL = ["horizon=64", "total_steps=384", "chapter=2", "epochs=1", "hidden=[4]", "execution.compile=false"]


@pytest.fixture(autouse=True)
def own_environments(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests"))


def own(id, tmp_path, *words, name="s"):
    where = [f"execution.results={tmp_path}", "execution.workers=1", f"name={name}"]
    return ["task=custom", f"task.id={id}", "algorithm=trpo", *SMALL, *where, *words]


def task(id, **kwargs) -> Task:
    return Task(name="a", id=f"made_up:{id}-v0", backend="gymnasium", total_steps=1, kwargs=kwargs)


def test_a_close_that_raises_costs_one_line_and_no_result(tmp_path, monkeypatch, capfd):
    code, said = command(monkeypatch, capfd, *own("made_up:Odd-v0", tmp_path, "+task.kwargs.fails=close"))
    assert code == 0 and said.count("its close() raises AttributeError: no viewer in close") == 1, said
    assert pd.read_parquet(tmp_path / "s/runs.parquet")["status"].tolist() == ["complete"]


@pytest.mark.parametrize("where, dry", [("reset", "true"), ("step", "false")])
def test_an_environment_that_raises_at_once_is_one_line(where, dry, tmp_path, monkeypatch, capfd):
    results = tmp_path / "r"
    arguments = own("made_up:Odd-v0", results, f"+task.kwargs.fails={where}", f"execution.dry_run={dry}")
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 2 and not results.exists()
    assert said.startswith("error:") and f"its first {where} raises AttributeError: no viewer in {where}" in said, said
    assert said.count("error:") == 1 and "Traceback" not in said


@pytest.mark.parametrize(
    "id, kwargs",
    [
        ("Odd", {"rewards": form})
        for form in ("float", "integer", "a number's array", "an array of one", "a list", "integers")
    ]
    + [("Odd", {"observations": form}) for form in ("a list", "integers")]
    + [
        ("OddNumber", {"observations": form})
        for form in ("float", "integer", "a number's array", "an array of one", "a list", "integers")
    ],
    ids=str,
)
def test_odd_forms_are_taken_for_the_numbers_that_they_hold(id, kwargs):
    assert probe(task(id, **kwargs))[1] is None
    odd, plain = copies(f"made_up:{id}-v0", "gymnasium", **kwargs), copies(f"made_up:{id}-v0", "gymnasium")
    np.testing.assert_array_equal(odd.reset(), plain.reset())
    for _ in range(6):
        a, b = odd.step(np.zeros((3, 1))), plain.step(np.zeros((3, 1)))
        for one, other in zip(a, b):
            assert one.shape == other.shape
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "id, kwargs, words",
    [("Odd", {"rewards": form}, "reward") for form in ("two", "no number", "nothing", "a word", "a complex number")]
    + [
        ("Odd", {"observations": form}, "an observation of shape")
        for form in ("two", "no number", "nothing", "a word", "transposed")
    ]
    + [("Nothing", {}, "no number in them")],
    ids=str,
)
def test_other_odd_forms_are_refused_at_the_check(id, kwargs, words):
    with pytest.raises(ConfigError, match=words) as caught:
        probe(task(id, **kwargs))
    assert f"task.id=made_up:{id}-v0" in str(caught.value) and "\n" not in str(caught.value)


def test_actions_of_a_box_of_integers_are_rounded_not_cut():
    made = copies("made_up:Whole-v0", "gymnasium", [1, 2])
    made.reset()
    made.step(np.array([[2.6, -1.7, 0.4, -0.4], [9, -9, np.nan, 4.51]]))
    one, other = (env.actions[0] for env in inside(made))
    assert one.dtype == np.int64
    np.testing.assert_array_equal(one, [[3, -2], [0, 0]])
    np.testing.assert_array_equal(other, [[5, -2], [0, 5]])


@pytest.mark.parametrize("late", [0, 150])
def test_draws_from_global_generators_are_governed_by_the_seed_and_leave_ours_alone(late):
    """However the generators stand outside; also where Python's is turned to only after it is no longer watched."""

    def walk(seeds, outside):
        random.seed(outside), np.random.seed(outside), torch.manual_seed(outside)
        made = copies("made_up:Dice-v0", "gymnasium", seeds, late=late, length=50)
        seen = [made.reset(), *(made.step(np.zeros((len(seeds), 1))).observation for _ in range(200))]
        return np.array(seen), (random.random(), np.random.rand(), torch.rand(()).item())

    (one, ours), (again, theirs) = walk([1, 2], 5), walk([1, 2], 6)
    np.testing.assert_array_equal(one, again)
    assert len(np.unique(one[:, :, 1:])) == one[:, :, 1:].size  # two copies, three generators: no draw twice
    assert probe(task("Dice"))[1] is None
    if not late:
        np.testing.assert_array_equal(walk([2], 7)[0][:, 0], one[:, 1])
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        assert ours[1:] == (np.random.rand(), torch.rand(()).item()) and ours != theirs


def test_a_package_that_is_installed_meanwhile_is_known(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert "newly" not in origin.distributions() and origin.distributions() is origin.distributions()
    made = tmp_path / "newly_made-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: newly-made\nVersion: 1.0\n")
    (made / "top_level.txt").write_text("newly\n")
    assert origin.distributions()["newly"] == ["newly-made"] and origin.package("newly-made") == "newly-made 1.0"


WALK = """
import gymnasium, numpy as np
class Walk(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(2, np.float32), {}
    def step(self, action):
        self.time += 1
        return np.full(2, self.time, np.float32), REWARD * float(action), self.time == 8, False, {}
REWARD = 1.0
gymnasium.register("Edited-v0", "edited_walk:Walk", disable_env_checker=True)
"""


def test_an_edited_environment_sets_checkpoints_aside_and_finished_runs_are_named(tmp_path, monkeypatch, capfd):
    module = tmp_path / "edited_walk.py"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def edit(reward):
        module.write_text(WALK.replace("REWARD = 1.0", reward))
        sys.modules.pop("edited_walk", None)
        gymnasium.registry.pop("Edited-v0", None)

    edit("REWARD = 1.0")
    arguments = own("edited_walk:Edited-v0", tmp_path / "r")
    _interrupt(monkeypatch, capfd, arguments, iteration=3)
    edit("REWARD = 1000.0")
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "another version of the environment" in said, said
    returns = pd.read_parquet(tmp_path / "r/s/curves.parquet")["return_mean"]
    assert (returns > 8).all(), "an iteration of the old environment in the new one's curve"

    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "another version" not in said and "finished already" in said
    edit("REWARD = 7.0")
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "1 finished run made by another version of the environment" in said, said
    assert "Another name= trains them again" in said
    pd.testing.assert_series_equal(pd.read_parquet(tmp_path / "r/s/curves.parquet")["return_mean"], returns)


def test_of_one_iteration_nobody_says_that_its_episodes_were_alike():
    """It has one mean, whatever its episodes returned."""
    curves = pd.DataFrame({"return_mean": [14.9], "return_last100": [14.9], "episodes": [98]})
    assert runner._still(SimpleNamespace(curves=curves)) is None
    twice = SimpleNamespace(curves=pd.concat([curves, curves]))
    assert runner._still(twice) == "had the same return in every episode (14.9)"


def test_runs_in_which_nothing_can_be_learned_are_named(tmp_path, monkeypatch, capfd):
    code, said = command(monkeypatch, capfd, *own("made_up:Odd-v0", tmp_path, "+task.kwargs.still=true", name="still"))
    assert code == 0 and "1 of 1 run had the same return in every episode (0)" in said, said
    nan = own("faulty:Faulty-v0", tmp_path, f"+task.kwargs.nan_for=[{environment_seed(0)}]", name="gone")
    code, said = command(monkeypatch, capfd, "-m", *nan, "seed=0,1")
    assert code == 0 and "1 of 2 runs diverged (became non-finite), the environment gave non-finite rewards:" in said
    assert re.findall(r"seed=\d", said.split("rewards:")[1]) == ["seed=0"], said


@pytest.mark.parametrize("names", [["x.txt"], ["a.dist-info", *"bcdefgh"]])
def test_looking_for_packages_leaves_no_folder_open(tmp_path, names):
    """The first package found ends the search, before the folder has been read to its end."""
    for name in names:
        (tmp_path / name).touch()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert origin._of_packages(str(tmp_path)) == (len(names) > 1)
        gc.collect()
    assert said == []
