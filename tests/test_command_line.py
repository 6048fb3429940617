"""What a user types: every configuration composes, bad input is one clear line, studies are kept and resumed."""

import importlib
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, suited
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from analysis.data import load
from hydra_plugins.fleet.sweeper import UnionSweeper
from study.algorithm import NAMES
from study.config import parse
from study.fleet import Trainer
from study.launch import completion
from study.launch.command import main
from study.record import CURVES, RUNS, readme
from study.task import Copies

TASKS = sorted(path.stem for path in (ROOT / "conf/task").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))
SMALL = ["task=cartpole", "horizon=128", "total_steps=512", "chapter=2", "epochs=2", "hidden=[8]"]


def composed(*overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return parse(OmegaConf.to_container(compose("config", list(overrides)), resolve=True))


def command(monkeypatch, capfd, *arguments):
    """Exit code and error output of `python -m study ...`, in this process."""
    monkeypatch.setattr(sys, "argv", ["study", *arguments])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("algorithm", NAMES)
def test_every_algorithm_composes_and_states_all_its_numbers(algorithm):
    config = composed(f"algorithm={algorithm}")
    own = yaml.safe_load((ROOT / f"conf/algorithm/{algorithm}.yaml").read_text())
    assert set(own) == set(type(config.algorithm).model_fields) - {"module"}
    assert config.arm.startswith(algorithm)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "custom"])
def test_every_task_composes_and_builds(task):
    config = composed(f"task={task}", "algorithm=kl_fixed")
    trainer = Trainer([config])
    assert trainer.theta.shape == (1, trainer.fleet.policy.parameters)
    trainer.copies.close()


@cache
def chosen(*groups):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", list(groups))


def composed_of_chosen(*overrides):
    """`composed`, as Hydra does it: of the files that groups choose, here once, whose values are then replaced."""
    groups = [word for word in overrides if word.split("=")[0] in ("+experiment", "task", "algorithm")]
    values = OverridesParser.create().parse_overrides([word for word in overrides if word not in groups])
    config = deepcopy(chosen(*groups))
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    return parse(OmegaConf.to_container(config, resolve=True))


@cache
def union(experiment):
    """An experiment's configuration and its jobs."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        whole = compose("config", [f"+experiment={experiment}"], return_hydra_config=True)
    grids = OmegaConf.to_container(whole.hydra.sweeper, resolve=False)
    return whole, UnionSweeper(grids.get("params") or {}, grids.get("grids") or []).jobs([f"+experiment={experiment}"])


def begun(experiment):
    """The tasks and seeds of an experiment's runs."""
    keys = ("task", "task.id", "task.backend", "seed")
    return {tuple(sorted(word for word in job if word.split("=")[0] in keys)) for job in union(experiment)[1]}


@pytest.mark.parametrize(
    "forks, sources",
    [("forks", "fork_sources"), ("crossing", "crossing_sources"), ("wide_forks", "wide_fork_sources")],
)
def test_forks_are_of_tasks_and_seeds_that_their_sources_have(forks, sources):
    assert union(forks)[0].fork.source == f"results/{sources}" and begun(forks) <= begun(sources)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_a_union_of_runs_that_compose(experiment):
    """Each task once, and each word beside each algorithm: not each of their thousands of arms."""
    whole, jobs = union(experiment)
    tasks, arms, met = {}, {}, set()
    for job in sorted(jobs):
        job = [word for word in job if not word.startswith("seed=")]
        of_task = [word for word in job if word.startswith(("task", "total_steps="))]
        task = tuple(word for word in of_task if not word.startswith("task.id="))  # one id stands for all
        arm = tuple(word for word in job if word not in of_task)
        pairs = {task, *((word, other) for word in arm if word.startswith("algorithm=") for other in arm)}
        if not pairs <= met:
            config = composed_of_chosen(*job)
            assert met or config == composed(*job)
            assert config.name == whole.name and (whole.name == experiment or experiment.startswith(f"{whole.name}_"))
            tasks.setdefault(task, (config.task_label, config.total_steps)), arms.setdefault(arm, config.arm)
            met |= pairs
    assert len(set(tasks.values())) == len(tasks) and len(set(arms.values())) == len(arms), "no run is made twice"


def test_table1_has_its_rows_on_its_tasks():
    grids = yaml.safe_load((ROOT / "conf/experiment/table1.yaml").read_text())["hydra"]["sweeper"]
    jobs = UnionSweeper(grids["params"], grids["grids"]).jobs([])
    assert len(jobs) == 7 * 3 * (11 + 3)


def test_union_has_no_beta_axis_for_trpo_and_the_command_line_wins():
    sweeper = UnionSweeper(
        {"seed": "range(3)", "task": "hopper"},
        [{"algorithm": "trpo"}, {"algorithm": "kl_fixed", "algorithm.beta": "1,10"}],
    )
    jobs = sweeper.jobs(["seed=7", "horizon=1024"])
    assert [sorted(job) for job in jobs] == [
        ["algorithm=trpo", "horizon=1024", "seed=7", "task=hopper"],
        ["algorithm.beta=1", "algorithm=kl_fixed", "horizon=1024", "seed=7", "task=hopper"],
        ["algorithm.beta=10", "algorithm=kl_fixed", "horizon=1024", "seed=7", "task=hopper"],
    ]


def test_an_algorithm_on_the_command_line_leaves_out_the_arms_of_the_others_and_says_so(capsys):
    grids = yaml.safe_load((ROOT / "conf/experiment/quick.yaml").read_text())["hydra"]["sweeper"]
    sweeper = UnionSweeper(grids["params"] | {"task": "hopper", "seed": "0"}, grids["grids"])
    betas = [[word for word in job if word.startswith("algorithm.beta=")] for job in sweeper.jobs([])]
    jobs = sweeper.jobs(["+experiment=quick", "algorithm=kl_fixed", "horizon=1024"])
    assert "leaves out the sweep's arms of trpo" in capsys.readouterr().err
    assert [[word for word in job if word.startswith("algorithm.beta=")] for job in jobs] == [b for b in betas if b]
    assert all({"algorithm=kl_fixed", "horizon=1024"} < set(job) for job in jobs)
    some = UnionSweeper({}, [{"algorithm": "trpo,clip"}, {"algorithm": "kl_fixed"}, {"horizon": "512"}])
    assert some.jobs(["algorithm=clip,kl_fixed"]) == [
        ["algorithm=clip"], ["algorithm=kl_fixed"],
        ["algorithm=clip", "horizon=512"], ["algorithm=kl_fixed", "horizon=512"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["algorithm=kl_fixed", "algorithm.beta=-1"], ["algorithm.beta=-1", "greater than 0", "kl_fixed.yaml"]),
        (["algorithm=kl_fixed", "algorithm.beta=nan"], ["algorithm.beta=nan", "greater than 0"]),
        (["algorithm=kl_fixed", "algorithm.beta=true"], ["algorithm.beta", "number"]),
        (["task=hoper"], ["task/hoper", "did you mean hopper?", "conf/"]),
        (["total_steps=10"], ["total_steps=10", "horizon=2048"]),
        (["algorithm=trpo", "algorithm.beta=3"], ["algorithm.beta", "no such key", "conf/algorithm/"]),
        (["algorithm=trpo", "+algorithm.beta=3"], ["algorithm.beta=3", "unknown key", "trpo.yaml"]),
        (["learning_rat=3"], ["no such key", "did you mean learning_rate?", "conf/config.yaml"]),
        (["task=custom", "task.id=Nope-v7"], ["task.id=Nope-v7", "gymnasium cannot make it"]),
        (["task=custom"], ["task.id", "missing"]),
        (["task.backend=envpool", "task.id=Nope-v7"], ["task.id=Nope-v7", "EnvPool"]),
        (["seed=0.5"], ["seed=0.5", "integer"]),
        (["minibatch_size=100"], ["minibatch_size=100", "horizon=2048"]),
        (["name=../x"], ["name='../x'", "folder"]),
        (["execution.device=nowhere"], ["execution.device=nowhere"]),
        (["-m", "algorithm=trpo,kl_fixed", "algorithm.beta=1,2"], ["algorithm.beta", "no such key"]),
        (["-m", "algorithm=kl_fixed", "algorithm.beta=1,0"], ["algorithm.beta=0", "greater than 0"]),
        (["seed=0,1"], ["seed=0,1", "did you mean -m?"]),
        (["seed=range(3)"], ["seed=range(3)", "did you mean -m?"]),
        (["algorithm=glob(*)"], ["algorithm=glob(*)", "did you mean -m?"]),
        (["+experiment=quick"], ["+experiment=quick", "is a sweep", "did you mean -m?"]),
        (["+experiment=quick", "task=hopper", "execution.dry_run=true"], ["did you mean -m?"]),
        (["-m", "+experiment=quick", "algorithm=fixpo"], ["algorithm=fixpo: no grid", "of kl_fixed, trpo"]),
        (["+hydra.sweeper.params.seed='1,2'"], ["did you mean -m?"]),
        (["hydra/sweeper=optuna"], ["hydra/sweeper/optuna", "basic, union"]),
        (["hydra.job.chdir=true"], ["hydra.job.chdir=true", "execution.results"]),
        (["-m", "hydra.job.chdir=true"], ["hydra.job.chdir=true", "share one process"]),
        (["algorithm.bta=3"], ["algorithm=trpo has no such key", "did you mean algorithm.beta, of", "kl_fixed"]),
        (["algorithm=kl_fixed", "algorithm.bta=3"], ["algorithm=kl_fixed has", "did you mean algorithm.beta?"]),
        (["algorithm=kl_fixed", "+algorithm.bta=3"], ["unknown key", "did you mean algorithm.beta?"]),
        (["-m", "algorithm=kl_fixed", "algorithm.bta=1,2"], ["kl_fixed has", "did you mean algorithm.beta?"]),
        (["beta=3"], ["beta", "did you mean algorithm.beta"]),
        (["+total_step=3"], ["total_step=3", "did you mean total_steps?"]),
        (["diagnostics.max_k=3"], ["did you mean diagnostics.max_kl?"]),
        (["task.nam=x"], ["task=hopper has", "did you mean task.name?"]),
        (["hidden=64"], ["hidden=64", "must be a list", "hidden=[64]"]),
        (["task.kwargs.foo=3"], ["Hopper-v5", "task.kwargs.foo=3", "EnvPool cannot make it"]),
        (["+task.kwargs.foo=3", "task.backend=gymnasium"], ["task.kwargs.foo=3", "gymnasium cannot make it"]),
        (["-m", "task=cartpole,hopper", "task.kwargs.foo=3"], ["task.kwargs.foo=3", "EnvPool cannot make it"]),
        (
            ["task=custom", "task.id=CartPole"],
            ["task.id=CartPole: an id without its version; give task.id=CartPole-v1"],
        ),
        (["statu", "results/mine"], ["statu: must be KEY=VALUE", "train, sweep, status, ", "did you mean status?"]),
        (["task=hopper", "results/mine"], ["results/mine: must be KEY=VALUE, or first of all one of train, "]),
        (["name='${hydra:job.num}'"], ["${hydra:job.num}: Hydra has no such value", "a run alone"]),
        (["task.max_episode_steps=0"], ["task.max_episode_steps=0", "greater than 0"]),
        (["task.max_episode_steps=9", "task.kwargs.max_episode_steps=8"], ["task.max_episode_steps", "give it once"]),
    ],
    ids=lambda value: " ".join(value) if "=" in value[0] else "",
)
def test_bad_input_is_one_clear_line_and_makes_nothing(arguments, words, tmp_path, monkeypatch, capfd):
    results = tmp_path / "results"
    code, said = command(monkeypatch, capfd, *arguments, f"execution.results={results}")
    assert code == 2
    assert said.count("error:") == 1 and all(word in said for word in words), said
    assert not results.exists()
    assert all(Path(file).exists() for file in re.findall(r"[\w./-]*\bconf/[\w./]*", said)), said


def test_kwargs_need_no_plus_and_glob_sweeps_over_all_options():
    assert composed("task.kwargs.foo=3").task.kwargs == {"foo": 3} == composed("+task.kwargs.foo=3").task.kwargs
    jobs = UnionSweeper({}, []).jobs(["task.kwargs.foo=1,2"])
    assert jobs == [["task.kwargs.foo=1"], ["task.kwargs.foo=2"]]


def test_glob_sweeps_over_the_options_there_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["study", "-m", *SMALL, "algorithm=glob(kl_*)", "execution.dry_run=true"])
    main()
    said = capsys.readouterr().out
    assert all(name in said for name in NAMES if name.startswith("kl_")) and "natural_gradient" not in said


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_a_time_limit_from_the_command_line_ends_episodes(backend):
    config = composed("task=pendulum", f"task.backend={backend}", "task.max_episode_steps=7")
    assert "max_episode_steps=7" in config.task_label
    copies = Copies(config.task, [0, 1])
    copies.reset()
    ended = [copies.step(np.zeros((2, 1))).truncated.tolist() for _ in range(14)]
    copies.close()
    assert ended == ([[False, False]] * 6 + [[True, True]]) * 2


def test_without_a_time_limit_of_its_own_a_run_keeps_its_id():
    task = composed("task=pendulum").task
    assert "max_episode_steps" not in str(composed("task=pendulum").identity) and task.max_episode_steps is None
    assert composed("task=pendulum", "task.max_episode_steps=7").run_id != composed("task=pendulum").run_id


def test_help_is_titled_after_the_project_and_its_examples_compose(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["study", "--help"])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().out
    assert not stop.value.code and said.startswith("Penalty versus constraint in policy optimisation")
    examples = [shlex.split(line, comments=True) for line in said.splitlines() if line.startswith("  python -m study ")]
    assert len(examples) == 5
    for words in examples:
        overrides = [word for word in words[3:] if "=" in word]
        assert all(composed(*job) for job in UnionSweeper({}, []).jobs(overrides))


@pytest.mark.parametrize("words", ["python -m study -m", "penalty-study sw\t"])
def test_completion_in_an_interactive_bash(words, tmp_path):
    """Typed at a terminal: a TAB after kl_fi completes it, a TAB after kl_ lists what there is."""
    script = tmp_path / "completion"
    script.write_text(completion.INSTALL)
    installed(tmp_path)
    typed = f"source {script}\n: algorithm\t\n{words} task=hopper algorithm=kl_fi\t algorithm.be\t"
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "TERM": "dumb"}
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)
    os.write(terminal, typed.encode())
    said, until = "", time.monotonic() + 60
    while "algorithm.beta=" not in said and time.monotonic() < until:
        if select.select([terminal], [], [], 1)[0]:
            said += os.read(terminal, 4096).decode(errors="replace")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(terminal)
    assert "algorithm=kl_fixed algorithm.beta=" in said, said
    assert "\t" not in words or "penalty-study sweep" in said


def installed(folder):
    """The command penalty-study, as an installer writes it."""
    script = folder / "penalty-study"
    first = f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n"  # a path may have spaces
    script.write_text(f"{first}import sys\nfrom study.__main__ import script\nsys.exit(script())\n")
    script.chmod(0o755)
    return script


def test_the_installed_command_says_what_python_m_study_says(tmp_path, monkeypatch, capfd):
    """Of a task in the folder that it is given in, as any module of one's own is found."""
    (here := tmp_path / "here").mkdir()
    (here / "mine_beside.py").write_text(
        "import gymnasium\nfrom gymnasium.envs.classic_control import CartPoleEnv\n"
        "gymnasium.register('Mine-v0', CartPoleEnv, max_episode_steps=9)\n"
    )
    words = ["task=custom", "task.id=mine_beside:Mine-v0", "total_steps=4096", "execution.dry_run=true"]
    options = {"cwd": here, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    done = subprocess.run([installed(tmp_path), *words], capture_output=True, text=True, **options)
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))  # as -m does
    monkeypatch.setattr(sys, "argv", ["study", *words])
    main()
    said = capfd.readouterr()
    assert (done.returncode, done.stdout, done.stderr) == (0, said.out, said.err)
    assert "1 of 1 runs to train" in said.out


def test_train_and_sweep_stand_for_a_command_without_and_with_m(tmp_path, monkeypatch, capfd):
    words = ["task=cartpole", "algorithm=kl_fixed", f"execution.results={tmp_path}", "execution.dry_run=true"]
    for first, alike in ((["train"], []), (["sweep"], ["-m"])):
        told = []
        for before in (first, alike):
            beta = "algorithm.beta=1,2" if alike else "algorithm.beta=1"
            monkeypatch.setattr(sys, "argv", ["study", *before, *words, beta])
            main()
            told.append(capfd.readouterr())
        assert told[0] == told[1] and ("2 of 2 runs" if alike else "1 of 1 runs") in told[0].out


@pytest.mark.parametrize("word", ["status", "merge", "remove", "play"])
def test_a_first_word_stands_for_the_module_of_its_name(word, tmp_path, monkeypatch, capfd):
    module = importlib.import_module(f"study.launch.{word}")
    for given in ["-h"], [str(tmp_path / "nowhere"), "seed=0"]:
        told = []
        for entry, before in ((main, [word]), (module.main, [])):
            monkeypatch.setattr(sys, "argv", ["study", *before, *given])
            ended = None
            try:
                entry()
            except SystemExit as stop:
                ended = stop.code
            told.append((ended, capfd.readouterr()))
        assert told[0] == told[1] and bool(told[0][0]) == (given != ["-h"])
        assert given != ["-h"] or f"python -m study.{word} " in told[0][1].out


def test_unwritable_results_are_refused_before_training(tmp_path, monkeypatch, capfd):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    code, said = command(monkeypatch, capfd, *SMALL, f"execution.results={in_the_way}")
    assert code == 2 and "cannot be written" in said and str(in_the_way) in said


def test_a_sweep_keeps_its_promised_files_and_skips_what_is_finished(tmp_path, monkeypatch, capfd):
    sweep_command = ["-m", *SMALL, "name=small", f"execution.results={tmp_path}", "execution.workers=1"]
    sweep_command += ["algorithm=kl_fixed", "algorithm.beta=0.3,3", "seed=range(2)"]
    code, _ = command(monkeypatch, capfd, *sweep_command)
    runs, curves = (pd.read_parquet(tmp_path / "small" / f"{kind}.parquet") for kind in ("runs", "curves"))
    assert code == 0
    assert list(runs) == list(RUNS) and list(curves) == list(CURVES)
    assert len(runs) == 4 and (runs["status"] == "complete").all()
    assert sorted(zip(runs["beta"], runs["seed"])) == [(0.3, 0), (0.3, 1), (3, 0), (3, 1)]
    assert (curves.groupby("run_id").size() == 4).all()
    assert curves["implied_beta"].notna().all()

    before = (tmp_path / "small" / "curves.parquet").stat().st_mtime_ns
    code, said = command(monkeypatch, capfd, *sweep_command)
    assert code == 0 and "4 of 4 runs are finished already" in said
    assert (tmp_path / "small" / "curves.parquet").stat().st_mtime_ns == before

    code, said = command(monkeypatch, capfd, *sweep_command, "seed=range(3)")  # more seeds: only those are run
    assert code == 0 and "4 of 6 runs are finished already" in said and "training 2 runs" in said


def test_every_arm_runs_through_the_launcher_on_a_mujoco_and_a_discrete_task(tmp_path, monkeypatch, capfd):
    pairs = suited(NAMES, ["cartpole", "invertedpendulum"])
    where = ["total_steps=128", "epochs=1", "name=arms", f"execution.results={tmp_path}", "execution.workers=1"]
    for task in ("cartpole", "invertedpendulum"):
        arms = f"algorithm={','.join(name for name, other in pairs if other == task)}"
        code, said = command(monkeypatch, capfd, "-m", f"task={task}", arms, *SMALL[1:], *where)
        assert code == 0, said
    runs = pd.read_parquet(tmp_path / "arms" / "runs.parquet")
    assert sorted(zip(runs["algorithm"], runs["task"])) == sorted(pairs)
    assert (runs["status"] == "complete").all()


def test_an_algorithm_that_cannot_start_with_a_task_is_one_line_before_anything_is_written(
    tmp_path, monkeypatch, capfd
):
    where = [*SMALL[1:], "name=s", f"execution.results={tmp_path}"]
    for words, reason in (
        (
            ["task=cartpole", "algorithm=projection"],
            "of a Gaussian's mean and std, but task.id=CartPole-v1 is discrete",
        ),
        (["task=cartpole", "algorithm=kl_theory", "gamma=1"], "kl_theory needs gamma < 1"),
    ):
        code, said = command(monkeypatch, capfd, *words, *where)
        assert code == 2 and said.startswith("error: ") and reason in said and not (tmp_path / "s").exists()
    mixed = ["-m", "task=cartpole,pendulum", "algorithm=projection", *where, "execution.dry_run=true"]
    code, said = command(monkeypatch, capfd, *mixed)
    assert code == 2


def test_a_run_without_an_episodes_end_is_named_with_what_to_do(tmp_path, monkeypatch, capfd):
    arguments = ["task=pendulum", *SMALL[1:], "task.max_episode_steps=1000", f"execution.results={tmp_path}", "name=s"]
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "no episode ended in 1 run;" in said and "task.max_episode_steps=N" in said, said
    assert [
        note for note in load([tmp_path / "s"]).warnings if note.startswith("No episode ended in 1 run (pendulum max")
    ]
    code, said = command(monkeypatch, capfd, *arguments, "task.max_episode_steps=50")
    assert code == 0 and "no episode ended" not in said


def test_results_readme_lists_every_column():
    assert (ROOT / "results/README.md").read_text() == readme(), "python -m study.record > results/README.md"
