"""Where a fleet is trained: in this process, or on the workers of a Dask cluster, local or remote."""

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from study import console, process
from study.files import shown
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


class Lost(Exception):
    """The cluster cannot be reached any more."""


class Stopped(Exception):
    """Asked to stop; the current iteration is finished."""


class _Reached(Exception):
    """A run alone has come as far as its fleet."""


@dataclass(frozen=True)
class Outcome:
    """The result of a fleet's training, or why there is none."""

    results: list | None = None
    error: str | None = None  # it raised, or its worker died; one line
    trace: str = ""
    alone: dict[str, str] = field(default_factory=dict)  # run_id -> error, of the fleet's runs that raise alone too
    hopeless: bool = False  # every other fleet would fail too (disk full)
    stopped: bool = False


@dataclass(frozen=True)
class Work:
    """A fleet to be trained, as it travels to a worker."""

    fleet: Group
    folder: Path  # of checkpoints, if the worker sees the same folder as the client
    token: str
    said: frozenset[str] = frozenset()  # gymnasium's warnings that the user has read

    EARLY = 10  # iterations: of a fleet that raises before, it is cheap to try each run alone

    def train(self, report: Callable[[Progressed], None], wanted: Callable[[], bool] = lambda: True) -> Outcome:
        """Trains the fleet to its end. Whatever it raises comes back as an outcome."""
        process.fit()
        console.said.update(self.said)
        trainer = None
        try:
            console.hear_gymnasium()
            from study.fleet import Trainer
            from study.launch import checkpoint, snapshots

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
            results = checkpoint.train(trainer, reported, file, study)
            if not shared:
                file.unlink(missing_ok=True)  # the client drops those of the shared folder, with the results kept
            return Outcome(results)
        except Stopped:
            return Outcome(stopped=True)
        except Unwritable as error:
            return Outcome(error=str(error), hopeless=True)
        except Exception as error:
            reached, trace = trainer.iteration if trainer else 0, traceback.format_exc()
            try:
                alone = self._alone(reached, wanted) if reached < self.EARLY and len(self.fleet.configs) > 1 else {}
            except Stopped:
                return Outcome(stopped=True)
            return Outcome(error=_line(error), trace=trace, alone=alone)

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
            except Exception as error:
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
    """The workers of a Dask cluster. Only as many fleets are submitted as there are threads to train them,
    so that other launchers find work too. A fleet whose worker died is trained by another one, from its
    checkpoint where that one sees it."""

    def __init__(self, client, report: Callable[[Progressed], None]):
        self.client = client
        self.topic = f"study-{os.getpid()}-{time.time_ns()}"
        self.futures: dict[Any, Group] = {}
        client.subscribe_topic(self.topic, lambda event: report(Progressed(**event[1]["progressed"])))

    def slots(self) -> int:
        try:
            if self.client.status == "running":
                return sum(self.client.nthreads().values())
        except (OSError, TimeoutError):
            pass
        raise Lost("the Dask scheduler does not answer any more")

    def submit(self, work: Work) -> None:
        future = self.client.submit(_train, work, self.topic, key=f"{work.fleet.name}-{time.time_ns()}", pure=False)
        self.futures[future] = work.fleet

    def done(self, timeout: float) -> list[tuple[Group, Outcome]]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and not any(future.done() for future in self.futures):
            time.sleep(0.05)
        return [(self.futures.pop(future), _outcome(future)) for future in list(self.futures) if future.done()]

    def stop(self) -> None:
        """Workers see within one iteration that their fleet is cancelled."""
        try:
            self.client.cancel(list(self.futures), force=True)
        except (OSError, TimeoutError):
            pass  # it has ended, or is ending


def _train(work: Work, topic: str) -> Outcome:
    """What a Dask worker does."""
    from distributed import get_worker

    worker, key = get_worker(), _task_key()
    last = -1.0

    def report(progressed: Progressed) -> None:
        nonlocal last
        if progressed.iteration == progressed.iterations or time.monotonic() - last > 0.5:
            worker.log_event(topic, {"progressed": asdict(progressed)})  # Dask adds a key of its own
            last = time.monotonic()

    return work.train(report, lambda: _wanted(worker, key))


def _task_key() -> str:
    from distributed.worker import thread_state

    return thread_state.key


def _wanted(worker, key: str) -> bool:
    """Not if the task was cancelled while it ran, by a client that stops or is gone."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state in ("executing", "long-running")


def _outcome(future) -> Outcome:
    from distributed.scheduler import KilledWorker

    if future.status in ("cancelled", "lost"):
        return Outcome(stopped=True)
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        return Outcome(error="its worker died again and again (out of memory?)", trace=str(error))
    return Outcome(error=_line(error), trace=repr(error))


@contextmanager
def engine(choice: str | dict, workers: int, report: Callable, stopping: Callable[[], bool]):
    """Here for one local worker, else Dask. Raises ConfigError if the cluster cannot be reached."""
    if choice == "local" and workers == 1:
        yield Here(report, stopping)
        return
    import dask
    from distributed import Client
    from distributed.deploy.spec import close_clusters

    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":  # a dying worker is reported by us, in one line
            logging.getLogger(name).setLevel(logging.CRITICAL)
    before = set(multiprocessing.active_children())
    cluster = client = None
    with (
        _script_unseen(),
        dask.config.set({"distributed.comm.timeouts.connect": "30s", "distributed.admin.log-format": "%(message)s"}),
    ):
        try:
            cluster = make(choice, workers)
            try:
                client = Client(cluster, timeout=30)
            except (OSError, TimeoutError, ValueError) as error:
                raise ConfigError(f"execution.cluster={choice}: no Dask scheduler answers there ({error})") from None
            yield Dask(client, report)
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


def make(choice: str | dict, workers: int):
    """A cluster, or the address of a running scheduler."""
    if choice == "local":
        from distributed import LocalCluster

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
    if isinstance(choice, str):
        if "://" not in choice:
            raise ConfigError(
                f"execution.cluster={choice}: must be local, the address of a Dask scheduler (tcp://HOST:PORT) "
                f"or a batch system (+cluster=slurm, {shown('cluster')})"
            )
        return choice
    settings = dict(choice)
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
    try:
        cluster = getattr(dask_jobqueue, BATCH_SYSTEMS[kind])(**settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"execution.cluster: {' '.join(str(error).split())} ({shown('cluster')})") from None
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # a job that ends early is replaced
    return cluster
