"""What a run folder tells at a glance: how far each algorithm is, what it cost, what it reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarobot.config import TrainConfig
from metarobot.io import Folder
from metarobot.training.curve import load_curve
from metarobot.training.run_folder import algorithm_folder, is_finished, run_configs
from metarobot.training.run_layout import CURVE_FILE, RunError, algorithms_there, hold_run

_COLUMNS = ("total_steps", "post_return", "post_success_rate", "sampling_s", "update_s")
_LAST_PART = 10
"""The figures are means over the last tenth of the meta-iterations: one alone is noisy."""


@dataclass(frozen=True)
class AlgorithmSummary:
    """One algorithm of a run."""

    run: Path
    config: TrainConfig
    finished: bool
    """Whether its budget is spent."""
    training: bool
    """Whether a process trains in the run now."""
    steps: int
    """Control steps simulated so far."""
    seconds: float
    """What they cost."""
    post_return: float | None
    """Mean return after adapting, of its last training tasks; None before the first."""
    post_success: float | None
    """Rate of success of the same episodes."""


def find_runs(folder: Path, depth: int = 2) -> Iterator[Path]:
    """Return the run folders there: the folder itself, or those in it and in folders of it.

    Args:
        folder: Where to look; links in it are not followed.
        depth: How many folders deep to look.

    Raises:
        OSError: A folder cannot be read.
    """
    if _is_run(folder):
        yield folder
    elif depth:
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                yield from find_runs(entry, depth - 1)


def summarise_run(run: Path) -> list[AlgorithmSummary]:
    """Return how far each algorithm of a run is.

    Raises:
        RunError: The run cannot be read.
    """
    configs, training = run_configs(run), _is_held(run)
    return [_summarise(run, config, training) for config in configs.values()]


def _summarise(run: Path, config: TrainConfig, training: bool) -> AlgorithmSummary:
    finished = is_finished(run, config)
    begun = algorithm_folder(run, config.algorithm).has(CURVE_FILE)
    curve = load_curve(run, config.algorithm, _COLUMNS) if begun else {}
    steps, *columns = (curve.get(name, []) for name in _COLUMNS)
    last = -(-len(steps) // _LAST_PART)
    post_return, post_success = (float(np.mean(c[-last:])) if last else None for c in columns[:2])
    return AlgorithmSummary(
        run=run,
        config=config,
        finished=finished,
        training=training and not finished,
        steps=int(steps[-1]) if steps else 0,
        seconds=sum(map(sum, columns[2:])),
        post_return=post_return,
        post_success=post_success,
    )


def _is_run(folder: Path) -> bool:
    try:
        return bool(algorithms_there(Folder.named(folder)))
    except RunError:
        return True  # a damaged one, of which summarise_run says what is wrong


def _is_held(run: Path) -> bool:
    try:
        with hold_run(Folder.named(run)):
            return False
    except RunError:
        return True
