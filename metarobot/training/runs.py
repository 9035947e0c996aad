"""Training: spend a budget of control steps on each algorithm of a run, keep what it learned."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from metarobot.algorithms import config_from_dict, configure
from metarobot.config import CommonConfig, RunConfig, TrainConfig
from metarobot.io import Folder
from metarobot.learning.distributed import ALONE, Workers
from metarobot.training.algorithm_training import Display, make_trainer, train_algorithm
from metarobot.training.initial_policy import InitialPolicy, file_source, load_initial_policy
from metarobot.training.interruption import InterruptedTrainingError
from metarobot.training.memory import require_training_memory
from metarobot.training.run_creation import (
    add_algorithms,
    create_run_folder,
    is_there,
    take_back,
)
from metarobot.training.run_extension import configs_like, extend_budget, level_budgets
from metarobot.training.run_folder import unfinished_configs
from metarobot.training.run_layout import hold_run, refusals_as_run_errors


def train_run(
    config: RunConfig,
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
        config: What they have in common.
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
    configs = [configure(config, algorithm) for algorithm in dict.fromkeys(algorithms)]
    run = _Run(folder, display, workers)
    require_training_memory(configs, workers)  # refuses before anything is written
    undo = None
    if workers.first:
        initial = run.begin_with(initial_policy, configs) if initial_policy else None
        existed = is_there(folder, overwrite=overwrite)
        if not existed or not Folder(folder).names():
            undo = partial(take_back, folder, configs, keep_folder=existed)
        create_run_folder(folder, configs, overwrite=overwrite, initial=initial)
    run.train(configs, undo)


def complete_run(
    config: RunConfig,
    algorithms: Sequence[str],
    folder: Path,
    display: Display | None = None,
) -> None:
    """Train those algorithms of a run that are not trained yet; make the run if it is not there.

    Args:
        config: What they have in common.
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
    configs = [configure(config, algorithm) for algorithm in dict.fromkeys(algorithms)]
    require_training_memory(configs)
    add_algorithms(folder, configs)
    resume_run(folder, display, expected=config)


def resume_run(
    folder: Path,
    display: Display | None = None,
    *,
    expected: RunConfig | None = None,
    algorithms: Sequence[str] = (),
    total_steps: int | None = None,
    num_threads: int | None = None,
    workers: Workers = ALONE,
) -> tuple[str, ...]:
    """Go on with a run that was interrupted: the result is as if it never had been.

    Args:
        folder: The run folder.
        display: Shows the progress.
        algorithms: Algorithms that it gets besides, if it does not have them.
        total_steps: Its new budget, at least the present one; the result is that of a run which
            had it from the beginning.
        expected: What its algorithms must have in common; None takes any.
        num_threads: Threads from here on, which change no result; None takes those of ``expected``,
            or else those that the run began with.
        workers: The processes that share the run; as many as one likes.

    Returns:
        The algorithms that were not finished, and now are.

    Raises:
        RunError: There is no such run, it was made with other versions or another configuration,
            or its budget is larger.
        ValueError: The run's options do not suit one of the algorithms.
        InterruptedTrainingError: Training was asked to stop again.
    """
    if num_threads is None and expected is not None:
        num_threads = expected.num_threads
    if num_threads is not None:
        CommonConfig(num_threads=num_threads)  # refuses a number that is not allowed
    plan, run = b"", _Run(folder, display, workers)
    if workers.first:
        unfinished_configs(folder, expected)  # refuses before anything is written
        run.enlarge(expected, algorithms, total_steps)
        left = unfinished_configs(folder, expected)
        if num_threads is not None:
            left = [replace(config, num_threads=num_threads) for config in left]
        plan = json.dumps([config.to_dict() for config in left]).encode()
    configs = [config_from_dict(values) for values in json.loads(workers.broadcast(plan) or b"[]")]
    run.train(configs)
    return tuple(config.algorithm for config in configs)


class _Run(NamedTuple):
    """A run folder, with who shows its training and who shares it."""

    folder: Path
    display: Display | None
    workers: Workers

    def train(self, configs: Sequence[TrainConfig], undo: Callable[[], None] | None = None) -> None:
        """Train algorithms one after the other, each from its newest checkpoint.

        Args:
            configs: Who is trained.
            undo: Called where training fails; not where it was asked to stop, and can go on.
        """
        folder = Folder(self.folder)
        with hold_run(folder) if self.workers.first else nullcontext():
            try:
                for config in configs:
                    train_algorithm(config, folder / config.algorithm, self.display, self.workers)
            except InterruptedTrainingError:
                raise
            except Exception:
                if undo is not None:
                    undo()
                raise

    def begin_with(self, path: Path, configs: Sequence[TrainConfig]) -> InitialPolicy:
        """Return every trainer's state before it has begun, with the parameters of a file."""
        states = {}
        for config in configs:
            trainer = make_trainer(config, self.workers)
            with closing(trainer.env):
                trainer.params = load_initial_policy(path, config, trainer.params)
                states[config.algorithm] = trainer.state()
        return InitialPolicy(states, file_source(path))

    def enlarge(
        self, expected: RunConfig | None, algorithms: Sequence[str], total_steps: int | None
    ) -> None:
        """Give it a larger budget and further algorithms; refuse both before either is written."""
        configs = configs_like(self.folder, algorithms, expected) if algorithms else []
        if total_steps is not None:
            configs = [replace(config, total_steps=total_steps) for config in configs]
        require_training_memory(configs, self.workers)
        if total_steps is None:
            level_budgets(self.folder)
        else:
            extend_budget(self.folder, total_steps)
        if configs:
            add_algorithms(self.folder, configs)
