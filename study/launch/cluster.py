"""Where a fleet is trained: in this process, or on the workers of a Dask cluster, local or remote."""

import asyncio
import atexit
import importlib.util
import logging
import math
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle

from study import console, process
from study.files import shown
from study.launch import modules
from study.launch.disk import Unwritable
from study.launch.plan import Group
from study.launch.progress import Progressed
from study.settings import ConfigError

# execution.cluster.kind -> class of dask_jobqueue
BATCH_SYSTEMS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
    "moab": "MoabCluster",
}


CONNECT = "10s"  # to a scheduler
DIED = "its worker died again and again (out of memory?)"


class Lost(Exception):
    """The cluster cannot be reached any more, or has no worker that can train."""


class Stopped(Exception):
    """Asked to stop; the current iteration is finished."""


class _Reached(Exception):
    """A run alone has come as far as its fleet."""


@dataclass(frozen=True)
class Outcome:
    """The result of a fleet's training, or why there is none."""

    results: list | None = None
    policies: dict[str, bytes] = field(default_factory=dict)  # files to be kept, by name
    error: str | None = None  # it raised, or its worker died; one line
    trace: str = ""
    alone: dict[str, str] = field(default_factory=dict)  # run_id -> error, of the fleet's runs that raise alone too
    hopeless: bool = False  # every other fleet would fail too (disk full)
    stopped: bool = False
    unfit: str = ""  # why this worker can train no fleet like this one, if it cannot
    lacking: str = ""  # the module that it does not have, if that is why
    worker: str = ""


@dataclass(frozen=True)
class Work:
    """A fleet to be trained, as it travels to a worker."""

    fleet: Group
    folder: Path  # of checkpoints, if the worker sees the same folder as the client
    token: str
    said: frozenset[str] = frozenset()  # gymnasium's warnings that the user has read
    specs: tuple = ()  # gymnasium's, of ids that this process knows and a worker may not

    EARLY = 10  # iterations: of a fleet that raises before, it is cheap to try each run alone

    def train(self, report: Callable[[Progressed], None], wanted: Callable[[], bool] = lambda: True) -> Outcome:
        """Trains the fleet to its end. Whatever it raises comes back as an outcome; a KeyboardInterrupt too, where
        nobody has asked to stop."""
        process.fit()
        console.said.update(self.said)
        trainer = None
        try:
            console.hear_gymnasium()
            from study.fleet import Trainer
            from study.launch import checkpoint, snapshots
            from study.launch.policies import Keeper

            file = self._checkpoint()

            def reported(trainer):
                if trainer.iteration % 10 == 0:
                    process.trim()
                report(Progressed.of(self.fleet, trainer))
                if not wanted():
                    raise Stopped

            shared = file.parent == self.folder
            study = self.folder.parent.parent if shared else None
            trainer = Trainer(self.fleet.configs, points=snapshots.points(self.fleet.configs))
            keeper = Keeper(trainer)
            results = checkpoint.train(trainer, reported, file, study, keeper)
            if not shared:
                file.unlink(missing_ok=True)  # the client drops those of the shared folder, with the results kept
            return Outcome(results, keeper.files(trainer))
        except Stopped:
            return Outcome(stopped=True)
        except Unwritable as error:
            return Outcome(error=str(error), hopeless=True)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt) and not wanted():
                raise
            reached, trace = trainer.iteration if trainer else 0, traceback.format_exc()
            try:
                alone = self._alone(reached, wanted) if reached < self.EARLY and len(self.fleet.configs) > 1 else {}
            except Stopped:
                return Outcome(stopped=True)
            return Outcome(error=_line(error), trace=trace, alone=alone, lacking=modules.lacking(error) or "")

    def _alone(self, iterations: int, wanted: Callable[[], bool]) -> dict[str, str]:
        """The runs that, each trained by itself, raise before the end of as many iterations and one, and what."""
        from study.fleet import Trainer
        from study.launch import snapshots

        def reached(trainer):
            if not wanted():
                raise Stopped
            if trainer.iteration > iterations:
                raise _Reached

        errors = {}
        for config in self.fleet.configs:
            try:
                Trainer([config], points=snapshots.points([config])).train(reached)
            except _Reached:
                pass
            except Stopped:
                raise
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                if isinstance(error, KeyboardInterrupt) and not wanted():
                    raise
                errors[config.run_id] = _line(error)
        return errors

    def _checkpoint(self) -> Path:
        """In the study's folder where this worker sees it, else in a folder of this machine's own."""
        token = self.folder.parent / "token"
        try:
            shared = token.read_text() == self.token
        except OSError:
            shared = False
        folder = self.folder if shared else Path(tempfile.gettempdir()) / f"study-checkpoints-{self.token}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / f"{self.fleet.name}.pt"


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


class Here:
    """This process, one fleet after the other."""

    def __init__(self, report: Callable[[Progressed], None], stopping: Callable[[], bool]):
        self.report, self.stopping, self.work = report, stopping, None

    def slots(self) -> int:
        return 1

    def submit(self, work: Work) -> None:
        self.work = work

    def done(self, timeout: float) -> list[tuple[Group, Outcome]]:
        if self.work is None:
            return []
        work, self.work = self.work, None
        return [(work.fleet, work.train(self.report, lambda: not self.stopping()))]

    def stop(self) -> None:
        """Nothing to do: the work asks whether it is wanted."""


class Dask:
    """The workers of a Dask cluster, whatever number of threads they have: each trains one fleet at a time. Only as
    many fleets are submitted as there are workers, so that other launchers find work too. A fleet whose worker died is
    trained by another one, from its checkpoint where that one sees it.

    What is sent is bytes: a scheduler need not have the study nor the user's modules, and a worker that lacks them
    says so.
    """

    DEATHS = 3  # of its workers, before a fleet is given up
    SILENCE = 3.0  # seconds without a worker before that is said

    def __init__(self, client, configs: list, report: Callable[[Progressed], None], place: "Place"):
        from study.launch import checkpoint

        self.client, self.place = client, place
        self.topic = f"study-{os.getpid()}-{time.time_ns()}"
        self.futures: dict[Any, tuple[Group, set[str]]] = {}  # with the workers that may train it; none: all may
        self.unfit: dict[str, str] = {}  # address -> why
        self.deaths: Counter[str] = Counter()
        self.since, self.told, self.met = time.monotonic(), False, False  # of times without a worker
        self.trained = False  # whether any worker has
        self.versions = checkpoint.versions()
        self.packed, self.specs = place.packed(configs), tuple(modules.specs(configs))

        def heard(event):
            self.trained = True
            report(Progressed(**event[1]["progressed"]))

        client.subscribe_topic(self.topic, heard)

    def slots(self) -> int:
        """How many fleets can be trained at once. Raises Lost if nobody will."""
        workers = self._workers()
        fit = workers - self.unfit.keys()
        if workers and not fit and not (self.trained and self.place.remote):  # of this machine none will be better
            raise Lost(self.unfit[min(workers)])
        if fit:
            self.since, self.told, self.met = None, False, True
        else:
            self._wait()
        return len(fit)

    def _wait(self) -> None:
        self.since = self.since or time.monotonic()
        waited = time.monotonic() - self.since
        if not self.met and (reason := self.place.ended()):
            raise Lost(reason)
        if waited > self.place.patience:
            raise Lost(f"no worker for {waited:.0f} s: {self.place.hint}")
        if waited > self.SILENCE and not self.told:
            self.told = True
            console.console.print(f"waiting for a worker: {self.place.hint}", highlight=False)

    def _workers(self) -> set[str]:
        try:
            if self.client.status == "running":
                return set(self.client.nthreads(callback_timeout=30))
        except (OSError, TimeoutError):
            pass
        raise Lost("the Dask scheduler does not answer any more")

    def submit(self, work: Work) -> None:
        fit = self._workers() - self.unfit.keys() if self.unfit else set()
        try:
            sent = cloudpickle.dumps(replace(work, specs=self.specs))
        except Exception as error:  # whatever an environment's arguments raise
            raise ConfigError(f"{work.fleet.title}: cannot be sent to a worker: {_line(error)}") from None
        parcel = pickle.dumps(_Call(_train, (self.versions, self.packed, sent, self.topic)))
        key = f"{work.fleet.name}-{time.time_ns()}"
        future = self.client.submit(pickle.loads, parcel, key=key, pure=False, workers=sorted(fit) or None)
        self.futures[future] = work.fleet, fit

    def done(self, timeout: float) -> list[tuple[Group, Outcome]]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and not any(future.done() for future in self.futures):
            time.sleep(0.05)
        there = self._workers() if any(fit for _, fit in self.futures.values()) else set()
        outcomes = []
        for future, (fleet, fit) in list(self.futures.items()):
            if future.done():
                outcome = self._outcome(future)
            elif fit and fit.isdisjoint(there):  # Dask would wait for them to come back
                future.cancel(force=True)
                self.deaths[fleet.name] += 1
                outcome = Outcome(stopped=True)
                if self.deaths[fleet.name] > self.DEATHS:
                    outcome = Outcome(error=DIED)
            else:
                continue
            del self.futures[future]
            outcomes.append((fleet, outcome))
        return outcomes

    def _outcome(self, future) -> Outcome:
        from distributed.scheduler import KilledWorker

        if future.status in ("cancelled", "lost"):
            return Outcome(stopped=True)
        error = future.exception()
        if isinstance(error, KilledWorker):
            return Outcome(error=DIED, trace=str(error))
        if isinstance(error, ModuleNotFoundError) and (without := self._without(error.name)):
            return self._refused({worker: f"lacks the module {error.name}" for worker in without})
        if error is not None:
            return Outcome(error=_line(error), trace=repr(error))
        outcome = future.result()
        if outcome.lacking and modules.known(outcome.lacking):  # here it is there
            outcome = replace(outcome, unfit=f"lacks the module {outcome.lacking}")
        return self._refused({outcome.worker: outcome.unfit}) if outcome.unfit else outcome

    def _without(self, module: str) -> list[str]:
        """The workers that cannot even read what they are sent."""
        found = self.client.run(importlib.util.find_spec, module.partition(".")[0], on_error="return")
        return [worker for worker, spec in found.items() if spec is None]

    def _refused(self, reasons: dict[str, str]) -> Outcome:
        """These workers are not used any more; the fleet waits for another."""
        for worker, reason in reasons.items():
            if worker.split(" ")[0] not in self.unfit:
                self.unfit[worker.split(" ")[0]] = f"worker {worker} {reason}"
                console.console.print(f"[yellow]note:[/] worker {worker} {reason}", highlight=False)
        return Outcome(stopped=True)

    def stop(self) -> None:
        """Workers see within one iteration that their fleet is cancelled."""
        try:
            self.client.cancel(list(self.futures), force=True)
        except (OSError, TimeoutError):
            pass  # it has ended, or is ending


class _Call:
    """Is called where it is unpickled."""

    def __init__(self, function: Callable, arguments: tuple):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


_alone = threading.Lock()  # environments and torch have generators and settings of their process


def _train(versions: dict[str, str], packed: modules.Modules, sent: bytes, topic: str) -> Outcome:
    """What a Dask worker does."""
    from distributed import Reschedule, get_worker

    from study.launch import checkpoint

    worker, key = get_worker(), _task_key()
    who = f"{worker.address} ({socket.gethostname()})"
    there = checkpoint.versions()
    if others := [
        f"{name} {there[name]} (here {version})" for name, version in versions.items() if there[name] != version
    ]:
        return Outcome(unfit=f"has {', '.join(others)}", worker=who)
    last = -1.0

    def report(progressed: Progressed) -> None:
        nonlocal last
        if progressed.iteration == progressed.iterations or time.monotonic() - last > 0.5:
            worker.log_event(topic, {"progressed": asdict(progressed)})  # Dask adds a key of its own
            last = time.monotonic()

    if not _alone.acquire(timeout=1):
        raise Reschedule  # perhaps to a worker that has nothing to do
    try:
        modules.place(packed, Path(worker.local_directory))
        work = pickle.loads(sent)
        modules.register(work.specs)
        return replace(work.train(report, lambda: _wanted(worker, key)), worker=who)
    except ImportError as error:
        return Outcome(
            error=_line(error), trace=traceback.format_exc(), lacking=modules.lacking(error) or "", worker=who
        )
    finally:
        _alone.release()


def _task_key() -> str:
    from distributed.worker import thread_state

    return thread_state.key


def _wanted(worker, key: str) -> bool:
    """Not if the task was cancelled while it ran, by a client that stops or is gone."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state in ("executing", "long-running")


@dataclass(frozen=True)
class Place:
    """What kind of cluster it is, for what is to be said where it has no workers."""

    hint: str
    remote: bool = True
    patience: float = math.inf  # seconds without a worker
    ended: Callable[[], str | None] = lambda: None  # why no worker will come any more

    def packed(self, configs: list) -> modules.Modules:
        """Workers of this machine look where this process does."""
        return modules.of(configs) if self.remote else modules.Modules({})


@contextmanager
def engine(choice: str | dict, workers: int, configs: list, report: Callable, stopping: Callable[[], bool]):
    """Here for one local worker, else Dask. Raises ConfigError if the cluster cannot be reached."""
    if choice == "local" and workers == 1:
        yield Here(report, stopping)
        return
    import dask
    from distributed import Client
    from distributed.deploy.spec import close_clusters

    loggers = [
        logging.getLogger(name) for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:  # a dying worker is reported by us, in one line
        logger.setLevel(logging.CRITICAL)
    before = set(multiprocessing.active_children())
    cluster = client = None
    settings = {
        "distributed.comm.timeouts.connect": CONNECT if isinstance(choice, str) and choice != "local" else "30s",
        "distributed.admin.log-format": "%(message)s",
        "distributed.admin.large-graph-warning-threshold": "1GB",
        "distributed.worker.profile.enabled": False,  # which nobody reads
    }
    if choice == "local":  # a worker's end is seen; silent are workers of a machine that slept
        settings["distributed.scheduler.worker-ttl"] = None
    with _script_unseen(), dask.config.set(settings):
        try:
            cluster, place = make(choice, workers)
            try:
                if isinstance(cluster, str):
                    _knock(cluster)
                client = Client(cluster, timeout=settings["distributed.comm.timeouts.connect"], set_as_default=False)
            except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
                raise ConfigError(
                    f"execution.cluster={choice}: no Dask scheduler answers there ({_line(error)})"
                ) from None
            yield Dask(client, configs, report, place)
        finally:
            if choice == "local" and stopping():
                atexit.unregister(close_clusters)  # it would wait a second time
                # A compiling worker does not see the request to stop, and has nothing to lose
                for nanny in getattr(cluster, "workers", {}).values():
                    nanny.auto_restart = False
                for child in set(multiprocessing.active_children()) - before:
                    child.kill()
            for opened in (client, None if isinstance(cluster, str) else cluster):
                try:
                    if opened is not None:
                        opened.close(timeout=0.5 if stopping() else 5)
                except (OSError, TimeoutError):
                    pass  # the results are kept; what does not end by itself ends with this process
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)


def _knock(address: str) -> None:
    """Raises OSError and others if no scheduler answers; a client would wait for one that is silent."""
    from dask.utils import parse_timedelta
    from distributed.comm import connect
    from distributed.security import Security

    async def knock():
        known = Security().get_connection_args("client")
        comm = await asyncio.wait_for(connect(address, CONNECT, **known), 2 * parse_timedelta(CONNECT))
        comm.abort()

    with ThreadPoolExecutor(1) as apart:  # a notebook has a loop of its own
        apart.submit(asyncio.run, knock()).result()


@contextmanager
def _script_unseen():
    """Spawned workers would run the calling script again, and sweep again; they need nothing of it."""
    main = sys.modules["__main__"]
    file, spec = getattr(main, "__file__", None), main.__spec__
    try:
        main.__file__, main.__spec__ = None, None
        yield
    finally:
        main.__file__, main.__spec__ = file, spec


def _loop():
    """Dask's own thread, with Ctrl-C blocked in it and so in the workers it starts: the signal reaches every process of
    the terminal, and only the client is to act on it."""
    from multiprocessing import resource_tracker

    from distributed.utils import LoopRunner

    runner = LoopRunner()
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # it unblocks the signal in the thread that starts it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            runner.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    else:
        runner.start()
    return runner.loop


def make(choice: str | dict, workers: int) -> tuple[Any, Place]:
    """A cluster, or the address of a running scheduler."""
    if choice == "local":
        return _local(workers), Place("workers of this machine end at their start", remote=False, patience=60)
    if isinstance(choice, dict):
        return _batch(dict(choice))
    if "://" not in choice:
        raise ConfigError(
            f"execution.cluster={choice}: must be local, the address of a Dask scheduler (tcp://HOST:PORT) "
            f"or a batch system (+cluster=slurm, {shown('cluster')})"
        )
    import dask

    patience = dask.utils.parse_timedelta(dask.config.get("distributed.scheduler.no-workers-timeout") or "60s")
    return choice, Place(f"{choice} has none; start one there: dask worker {choice}", patience=patience)


def _local(workers: int):
    from distributed import LocalCluster

    try:
        # No limit per worker: the system knows better what memory there is than a share per core does.
        return LocalCluster(
            n_workers=workers,
            loop=_loop(),
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    except (OSError, RuntimeError, TimeoutError) as error:
        reason = _line(error.__cause__ or error)
        raise ConfigError(
            f"execution.workers={workers}: a worker of this machine ends at its start ({reason})"
        ) from None


def _batch(settings: dict) -> tuple[Any, Place]:
    kind, jobs = settings.pop("kind", None), settings.pop("jobs", 1)
    settings.setdefault("scheduler_options", {"dashboard_address": ":0"})
    if kind not in BATCH_SYSTEMS:
        raise ConfigError(
            f"execution.cluster.kind={kind}: must be one of {', '.join(BATCH_SYSTEMS)} ({shown('cluster')})"
        )
    handler = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue  # makes Ctrl-C exit with 0, as if all were done
    except ImportError:
        raise ConfigError(f"execution.cluster.kind={kind}: needs it: pip install dask-jobqueue") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
    system = getattr(dask_jobqueue, BATCH_SYSTEMS[kind])
    submit = system.job_cls.submit_command.split()[0]
    if shutil.which(submit) is None:
        raise ConfigError(
            f"execution.cluster.kind={kind}: there is no {submit} on this machine; "
            "give the command where jobs are submitted (a login node)"
        )
    from distributed.core import Status

    cluster = None

    async def begin():
        cluster.scale(jobs=jobs)
        await cluster._correct_state()  # else a job that is refused is a trace in the log

    try:
        cluster = system(**settings)
        cluster.sync(begin)
    except Exception as error:  # whatever the batch system, or a class of dask_jobqueue, says
        if cluster is not None:
            for job in cluster.workers.values():
                if job.job_id is None:  # else it cannot be closed
                    job.status = Status.failed
            cluster.close(timeout=5)
        raise ConfigError(f"execution.cluster: {_line(error)} ({shown('cluster')})") from None
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # a job that ends early is replaced
    ids = [job.job_id for job in cluster.workers.values()]
    hint = f"{kind} has the jobs {', '.join(map(str, ids))}; none has begun, or all have ended (see their output)"
    return cluster, Place(hint, ended=_Ended(ids) if kind == "slurm" else lambda: None)


class _Ended:
    """Whether all of these jobs of Slurm are over."""

    EVERY = 5.0  # seconds

    def __init__(self, ids: list[str]):
        self.ids, self.asked = ids, time.monotonic()

    def __call__(self) -> str | None:
        if time.monotonic() - self.asked < self.EVERY:
            return None
        self.asked = time.monotonic()
        question = ["squeue", "--noheader", "--format=%A", f"--jobs={','.join(self.ids)}"]
        try:
            answer = subprocess.run(question, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if set(answer.stdout.split()) & set(self.ids) or (answer.returncode and "Invalid job id" not in answer.stderr):
            return None
        output = Path(f"slurm-{self.ids[0]}.out")
        last = output.read_text(errors="replace").split("\n") if output.exists() else []
        last = next((line.strip() for line in reversed(last) if line.strip()), "see their output")
        return f"jobs {', '.join(self.ids)} have ended before a worker began: {last}"
