"""Sweeps survive what breaks them: kills, damage, a full disk, company; what they leave equals an undisturbed sweep."""

import errno
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
import weakref
from functools import partial

import numpy as np
import pandas as pd
import psutil
import pytest
from conftest import ROOT, configuration
from filelock import FileLock
from test_command_line import command

from study.fleet import Trainer
from study.launch import checkpoint, disk, merge, preview, runner
from study.launch.cluster import Here, Work
from study.launch.plan import Group, Plan, pack
from study.launch.store import Store
from study.rollout import Stream, generator
from study.settings import ConfigError

SMALL = ["horizon=64", "total_steps=384", "chapter=2", "epochs=1", "hidden=[4]", "execution.compile=false"]
STUDY = ["-m", "task=cartpole", *SMALL, "algorithm=trpo,kl_fixed", "seed=range(4)", "execution.fleet_size=2"]
FAULTY = ["-m", "task=custom", "task.id=faulty:Faulty-v0", *SMALL, "algorithm=kl_fixed", "seed=range(4)"]
ALONE = "execution.workers=1"


@pytest.fixture(autouse=True)
def faulty_environments(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """STUDY, trained in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["study", *STUDY, ALONE, "name=s", f"execution.results={folder}"])
        from study.launch.command import main

        main()
    return folder / "s"


@pytest.fixture(scope="module")
def undisturbed(finished):
    return read(finished)


def read(study):
    runs, curves = (pd.read_parquet(study / f"{kind}.parquet") for kind in ("runs", "curves"))
    assert not list((study / ".work/parts").iterdir()) and not list((study / ".work/checkpoints").iterdir())
    return runs.drop(columns=["wall_seconds", "config"]), curves


def assert_same(study, expected):
    for frame, other in zip(read(study), expected):
        pd.testing.assert_frame_equal(frame, other, check_exact=True)


def start(*arguments, **options):
    """A launcher of its own, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "study", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def children(pid):
    """All descendants, by /proc."""
    found = []
    for child in (f"/proc/{pid}/task/{task}/children" for task in os.listdir(f"/proc/{pid}/task")):
        for number in map(int, open(child).read().split()):
            try:
                found += [number, *children(number)]
            except OSError:
                pass
    return found


def environment_seed(seed):
    """What a run's environment is first reset with: how faulty.py knows a run."""
    return int(generator(seed, Stream.ENVIRONMENT, 0).integers(2**31))


# Resume


def test_a_killed_sweep_goes_on_to_the_same_results(tmp_path, undisturbed, monkeypatch, capfd):
    arguments = [*STUDY, ALONE, "name=s", f"execution.results={tmp_path}"]
    launcher = start(*arguments)
    wait_for(lambda: list(tmp_path.glob("s/.work/parts/*.runs.parquet")))  # one fleet is through
    wait_for(lambda: list(tmp_path.glob("s/.work/checkpoints/*.pt")))  # another one has a checkpoint
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "runs are finished already" in said
    assert_same(tmp_path / "s", undisturbed)


def test_an_interrupted_fleet_goes_on_from_its_checkpoint(tmp_path, undisturbed, monkeypatch, capfd):
    arguments = [*STUDY, ALONE, "name=s", f"execution.results={tmp_path}"]
    loaded, load = [], checkpoint.load
    with monkeypatch.context() as patch:
        _interrupt_at(5, patch)
        code, said = command(patch, capfd, *arguments)
    assert code == 130
    assert "stopped with 0 of 8 runs finished; 1 iteration since the last checkpoints will be made again" in said
    assert "The same command continues" in said
    monkeypatch.setattr(
        checkpoint, "load", lambda trainer, *words: (load(trainer, *words), loaded.append(trainer.iteration))
    )
    code, _ = command(monkeypatch, capfd, *arguments)
    assert code == 0 and loaded == [4]
    assert_same(tmp_path / "s", undisturbed)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """STUDY, stopped in the second chapter of its first fleet."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        _interrupt_at(3, patch)
        patch.setattr(sys, "argv", ["study", *STUDY, ALONE, "name=s", f"execution.results={folder}"])
        from study.launch.command import main

        with pytest.raises(SystemExit, match="130"):
            main()
    return folder / "s"


def test_a_damaged_checkpoint_is_set_aside_and_made_anew(tmp_path, interrupted, undisturbed, monkeypatch, capfd):
    study = shutil.copytree(interrupted, tmp_path / "s")
    (checkpoint,) = (study / ".work/checkpoints").iterdir()
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    code, said = command(monkeypatch, capfd, *STUDY, ALONE, "name=s", f"execution.results={tmp_path}")
    assert code == 0 and said.count("damaged:") == 1 and checkpoint.name in said
    assert any(aside.name.startswith(checkpoint.name) for aside in (study / ".work/set-aside").iterdir())
    assert_same(study, undisturbed)


def _interrupt_at(iteration, patch):
    update = runner.Meter.update

    def interrupting(meter, progressed):
        update(meter, progressed)
        if progressed.iteration == iteration:
            os.kill(os.getpid(), signal.SIGINT)

    patch.setattr(runner.Meter, "update", interrupting)


def _interrupt(monkeypatch, capfd, arguments, iteration):
    with monkeypatch.context() as patch:
        _interrupt_at(iteration, patch)
        code, _ = command(patch, capfd, *arguments)
        assert code == 130


@pytest.mark.parametrize("victim", ["runs.parquet", "curves.parquet", ".work/plan.json"])
def test_a_damaged_file_of_results_is_set_aside_and_made_anew(
    victim, tmp_path, finished, undisturbed, monkeypatch, capfd
):
    arguments = [*STUDY, ALONE, "name=s", f"execution.results={tmp_path}"]
    shutil.copytree(finished, tmp_path / "s")
    file = tmp_path / "s" / victim
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content[:1000] if victim == "runs.parquet" else content)
    if victim == ".work/plan.json":  # without a plan and with a part of the results, packing is the same
        runs = pd.read_parquet(tmp_path / "s/runs.parquet")
        disk.write_table(tmp_path / "s/runs.parquet", runs.iloc[2:])
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "damaged:" in said and file.name in said
    assert_same(tmp_path / "s", undisturbed)


def test_no_flipped_bit_in_a_file_goes_unseen(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"run_id": ["a", "b"] * 50, "iteration": np.arange(100, dtype="int32")})
    frame["x"] = np.where(rng.random(100) < 0.3, np.nan, rng.normal(size=100)).astype("float32")
    table, signed, plan = tmp_path / "t.parquet", tmp_path / "c.pt", tmp_path / "plan.json"
    disk.write_table(table, frame)
    disk.write_signed(signed, bytes(1000))
    disk.write_json(plan, {"a": {"runs": ["x", "y"]}})
    readers = {
        table: lambda path: disk.read_table(path, list(frame), ["run_id"]).equals(frame),
        signed: lambda path: disk.read_signed(path).read() == bytes(1000),
        plan: lambda path: disk.read_json(path) == {"a": {"runs": ["x", "y"]}},
    }
    for path, equal in readers.items():
        content = path.read_bytes()
        assert equal(path)
        for place in range(int(rng.integers(9)), len(content), 9):
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            try:
                assert equal(path), (path.name, place)
            except disk.Damaged:
                pass
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(disk.Damaged):
            equal(path)


def test_results_older_than_a_column_are_kept_and_it_is_null(tmp_path):
    disk.write_table(tmp_path / "t.parquet", pd.DataFrame({"run_id": ["a", "b"]}))
    frame = disk.read_table(tmp_path / "t.parquet", ["run_id", "younger"], ["run_id"])
    assert list(frame["run_id"]) == ["a", "b"] and frame["younger"].isna().all()
    with pytest.raises(disk.Damaged, match="no column iteration"):
        disk.read_table(tmp_path / "t.parquet", ["run_id"], ["run_id", "iteration"])


def test_a_checkpoint_of_other_code_is_not_used(tmp_path, interrupted, monkeypatch, capfd):
    arguments = [*STUDY, ALONE, "name=s", f"execution.results={tmp_path}"]
    shutil.copytree(interrupted, tmp_path / "s")
    monkeypatch.setattr("study.launch.checkpoint.code", lambda *_: "other")
    _, said = command(monkeypatch, capfd, *arguments)
    assert "written by other code" in said


def test_loading_a_checkpoint_executes_nothing(tmp_path, monkeypatch):
    import io

    import torch

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    content = io.BytesIO()
    torch.save({"code": Evil()}, content)
    disk.write_signed(tmp_path / "x.pt", content.getvalue())
    config = _config()
    with pytest.raises(disk.Damaged, match="cannot be read"):
        checkpoint.load(Trainer([config]), tmp_path / "x.pt")
    assert not (tmp_path / "executed").exists()


def _config(**changes):
    from conftest import configuration

    return configuration(**{"horizon": 64, "total_steps": 384, "epochs": 1, "hidden": [4]} | changes)


# Isolation


def test_one_raising_run_fails_alone(tmp_path, monkeypatch, capfd):
    bad = environment_seed(2)
    arguments = [*FAULTY, ALONE, f"execution.results={tmp_path}", "name=s", f"+task.kwargs.raise_for=[{bad}]"]
    code, said = command(monkeypatch, capfd, *arguments)
    runs = pd.read_parquet(tmp_path / "s/runs.parquet")
    assert code == 1
    assert "1 run failed" in said and "ZeroDivisionError: on purpose" in said
    assert dict(zip(runs["seed"], runs["status"])) == {0: "complete", 1: "complete", 2: "failed", 3: "complete"}
    assert "of its runs 1 raise alone too" in said and dict(zip(runs["seed"], runs["fleet_runs"])) == {
        0: 3,
        1: 3,
        2: 1,
        3: 3,
    }
    (trace,) = (tmp_path / "s/.work/errors").iterdir()
    assert "faulty.py" in trace.read_text()


def test_runs_that_fail_late_are_found_by_halves(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(Work, "EARLY", 0)
    bad = environment_seed(2)
    arguments = [*FAULTY, ALONE, f"execution.results={tmp_path}", "name=s"]
    code, said = command(monkeypatch, capfd, *arguments, f"+task.kwargs.raise_for=[{bad}]")
    runs = pd.read_parquet(tmp_path / "s/runs.parquet")
    assert code == 1 and said.count("its runs are trained again in two fleets") == 2
    assert dict(zip(runs["seed"], runs["fleet_runs"])) == {0: 2, 1: 2, 2: 1, 3: 1}


@pytest.mark.parametrize("early", [0, 10])
def test_a_fault_of_all_runs_is_found_once_and_mended_they_share_a_fleet(early, tmp_path, monkeypatch, capfd):
    """Also where they were split down to fleets of one."""
    fleets, train = [], Trainer.train

    def training(trainer, *arguments):
        fleets.append(len(trainer.configs))
        return train(trainer, *arguments)

    def broken(trainer):
        raise ZeroDivisionError("in all of them")

    arguments = [*FAULTY, ALONE, f"execution.results={tmp_path}", "name=s"]
    monkeypatch.setattr(Work, "EARLY", early)
    monkeypatch.setattr(Trainer, "train", training)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_iterate", broken)
        code, said = command(patch, capfd, *arguments)
    assert code == 1 and "4 runs failed" in said
    if early:
        assert (
            fleets == [4, 1, 1, 1, 1] and said.count("faulty:Faulty-v0 kl_fixed (") == 1 and "trained again" not in said
        )
    fleets.clear()
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and fleets == [4] and "training 4 runs in 1 fleet" in said
    assert (pd.read_parquet(tmp_path / "s/runs.parquet")["status"] == "complete").all()


def test_a_fleet_whose_parts_are_forgotten_still_stands_for_its_runs(tmp_path):
    configs = [_config(seed=seed) for seed in range(4)]
    plan = Plan(tmp_path)
    (fleet,) = plan.fleets(configs, {})
    good, wrong = Group.of(configs[:3]), Group.of(configs[3:])
    plan.split(fleet, [good, wrong])
    assert plan.fleets(configs, {configs[3].run_id: "failed"}) == [good, wrong]  # packed anew, from what has failed
    del plan.entries[wrong.name]
    assert plan.now(fleet) == [good, wrong] and wrong.name in plan.entries


def test_a_run_of_nans_is_a_result_and_disturbs_nobody(tmp_path, monkeypatch, capfd):
    bad = environment_seed(2)
    for name, nan_for in (("with", bad), ("without", 0)):
        arguments = [*FAULTY, ALONE, f"execution.results={tmp_path}", f"name={name}"]
        code, _ = command(monkeypatch, capfd, *arguments, f"+task.kwargs.nan_for=[{nan_for}]")
        assert code == 0
    (runs, curves), (other_runs, other_curves) = (read(tmp_path / name) for name in ("with", "without"))
    assert runs["status"].tolist() == ["complete", "complete", "diverged", "complete"]
    columns = curves.columns.drop("run_id")
    for seed in (0, 1, 3):
        mine = curves[curves["run_id"] == runs["run_id"][seed]][columns].reset_index(drop=True)
        other = other_curves[other_curves["run_id"] == other_runs["run_id"][seed]][columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, other, check_exact=True)


def test_a_full_disk_stops_the_sweep_with_one_line_and_keeps_what_is_finished(
    tmp_path, undisturbed, monkeypatch, capfd
):
    arguments = [*STUDY, ALONE, "name=s", f"execution.results={tmp_path}"]
    add = Store.add

    def filling(store, name, results):
        """The second fleet finds no room for its results."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if list(store.parts.glob("*.runs.parquet")):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            add(store, name, results)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(Store, "add", filling)
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 1 and said.count("error:") == 1 and "cannot be written" in said and "Traceback" not in said
    assert len(pd.read_parquet(tmp_path / "s/runs.parquet")) == 2
    monkeypatch.setattr(Store, "add", add)
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "2 of 8 runs are finished already" in said
    assert_same(tmp_path / "s", undisturbed)


# Company


def test_a_claim_falls_with_its_holder(tmp_path):
    store = Store(tmp_path)
    store.open()
    script = f"from filelock import FileLock; import time; lock = FileLock({str(tmp_path / '.work/claims/f.lock')!r})"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{script}; lock.acquire(); print('ok', flush=True); time.sleep(99)"], stdout=-1
    )
    holder.stdout.readline()
    assert store.claim("f") is None
    holder.kill()
    holder.wait()
    claim = store.claim("f")
    assert isinstance(claim, FileLock)
    assert store.claim("f") is None
    claim.release()


def test_what_another_launcher_holds_is_waited_for_not_repeated(tmp_path, undisturbed, monkeypatch, capfd):
    arguments = [*STUDY, ALONE, "name=s", f"execution.results={tmp_path}"]
    _interrupt(monkeypatch, capfd, arguments, iteration=1)
    store = Store(tmp_path / "s")
    held = list(Plan(store.work).read().entries)[0]
    claim, trained, train = store.claim(held), [], Trainer.train

    def training(trainer, *arguments):
        trained.append(trainer.configs[0].run_id)
        return train(trainer, *arguments)

    def release_late(engine, timeout, done=Here.done):
        outcomes = done(engine, timeout)
        if not outcomes and claim.is_locked:
            claim.release()  # the other launcher dies without a result
        return outcomes

    monkeypatch.setattr(Trainer, "train", training)
    monkeypatch.setattr("study.launch.cluster.Here.done", release_late)
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "waiting for 1 fleet that another process is training" in said
    assert len(trained) == 4 and trained[-1] in Plan(store.work).read().entries[held].runs
    assert_same(tmp_path / "s", undisturbed)


MEMORY = """
import psutil, resource, torch
from study.process import fit, trim

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        torch.ones(2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), fit() or faults())
held = lambda: psutil.Process().memory_info().rss / 2**20
before = held()
tensors = [torch.ones(2**20) for _ in range(50)]
tensors = tensors[-1:]  # what lies highest in the heap stays
print(held() - before, trim() or held() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tunes glibc's allocator")
def test_a_worker_keeps_the_memory_of_its_tensors_and_trimming_gives_back_what_is_free():
    """100 tensors of 4 MiB one after the other, 1024 pages each if each is mapped anew; then 50, of which one stays."""
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    told = subprocess.check_output([sys.executable, "-c", MEMORY], cwd=ROOT, env=environment, text=True)
    as_it_is, settled, kept, left = map(float, told.split())
    assert as_it_is > 100 * 1024 / 2 and kept > 150  # else this test shows nothing
    assert settled < 100 * 1024 / 10  # a few places in the heap are new once
    assert left < 20


def test_a_worker_trims_every_tenth_iteration(tmp_path, monkeypatch, capfd):
    at, running = [], []
    whole = Trainer._iterate

    def iterate(trainer):
        whole(trainer)
        running.append(trainer.iteration)

    monkeypatch.setattr(Trainer, "_iterate", iterate)
    monkeypatch.setattr("study.process.trim", lambda: at.append(running[-1]))
    arguments = ["task=cartpole", "total_steps=2560", "horizon=128", "execution.workers=1", "execution.compile=false"]
    code, _ = command(monkeypatch, capfd, *arguments, f"execution.results={tmp_path}", "name=a")
    assert code == 0 and running == list(range(1, 21)) and at == [10, 20]


def test_a_worker_that_dies_is_replaced(tmp_path, monkeypatch, capfd):
    bad, mark = environment_seed(2), tmp_path / "died"
    faults = [f"+task.kwargs.kill_for=[{bad}]", f"+task.kwargs.mark={mark}", "execution.fleet_size=2"]
    arguments = [*FAULTY, *faults, f"execution.results={tmp_path}"]
    code, said = command(monkeypatch, capfd, *arguments, "name=a", "execution.workers=2")
    assert code == 0 and mark.exists() and "failed" not in said
    assert " 0 steps/s" not in said  # news of the workers came through
    code, said = command(monkeypatch, capfd, *arguments, "name=b", ALONE)  # the mark is there: nothing dies
    assert_same(tmp_path / "a", read(tmp_path / "b"))


def test_packing_is_the_same_whatever_is_finished_already():
    configs = [_config(seed=seed, execution={"fleet_size": 3}) for seed in range(8)]
    fleets = pack(configs)
    assert [len(fleet.configs) for fleet in fleets] == [3, 3, 2]
    done = {config.run_id for config in fleets[1].configs}
    assert [fleet.name for fleet in pack(configs, done)] == [fleets[0].name, fleets[2].name]
    one, *others = fleets[0].configs
    rest = [fleets[1].name, fleets[2].name, Group.of(others).name]
    assert [fleet.name for fleet in pack(configs, {one.run_id})] == rest


# Plan and status


def test_a_dry_run_tells_all_and_does_nothing(tmp_path, finished, monkeypatch, capfd):
    shutil.copytree(finished, tmp_path / "s")
    before = sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*"))
    arguments = [*STUDY, "execution.dry_run=true", "name=s", f"execution.results={tmp_path}"]
    arguments = [word for word in arguments if not word.startswith(("algorithm=", "seed=", "task="))]
    arguments += ["task=cartpole,nope,acrobot", "algorithm=trpo,clip", "seed=range(6)", "execution.workers=1"]
    monkeypatch.setattr(sys, "argv", ["study", *arguments])
    from study.launch.command import main

    with pytest.raises(SystemExit, match="2"):  # as the sweep itself would
        main()
    said = " ".join(capfd.readouterr().out.split())
    assert "20 of 24 runs to train in 10 fleets of 2 on 1 worker" in said
    assert "cartpole trpo 6 4 768 " in said  # runs, finished, steps; then a measured time
    assert "acrobot clip 6 2,304 unknown" in said
    assert said.count("refused:") == 1 and "Could not find 'task/nope'" in said and "and 11 more" in said
    assert "there is none yet of acrobot clip, acrobot trpo, cartpole clip" in said
    assert before == sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*"))
    assert not list(tmp_path.glob("t*"))


def test_the_dry_run_says_which_words_set_runs_apart_from_those_in_the_folder():
    def there(*configs):
        return pd.DataFrame(
            [{"task": own.task_label, "condition": own.condition, "total_steps": own.total_steps,
              "config": json.dumps(own.identity)} for own in configs]
        )  # fmt: skip

    small = {"total_steps": 20480, "hidden": [64, 64]}
    known = there(*(configuration(seed=seed, **small, horizon=1024) for seed in range(3)))
    again = [configuration("cartpole", "kl_fixed", seed=seed, **small, horizon=1024) for seed in range(2)]
    assert preview.apart(again, known) == []
    assert preview.apart([*again, configuration("acrobot", **small)], known) == []
    ends = "in the folder (3 of the task) have"
    (line,) = preview.apart([configuration(**small)], known)
    assert line.startswith(f"1 run of cartpole with the default protocol; those {ends} horizon=1024: a figure")
    (line,) = preview.apart([configuration(**small | {"total_steps": 4096}, horizon=1024)] * 2, known)
    assert line.startswith(f"2 runs of cartpole with 4,096 steps; those {ends} 20,480 steps: ")
    (line,) = preview.apart([configuration(horizon=512, hidden=[8, 8], total_steps=4096)], known)
    assert f"with horizon=512 hidden=8x8 and 4,096 steps; those {ends} horizon=1024 and 20,480 steps: " in line
    raw = configuration(**small, horizon=1024, advantage_normalization="none")
    (line,) = preview.apart([raw], there(configuration(**small, horizon=1024), configuration(**small)))
    assert "most of those in the folder (2 of the task)" in line and "advantage_normalization=none;" in line
    limited = configuration(**small, horizon=1024)
    limited = limited.model_copy(update={"task": limited.task.model_copy(update={"max_episode_steps": 50})})
    assert preview.apart([limited], known) == [
        "1 run of cartpole max_episode_steps=50: another task than cartpole, which the folder has"
    ]


def test_status_of_a_stopped_and_of_a_finished_study(interrupted, finished, monkeypatch, capfd):
    assert _status(interrupted, monkeypatch, capfd).endswith(
        "cartpole kl_fixed 4 cartpole trpo 4 no process is training; 1 fleet has a checkpoint; "
        "the same command continues"
    )
    assert _status(finished, monkeypatch, capfd).endswith("cartpole kl_fixed 4 cartpole trpo 4 nothing is left to do")


def test_status_of_a_running_study_disturbs_nothing(tmp_path, undisturbed, monkeypatch, capfd):
    seen, update = [], runner.Meter.update

    def looking(meter, progressed):
        update(meter, progressed)
        if progressed.iteration == 3 and not seen:
            wait_for(meter.file.exists)
            time.sleep(2 * meter.BEAT)
            seen.append(_status(tmp_path / "s", monkeypatch, capfd))

    monkeypatch.setattr(runner.Meter, "BEAT", 0.1)
    monkeypatch.setattr(runner.Meter, "update", looking)
    code, _ = command(monkeypatch, capfd, *STUDY, ALONE, "name=s", f"execution.results={tmp_path}")
    assert code == 0
    assert "(2 runs) 3/6" in seen[0] and f"process {os.getpid()}" in seen[0] and "steps/s on 1 worker" in seen[0]
    assert_same(tmp_path / "s", undisturbed)


def _status(study, monkeypatch, capfd):
    from study.launch import status

    monkeypatch.setattr(sys, "argv", ["status", str(study)])
    status.main()
    return " ".join(capfd.readouterr().out.split())


def test_tensorboard_shows_what_the_store_holds(tmp_path, monkeypatch, capfd):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    arguments = ["task=cartpole", *SMALL, "execution.tracker=tensorboard", "name=s", f"execution.results={tmp_path}"]
    code, _ = command(monkeypatch, capfd, *arguments)
    assert code == 0
    (folder,) = (file.parent for file in tmp_path.glob("s/tensorboard/cartpole/*/seed=0/*"))
    shown = events.EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = read(tmp_path / "s")[1]
    for name in ("return_mean", "kl_after", "implied_beta"):
        seen = [(event.step, np.float32(event.value)) for event in shown.Scalars(name)]
        assert seen == list(curves[["env_steps", name]].dropna().itertuples(index=False, name=None))


# At length


@pytest.mark.slow
def test_twenty_random_kills_lose_no_row(tmp_path, monkeypatch, capfd):
    """kill -9 of one process or of the whole tree at random moments, until twenty have hit."""
    rng = random.Random(0)
    arguments = [*FAULTY, "algorithm=trpo,kl_fixed", "execution.fleet_size=1", f"execution.results={tmp_path}"]
    arguments += ["total_steps=768", "seed=range(3)"]
    code, _ = command(monkeypatch, capfd, *arguments, ALONE, "name=undisturbed")
    assert code == 0
    expected = read(tmp_path / "undisturbed")
    monkeypatch.setenv("FAULTY_SLOW", "0.02")  # 15 s a fleet
    study, began = tmp_path / "s", time.monotonic()
    kills, of_one, launches, resumed, studies = 0, 0, 0, 0, 0
    while kills < 20:
        shutil.rmtree(study, ignore_errors=True)
        studies += 1
        while True:
            resumed += len(list(study.glob(".work/checkpoints/*.pt")))
            launcher = start(*arguments, "execution.workers=2", "name=s")
            launches += 1
            if kills < 20:
                fleets = study / ".work/checkpoints"
                before = sorted((file, file.stat().st_mtime_ns) for file in fleets.glob("*.pt"))
                wait_for(partial(_stirred, launcher, fleets, before))
                time.sleep(rng.uniform(0, 3))
            if kills < 20 and launcher.poll() is None and rng.random() < 0.5 and (below := children(launcher.pid)):
                os.kill(rng.choice(below), signal.SIGKILL)
                kills, of_one = kills + 1, of_one + 1
                time.sleep(rng.uniform(0, 8))
            if kills < 20 and launcher.poll() is None and rng.random() < 0.7:
                os.killpg(launcher.pid, signal.SIGKILL)
                kills += 1
                launcher.communicate()
                continue
            said = launcher.communicate()[1]
            assert launcher.returncode == 0, said
            break
        assert_same(study, expected)
    lost = len(expected[1]) - len(read(study)[1])
    with capfd.disabled():
        print(
            f"\n{kills} kills ({of_one} of one process, {kills - of_one} of the whole tree) over {studies} studies: "
            f"{launches} launches, {resumed} fleets resumed from a checkpoint, {lost} rows lost, "
            f"{time.monotonic() - began:.0f} s"
        )
    assert lost == 0


def _stirred(launcher, fleets, before):
    """Whether a checkpoint was written, or all is over."""
    try:
        return (
            launcher.poll() is not None
            or sorted((file, file.stat().st_mtime_ns) for file in fleets.glob("*.pt")) != before
        )
    except FileNotFoundError:
        return True


@pytest.mark.slow
def test_a_run_that_kills_every_worker_fails_alone(tmp_path, monkeypatch, capfd):
    """As one that takes more memory than there is."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "1")
    bad = f"+task.kwargs.kill_for=[{environment_seed(2)}]"
    launcher = start(*FAULTY, bad, "execution.fleet_size=2", "execution.workers=2", f"execution.results={tmp_path}")
    said = " ".join(launcher.communicate(timeout=400)[1].split())
    assert launcher.returncode == 1 and "1 run failed" in said, said
    assert "its worker died again and again (out of memory?)" in said and "Traceback" not in said
    runs = pd.read_parquet(tmp_path / "trial/runs.parquet")
    assert dict(zip(runs["seed"], runs["status"])) == {0: "complete", 1: "complete", 2: "failed", 3: "complete"}


@pytest.mark.slow
def test_ctrl_c_of_a_sweep_on_workers(tmp_path, monkeypatch, capfd):
    arguments = [*FAULTY, "execution.fleet_size=1", "execution.workers=2", f"execution.results={tmp_path}", "name=s"]
    monkeypatch.setenv("FAULTY_SLOW", "0.02")
    launcher = start(*arguments)
    wait_for(lambda: len(list(tmp_path.glob("s/.work/checkpoints/*.pt"))) == 2)
    os.killpg(launcher.pid, signal.SIGINT)  # as a terminal does: to the launcher and its workers alike
    said = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == 130, said
    assert "stopped with 0 of 4 runs finished" in said and "The same command continues" in said
    assert "Traceback" not in said and len(said.splitlines()) < 6, said
    monkeypatch.delenv("FAULTY_SLOW")
    code, _ = command(monkeypatch, capfd, *arguments)
    assert code == 0
    command(monkeypatch, capfd, *arguments, ALONE, "name=undisturbed")
    assert_same(tmp_path / "s", read(tmp_path / "undisturbed"))


def processor_time(pid):
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


@pytest.mark.parametrize("workers, moment", [(1, 0.3), (1, None), pytest.param(2, None, marks=pytest.mark.slow)])
def test_ctrl_c_is_answered_while_it_starts_and_compiles(workers, moment, tmp_path, monkeypatch):
    """Compiling anew takes a minute; moment is None once training was announced, else seconds after the start."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    arguments = ["-m", "task=cartpole", "algorithm=kl_fixed", "seed=range(2)", "total_steps=10000000"]
    arguments += ["execution.fleet_size=1", f"execution.workers={workers}", "execution.compile=true"]
    arguments += [f"execution.results={tmp_path}"]
    launcher = start(*arguments)
    said = ""
    while moment is None and "training 2 runs" not in said:
        said += (line := launcher.stderr.readline())
        assert line, said
    time.sleep(moment or 3)
    began, busy = time.monotonic(), processor_time(launcher.pid)
    while launcher.returncode is None:  # a first Ctrl-C can fall into the interpreter's own start; people press again
        os.killpg(launcher.pid, signal.SIGINT)
        try:
            said += launcher.communicate(timeout=3)[1]
        except subprocess.TimeoutExpired:
            # Seconds of its own work, whoever else is at work. A press while torch is being imported is answered after
            # it, which takes up to 5 of them on a busy machine; compiling, which must not be waited for, takes 60.
            assert processor_time(launcher.pid) - busy < 10 and time.monotonic() - began < 120, said
    assert "Traceback" not in said and "does not work here" not in said, said
    if moment is None:
        assert launcher.returncode == 130 and "stopped with 0 of 2 runs finished" in said, said
    else:  # how far it has come depends on the machine; a shell says 130 for either exit
        assert launcher.returncode in (130, -signal.SIGINT), said
        assert "interrupted" in said or "stopped" in said or not said, said


def test_an_interrupt_that_falls_into_a_callback_is_made_again(capfd):
    """Python drops what is raised in the callback of a weak reference; a second Ctrl-C there must end the loop too."""

    class Held:
        pass

    held = Held()
    with pytest.raises(KeyboardInterrupt), runner._signals():
        os.kill(os.getpid(), signal.SIGINT)  # the first one, which waits for the iteration
        reference = weakref.ref(held, lambda _: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.2)))
        before = time.monotonic()
        del held
        assert reference() is None
        time.sleep(10)
    assert time.monotonic() - before < 0.9  # sooner than the first one's patience ends
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_any_dask_scheduler_will_do(tmp_path, monkeypatch, capfd):
    """Workers that see no folder of the study: results come over the wire, checkpoints are the worker's own."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster:
        monkeypatch.setattr(Store, "token", "of a folder that no worker sees")
        arguments = [*STUDY, f"execution.cluster={cluster.scheduler_address}", f"execution.results={tmp_path}"]
        code, said = command(monkeypatch, capfd, *arguments, "name=s")
        assert code == 0 and "on the cluster" in said
    code, said = command(monkeypatch, capfd, *STUDY, "execution.cluster=tcp://127.0.0.1:1", "name=t")
    assert code == 2 and "no Dask scheduler answers" in said


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_sweep_in_one_line(tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setenv("FAULTY_SLOW", "0.05")
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster:
        launcher = start(*FAULTY, f"execution.cluster={cluster.scheduler_address}", f"execution.results={tmp_path}")
        wait_for(lambda: list(tmp_path.glob("trial/.work/checkpoints/*.pt")))
    said = launcher.communicate(timeout=120)[1]
    assert launcher.returncode == 1 and "the Dask scheduler does not answer any more" in said, said
    assert "The same command" in said or "the same command" in said
    assert "Traceback" not in said, said


@pytest.mark.slow
def test_two_launchers_share_the_work(tmp_path, monkeypatch):
    log = tmp_path / "log"
    arguments = [*FAULTY, "execution.fleet_size=1", ALONE, "name=s", f"execution.results={tmp_path}", "seed=range(8)"]
    arguments += [f"+task.kwargs.log={log}"]
    monkeypatch.setenv("FAULTY_SLOW", "0.01")
    launchers = [start(*arguments), start(*arguments)]
    said = [launcher.communicate(timeout=300)[1] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], said
    runs = read(tmp_path / "s")[0]
    assert len(runs) == 8 and (runs["status"] == "complete").all()
    trained = pd.read_csv(log, sep=" ", names=["seed", "pid"]).drop_duplicates()
    first = trained[trained["seed"].isin([environment_seed(seed) for seed in range(8)])]
    assert first["seed"].is_unique and set(first["pid"]) == {launcher.pid for launcher in launchers}


@pytest.mark.slow
def test_a_waiting_launcher_takes_over_from_one_that_is_killed(tmp_path, monkeypatch):
    arguments = [*FAULTY, ALONE, "name=s", f"execution.results={tmp_path}"]
    monkeypatch.setenv("FAULTY_SLOW", "0.02")
    first = start(*arguments)
    wait_for(lambda: list(tmp_path.glob("s/.work/checkpoints/*.pt")))
    second = start(*arguments)
    time.sleep(8)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    said = second.communicate(timeout=300)[1]
    assert second.returncode == 0 and "waiting for 1 fleet" in said, said
    assert (read(tmp_path / "s")[0]["status"] == "complete").all()


@pytest.mark.slow
def test_workers_of_a_machine_that_slept_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "2s")  # 5 minutes unless it is set
    monkeypatch.setenv("FAULTY_SLOW", "0.02")
    launcher = start(*FAULTY, "execution.workers=2", "name=s", f"execution.results={tmp_path}")
    wait_for(lambda: list(tmp_path.glob("s/.work/checkpoints/*.pt")))
    os.killpg(launcher.pid, signal.SIGSTOP)
    time.sleep(10)
    os.killpg(launcher.pid, signal.SIGCONT)
    said = launcher.communicate(timeout=300)[1]
    assert launcher.returncode == 0 and "waiting for a worker" not in said, said
    assert (read(tmp_path / "s")[0]["status"] == "complete").all()


@pytest.mark.slow
def test_a_small_file_system_fills_up(tmp_path, monkeypatch, capfd):
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)], capture_output=True)
    if mount.returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        filler = tmp_path / "filler"
        arguments = [*STUDY, ALONE, "name=s", f"execution.results={tmp_path}"]
        _interrupt(monkeypatch, capfd, arguments, iteration=1)
        free = shutil.disk_usage(tmp_path).free
        filler.write_bytes(bytes(max(free - 16_384, 0)))
        code, said = command(monkeypatch, capfd, *arguments)
        assert code in (1, 2) and "No space left on device" in said and "Traceback" not in said
        filler.unlink()
        code, said = command(monkeypatch, capfd, *arguments)
        assert code == 0
        assert (read(tmp_path / "s")[0]["status"] == "complete").all()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("change", [{"horizon": 1, "minibatch_size": 1}, {"minibatch_size": 1}])
def test_settings_under_which_every_advantage_is_0_are_refused(change):
    with pytest.raises(ConfigError, match="nothing is learned"):
        _config(algorithm="kl_fixed", advantage_normalization="minibatch", **change)


def test_folders_are_merged_and_a_sweep_goes_on_from_both(tmp_path, finished, undisturbed, monkeypatch, capfd):
    """Half of the seeds in one folder and half in another are the whole study; the same again adds nothing."""
    runs, curves = (pd.read_parquet(finished / f"{kind}.parquet") for kind in ("runs", "curves"))
    for name, seeds in (("s", (0, 1, 2)), ("other", (2, 3))):
        (tmp_path / name).mkdir()
        chosen = runs[runs["seed"].isin(seeds)].reset_index(drop=True)
        disk.write_table(tmp_path / name / "runs.parquet", chosen)
        own = curves[curves["run_id"].isin(chosen["run_id"])].reset_index(drop=True)
        disk.write_table(tmp_path / name / "curves.parquet", own)
    merge.main([str(tmp_path / "s"), str(tmp_path / "other")])
    assert "2 runs of" in (said := capfd.readouterr().out) and "2 were there already" in said and ";" not in said
    assert_same(tmp_path / "s", undisturbed)
    merge.main([str(tmp_path / "s"), str(tmp_path / "other")])
    assert "0 runs of" in capfd.readouterr().out
    code, said = command(monkeypatch, capfd, *STUDY, ALONE, "name=s", f"execution.results={tmp_path}")
    assert code == 0 and "8 runs are finished already" in said, said
    assert_same(tmp_path / "s", undisturbed)


def test_runs_that_differ_between_folders_are_named_and_kept(tmp_path, finished, capfd):
    for name in ("s", "other"):
        shutil.copytree(finished, tmp_path / name)
    runs, curves = (pd.read_parquet(finished / f"{kind}.parquet") for kind in ("runs", "curves"))
    changed = runs.assign(final_return=runs["final_return"].where(runs.index != 3, 7.0))
    changed.loc[0, "wall_seconds"] += 1  # no result
    disk.write_table(tmp_path / "other/runs.parquet", changed)
    merge.main([str(tmp_path / "s"), str(tmp_path / "other")])
    said = " ".join(capfd.readouterr().out.split())
    assert f"1 have other results there ({runs['run_id'][3]})" in said and "set-aside" in said
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "s/runs.parquet"), runs)
    (file,) = (tmp_path / "s/.work/set-aside").glob("from other.runs.parquet.*")
    kept = pd.read_parquet(file)
    assert kept["final_return"].tolist() == [7.0]
    (file,) = (tmp_path / "s/.work/set-aside").glob("from other.curves.parquet.*")
    kept = pd.read_parquet(file)
    assert set(kept["run_id"]) == {runs["run_id"][3]} and len(kept) == (curves["run_id"] == runs["run_id"][3]).sum()
    merge.main([str(tmp_path / "s"), str(tmp_path / "other")])
    assert len(list((tmp_path / "s/.work/set-aside").glob("from other.*"))) == 4, "neither overwrites the other"


def test_a_folder_of_studies_is_not_added_to(tmp_path, finished, monkeypatch, capfd):
    shutil.copytree(finished, tmp_path / "results/other")
    monkeypatch.chdir(tmp_path)
    for folder in ("results", ".", "results/other/.."):
        with pytest.raises(SystemExit) as end:
            merge.main([folder, "results/other"])
        assert end.value.code == 2 and "not a study's folder" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["other"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_that_flushes_no_folders_will_do(number, tmp_path, monkeypatch):
    fsync = os.fsync

    def refusing(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    Store(tmp_path / "s").open()
    assert (tmp_path / "s/.work/token").exists()


def test_a_sweep_in_a_process_of_a_pool_is_trained_there(tmp_path, monkeypatch, capfd):
    """Such a process is daemonic: it may have no children, hence no workers."""
    import study

    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(AssertionError, match="not allowed to have children"):
        multiprocessing.Process(target=print).start()
    small = dict(task="cartpole", horizon=64, total_steps=64, epochs=1, hidden="[4]")
    frames = study.sweep("execution.compile=false", name="s", seed=range(2), gamma=[0.9, 0.8], **small, **{
        "execution.results": str(tmp_path), "execution.fleet_size": 1, "execution.workers": 2,
    })  # fmt: skip
    assert frames.runs["status"].tolist() == ["complete"] * 4
    assert "may start no workers: it trains itself" in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("words, reason", [(["s"], "usage"), (["s", "s"], "added to"), (["s", "no"], "not a study")])
def test_what_cannot_be_merged_is_one_line(words, reason, tmp_path, finished, monkeypatch, capfd):
    shutil.copytree(finished, tmp_path / "s")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        merge.main(words)
    said = capfd.readouterr().err + str(end.value)
    assert reason in said and "Traceback" not in said
    assert not (tmp_path / "no").exists()
