"""Train one algorithm of a run: meta-iterations, checkpoints, the log, what is displayed."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Protocol

import torch
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from metarobot.algorithms import algorithm_class
from metarobot.closable import Closable
from metarobot.config import TrainConfig
from metarobot.envs import make_env
from metarobot.io import Folder, errors_naming, json_bytes
from metarobot.learning.distributed import ALONE, Workers
from metarobot.training.checkpoints import (
    BEST_FILE,
    Metrics,
    Progress,
    keeps_best,
    load_newest_checkpoint,
    policy_bytes,
    save_checkpoint,
)
from metarobot.training.interruption import InterruptedTrainingError, StopRequest, listen_for_stop
from metarobot.training.memory import num_simulations, require_training_memory
from metarobot.training.provenance import choose_num_threads
from metarobot.training.run_folder import (
    CHECKPOINT_FOLDER,
    CURVE_COLUMNS,
    CURVE_FILE,
    DONE_FILE,
    EVENTS_PREFIX,
    POLICY_FILE,
    refusals_as_run_errors,
)
from metarobot.training.trainer import MetaTrainer

CHECKPOINT_EVERY = 10
"""Meta-iterations between checkpoints, and between policies compared for the best."""
CHECKPOINT_EVERY_S = 30.0
"""Seconds without a checkpoint, at most: more than that is never lost."""


class Display(Protocol):
    """Shows training as it goes."""

    def begin(self, config: TrainConfig, total_steps: int) -> None:
        """An algorithm starts to train, or goes on after total_steps control steps."""
        ...

    def update(self, metrics: Metrics, rejected: Sequence[Mapping[str, float]] = ()) -> None:
        """A meta-iteration is over; rejected are tasks whose numbers were not finite."""
        ...

    def conclude(self, share: float) -> None:
        """Meta-training is over, and a share of what remains is done."""
        ...

    def end(self) -> None:
        """The algorithm's budget is spent."""
        ...


def train_algorithm(
    config: TrainConfig, folder: Folder, display: Display | None = None, workers: Workers = ALONE
) -> None:
    """Train one algorithm until its budget is spent, from its newest checkpoint if it has one.

    Args:
        config: What to train and how.
        folder: Where its files go; made if missing.
        display: Shows the progress.
        workers: The processes that share the run.

    Raises:
        InterruptedTrainingError: Training was asked to stop; the last checkpoint is in place.
    """
    require_training_memory([config], workers)
    torch.set_num_threads(choose_num_threads(config.num_threads))
    keep_freed_memory()
    trainer = make_trainer(config, workers)
    with closing(trainer.env):
        progress = _restore(trainer, folder)
        with (
            listen_for_stop() as stop,
            _open_books(trainer, folder, progress, display) as books,
        ):
            keeper = _Keeper(trainer, folder, books, stop)
            while not trainer.finished:
                keeper.keep(trainer.step())
            trainer.conclude(keeper.watch)
            workers.require_equal(trainer.params)
            if books is not None:
                books.finish()


def make_trainer(config: TrainConfig, workers: Workers) -> MetaTrainer:
    """Make a trainer that has not begun, with the environment that it needs."""
    env = make_env(
        config.env_id,
        num_simulations(config, workers),
        num_threads=choose_num_threads(config.num_threads),
        observe_task=algorithm_class(config.algorithm).observes_task,
        variant=config.variant,
        scene_path=config.scene,
    )
    return MetaTrainer(config, env, workers=workers)


def _restore(trainer: MetaTrainer, folder: Folder) -> Progress:
    """Bring the trainer to its newest checkpoint, if it has one; return how far that was."""
    found = load_newest_checkpoint(
        folder / CHECKPOINT_FOLDER, trainer.config, trainer.state(), trainer.workers
    )
    if found is None:
        return Progress()
    state, progress = found
    trainer.restore(state)
    return progress


@contextmanager
def _open_books(
    trainer: MetaTrainer, folder: Folder, progress: Progress, display: Display | None
) -> Iterator[_Books | None]:
    """Open the books of a run: the first of its processes keeps them, the others get None."""
    if not trainer.workers.first:
        yield None
        return
    folder.make()
    with TrainingLog(folder, progress.log_bytes, trainer.total_steps) as log:
        if display is not None:
            display.begin(trainer.config, trainer.total_steps)
        yield _Books(trainer, folder, progress, log, display)


class _Books:
    """What a run leaves behind while it goes on: the log, the checkpoints, what is displayed."""

    def __init__(
        self,
        trainer: MetaTrainer,
        folder: Folder,
        progress: Progress,
        log: TrainingLog,
        display: Display | None,
    ) -> None:
        self._trainer, self._folder, self._progress = trainer, folder, progress
        self._log, self._display = log, display
        self._started_s = time.monotonic() - progress.seconds

    def write(self, metrics: Metrics) -> None:
        """Log and show a meta-iteration; keep its policy if it is the best of those compared."""
        self._log.write(metrics)
        self._progress.add_return(metrics["meta/post_return"])
        trainer = self._trainer
        compared = trainer.iteration % CHECKPOINT_EVERY == 0 and keeps_best(
            trainer.config.algorithm
        )
        if compared and self._progress.is_best():
            self._save_policy(self._folder / CHECKPOINT_FOLDER, BEST_FILE)
        if self._display is not None:
            self._display.update(metrics, trainer.rejected)

    def conclude(self, share: float) -> None:
        """Show how much of what remains is done."""
        if self._display is not None:
            self._display.conclude(share)

    def save(self) -> None:
        """Write a checkpoint, and the policy for those who only want to use it."""
        trainer, folder = self._trainer, self._folder / CHECKPOINT_FOLDER
        self._progress.seconds = time.monotonic() - self._started_s
        self._progress.log_bytes = self._log.flush()
        save_checkpoint(folder, trainer.config, trainer.state(), self._progress)
        self._save_policy(self._folder, POLICY_FILE)

    def finish(self) -> None:
        """Write down what it cost: from now on the algorithm counts as trained."""
        # A kill may have come between the last checkpoint and its policy.
        self._save_policy(self._folder, POLICY_FILE)
        trainer = self._trainer
        cost = {
            "iterations": trainer.iteration,
            "total_steps": trainer.total_steps,
            "seconds": round(time.monotonic() - self._started_s, 2),
        }
        self._folder.write(DONE_FILE, json_bytes(cost))
        if self._display is not None:
            self._display.end()

    def _save_policy(self, folder: Folder, name: str) -> None:
        trainer = self._trainer
        folder.make()
        folder.write(name, policy_bytes(trainer.config, trainer.params, trainer.iteration))


class _Keeper:
    """Decides after every meta-iteration what is kept, and whether training stops."""

    def __init__(
        self, trainer: MetaTrainer, folder: Folder, books: _Books | None, stop: StopRequest
    ) -> None:
        self._trainer, self._folder, self._books, self._stop = trainer, folder, books, stop
        self._saved_s = time.monotonic()

    def keep(self, metrics: Metrics) -> None:
        """Keep what a meta-iteration has left.

        Raises:
            InterruptedTrainingError: A process was asked to stop; the checkpoint is in place.
        """
        trainer, books, workers = self._trainer, self._books, self._trainer.workers
        if books is not None:
            books.write(metrics)
        # All processes must stop, and must save, after the same meta-iteration.
        signal_number = workers.largest(self._stop.signal_number)
        waited = workers.largest(time.monotonic() - self._saved_s >= CHECKPOINT_EVERY_S)
        regular = trainer.iteration % CHECKPOINT_EVERY == 0
        if regular or waited or signal_number or trainer.finished:
            workers.require_equal(trainer.params)
            if books is not None:
                books.save()
            self._saved_s = time.monotonic()
        self._stop_if_asked(signal_number)

    def watch(self, share: float) -> None:
        """Show how much is done of what follows meta-training; it begins anew if stopped.

        Raises:
            InterruptedTrainingError: A process was asked to stop; the checkpoint is in place.
        """
        if self._books is not None:
            self._books.conclude(share)
        self._stop_if_asked(self._trainer.workers.largest(self._stop.signal_number))

    def _stop_if_asked(self, signal_number: int) -> None:
        if signal_number:
            raise InterruptedTrainingError(signal_number, self._folder.path.parent)


# The log of a training run: curve.csv and TensorBoard, cut back to the checkpoint on resuming.


# Generated classes, which type checkers cannot see.
Event: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
SessionLog: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
Summary: Any = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]

_EVENTS_VERSION = "brain.Event:2"
"""What the first record of a file says to TensorBoard."""


class TrainingLog(Closable):
    """Adds the metrics of every meta-iteration to curve.csv and to a file of TensorBoard events.

    Args:
        folder: The algorithm's folder.
        num_bytes: Length of curve.csv at the checkpoint that training goes on from; what was
            written after it is cut off. 0 begins a new log.
        total_steps: Control steps simulated until then.

    Raises:
        RunError: curve.csv is missing, shorter than that, or no plain file.
    """

    def __init__(self, folder: Folder, num_bytes: int, total_steps: int) -> None:
        self._folder = folder
        with ExitStack() as stack, refusals_as_run_errors():
            self._file = stack.enter_context(folder.open_log(CURVE_FILE, num_bytes))
            self._events_file = stack.enter_context(folder.create(_events_name()))
            self._files = stack.pop_all()
        self._events = RecordWriter(self._events_file)
        with errors_naming(self._folder.path):
            self._write_event(Event(file_version=_EVENTS_VERSION))
            if num_bytes:  # TensorBoard forgets what an interrupted session wrote from here on
                start = SessionLog(status=SessionLog.START)
                self._write_event(Event(step=total_steps + 1, session_log=start))
            else:
                self._write_row(list(CURVE_COLUMNS))

    def close(self) -> None:
        """Close the files.

        Raises:
            OSError: The disk is full; the message names the folder.
        """
        with errors_naming(self._folder.path):
            self._files.close()

    def write(self, metrics: Metrics) -> None:
        """Add one meta-iteration.

        Raises:
            OSError: The disk is full; the message names the folder.
        """
        with errors_naming(self._folder.path):
            self._write_row([f"{metrics[name]:.9g}" for name in CURVE_COLUMNS.values()])
            values = [Summary.Value(tag=name, simple_value=v) for name, v in metrics.items()]
            step = int(metrics["time/total_steps"])
            self._write_event(Event(step=step, summary=Summary(value=values)))

    def flush(self) -> int:
        """Bring curve.csv to the disk, and return its length in bytes.

        Raises:
            OSError: The disk is full; the message names the folder.
        """
        with errors_naming(self._folder.path):
            os.fsync(self._file.fileno())
            return self._file.tell()

    def _write_event(self, event: Any) -> None:
        event.wall_time = time.time()
        self._events.write(event.SerializeToString())
        self._events.flush()

    def _write_row(self, cells: list[str]) -> None:
        self._file.write((",".join(cells) + "\n").encode())
        self._file.flush()


def _events_name() -> str:
    """Return a name that TensorBoard looks for, and that no other session takes."""
    return f"{EVENTS_PREFIX}{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"


# Memory that tensors have left is kept for the next ones, where the C library is glibc.


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MOST_FROM_HEAP_BYTES = 32 * 2**20
"""Larger blocks come from the kernel: the most that glibc allows."""
_MOST_KEPT_BYTES = 2**31 - 1
"""Free memory at the end of the heap that is kept: the largest int."""


def keep_freed_memory() -> None:
    """Let this process keep freed memory; it has no effect where the C library is another."""
    try:
        library = ctypes.CDLL(None)
    except TypeError:  # Windows
        return
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _MOST_FROM_HEAP_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)
