"""The independent trainings of a comparison: one for each algorithm and seed, as command lines.

Each is trained in a run folder of its own, so that several can train at once, here or on other
machines. When it is done, its algorithm moves to the run folder of its seed::

    RUNS/grip-seed0/maml                        trained
    RUNS/trainings/grip-seed0-promp/promp       in training
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metarobot.algorithms import configure, option_readers
from metarobot.cli.compare_options import Comparison, split_words
from metarobot.config import RunConfig, TrainConfig
from metarobot.envs import file_name
from metarobot.io import Folder
from metarobot.training.memory import require_training_memory
from metarobot.training.run_folder import (
    RunError,
    algorithms_in,
    hold_run,
    is_finished,
    load_curve,
    refusals_as_run_errors,
    unfinished_configs,
)

TRAININGS = "trainings"
"""Folder of what is in training."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The training of one algorithm and seed."""

    config: TrainConfig
    """What is trained."""
    run: Path
    """Run folder of the seed, where the algorithm belongs in the end."""
    folder: Path
    """Run folder of this training alone."""
    words: tuple[str, ...]
    """Command line that begins it: words after `metarobot`."""
    words_again: tuple[str, ...]
    """Command line that goes on with it."""

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.config.algorithm}, seed {self.config.seed}"

    @property
    def share(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        try:
            steps = load_curve(self.folder, self.config.algorithm, ("total_steps",))["total_steps"]
        except (OSError, ValueError):  # not begun, or a row is being written
            return 0.0
        return min(1.0, steps[-1] / self.config.total_steps) if steps else 0.0

    def place(self) -> None:
        """Move the trained algorithm to the run folder of its seed.

        Raises:
            RunError: It is not trained to the end, or something else stands there.
        """
        if not is_finished(self.folder, self.config):
            raise RunError(f"{self.folder} is not trained to the end")
        run, folder = Folder(self.run), Folder(self.folder)
        run.make()
        with refusals_as_run_errors(), hold_run(folder):
            folder.move(self.config.algorithm, run)
            folder.remove_if_empty()
        Folder(self.folder.parent).remove_if_empty()


def plan_trainings(
    comparison: Comparison, config: RunConfig, runs: Path, num_threads: int
) -> tuple[list[Training], list[Path]]:
    """Return the trainings that are still to be done, and the run folder of every seed.

    Args:
        comparison: What was asked for.
        config: What all trainings have in common.
        runs: Where the run folders are, or are to be.
        num_threads: Threads of each training, where the command does not say; 0 takes all.

    Raises:
        RunError: A folder holds a training with another configuration.
        ValueError: There is not enough memory for a training.
    """
    command, trainings, folders = comparison.command, [], []
    name = file_name(config.env_id)
    for seed in command.seeds:
        run = runs / f"{name}-seed{seed}"
        folders.append(run)
        common = replace(config, seed=seed)
        require_training_memory([configure(common, each) for each in command.algorithms])
        trained = _trained(run, common)
        for algorithm in command.algorithms:
            if algorithm not in trained:
                training = _training(comparison, common, algorithm, run, num_threads)
                _look_at(training, common)
                trainings.append(training)
    return trainings, folders


def _trained(run: Path, expected: RunConfig) -> list[str]:
    """Return the algorithms that are trained; refuse a run of another configuration."""
    with refusals_as_run_errors():
        if not Folder(run).exists() or not Folder(run).names():
            return []
    unfinished = {each.algorithm for each in unfinished_configs(run, expected)}
    return [name for name in algorithms_in(run) if name not in unfinished]


def _training(
    comparison: Comparison, common: RunConfig, algorithm: str, run: Path, num_threads: int
) -> Training:
    """Return the training of one algorithm of a run."""
    preset, *options = _words_for(algorithm, comparison.words)
    if not any(word.replace("_", "-").startswith("--num-threads") for word in options):
        options += ["--num-threads", str(num_threads)]
    typed, folder = comparison.typed[algorithm], run.parent / TRAININGS / f"{run.name}-{algorithm}"
    own = ["--seed", str(common.seed), "--algorithms", typed, "--out", str(folder)]
    return Training(
        config=configure(common, algorithm),
        run=run,
        folder=folder,
        words=("train", preset, *options, *own),
        words_again=("train", "--resume", str(folder), *_module_words(comparison, typed)),
    )


def _look_at(training: Training, expected: RunConfig) -> None:
    """Refuse a training that was begun with another configuration."""
    with refusals_as_run_errors():
        _take_back(training)
        if Folder(training.folder).exists():
            unfinished_configs(training.folder, expected)


def _words_for(algorithm: str, words: Sequence[str]) -> list[str]:
    """Return words without the options that others read, but not this algorithm."""
    unread = [name for name, readers in option_readers().items() if algorithm not in readers]
    spelled = [f"--{prefix}{name.replace('_', '-')}" for name in unread for prefix in ("", "no-")]
    preset, *options = words
    return [preset, *split_words(options, spelled)[1]]


def _module_words(comparison: Comparison, typed: str) -> list[str]:
    """Return the option that names the module from outside, where an algorithm needs one."""
    words = (typed, comparison.words[0])
    modules = [word.partition(":")[0] for word in words if ":" in word]
    named = [module for module in (comparison.training.module, *modules) if module]
    return ["--module", named[0]] if named else []


def _take_back(training: Training) -> None:
    """Move a training that was interrupted in the run folder of its seed to a folder of its own."""
    run, folder = Folder(training.run), Folder(training.folder)
    algorithm = training.config.algorithm
    if not run.exists() or not (run / algorithm).exists() or folder.exists():
        return
    with hold_run(run):
        folder.make()
        run.move(algorithm, folder)
