"""Kept policies: the function that was trained, to the bit; whole whatever happens to the sweep; and its return."""

import dataclasses
import os
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import configuration
from PIL import Image, ImageSequence
from safetensors.torch import load_file
from test_command_line import command

from study.config import Config
from study.fleet import Trainer
from study.launch import checkpoint, disk, merge, play, policies, remove, runner
from study.launch.store import Store
from study.policy import Categorical, Categoricals, Gaussian, Policy
from study.settings import ConfigError

SMALL = {"horizon": 128, "minibatch_size": 32, "epochs": 2, "chapter": 2, "total_steps": 768, "learning_rate": 3e-3}


def config(folder, kind="last", task="cartpole", seed=0, name="s", **changes):
    execution = {"results": str(folder), "workers": 1, "policies": kind}
    changes = SMALL | {"seed": seed, "name": name, "execution": execution} | changes
    return configuration(task, "kl_fixed", {"beta": 0.3}, **changes)


def trained(configs, report=None, path=None):
    """A fleet's trainer and keeper, at the end of training."""
    trainer = Trainer(configs)
    keeper = policies.Keeper(trainer)
    checkpoint.train(trainer, report, path, keeper=keeper)
    return trainer, keeper


def stored(trainer, keeper, folder):
    folder.mkdir(exist_ok=True)
    for name, content in keeper.files(trainer).items():
        (folder / name).write_bytes(content)
    return [policies.read(folder / name) for name in keeper.files(trainer)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two runs of cartpole with their last policies."""
    folder = tmp_path_factory.mktemp("kept")
    runner.run([config(folder, seed=seed) for seed in (0, 1)])
    return folder / "s"


@pytest.fixture
def own(study, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(study, tmp_path / "s")


# What is kept


@pytest.mark.parametrize("task", ["cartpole", "pendulum"])
def test_a_stored_policy_is_the_trained_function_to_the_bit(task, tmp_path):
    trainer, keeper = trained([config(tmp_path, task=task, seed=seed, total_steps=256) for seed in (0, 1)])
    act, rng = trainer.fleet.actor(trainer.theta, trainer.moments), np.random.default_rng(0)
    observation = rng.normal(0, 3, (50, 2, trainer.copies.observation_size))
    noise = np.stack([trainer.fleet.policy.family.noise(rng, 2) for _ in observation])
    actions = np.stack(list(map(act, observation, noise)))
    for run, each in enumerate(stored(trainer, keeper, tmp_path / "p")):
        assert torch.equal(each.theta, trainer.theta[run]) and each.metadata["iteration"] == 2
        assert np.array_equal(each.actor(50)(observation[:, run], noise[:, run]), actions[:, run])


@pytest.mark.parametrize("family", [Gaussian(3), Categorical(4), Categoricals((2, 5))], ids=lambda f: type(f).__name__)
def test_every_family_is_read_as_it_was_and_loads_into_a_plain_sequential(family, tmp_path):
    policy, rng = Policy.make(6, family, (8, 5)), np.random.default_rng(1)
    theta = torch.from_numpy(rng.normal(size=policy.parameters)).float()
    mean, scale = rng.normal(size=6), rng.uniform(1, 2, 6)
    file = tmp_path / "a.safetensors"
    of = config(tmp_path, hidden=[8, 5])
    metadata = {"kind": "last", "iteration": 3}
    file.write_bytes(policies.content(of, policy, theta, mean, scale, metadata))
    assert policies.content(of, policy, theta, mean, scale, metadata) == file.read_bytes()
    held = policies.read(file)
    assert torch.equal(held.theta, theta) and held.policy.network == policy.network and held.task == of.task
    assert np.array_equal(held.mean, mean) and np.array_equal(held.scale, scale)
    assert vars(held.policy.family).keys() == vars(family).keys() and held.policy.family.outputs == family.outputs

    tensors = load_file(file)
    layers = torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5), torch.nn.Tanh()
    network = torch.nn.Sequential(*layers, torch.nn.Linear(5, family.outputs))
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    x = torch.from_numpy(rng.normal(size=(7, 6))).float()
    torch.testing.assert_close(network(x), policy(theta, x)[:, : family.outputs])
    assert ("log_std" in tensors) == isinstance(family, Gaussian)


def test_the_best_policy_is_the_one_that_acted_when_the_return_was_highest(tmp_path):
    acted = []
    trainer = Trainer([config(tmp_path, "best", seed=seed) for seed in range(3)])
    keeper = policies.Keeper(trainer)
    held = [(trainer.theta.clone(), trainer.moments.mean.copy(), trainer.moments.scale().copy())]

    def look(trainer):
        acted.append((trainer.latest("return_last100"), held[-1]))
        held.append((trainer.theta.clone(), trainer.moments.mean.copy(), trainer.moments.scale().copy()))

    checkpoint.train(trainer, look, keeper=keeper)
    best = stored(trainer, keeper, tmp_path / "p")
    at = np.array([returns for returns, _ in acted]).argmax(0)
    assert len(best) == 3 and len(set(at)) > 1 and (at < 5).any()
    for run, each in enumerate(best):
        returns, (theta, mean, scale) = acted[at[run]]
        assert torch.equal(each.theta, theta[run]) and each.metadata["return"] == returns[run]
        assert np.array_equal(each.mean, mean[run]) and np.array_equal(each.scale, scale[run])
        assert each.metadata["iteration"] == at[run] and each.metadata["env_steps"] == at[run] * 128


@pytest.mark.parametrize("kind", ["last", "best"])
def test_a_killed_and_resumed_fleet_keeps_the_same_bytes(kind, tmp_path):
    configs = [config(tmp_path, kind, seed=seed) for seed in (0, 1)]
    whole = policies.Keeper.files(*reversed(trained(configs)))

    class Killed(Exception):
        pass

    def kill(trainer):
        if trainer.iteration == 5:
            raise Killed

    path = tmp_path / ".work/checkpoints/f.pt"
    path.parent.mkdir(parents=True)
    with pytest.raises(Killed):
        trained(configs, kill, path)
    trainer, keeper = trained(configs, path=path)
    assert keeper.files(trainer) == whole and len(whole) == 2


def test_a_checkpoint_made_before_the_best_was_asked_for_says_from_where_on_it_was_sought(tmp_path):
    path = tmp_path / ".work/checkpoints/f.pt"
    path.parent.mkdir(parents=True)
    plain = Trainer([config(tmp_path, None)])

    def kill(trainer):
        if trainer.iteration == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.train(plain, kill, path)
    (best,) = stored(*trained([config(tmp_path, "best")], path=path), tmp_path / "p")
    assert best.metadata["since"] == 4 and best.metadata["iteration"] >= 4


def test_a_diverged_run_has_no_last_policy_and_the_best_before_it_broke(tmp_path):
    def break_second(trainer):
        if trainer.iteration == 4:
            trainer.alive[1] = False

    for kind, number in (("last", 1), ("best", 2)):
        trainer, keeper = trained([config(tmp_path, kind, seed=seed) for seed in (0, 1)], break_second)
        assert len(keeper.files(trainer)) == number


def test_the_stochastic_return_agrees_with_the_last_returns_in_training(tmp_path):
    """Catch has episodes of 9 steps: the last 100 are all of the policy that acted last, the best one's are its own."""
    changes = {"horizon": 1024, "minibatch_size": 64, "epochs": 4, "chapter": 100, "total_steps": 10 * 1024}
    trainer, keeper = trained([config(tmp_path, "best", "catch", **changes)])
    for kind in ("last", "best"):
        keeper.kind = kind
        (kept,) = stored(trainer, keeper, tmp_path / kind)
        made, last = play.returns(kept, 400, True), np.array(trainer.episodes.last[0])
        error = np.hypot(made.std() / 20, last.std() / 10)
        assert abs(made.mean() - kept.metadata["return"]) < 3 * error
        spoiled = dataclasses.replace(kept, mean=kept.mean + kept.scale)
        assert abs(play.returns(spoiled, 400, True).mean() - made.mean()) > 4 * error  # which would be seen
        assert play.returns(kept, 400, False).mean() > made.mean()


# In a sweep


def test_keeping_policies_changes_no_run_and_the_dry_run_says_their_size(study, tmp_path, monkeypatch, capfd):
    runner.run([config(tmp_path, None, seed=seed) for seed in (0, 1)])
    for kind in ("runs", "curves"):
        mine, other = (pd.read_parquet(folder / f"{kind}.parquet") for folder in (tmp_path / "s", study))
        apart = ["wall_seconds"] if kind == "runs" else []
        pd.testing.assert_frame_equal(mine.drop(columns=apart), other.drop(columns=apart), check_exact=True)
    assert not (tmp_path / "s/policies").exists()
    capfd.readouterr()
    words = ["-m", "task=cartpole", "algorithm=kl_fixed", "horizon=128", "seed=range(2)", "hidden=[400,400]"]
    words += ["total_steps=256", "execution.policies=last", "execution.compile=false", "execution.workers=1"]
    code, _ = command(monkeypatch, capfd, *words, "execution.dry_run=true", f"execution.results={tmp_path}", "name=b")
    assert code == 0
    monkeypatch.setattr("sys.argv", ["study", *words, "execution.dry_run=true", f"execution.results={tmp_path}"])
    from study.launch.command import main

    main()
    (said,) = re.findall(r"the last policy of each is kept: ([\d.]+) MB in", capfd.readouterr().out)
    code, told = command(monkeypatch, capfd, *words, f"execution.results={tmp_path}", "name=b")
    assert code == 0, told
    size = sum(file.stat().st_size for file in (tmp_path / "b/policies").iterdir())
    assert float(said) == pytest.approx(size / 1e6, abs=0.06)


def test_a_sweep_killed_before_its_rows_are_stored_ends_with_the_same_policies(study, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    configs = [config(tmp_path, seed=seed) for seed in (0, 1)]
    monkeypatch.setattr(Store, "add", die)
    with pytest.raises(KeyboardInterrupt):
        runner.run(configs)
    monkeypatch.undo()
    assert (runner.run(configs)["status"] == "complete").all()
    for file in (study / "policies").iterdir():
        ours, theirs = (policies.read(folder / "policies" / file.name) for folder in (tmp_path / "s", study))
        assert torch.equal(ours.theta, theirs.theta)


def test_finished_runs_without_a_policy_are_named(tmp_path, capfd):
    runner.run([config(tmp_path, None)])
    runner.run([config(tmp_path, "last", seed=seed) for seed in (0, 1)])
    said = capfd.readouterr().err
    assert "1 finished run without a policy" in said and "seed=0. python -m study.remove" in said
    assert len(list((tmp_path / "s/policies").iterdir())) == 1


def test_remove_takes_policies_along_and_merge_brings_them_back(own, tmp_path, capsys):
    before = {file.name: file.read_bytes() for file in (own / "policies").iterdir()}
    gone = pd.read_parquet(own / "runs.parquet").set_index("seed").loc[1, "run_id"]
    remove.main([str(own), "seed=1", "--yes"])
    assert [file.name for file in (own / "policies").iterdir()] == [name for name in before if gone not in name]
    (copy,) = (own / ".work/set-aside").glob("removed.*")
    merge.main([str(own), str(copy)])
    assert {file.name: file.read_bytes() for file in (own / "policies").iterdir()} == before
    damaged = copy / f"policies/{gone}.last.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    merge.main([str(tmp_path / "new"), str(own), str(copy)])
    assert "1 policies there are damaged" not in capsys.readouterr().out  # the first folder's was whole
    assert {file.name: file.read_bytes() for file in (tmp_path / "new/policies").iterdir()} == before
    merge.main([str(tmp_path / "other"), str(copy)])
    assert f"1 policies there are damaged and left out ({gone}" in capsys.readouterr().out
    assert not (tmp_path / "other/policies").exists()


def test_a_spoiled_file_is_found_out(own):
    file = next((own / "policies").iterdir())
    whole = file.read_bytes()
    for spoiled in (whole[:-3], whole[:-1] + bytes([whole[-1] ^ 1]), whole.replace(b"seed", b"sead"), b"", b"x" * 50):
        file.write_bytes(spoiled)
        with pytest.raises(disk.Damaged):
            policies.read(file)


# python -m study.play


def said(capfd, *words):
    code = 0
    try:
        play.main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    return code, capfd.readouterr()


def test_play_evaluates_every_kept_policy_with_an_interval(study, capfd):
    code, told = said(capfd, study, "--episodes", 6)
    assert code == 0, told.err
    runs = pd.read_parquet(study / "runs.parquet").sort_values("seed")
    lines = told.out.splitlines()
    rows = list(zip(lines[:4:2], lines[1:4:2]))
    assert len(lines) == 5 and "6 episodes with Student's 95 % interval" in lines[4]
    for row, run in zip(rows, runs.itertuples()):
        kept = policies.read(Store(study).policy(run.run_id, "last"))
        row, numbers = row
        made = [play.Interval.of(play.returns(kept, 6, way)) for way in (False, True)]
        assert row == f"cartpole {run.arm} seed={run.seed}: last policy, after 768 steps"
        assert all(str(interval) in numbers and interval.low < interval.mean < interval.high for interval in made)
        assert numbers.endswith(f"in training {run.final_return:.4g}")


def test_the_interval_is_students():
    interval = play.Interval.of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert interval.mean == 2.5 and interval.high - 2.5 == pytest.approx(3.182446 * np.std([1, 2, 3, 4], ddof=1) / 2)
    assert str(play.Interval.of(np.array([3.0]))) == "3"


@pytest.fixture
def undisplayed(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "MUJOCO_GL", "SDL_VIDEODRIVER"):
        monkeypatch.setenv(name, "")  # to be as it was afterwards, whatever is set meanwhile
        monkeypatch.delenv(name)


def test_play_films_an_episode_of_an_envpool_task_by_gymnasium(study, tmp_path, undisplayed, capfd):
    """The picture is the episode that is told: it lasts as long, 20 ms a step."""
    file = tmp_path / "a/out.gif"
    code, told = said(capfd, study, "seed=1", "--episodes", 1, "--video", file)
    assert code == 0 and "error" not in told.err, told.err
    (steps, total) = re.search(r"one deterministic episode of (\d+) steps, return ([\d.]+)", told.out).groups()
    assert float(total) == int(steps)  # cartpole's return is its length
    with Image.open(file) as held:  # of equal frames there is one that stays longer
        frames = [frame.info["duration"] for frame in ImageSequence.Iterator(held)]
    assert sum(frames) == 20 * int(steps) and len(frames) > 10
    assert [path.name for path in file.parent.iterdir()] == ["out.gif"]
    assert os.environ.get("MUJOCO_GL") == ("egl" if sys.platform == "linux" else None)


def test_play_writes_mp4_where_ffmpeg_is(study, tmp_path, undisplayed, monkeypatch, capfd):
    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    code, told = said(capfd, study, "seed=1", "--episodes", 1, "--video", tmp_path / "out.mp4")
    assert code == 0 and (tmp_path / "out.mp4").read_bytes()[4:8] == b"ftyp", told.err
    assert os.environ["MUJOCO_GL"] == "osmesa"  # what the user has set stays


def test_what_cannot_be_played_is_one_line(study, own, tmp_path, monkeypatch, capfd):
    runner.run([config(tmp_path, "last", "catch", name="catch"), config(tmp_path, None, name="none")])
    bad = shutil.copytree(study, tmp_path / "bad")
    for file in (bad / "policies").iterdir():
        file.write_bytes(b"")
    capfd.readouterr()
    for words, reason in (
        ([tmp_path / "nowhere"], "not a study's folder"),
        ([tmp_path / "none"], "no policy of these 1 runs is kept; train with execution.policies=last"),
        ([own, "--policy", "best"], "no best policy of these 2 runs is kept"),
        ([own, "seed=7"], "seed=7: no run there has it"),
        ([own, "--episodes", "0"], "--episodes 0: at least 1"),
        ([own, "--video", "x.avi"], "must end in .gif or .mp4"),
        ([own, "--video", "x.gif"], "shows one run, 2 are chosen"),
        ([own, "seed=0", "--episodes", "1", "--video", bad / "runs.parquet/x.gif"], "runs.parquet"),
        ([bad, "seed=0"], "is no kept policy"),
        ([tmp_path / "catch", "--video", tmp_path / "x.gif"], "task.id=Catch-v0: gymnasium cannot make it"),
    ):
        code, told = said(capfd, *words)
        assert code == 2 and reason in told.err and told.err.count("error:") == 1, told.err
        assert len(told.err.splitlines()) == 1
    assert not list(tmp_path.glob("*.gif"))
    for module in ("imageio_ffmpeg", "imageio.plugins.ffmpeg"):
        monkeypatch.setitem(sys.modules, module, None)
    code, told = said(capfd, own, "seed=0", "--episodes", "1", "--video", tmp_path / "x.mp4")
    assert code == 2 and "pip install imageio-ffmpeg" in told.err and not list(tmp_path.glob(".x*"))


def test_a_missing_library_for_drawing_is_told_with_what_to_set(study, tmp_path, monkeypatch, capfd):
    def missing(stored, task, seeds):
        if "render_mode" in task.kwargs:
            raise ConfigError("task.id=X: gymnasium cannot make it: 'NoneType' has no attribute 'eglQueryString'")
        return made(stored, task, seeds)

    made = play._environments
    monkeypatch.setattr(play, "_environments", missing)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    code, told = said(capfd, study, "seed=0", "--episodes", 1, "--video", tmp_path / "x.gif")
    assert code == 2 and told.err.endswith("MUJOCO_GL=egl here, try another one of egl, osmesa, glfw\n")


def test_a_policy_of_another_environment_is_refused(study):
    kept = policies.read(next((study / "policies").iterdir()))
    other = dataclasses.replace(kept, task=kept.task.model_copy(update={"id": "Acrobot-v1"}))
    with pytest.raises(Exception, match="6 observed numbers and actions of 3; the policy has 4 and 2"):
        play.returns(other, 2, True)


def test_without_safetensors_nothing_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "find_spec", lambda name: None)
    with pytest.raises(Exception, match="execution.policies=last: needs safetensors: pip install safetensors"):
        runner.run([config(tmp_path)])
    assert not (tmp_path / "s").exists()


def test_an_episode_without_end_is_refused(study, monkeypatch):
    monkeypatch.setattr(play, "LONGEST", 3)
    with pytest.raises(Exception, match="did not end in 3 steps"):
        play.returns(policies.read(next((study / "policies").iterdir())), 2, True)


def test_the_choice_is_no_part_of_a_runs_identity(tmp_path):
    configs = [config(tmp_path, kind) for kind in (None, "last", "best")]
    assert len({each.run_id for each in configs}) == 1 and isinstance(configs[0], Config)
    with pytest.raises(Exception, match="execution.policies=first: input should be 'last' or 'best'"):
        config(tmp_path, "first")
