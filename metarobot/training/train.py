"""Train one algorithm of a run: meta-iterations, the log, checkpoints."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from metarobot.algorithms import algorithm_class
from metarobot.config import TrainConfig
from metarobot.console import InterruptedCommandError, StopRequest, listen_for_stop
from metarobot.envs import make_env
from metarobot.envs.checks import show
from metarobot.io import (
    Count,
    Folder,
    Seconds,
    errors_naming,
    json_bytes,
    most_bytes,
    parse_tensors,
    seal_tensors,
    typed,
)
from metarobot.learning.distributed import ALONE, Workers
from metarobot.machine import extra, keep_freed_memory, num_threads, set_threads
from metarobot.training.progress import TrainingDisplay
from metarobot.training.run_folder import (
    BEST_FILE,
    CHECKPOINT_FOLDER,
    CURVE_COLUMNS,
    CURVE_FILE,
    DONE_FILE,
    POLICY_FILE,
    Origin,
    check_origin,
    keeps_best,
    origin_of,
    policy_bytes,
)
from metarobot.training.trainer import MetaTrainer, Metrics, TrainerState, num_simulations

with extra("train", "training"):
    from torch.utils.tensorboard import SummaryWriter

NUM_KEPT = 3
"""Checkpoints kept, besides the best policy."""
CHECKPOINT_EVERY = 10
"""Meta-iterations between checkpoints, and between policies compared for the best."""
CHECKPOINT_EVERY_S = 30.0
"""Longest time between checkpoints, in seconds, and so the most that is lost."""
_CHECKPOINT_NAME = re.compile(r"iteration-(\d{6,})\.safetensors", re.ASCII)
_SMOOTHING = 0.9
"""Weight of earlier meta-iterations in a smoothed return."""


def train_algorithm(
    config: TrainConfig,
    folder: Folder,
    display: TrainingDisplay | None = None,
    workers: Workers = ALONE,
) -> None:
    """Train one algorithm until its budget is spent, from its newest checkpoint if it has one.

    Args:
        config: Configuration of the training.
        folder: Folder for its files; made if missing.
        display: Shows the progress.
        workers: The processes that share the run.

    Raises:
        InterruptedCommandError: A signal stopped the training; the last checkpoint is written.
        RunError: Another process trains it.
    """
    keep_freed_memory()
    with ExitStack() as held, listen_for_stop() as stop:
        if workers.first:
            folder.make()
            held.enter_context(folder.lock())
        trainer = make_trainer(config, workers)
        held.enter_context(closing(trainer.env))
        checkpoints, progress = folder / CHECKPOINT_FOLDER, Progress()
        if found := load_newest_checkpoint(checkpoints, config, trainer.state(), workers):
            state, progress = found
            trainer.restore(state)
        elif workers.first:
            checkpoints.remove_tree()  # of a smaller budget
        log = None
        if workers.first:
            log = TrainingLog(folder, progress.log_bytes, trainer.total_steps)
            held.enter_context(closing(log))
            if display is not None:
                display.begin(config, trainer.total_steps)
        session = _Session(trainer, folder, progress, stop, log, display)
        while not trainer.finished:
            session.keep(trainer.step())
        trainer.finish(session.watch)
        calibrate(trainer)
        workers.require_equal(trainer.params)
        session.finish()


def make_trainer(config: TrainConfig, workers: Workers = ALONE) -> MetaTrainer:
    """Make a new trainer with its environment, and set the number of threads."""
    threads = set_threads(config.num_threads)
    env = make_env(
        config.env_id,
        num_simulations(config, workers),
        num_threads=threads,
        observe_task=algorithm_class(config.algorithm).observes_task,
        variant=config.variant,
        scene_path=config.scene,
    )
    return MetaTrainer(config, env, workers=workers)


def calibrate(trainer: MetaTrainer) -> None:
    """Measure the errors of adaptation, on training tasks in an environment of their own."""
    config, horizon = trainer.config, trainer.env.horizon
    num_tasks, _ = trainer.algorithm.calibration_shape(config.total_steps, horizon)
    if not num_tasks:
        return
    env = make_env(
        config.env_id,
        num_tasks,
        num_threads=num_threads(),
        variant=config.variant,
        scene_path=config.scene,
    )
    with closing(env):
        trainer.calibrate(env)


class _Session:
    """Logs, saves and shows a training that begins at the restored checkpoint.

    Only the first process has a log, and writes; all stop after the same meta-iteration.
    """

    def __init__(
        self,
        trainer: MetaTrainer,
        folder: Folder,
        progress: Progress,
        stop: StopRequest,
        log: TrainingLog | None,
        display: TrainingDisplay | None,
    ) -> None:
        self._trainer, self._folder, self._progress = trainer, folder, progress
        self._stop, self._log = stop, log
        self._display = display if log is not None else None
        self._saved_s = time.monotonic()
        self._started_s = self._saved_s - progress.seconds

    def keep(self, metrics: Metrics) -> None:
        """Log and show a meta-iteration; write a checkpoint if one is due.

        Raises:
            InterruptedCommandError: A process got a signal; the checkpoint is written.
        """
        trainer, workers = self._trainer, self._trainer.workers
        regular = trainer.iteration % CHECKPOINT_EVERY == 0
        if self._log is not None:
            self._log.write(metrics)
            self._progress.add_return(metrics["meta/post_return"])
            compared = regular and keeps_best(trainer.config.algorithm)
            if compared and self._progress.is_best():
                self._save_policy(self._folder / CHECKPOINT_FOLDER, BEST_FILE)
        if self._display is not None:
            self._display.update(metrics, trainer.rejected)
        # All processes must stop, and must save, after the same meta-iteration.
        signal_number = workers.largest(self._stop.signal_number)
        waited = workers.largest(time.monotonic() - self._saved_s >= CHECKPOINT_EVERY_S)
        if regular or waited or signal_number or trainer.finished:
            workers.require_equal(trainer.params)
            self._saved_s = time.monotonic()
            if self._log is not None:
                self._progress.seconds = self._saved_s - self._started_s
                self._progress.log_bytes = self._log.flush()
                checkpoints = self._folder / CHECKPOINT_FOLDER
                save_checkpoint(checkpoints, trainer.config, trainer.state(), self._progress)
                self._save_policy(self._folder, POLICY_FILE)
        self._stop_if_asked(signal_number)

    def watch(self, share: float) -> None:
        """Show the share of `finish` that is done; an interrupted `finish` begins anew.

        Raises:
            InterruptedCommandError: A process got a signal; the checkpoint is written.
        """
        if self._display is not None:
            self._display.finishing(share)
        self._stop_if_asked(self._trainer.workers.largest(self._stop.signal_number))

    def finish(self) -> None:
        """Write the cost, which marks the algorithm as trained."""
        if self._log is None:
            return
        # A kill may have come between the last checkpoint and its policy.
        self._save_policy(self._folder, POLICY_FILE)
        cost = {
            "iterations": self._trainer.iteration,
            "total_steps": self._trainer.total_steps,
            "seconds": round(time.monotonic() - self._started_s, 2),
        }
        self._folder.write(DONE_FILE, json_bytes(cost))
        if self._display is not None:
            self._display.end()

    def _save_policy(self, folder: Folder, name: str) -> None:
        trainer = self._trainer
        folder.make()
        folder.write(name, policy_bytes(trainer.config, trainer.params, trainer.iteration))

    def _stop_if_asked(self, signal_number: int) -> None:
        if signal_number:
            run = self._folder.path.parent
            way_on = f"`metarobot train --resume {run}` goes on with it"
            raise InterruptedCommandError(signal_number, way_on)


class TrainingLog:
    """Adds the metrics of every meta-iteration to curve.csv and to a file of TensorBoard events.

    A full disk is an error that names the folder.

    Args:
        folder: The algorithm's folder.
        num_bytes: Length of curve.csv at the checkpoint from which training resumes; later rows
            are cut off. 0 begins a new log.
        total_steps: Control steps simulated until then.

    Raises:
        RunError: curve.csv is missing, shorter than that, or no plain file.
    """

    def __init__(self, folder: Folder, num_bytes: int, total_steps: int) -> None:
        self._folder, self._file = folder, folder.open_log(CURVE_FILE, num_bytes)
        # TensorBoard drops events of an interrupted session from this step on.
        purge_step = total_steps + 1 if num_bytes else None
        self._events = SummaryWriter(str(folder.path), purge_step=purge_step, flush_secs=10)
        if not num_bytes:
            self._write_row(list(CURVE_COLUMNS))
        # Last: a log that could not be opened is never closed, which puts this back.
        self._excepthook, threading.excepthook = threading.excepthook, self._end_thread

    def close(self) -> None:
        """Close the files."""
        threading.excepthook = self._excepthook
        with errors_naming(self._folder.path), self._file:
            self._events.close()

    def _end_thread(self, ended: threading.ExceptHookArgs) -> None:
        """Print no traceback of the events' thread: `write` raises its error again."""
        if not isinstance(ended.exc_value, OSError):
            self._excepthook(ended)

    def write(self, metrics: Metrics) -> None:
        """Add one meta-iteration."""
        with errors_naming(self._folder.path):
            self._write_row([f"{metrics[name]:.9g}" for name in CURVE_COLUMNS.values()])
            for name, value in metrics.items():
                self._events.add_scalar(name, value, int(metrics["time/total_steps"]))

    def flush(self) -> int:
        """Bring curve.csv to the disk, and return its length in bytes."""
        with errors_naming(self._folder.path):
            os.fsync(self._file.fileno())
            return self._file.tell()

    def _write_row(self, cells: list[str]) -> None:
        self._file.write((",".join(cells) + "\n").encode())
        self._file.flush()


# Checkpoints: the state from which training resumes exactly.


@dataclass
class Progress:
    """Progress of a training, beside the trainer's state."""

    log_bytes: Count = 0
    """Length of curve.csv."""
    seconds: Seconds = 0.0
    """Time spent, in all sessions."""
    smoothed_return: float | None = None
    """Post-update return, smoothed over meta-iterations: each has other tasks."""
    best_return: float | None = None
    """Highest smoothed return of those that were compared."""

    def add_return(self, post_return: float) -> None:
        """Smooth the return of one more meta-iteration; one that is not finite is left out."""
        if math.isfinite(post_return):
            before = post_return if self.smoothed_return is None else self.smoothed_return
            self.smoothed_return = _SMOOTHING * before + (1 - _SMOOTHING) * post_return

    def is_best(self) -> bool:
        """Whether the smoothed return is the highest so far; if so, it becomes the best."""
        if self.smoothed_return is None:
            return False
        better = self.best_return is None or self.smoothed_return > self.best_return
        if better:
            self.best_return = self.smoothed_return
        return better


class _Counters(msgspec.Struct):
    """Counters of a trainer."""

    iteration: Count
    total_steps: Count


class _Checkpoint(Origin, kw_only=True):
    """Facts of a checkpoint."""

    config: dict[str, Any]
    counters: _Counters
    progress: Progress


def checkpoint(config: TrainConfig, state: TrainerState, progress: Progress) -> tuple[str, bytes]:
    """Return the name and the content of a checkpoint."""
    iteration = state.counters["iteration"]
    facts = {
        **origin_of(config, iteration),
        "config": config.decisive_values,
        "counters": state.counters,
        "progress": asdict(progress),
    }
    return f"iteration-{iteration:06}.safetensors", seal_tensors(state.tensors, facts)


def save_checkpoint(
    folder: Folder, config: TrainConfig, state: TrainerState, progress: Progress
) -> None:
    """Write a checkpoint in one piece, and then remove all but the last NUM_KEPT.

    Raises:
        OSError: The disk is full or cannot be written to; the checkpoints before stay.
    """
    folder.make()
    folder.write(*checkpoint(config, state, progress))
    for old in _checkpoints(folder)[:-NUM_KEPT]:
        folder.remove(old)


def load_newest_checkpoint(
    folder: Folder, config: TrainConfig, fresh: TrainerState, workers: Workers
) -> tuple[TrainerState, Progress] | None:
    """Read the newest checkpoint; the first process reads, and sends it to the others.

    Args:
        folder: Folder of the checkpoints.
        config: Configuration of the training.
        fresh: State of a trainer that has not begun, with the shapes of all tensors.
        workers: The processes that share the run.

    Returns:
        The trainer's state and the progress; None if there is no checkpoint, or if it is of another
        budget and the algorithm learns a share of its budget without the task: it begins anew.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or of another run; the message names the checkpoint before it.
    """
    shapes = {name: tuple(leaf.shape) for name, leaf in fresh.tensors.items()}
    names = _checkpoints(folder) if workers.first else []
    path = folder.path / names[-1] if names else folder.path
    try:
        data = workers.broadcast(folder.read(names[-1], most_bytes(shapes)) if names else None)
        if data is None:
            return None
        tensors, facts = parse_tensors(path, data, shapes)
        found = typed(facts, _Checkpoint, path)
        check_origin(path, found, config)
        for name, wanted in _state_values(config).items():
            if (value := found.config.get(name)) != wanted:
                raise ValueError(
                    f"{path} is of another run: {name} is {show(value)}, not {show(wanted)}"
                )
        same_budget = found.config.get("total_steps") == config.total_steps
        if config.options.share_without_task and not same_budget:
            return None
    except ValueError as error:
        hint = f"; delete it to go on from {names[-2]}" if len(names) > 1 else ""
        raise ValueError(f"{error}{hint}") from error
    return TrainerState(tensors, msgspec.structs.asdict(found.counters)), found.progress


def _state_values(config: TrainConfig) -> dict[str, Any]:
    """Return the values that the state depends on: all but the budget."""
    values = config.decisive_values
    del values["total_steps"]
    return values


def _checkpoints(folder: Folder) -> list[str]:
    """Return the names of the checkpoints, the newest last."""
    found = [name for name in folder.names() if _CHECKPOINT_NAME.fullmatch(name)]
    return sorted(found, key=lambda name: (len(name), name))
