"""Run the trainings of a comparison at the same time: in processes here, or on a cluster.

What travels to another machine is a `Job`: command lines, and paths of a folder that all machines
share. A job of a worker that has died is given to another one, which resumes the training.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from metarobot.cli.parent import PARENT
from metarobot.cli.trainings import Training
from metarobot.io import Folder

_LOOK_S = 0.5
"""Time between two looks at a job, in seconds."""
_MOST_NAMES = 4
"""Trainings that the display names at the same time."""
_ENDING_S = 60.0
"""Time that a training has to write its checkpoint when it is asked to stop."""


class JobError(ValueError):
    """A training has failed."""


class Stop(Protocol):
    """What asks all jobs to stop: an event of threads, or of a cluster."""

    def set(self) -> None:
        """Ask."""
        ...

    def is_set(self) -> bool:
        """Whether that was done."""
        ...


@dataclass(frozen=True)
class Engine:
    """Where jobs are run."""

    executor: Executor
    stop: Stop


@dataclass(frozen=True)
class Job:
    """One training, as it travels."""

    name: str
    folder: str
    """Run folder of the training."""
    here: str
    """Working directory of the command lines."""
    words: tuple[str, ...]
    words_again: tuple[str, ...]

    @classmethod
    def of(cls, training: Training) -> Job:
        """Return the job of a training, in this working directory."""
        words, again = training.words, training.words_again
        return cls(training.name, str(training.folder), str(Path.cwd()), words, again)


def run_trainings(
    trainings: Sequence[Training], engine: Engine, progress: Callable[[str, float], None]
) -> None:
    """Run trainings, and put each in its place when it is done.

    Args:
        trainings: What is to be trained.
        engine: Where.
        progress: Called with those in training and the share of the work done, 0 to 1.

    Raises:
        JobError: A training has failed; the others were stopped, and can be resumed.
    """
    running: dict[Future[None], Training] = {}
    try:
        for training in trainings:
            running[engine.executor.submit(run_job, Job.of(training), engine.stop)] = training
        while running:
            finished, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                running.pop(future).place()
            _show(trainings, list(running.values()), progress)
    finally:
        engine.stop.set()  # those that have not begun see it, and do nothing
        wait(running, timeout=2 * _ENDING_S)


def _show(
    trainings: Sequence[Training],
    left: Sequence[Training],
    progress: Callable[[str, float], None],
) -> None:
    shares = {training.name: training.share for training in left}
    done = len(trainings) - len(left)
    begun = [name for name, share in shares.items() if share > 0.0]
    names = " and ".join(begun[:_MOST_NAMES]) + " and more" * (len(begun) > _MOST_NAMES)
    text = f"{done} of {len(trainings)} trained" + f"; training {names}" * bool(begun)
    progress(text, (done + sum(shares.values())) / len(trainings))


def run_job(job: Job, stop: Stop) -> None:
    """Train in a process of its own until it is done, or until all jobs are asked to stop.

    Args:
        job: What to train; its folder decides whether it begins or goes on.
        stop: Looked at now and then.

    Raises:
        JobError: The training has failed; the message is its last line.
    """
    folder = Folder(Path(job.here, job.folder))
    if not _wait_until_free(folder, stop):
        return
    words = job.words_again if folder.exists() else job.words
    process = subprocess.Popen(
        [sys.executable, "-m", "metarobot", *words],
        cwd=job.here,
        env={**os.environ, PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C in the terminal is ours to pass on
    )
    said = _watch(process, stop)
    if process.returncode and not stop.is_set():
        *_, last = ["", *said.strip().splitlines()]
        why = last.removeprefix("metarobot: ").removeprefix("error: ")
        raise JobError(f"{job.name}: {why or f'ended with exit code {process.returncode}'}")


def _wait_until_free(folder: Folder, stop: Stop) -> bool:
    """Wait while another process trains there: that of a worker that has just died, say."""
    while not stop.is_set():
        try:
            if folder.exists():
                with folder.lock():
                    pass
            return True
        except BlockingIOError:
            threading.Event().wait(_LOOK_S)
    return False


def _watch(process: subprocess.Popen[str], stop: Stop) -> str:
    """Wait for the end of a process; return what it wrote to standard error."""
    try:
        while True:
            try:
                return process.communicate(timeout=_LOOK_S)[1]
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    break
        process.terminate()
        return process.communicate(timeout=_ENDING_S)[1]
    except subprocess.TimeoutExpired:
        return ""
    finally:
        process.kill()
        process.wait()


@contextmanager
def engine_here(jobs: int) -> Iterator[Engine]:
    """Run jobs in processes of this machine.

    Args:
        jobs: How many at the same time.
    """
    with ThreadPoolExecutor(jobs) as executor:
        yield Engine(executor, threading.Event())


@contextmanager
def engine_on_cluster(address: str) -> Iterator[Engine]:
    """Run jobs on the workers of a dask cluster, one on each thread of theirs.

    Args:
        address: Of its scheduler, such as tcp://10.0.0.1:8786.

    Raises:
        ValueError: dask is not installed, or there is no scheduler.
    """
    try:
        from distributed import Client, Event
    except ImportError as error:
        raise ValueError("--cluster needs `pip install 'metarobot[cluster]'`") from error
    try:
        client = Client(address, timeout="10s", set_as_default=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"no dask scheduler answers at {address!r}: {error}") from error
    with client:
        stop: Any = Event(f"metarobot-stop-{os.getpid()}-{client.id}", client=client)
        yield Engine(client.get_executor(pure=False), stop)
