"""Sweeps on a real Dask scheduler and real workers, in other folders and other environments of this machine."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import textwrap
import venv

import distributed  # noqa: F401  its defaults, before a test changes them
import pandas as pd
import pytest
from conftest import ROOT
from test_command_line import command
from test_sweeps import wait_for

from study.launch.cluster import Dask

SMALL = ["horizon=64", "total_steps=192", "chapter=2", "epochs=1", "hidden=[4]", "execution.compile=false"]
TASK = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

{imports}


class Env(CartPoleEnv):
    def __init__(self, **options):
        super().__init__()
        {body}


gymnasium.register({name!r}, Env, max_episode_steps=20)
"""


def task(name, imports="", body="self.length = 0.7"):
    return TASK.format(name=name, imports=imports, body=body)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The Python of an environment that has all packages but the project's own."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files do not count
    return str(folder / "bin/python")


class Machines:
    """A scheduler, and workers with folders of their own; each is ended with the test."""

    def __init__(self, python, folder):
        self.python, self.folder, self.processes = python, folder, []

    def begin(self, kind, *words, **environment):
        where = self.folder / f"{kind}{len(self.processes)}"
        where.mkdir()
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with open(where / "said", "w") as said:
            process = subprocess.Popen(
                [self.python, "-m", f"distributed.cli.dask_{kind}", *words],
                cwd=where,
                env=plain | environment,
                stdout=said,
                stderr=said,
            )
        self.processes.append(process)
        return process

    def scheduler(self, *words, protocol="tcp", **environment):
        file = self.folder / "scheduler.json"
        words = ["--host", f"{protocol}://127.0.0.1:0", "--no-dashboard", "--scheduler-file", str(file), *words]
        process = self.begin("scheduler", *words, **environment)
        wait_for(lambda: file.exists() and file.read_text().endswith("}") or process.poll() is not None)
        self.address = json.loads(file.read_text())["address"]
        return self.address

    def worker(self, *words, threads=1, **environment):
        usual = ["--nthreads", str(threads), "--no-nanny", "--no-dashboard"]
        return self.begin("worker", self.address, *usual, *words, **{"PYTHONPATH": str(ROOT)} | environment)


@pytest.fixture
def machines(bare, tmp_path):
    made = Machines(bare, tmp_path)
    yield made
    for process in made.processes:
        process.kill()
    for process in made.processes:
        process.wait()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that the command is given in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.mark.slow
def test_modules_travel_to_workers_that_have_neither_them_nor_a_folder_in_common(machines, here, monkeypatch, capfd):
    """A package of several modules with a file, a module beside it that is imported late, an algorithm; and, changed
    in between, again: the same workers train the new ones. The scheduler has nothing of the project."""
    package = here / "travelling"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import tasks\n")
    (package / "tasks.py").write_text(task("Travelling-v0", "from .deep.more import value", "self.length = value()"))
    (package / "deep/__init__.py").touch()
    (package / "deep/more.py").write_text(
        "from pathlib import Path\n\ndef value():\n    import beside\n\n"
        "    return float((Path(__file__).parent / 'value.txt').read_text()) + beside.ZERO\n"
    )
    (package / "deep/value.txt").write_text("0.7")
    (here / "beside.py").write_text("ZERO = 0\n")
    (here / "own_algorithm.py").write_text(
        "from study.algorithm.kl_fixed import *\nfrom study.algorithm.kl_fixed import Settings, start, update\n"
    )
    machines.scheduler()
    machines.worker()
    words = ["-m", *SMALL, "task=custom", "task.id=travelling:Travelling-v0", "seed=range(2)", "algorithm=custom"]
    words += ["algorithm.module=own_algorithm", "+algorithm.beta=1"]
    results, origins = {}, {}
    for value in ("0.7", "1.5"):
        (package / "deep/value.txt").write_text(value)
        for where in (machines.address, "local"):
            name = f"{where[:3]}{value}"
            code, said = command(
                monkeypatch, capfd, *words, f"execution.cluster={where}", "execution.workers=1", f"name={name}"
            )
            assert code == 0, said
            results[name] = pd.read_parquet(here / "results" / name / "curves.parquet")
            origins[name] = set(pd.read_parquet(here / "results" / name / "runs.parquet")["environment"])
    for value in ("0.7", "1.5"):
        pd.testing.assert_frame_equal(results[f"tcp{value}"], results[f"loc{value}"], check_exact=True)
        assert origins[f"tcp{value}"] == origins[f"loc{value}"]
    assert not results["loc0.7"].equals(results["loc1.5"])


def sweep(where, *more):
    return ["-m", *SMALL, "task=custom", "algorithm=kl_fixed", "seed=range(2)", f"execution.cluster={where}", *more]


@pytest.mark.slow
def test_a_worker_that_lacks_a_module_is_named_and_not_used(machines, here, monkeypatch, capfd):
    installed = here / "site-packages"  # is not sent
    installed.mkdir()
    (installed / "of_this_machine.py").write_text(task("OfThisMachine-v0"))
    monkeypatch.syspath_prepend(str(installed))
    machines.scheduler()
    machines.worker(PYTHONPATH="")
    arguments = sweep(machines.address, "task.id=of_this_machine:OfThisMachine-v0")
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 1 and "error: worker tcp://127.0.0.1:" in said and "lacks the module study" in said, said
    assert "Traceback" not in said and "Compute Failed" not in said

    machines.worker()
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 1 and said.count("note: worker") == 2 and "lacks the module of_this_machine" in said, said

    machines.worker(PYTHONPATH=os.pathsep.join([str(ROOT), str(installed)]))
    code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0, said
    assert (pd.read_parquet(here / "results/trial/runs.parquet")["status"] == "complete").all()


def test_a_cluster_without_workers_ends_in_one_line(machines, here, monkeypatch, capfd):
    import dask

    monkeypatch.setattr(Dask, "SILENCE", 0.2)
    with dask.config.set({"distributed.scheduler.no-workers-timeout": "2s"}):
        code, said = command(monkeypatch, capfd, *sweep(machines.scheduler(), "task.id=CartPole-v1"))
    assert code == 1 and "waiting for a worker: tcp://" in said and "dask worker tcp://" in said, said
    waited = re.search(r"error: no worker for (\d+) s", said)  # as measured: 3 s on a busy machine
    assert waited and int(waited[1]) >= 2 and "Traceback" not in said, said


@pytest.mark.slow
def test_a_worker_of_two_threads_trains_one_fleet_at_a_time(machines, here, monkeypatch, capfd):
    """Of an environment that draws from the global generator of NumPy."""
    draws = "import os, time\nimport numpy as np"
    body = "self.length = 0.5 + np.random.random()\n        open(os.environ['LOG'], 'a').write(f'{time.time()}\\n')"
    (here / "drawing.py").write_text(task("Drawing-v0", draws, body))
    monkeypatch.setenv("LOG", str(here / "log"))
    monkeypatch.setattr(Dask, "slots", lambda dask: 2)  # as two launchers
    machines.scheduler()
    machines.worker(threads=2)
    words = ["task.id=drawing:Drawing-v0", "execution.fleet_size=1", "total_steps=1024", "name="]
    results = []
    for where in (machines.address, "local"):
        arguments = [*sweep(where, *words), "execution.workers=1"]
        arguments[-2] += where[:3]
        code, said = command(monkeypatch, capfd, *arguments)
        assert code == 0, said
        results.append(pd.read_parquet(here / "results" / where[:3] / "curves.parquet"))
    pd.testing.assert_frame_equal(*results, check_exact=True)


def certificates(folder, days=2):
    """Of an authority of their own, for whoever is at 127.0.0.1."""
    folder.mkdir()
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-nodes", "-days", str(days)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", *name, "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    return tls(cert, cert, key)


def tls(authority, cert, key):
    """Dask's settings."""
    place = "distributed.comm.tls"
    return {f"{place}.ca-file": authority, f"{place}.client.cert": cert, f"{place}.client.key": key}


@pytest.mark.slow
def test_tls_needs_the_certificates_and_trains_with_them(machines, here, monkeypatch, capfd):
    import dask

    monkeypatch.setattr("study.launch.cluster.CONNECT", "3s")
    settings, others = certificates(here / "own"), certificates(here / "others")
    authority, cert, key = settings.values()
    words = ["--tls-ca-file", authority, "--tls-cert", cert, "--tls-key", key]
    machines.scheduler(*words, protocol="tls")
    machines.worker(*words)
    arguments = sweep(machines.address, "task.id=CartPole-v1")
    nowhere = str(here / "nowhere.pem")
    for wrong in (tls(None, None, None), others, tls(authority, nowhere, nowhere)):
        with dask.config.set(wrong):
            code, said = command(monkeypatch, capfd, *arguments)
        assert code == 2 and said.count("error:") == 1 and "no Dask scheduler answers there" in said, said
        assert "Traceback" not in said
    tcp = sweep(machines.address.replace("tls", "tcp"), "task.id=CartPole-v1")
    code, said = command(monkeypatch, capfd, *tcp)
    assert code == 2 and "no Dask scheduler answers there" in said and "Traceback" not in said, said
    with dask.config.set(settings):
        code, said = command(monkeypatch, capfd, *arguments)
    assert code == 0 and "on the cluster" in said, said


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tls://127.0.0.1:1", "nonsense://127.0.0.1:1", "silent"])
def test_an_address_where_no_scheduler_is_is_said_in_one_line(address, here, monkeypatch, capfd):
    monkeypatch.setattr("study.launch.cluster.CONNECT", "1s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"tcp://127.0.0.1:{silent.getsockname()[1]}" if address == "silent" else address
        code, said = command(monkeypatch, capfd, *sweep(where, "task.id=CartPole-v1"))
    assert code == 2 and said.count("error:") == 1 and "no Dask scheduler answers there" in said, said
    assert "Traceback" not in said


def commands(folder, monkeypatch, **scripts):
    """Programs of a batch system, as shell scripts."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{textwrap.dedent(script)}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


BATCH = ["-m", *SMALL, "task=cartpole", "algorithm=kl_fixed", "seed=range(2)", "+cluster=slurm"]
BATCH += ["execution.cluster.jobs=1", "execution.cluster.cores=1", "execution.cluster.processes=1"]


@pytest.mark.parametrize(
    "scripts, code, words",
    [
        ({}, 2, ["there is no sbatch on this machine"]),
        ({"sbatch": "echo invalid partition >&2; exit 1"}, 2, ["execution.cluster:", "invalid partition"]),
        (
            {
                "sbatch": "echo No module named distributed > slurm-7.out; echo Submitted batch job 7",
                "squeue": "exit 0",
            },
            1,
            ["jobs 7 have ended before a worker began: No module named distributed"],
        ),
    ],
)
def test_a_batch_system_that_is_not_there_or_refuses_or_whose_jobs_end_at_once(
    scripts, code, words, here, monkeypatch, capfd
):
    monkeypatch.setattr("study.launch.cluster._Ended.EVERY", 0.5)
    commands(here, monkeypatch, scancel="exit 0", **scripts)
    given, said = command(monkeypatch, capfd, *BATCH)
    assert given == code and said.count("error:") == 1 and all(word in said for word in words), said
    assert "Traceback" not in said


def test_without_dask_jobqueue_one_line_says_what_to_install(here, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    code, said = command(monkeypatch, capfd, *BATCH)
    assert code == 2 and "pip install dask-jobqueue" in said and "Traceback" not in said, said


@pytest.mark.slow
def test_jobs_of_a_batch_system_train(here, monkeypatch, capfd):
    jobs = {"sbatch": "sh $1 > slurm-7.out 2>&1 & echo $! > pid; echo Submitted batch job 7", "squeue": "echo 7"}
    commands(here, monkeypatch, **jobs, scancel=f"kill $(cat {here}/pid)")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code, said = command(monkeypatch, capfd, *BATCH)
    assert code == 0, (said, (here / "slurm-7.out").read_text())


@pytest.mark.slow
def test_where_only_some_workers_can_train_a_dead_one_is_replaced_by_the_next(machines, here, monkeypatch):
    (here / "slow_task.py").write_text(task("SlowTask-v0", "import time", "time.sleep(1)"))
    machines.scheduler()
    machines.worker(PYTHONPATH="")
    first = machines.worker()
    arguments = sweep(machines.address, "task.id=slow_task:SlowTask-v0", "total_steps=1280")
    launcher = subprocess.Popen(
        [sys.executable, "-m", "study", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: list(here.glob("results/trial/.work/checkpoints/*.pt")))
    first.send_signal(signal.SIGKILL)
    machines.worker()
    said = launcher.communicate(timeout=300)[1]
    assert launcher.returncode == 0 and "lacks the module study" in said, said


NOTEBOOK = """
import sys
import gymnasium, study
from gymnasium.envs.classic_control import CartPoleEnv

class Env(CartPoleEnv):
    pass

gymnasium.register("OfANotebook-v0", Env, max_episode_steps=20)
if __name__ == "__main__":
    runs, _ = study.sweep(*sys.argv[1:], "execution.workers=2", "execution.fleet_size=1")
    assert (runs["status"] == "complete").all(), runs
"""


@pytest.mark.slow
def test_an_environment_that_a_script_or_a_notebook_has_registered_travels(here):
    words = [word for word in sweep("local", "task.id=OfANotebook-v0") if word != "-m"]
    words[words.index("seed=range(2)")] = "seed=0,1"
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_code_that_changes_on_disk_stops_no_sweep_that_has_begun(monkeypatch, tmp_path):
    """What counts is the code that a process has loaded; an edit or a pull beside a running sweep is no other."""
    from study.launch import checkpoint

    before = checkpoint.versions(), checkpoint.code.__wrapped__()
    monkeypatch.setattr(checkpoint, "RUN", tmp_path)
    assert (checkpoint.versions(), checkpoint.code.__wrapped__()) == before
