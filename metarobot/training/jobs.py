"""Trainings of several algorithms and seeds at the same time: here, or on a dask cluster.

Each training works in its own folder of a run. If a worker of a cluster dies, another one resumes
its training.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from metarobot.config import TrainConfig
from metarobot.console import InterruptedCommandError
from metarobot.io import Folder
from metarobot.machine import prepare
from metarobot.training.progress import TrainingDisplay
from metarobot.training.run_folder import load_curve
from metarobot.training.train import train_algorithm

_LOOK_S = 0.5
"""Time between two checks of a job, in seconds."""
_MOST_NAMES = 4
"""Trainings that the display names at the same time."""
_ENDING_S = 120.0
"""Time that trainings have to end their meta-iterations after a stop request, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Training of one algorithm and seed, as sent to a worker."""

    config: TrainConfig
    run: Path
    """Run folder of the seed."""
    wandb: bool
    here: Path
    """Working folder."""
    modules: Sequence[str]
    """Modules of the user that it needs."""

    @property
    def name(self) -> str:
        """Algorithm and seed."""
        return f"{self.config.algorithm}, seed {self.config.seed}"

    @property
    def share(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        try:
            curve = load_curve(self.run, self.config.algorithm, ("total_steps",))
        except (OSError, ValueError):  # not begun, or a row is being written
            return 0.0
        return min(1.0, max(curve["total_steps"], default=0.0) / self.config.total_steps)


Stop = Any
"""Event, of processes or of a cluster, that stops all trainings."""
Submit = Callable[["Training"], "Future[None]"]
"""Function that submits a training to a worker."""


@contextmanager
def workers(jobs: int, cluster: str | None) -> Iterator[tuple[Submit, Stop]]:
    """Start processes that train, or connect to the workers of a dask cluster by its address.

    A single job trains in this process, so that a script needs no guard for processes that import
    it again.

    Raises:
        ValueError: dask is not installed, or there is no scheduler.
    """
    if jobs == 1 and cluster is None:
        here = threading.Event()
        with ThreadPoolExecutor(1) as thread:
            yield lambda training: thread.submit(train_job, training, here), here
        return
    if cluster is None:  # not dask's own processes: they would take commands from a local port
        context = multiprocessing.get_context("spawn")
        event = context.Event()
        with ProcessPoolExecutor(jobs, context, _begin_process, (event,)) as pool:
            yield lambda training: pool.submit(_train_in_process, training), event
        return
    try:
        from distributed import Client, Event
    except ImportError as error:
        raise ValueError("--cluster needs `pip install 'metarobot[cluster]'`") from error
    try:
        client = Client(cluster, timeout="10s", set_as_default=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"no dask scheduler answers at {cluster!r}: {error}") from error
    with client:
        stop: Any = Event(f"metarobot-stop-{os.getpid()}-{client.id}", client=client)
        executor = client.get_executor(pure=False)
        yield lambda training: executor.submit(train_job, training, stop), stop


_process_stop: Stop
"""Stop event of this process of the pool; it is inherited, as it cannot be pickled."""


def _begin_process(stop: Stop) -> None:
    """Make a process end with its parent; only the parent gets Ctrl-C from the terminal."""
    global _process_stop
    _process_stop = stop
    if hasattr(os, "setsid"):
        os.setsid()
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)  # a training writes its checkpoint
            time.sleep(_ENDING_S)
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _train_in_process(training: Training) -> None:
    train_job(training, _process_stop)


def run_trainings(
    trainings: Sequence[Training],
    submit: Submit,
    stop: Stop,
    progress: Callable[[str, float], None],
) -> None:
    """Run trainings until all are done, and show the share of the work done, 0 to 1.

    Raises:
        ValueError: A training has failed; the others were stopped, and can be resumed.
    """
    running: dict[Future[None], Training] = {}
    try:
        for training in trainings:
            running[submit(training)] = training
        while running:
            finished, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                running.pop(future)
            _show(trainings, list(running.values()), progress)
    except BrokenExecutor as error:
        raise ValueError("a process that trained was killed: is there enough memory?") from error
    finally:
        stop.set()  # those that have not begun see it, and do nothing
        wait(running, timeout=_ENDING_S)


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


def train_job(training: Training, stop: Stop) -> None:
    """Train in this process until the budget is spent, or until the stop event is set.

    Raises:
        ValueError: The training has failed; the message is one line.
    """
    os.chdir(training.here)
    if str(training.here) not in sys.path:
        sys.path.append(str(training.here))
    for module in training.modules:
        import_module(module)
    prepare()
    folder = Folder(training.run) / training.config.algorithm
    while not stop.is_set() and folder.is_locked():  # by a worker that has just died, say
        time.sleep(_LOOK_S)
    if stop.is_set():
        return
    display = TrainingDisplay(
        console=Console(quiet=True),
        stopped=stop.is_set,
        wandb=training.run if training.wandb else None,
    )
    try:
        with display:
            train_algorithm(training.config, folder, display)
    except InterruptedCommandError:
        return
    except (ValueError, OSError) as error:
        raise ValueError(f"{training.name}: {error}") from error
