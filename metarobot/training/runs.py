"""Training: spend a budget of control steps on each algorithm of a run, keep what it learned."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from metarobot.config import TrainConfig
from metarobot.envs import make_env
from metarobot.files import json_bytes
from metarobot.folder import Folder
from metarobot.learning.distributed import ALONE, Workers
from metarobot.training.checkpoints import (
    BEST_FILE,
    Progress,
    load_newest_checkpoint,
    policy_bytes,
    save_checkpoint,
)
from metarobot.training.heap import keep_freed_memory
from metarobot.training.initial_policy import InitialPolicy, file_source, load_initial_policy
from metarobot.training.interruption import InterruptedTrainingError, StopRequest, listen_for_stop
from metarobot.training.log import TrainingLog
from metarobot.training.memory import num_simulations, require_training_memory
from metarobot.training.meta_trainer import MetaTrainer
from metarobot.training.provenance import choose_num_threads
from metarobot.training.replay import Replay
from metarobot.training.run_creation import add_algorithms, create_run_folder
from metarobot.training.run_extension import configs_like, extend_budget, level_budgets
from metarobot.training.run_folder import unfinished_configs
from metarobot.training.run_layout import (
    CHECKPOINT_FOLDER,
    DONE_FILE,
    POLICY_FILE,
    REPLAY_FOLDER,
    hold_run,
    refusals_as_run_errors,
)
from metarobot.training.trainer_state import Metrics

CHECKPOINT_EVERY = 10
"""Meta-iterations between checkpoints, and between policies compared for the best."""
CHECKPOINT_EVERY_S = 30.0
"""Seconds without a checkpoint, at most: more than that is never lost."""

MOST_REPLAYS = 20
"""Replays of refused tasks that are written in the folder of an algorithm."""


class Display(Protocol):
    """Shows training as it goes."""

    def begin(self, config: TrainConfig, total_steps: int) -> None:
        """An algorithm starts to train, or goes on after total_steps control steps."""
        ...

    def update(self, metrics: Metrics) -> None:
        """A meta-iteration is over."""
        ...

    def end(self) -> None:
        """The algorithm's budget is spent."""
        ...


def train_run(
    config: TrainConfig,
    algorithms: Sequence[str],
    folder: Path,
    display: Display | None = None,
    *,
    overwrite: bool = False,
    initial_policy: Path | None = None,
    workers: Workers = ALONE,
) -> None:
    """Train algorithms of one family and seed with the same budget, one after the other.

    Args:
        config: What they have in common; its ``algorithm`` is ignored.
        algorithms: Who to train.
        folder: The run folder to make.
        display: Shows the progress.
        overwrite: Replace a run that is there already.
        initial_policy: A file with the parameters that all algorithms begin with; random if None.
        workers: The processes that share the run.

    Raises:
        RunError: The folder is in use.
        ValueError: The initial policy does not fit an algorithm.
        WorkerError: The processes cannot share the tasks equally.
        InterruptedTrainingError: Training was asked to stop; `resume_run` goes on with it.
    """
    configs = [replace(config, algorithm=algorithm) for algorithm in dict.fromkeys(algorithms)]
    require_training_memory(configs, workers)  # refuses before anything is written
    if workers.first:
        initial = _begin_with(initial_policy, configs, workers) if initial_policy else None
        create_run_folder(folder, configs, overwrite=overwrite, initial=initial)
    _train_algorithms(configs, folder, display, workers)


def complete_run(
    config: TrainConfig,
    algorithms: Sequence[str],
    folder: Path,
    display: Display | None = None,
) -> None:
    """Train those algorithms of a run that are not trained yet; make the run if it is not there.

    Args:
        config: What they have in common; its ``algorithm`` is ignored.
        algorithms: Who must be trained in the end.
        folder: The run folder.
        display: Shows the progress.

    Raises:
        RunError: The folder holds algorithms of another configuration, or is in use.
        InterruptedTrainingError: Training was asked to stop; the same call goes on with it.
    """
    with refusals_as_run_errors():
        is_new = not Folder(folder).exists()
    if is_new:
        train_run(config, algorithms, folder, display)
        return
    configs = [replace(config, algorithm=algorithm) for algorithm in dict.fromkeys(algorithms)]
    require_training_memory(configs)
    add_algorithms(folder, configs)
    resume_run(folder, display, expected=config)


def resume_run(
    folder: Path,
    display: Display | None = None,
    *,
    expected: TrainConfig | None = None,
    algorithms: Sequence[str] = (),
    total_steps: int | None = None,
    workers: Workers = ALONE,
) -> tuple[str, ...]:
    """Go on with a run that was interrupted: the result is as if it never had been.

    Args:
        folder: The run folder.
        display: Shows the progress.
        algorithms: Algorithms that it gets besides, if it does not have them.
        total_steps: Its new budget, at least the present one; the result is that of a run which
            had it from the beginning.
        expected: The configuration that it must have, except for its ``algorithm``; None takes any.
        workers: The processes that share the run; as many as one likes.

    Returns:
        The algorithms that were not finished, and now are.

    Raises:
        RunError: There is no such run, it was made with other versions or another configuration,
            or its budget is larger.
        ValueError: The run's options do not suit one of the algorithms.
        InterruptedTrainingError: Training was asked to stop again.
    """
    plan = b""
    if workers.first:
        unfinished_configs(folder, expected)  # refuses before anything is written
        _enlarge(folder, expected, algorithms, total_steps, workers)
        plan = json.dumps([c.to_dict() for c in unfinished_configs(folder, expected)]).encode()
    configs = [
        TrainConfig.from_dict(values) for values in json.loads(workers.broadcast(plan) or b"[]")
    ]
    _train_algorithms(configs, folder, display, workers)
    return tuple(config.algorithm for config in configs)


def _enlarge(
    folder: Path,
    expected: TrainConfig | None,
    algorithms: Sequence[str],
    total_steps: int | None,
    workers: Workers,
) -> None:
    """Give a run a larger budget and further algorithms; refuse both before either is written."""
    configs = configs_like(folder, algorithms, expected) if algorithms else []
    if total_steps is not None:
        configs = [replace(config, total_steps=total_steps) for config in configs]
    require_training_memory(configs, workers)
    if total_steps is None:
        level_budgets(folder)
    else:
        extend_budget(folder, total_steps)
    if configs:
        add_algorithms(folder, configs)


def _begin_with(path: Path, configs: Sequence[TrainConfig], workers: Workers) -> InitialPolicy:
    """Return every trainer's state before it has begun, with the parameters of a file."""
    states = {}
    for config in configs:
        trainer = _make_trainer(config, workers)
        with closing(trainer.env):
            trainer.params = load_initial_policy(path, config, trainer.params)
            states[config.algorithm] = trainer.state()
    return InitialPolicy(states, file_source(path))


def _train_algorithms(
    configs: Sequence[TrainConfig], folder: Path, display: Display | None, workers: Workers
) -> None:
    run = Folder(folder)
    with hold_run(run) if workers.first else nullcontext():
        for config in configs:
            train_algorithm(config, run / config.algorithm, display, workers)


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
    trainer = _make_trainer(config, workers)
    with closing(trainer.env):
        progress = _restore(trainer, folder)
        with (
            listen_for_stop() as stop,
            _open_books(trainer, folder, progress, display) as books,
        ):
            _train(trainer, folder, books, stop)


def _make_trainer(config: TrainConfig, workers: Workers) -> MetaTrainer:
    """Make a trainer that has not begun, with the environment that it needs."""
    env = make_env(
        config.env_id,
        num_simulations(config, workers),
        num_threads=choose_num_threads(config.num_threads),
        observe_task=config.algorithm == "oracle",
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


def _train(trainer: MetaTrainer, folder: Folder, books: _Books | None, stop: StopRequest) -> None:
    """Take meta-iterations until the budget is spent or a process is asked to stop."""
    workers, saved_s = trainer.workers, time.monotonic()
    while not trainer.finished:
        metrics = trainer.step()
        _write_replays(trainer.refused, folder / REPLAY_FOLDER)
        if books is not None:
            books.write(metrics)
        # All processes must stop, and must save, after the same meta-iteration.
        signal_number = workers.largest(stop.signal_number)
        waited = workers.largest(time.monotonic() - saved_s >= CHECKPOINT_EVERY_S)
        regular = trainer.iteration % CHECKPOINT_EVERY == 0
        if regular or waited or signal_number or trainer.finished:
            workers.require_equal(trainer.params)
            if books is not None:
                books.save()
            saved_s = time.monotonic()
        if signal_number:
            raise InterruptedTrainingError(signal_number, folder.path.parent)
    if books is not None:
        books.finish()


def _write_replays(replays: Sequence[Replay], folder: Folder) -> None:
    """Write the first replays of a run: a family that is broken must not fill the disk."""
    for replay in replays:
        if len(folder.names()) < MOST_REPLAYS:
            replay.save(folder)


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
        if trainer.iteration % CHECKPOINT_EVERY == 0 and self._progress.is_best():
            self._save_policy(self._folder / CHECKPOINT_FOLDER, BEST_FILE)
        if self._display is not None:
            self._display.update(metrics)

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
