"""What environments do to their process, their arguments and each other does not reach the study."""

import os
import signal
from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from test_command_line import command
from test_environments import own
from test_task import inside

from study import apart, spaces
from study.config import Task
from study.console import console
from study.launch import preview
from study.settings import ConfigError
from study.task import Copies, probe


@pytest.fixture(autouse=True)
def own_environments(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    apart.PLACE.theirs.clear(), apart.MODES.theirs.clear()
    yield
    apart.PLACE.theirs.clear(), apart.MODES.theirs.clear()


def task(id, **kwargs) -> Task:
    return Task(name="a", id=f"unruly:{id}-v0", backend="gymnasium", total_steps=1, kwargs=kwargs)


def process() -> list:
    """The study's side of all that is kept apart."""
    settings = [*apart.PLACE._settings, *apart.MODES._settings]
    return [*(setting.read() for setting in settings), np.geterr(), signal.getsignal(signal.SIGINT)]


from unruly import ACTS, ENDS, Says  # noqa: E402


def test_a_guard_gives_back_what_may_be_given_back_and_nothing_else():
    state = {"theirs": 1, "ours": 1}
    guard = apart.Guard(
        apart.Setting(lambda: state["theirs"], lambda value: state.update(theirs=value)),
        apart.Setting(lambda: state["ours"], lambda value: state.update(ours=value), given_back=False),
    )
    with guard:
        state.update(theirs=2, ours=2)
        with guard:
            pass
        assert state == {"theirs": 2, "ours": 2}  # the inner one changes nothing
    assert state == {"theirs": 1, "ours": 1}
    with guard:
        assert state == {"theirs": 2, "ours": 1}
        state.update(theirs=1)
    with guard:
        assert state == {"theirs": 1, "ours": 1}  # as they left it


@pytest.mark.parametrize("where, late", [("init", 1), ("reset", 1), ("step", 1), ("reset", 3), ("step", 60)])
@pytest.mark.parametrize("act", ACTS)
def test_what_an_environment_changes_is_put_back_and_it_finds_it_again(act, where, late):
    """Early and late; the environment raises where it does not find what it changed."""
    before = process()
    copies = Copies(task("Unruly", act=act, where=where, late=late), [1, 2])
    assert process() == before
    copies.reset()
    assert process() == before
    for _ in range(2):
        with copies.rollout():
            for step in range(40):
                copies.step(np.zeros((2, 1)))
                if step < 20 and late == 1:  # the policy acts between two steps
                    assert [setting.read() for setting in apart.MODES._settings] == before[6:18]
        assert process() == before
    copies.close()
    assert all(env.done for env in inside(copies)), "else this test shows nothing"
    assert process() == before


@pytest.mark.parametrize("where", ["init", "reset", "step"])
@pytest.mark.parametrize("how", [how for how in ENDS if how != "keyboard"])
def test_an_environment_that_ends_the_program_is_refused_with_its_text(how, where):
    with pytest.raises(ConfigError, match="the environment (calls sys.exit|raises GeneratorExit: odd)") as caught:
        probe(task("Ends", how=how, where=where))
    assert "unruly:Ends-v0" in str(caught.value) and "\n" not in str(caught.value)
    assert how != "text" or "the window was closed" in str(caught.value)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_that_ends_it_later_is_a_failed_run(workers, tmp_path, monkeypatch, capfd):
    """With several workers as with one; the exit code says so."""
    arguments = own("unruly:Ends-v0", tmp_path, "task.kwargs.how=exit,text,keyboard", "task.kwargs.where=step")
    arguments.remove("execution.workers=1")
    arguments += ["task.kwargs.late=100", f"execution.workers={workers}"]
    code, said = command(monkeypatch, capfd, "-m", *arguments)
    assert code == 1 and "3 runs failed" in said and "out of memory" not in said, said
    assert all(words in said for words in ("calls sys.exit()", "the window was closed", "KeyboardInterrupt")), said
    assert pd.read_parquet(tmp_path / "s/runs.parquet")["status"].tolist() == ["failed"] * 3


def test_one_that_ends_it_in_close_costs_a_line(tmp_path, monkeypatch, capfd):
    arguments = own("unruly:Ends-v0", tmp_path, "task.kwargs.how=exit", "task.kwargs.where=close")
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and said.count("its close() raises EnvironmentExit: the environment calls sys.exit()") == 1, said
    assert pd.read_parquet(tmp_path / "s/runs.parquet")["status"].tolist() == ["complete"]


def test_results_lie_where_the_command_was_given(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    arguments = own("unruly:Unruly-v0", "results", "task.kwargs.act=folder", "task.kwargs.where=step")
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "results in results/s" in said and os.getcwd() == str(tmp_path)
    assert [file.parent for file in tmp_path.rglob("runs.parquet")] == [tmp_path / "results/s"]


@pytest.mark.parametrize("where", ["init", "reset"])
def test_copies_have_arguments_of_their_own_and_the_configuration_keeps_its(where):
    given = {"bonus": 100, "deep": {"list": [1, 2]}}
    wanted = task("Greedy", given=deepcopy(given), where=where)
    for _ in range(2):
        copies = Copies(wanted, [1, 2, 3])
        copies.reset()
        np.testing.assert_array_equal(copies.step(np.zeros((3, 1))).reward, 102)
        copies.close()
    assert probe(wanted).shares is None and wanted.kwargs == {"given": given, "where": where}


class Watched(dict):
    copied = 0

    def __deepcopy__(self, memo):
        Watched.copied += 1
        return dict(self)


def test_envpool_is_handed_a_copy_of_the_arguments(monkeypatch):
    import envpool

    handed, make = [], envpool.make_gymnasium
    monkeypatch.setattr(envpool, "make_gymnasium", lambda id, **options: handed.append(options) or make(id, **options))
    wanted = Task(name="a", id="CartPole-v1", backend="envpool", total_steps=1, kwargs={"max_episode_steps": 5})
    object.__setattr__(wanted, "kwargs", Watched(wanted.kwargs))
    Copies(wanted, [1]).close()
    assert handed[0]["max_episode_steps"] == 5 and Watched.copied == 1


@pytest.mark.parametrize("kind", ["array", "goal", "last", "instance"])
def test_copies_that_share_a_world_are_found(kind):
    found = probe(task("Line", kind=kind))
    assert found.differs is None and found.shares is not None
    assert ("the simulator is in use" in found.shares) == (kind == "instance") and "\n" not in found.shares
    assert probe(task("Line", kind=kind), together=False).shares is None


@pytest.mark.parametrize("kind, differs", [("own", False), ("seeded", False), ("chance", True), ("draws", True)])
def test_chance_is_not_called_sharing(kind, differs):
    found = probe(task("Line", kind=kind))
    assert found.shares is None and (found.differs is not None) == differs


def test_copies_that_share_a_world_are_trained_one_by_one_with_a_note(tmp_path, monkeypatch, capfd):
    arguments = own("unruly:Line-v0", tmp_path, "task.kwargs.kind=array")
    with monkeypatch.context() as patch:
        patch.setattr(preview, "printer", lambda: console)
        code, said = command(monkeypatch, capfd, "-m", *arguments, "seed=0,1", "execution.dry_run=true")
    assert code == 0 and "2 of 2 runs to train in 2 fleets" in said
    code, said = command(monkeypatch, capfd, "-m", *arguments, "seed=0,1")
    assert code == 0 and said.count("note:") == 1 and "its copies disturb each other" in said, said
    assert "training 2 runs in 2 fleets" in said
    several = pd.read_parquet(tmp_path / "s/curves.parquet")
    for seed in (0, 1):
        code, said = command(
            monkeypatch, capfd, *own("unruly:Line-v0", tmp_path, "task.kwargs.kind=array", f"seed={seed}", name="one")
        )
        assert code == 0 and "note:" not in said
    one = pd.read_parquet(tmp_path / "one/curves.parquet")
    pd.testing.assert_frame_equal(several, one, check_exact=True)


def test_statistics_that_a_chapter_ends_are_named_with_the_setting_that_keeps_them(tmp_path, monkeypatch, capfd):
    code, said = command(monkeypatch, capfd, *own("unruly:Normalised-v0", tmp_path))
    assert code == 0 and said.count("NormalizeReward and NormalizeObservation begins") == 1, said
    assert "chapter=2 iterations; chapter=6 keeps them" in said
    longer = [word.replace("chapter=2", "chapter=6") for word in own("unruly:Normalised-v0", tmp_path, name="kept")]
    code, said = command(monkeypatch, capfd, *longer)
    assert code == 0 and "Normalize" not in said


F = np.float32
FITS = [
    (Box(-1, 1, (2,), F), [0.5, -0.5]),
    (Box(-1, 1, (2,), F), np.array([0.5, 1 / 3])),
    (Box(-1, 1, (2,), F), np.array([1, 0], np.int64)),
    (Box(-1, 1, (2,), F), np.array([9.0, np.nan])),  # a note, or a diverged run
    (Box(-9, 9, (2,), np.int64), np.array([2.0, -3.0])),
    (Box(0, 255, (2,), np.uint8), [True, False]),
    (Discrete(3, start=5), 7),
    (Discrete(3), np.array([2])),
    (Discrete(3), np.float32(1)),
    (MultiDiscrete([2, 3], start=[4, -1]), np.array([5, 1])),
    (MultiDiscrete([2, 2]), np.array([True, False])),
    (MultiBinary(3), np.array([True, False, True])),
    (Dict(a=Discrete(2), b=Tuple([Box(0, 1, (1,), F)])), {"b": [0.5], "a": 1}),
]
DO_NOT = [
    (Box(-1, 1, (2,), np.int64), [0.5, 1.0], "holds 0.5, its space says int64"),
    (Box(0, 255, (2,), np.uint8), [0.25, 1.0], "holds 0.25, its space says uint8"),
    (Box(0, 255, (2,), np.uint8), [256, 1], "holds 256"),
    (Box(0, 255, (2,), np.uint8), [-1, 1], "holds -1"),
    (Box(-9, 9, (2,), np.int64), [np.nan, 1], "holds nan"),
    (Box(-1, 1, (2, 3), F), np.zeros((3, 2)), r"of shape \(3, 2\)"),
    (Box(-1, 1, (2,), F), np.zeros(3), r"of shape \(3,\)"),
    (Box(-1, 1, (2,), F), ["a", "b"], "of shape"),
    (Discrete(3, start=5), 0, "holds 0, outside Discrete"),
    (Discrete(3, start=5), 4, "holds 4, outside Discrete"),  # an index of -1
    (Discrete(3), 3, "holds 3"),
    (Discrete(3), 1.5, "holds 1.5"),
    (Discrete(3), [0, 1], "of shape"),
    (MultiDiscrete([2, 3], start=[4, -1]), [3, 1], "holds 3, outside"),
    (MultiDiscrete(np.array([2, 3], np.uint8), dtype=np.uint8, start=[5, 5]), [0, 5], "holds 0, outside"),
    (MultiDiscrete([2, 3]), [1, 3], "holds 3"),
    (MultiDiscrete([[2, 3]]), [1, 2], "of shape"),
    (MultiBinary(2), [0, 2], "holds 2, outside"),
    (MultiBinary(2), [0.5, 0], "holds 0.5"),
    (Dict(a=Discrete(2), b=Discrete(2)), {"a": 1}, "has a, its space says a dict of a, b"),
    (Dict(a=Discrete(2)), {"a": 1, "c": 0}, "has a, c"),
    (Dict(a=Discrete(2)), [1], "is a list"),
    (Dict(a=Dict(b=Discrete(2))), {"a": {"b": 2}}, r"an observation\['a'\]\['b'\] holds 2"),
    (Dict(a=Box(0, 1, (2,), F), b=Box(0, 1, (3,), F)), {"a": np.zeros(3), "b": np.zeros(2)}, r"\['a'\] of shape"),
    (Dict(a=Box(0, 9, (2,), np.int32)), {"a": [0.5, 1]}, r"\['a'\] holds 0.5"),
    (Tuple([Discrete(2), Discrete(2)]), (1,), "a tuple of 1, its space says 2 parts"),
    (Tuple([Discrete(2), Tuple([Discrete(3)])]), (1, (5,)), r"\[1\]\[0\] holds 5"),
]  # fmt: skip


def saying(monkeypatch, space, good, bad, late):
    import gymnasium

    monkeypatch.delitem(gymnasium.registry, "Says-v0", raising=False)
    made = partial(Says, space, good, bad, late)  # a function of this module would be parsed with all that it imports
    gymnasium.register("Says-v0", made, disable_env_checker=True)
    return Task(name="a", id="Says-v0", backend="gymnasium", total_steps=1)


@pytest.mark.parametrize("space, value", FITS, ids=str)
def test_observations_that_fit_are_taken_as_gymnasium_flattens_them(space, value, monkeypatch):
    from gymnasium.spaces import flatten

    copies = Copies(saying(monkeypatch, space, value, value, 0), [1])
    made = copies.reset()[0]
    plain = value if isinstance(space, Dict) else np.asarray(value)
    if isinstance(space, Discrete):
        plain = int(plain.item())
    elif isinstance(space, (MultiDiscrete, Box, MultiBinary)):
        plain = plain.astype(space.dtype)
    np.testing.assert_array_equal(made, flatten(space, plain))
    np.testing.assert_array_equal(copies.step(np.zeros((1, 1))).next_observation[0], made)


@pytest.mark.parametrize("space, value, words", DO_NOT, ids=str)
@pytest.mark.parametrize("late", [0, 60])
def test_observations_that_do_not_fit_are_refused_at_first_and_raise_later(space, value, words, late, monkeypatch):
    space.seed(0)
    wanted = saying(monkeypatch, space, space.sample(), value, late)
    if late == 0:
        with pytest.raises(ConfigError, match=f"its first reset raises ValueError: .*{words}"):
            probe(wanted)
        return
    copies = Copies(wanted, [1])
    copies.reset()
    with pytest.raises(ValueError, match=words):
        for _ in range(80):
            copies.step(np.zeros((1, 1)))


@pytest.mark.parametrize("space, value, words", [case for case in DO_NOT if case[2] != "is a list"], ids=str)
def test_envpools_batches_are_checked_by_the_same_rules(space, value, words):
    def batch(one):
        if isinstance(one, dict):
            return {key: batch(value) for key, value in one.items()}
        return tuple(map(batch, one)) if isinstance(one, tuple) else np.array([one, one])

    with pytest.raises(ValueError, match=words):
        spaces.check(spaces.canonical(space), batch(value), 2)


def test_numbers_outside_a_box_are_a_note(monkeypatch):
    box = Box(-1, 1, (2,), F)
    found = probe(saying(monkeypatch, box, [0, 0], [0.5, 1.5], 4))
    assert "holds 1.5, its Box says -1 to 1" in found.outside
    assert probe(saying(monkeypatch, box, [0, 0], [-1.0001, 1.0001], 4)).outside is None


def test_flags_that_are_no_truth_values_are_refused(monkeypatch):
    wanted = saying(monkeypatch, Box(-1, 1, (1,), F), [0], [0], 0)
    step = Says.step
    for flag in (None, {}, "no", 0.5, np.zeros(2)):
        monkeypatch.setattr(Says, "step", lambda self, action, flag=flag: (*step(self, action)[:2], flag, False, {}))
        with pytest.raises(ConfigError, match="neither true nor false"):
            probe(wanted)


def test_a_real_ctrl_c_stays_one():
    """Also in a step of an environment that has set a handler of its own."""
    copies = Copies(task("Unruly", act="Ctrl-C", where="reset"), [1])
    copies.reset()
    inside(copies)[0].step = lambda action: signal.raise_signal(signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            copies.step(np.zeros((1, 1)))
    finally:
        signal.signal(signal.SIGINT, before)
