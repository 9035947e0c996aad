"""The checkpoints of one algorithm: all that its training needs to go on as if never interrupted.

CHECKPOINTS/
  iteration-000120.safetensors   the last three: the trainer's state, and how far the log had come
  best.safetensors               the policy with the highest smoothed return so far
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from torch import Tensor

from metarobot.algorithms import algorithm_class
from metarobot.config import TrainConfig
from metarobot.envs.checks import show
from metarobot.io import (
    Count,
    Folder,
    Seconds,
    Shapes,
    Word,
    most_bytes,
    parse_tensors,
    require_finite,
    seal_tensors,
    typed,
)
from metarobot.learning.distributed import Workers
from metarobot.policies import Params

NUM_KEPT = 3
"""Checkpoints kept, besides the best policy."""
BEST_FILE = "best.safetensors"
_NAME = re.compile(r"iteration-(\d{6,})\.safetensors", re.ASCII)
_SMOOTHING = 0.9


@dataclass
class Progress:
    """How far training has come, besides the trainer's state."""

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
        """Whether the smoothed return is the highest so far; if so, it is remembered."""
        if self.smoothed_return is None:
            return False
        better = self.best_return is None or self.smoothed_return > self.best_return
        if better:
            self.best_return = self.smoothed_return
        return better


class _Origin(msgspec.Struct, kw_only=True):
    """What a file says of where its parameters come from."""

    env_id: Word
    algorithm: Word
    iteration: Count = 0


class _Counters(msgspec.Struct):
    """What a trainer counts."""

    iteration: Count
    total_steps: Count


class _Checkpoint(_Origin, kw_only=True):
    """What a checkpoint says."""

    config: dict[str, Any]
    counters: _Counters
    progress: Progress


def keeps_best(algorithm: str) -> bool:
    """Return whether the best policy so far is kept: not where only the last one is concluded."""
    return not algorithm_class(algorithm).concluding_share


def save_checkpoint(
    folder: Folder, config: TrainConfig, state: TrainerState, progress: Progress
) -> None:
    """Write a checkpoint in one piece, and then remove all but the last NUM_KEPT.

    Args:
        folder: Where checkpoints are; made if missing.
        config: What is trained.
        state: The trainer's state.
        progress: How far the log has come.

    Raises:
        OSError: The disk is full or cannot be written to; the checkpoints before stay.
    """
    folder.make()
    iteration = state.counters["iteration"]
    facts = {
        **_origin(config, iteration),
        "config": _state_values(config),
        "counters": state.counters,
        "progress": asdict(progress),
    }
    folder.write(f"iteration-{iteration:06}.safetensors", seal_tensors(state.tensors, facts))
    for old in _checkpoints(folder)[:-NUM_KEPT]:
        folder.remove(old)


def policy_bytes(config: TrainConfig, params: Params, iteration: int) -> bytes:
    """Return the content of a policy's file: its parameters, and where they come from."""
    return seal_tensors(params, _origin(config, iteration))


def load_policy(folder: Folder, name: str, config: TrainConfig, shapes: Shapes) -> Params:
    """Read a policy's parameters.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, of another algorithm, or does not fit.
    """
    path, data = folder.path / name, folder.read(name, most_bytes(shapes))
    tensors, facts = parse_tensors(path, data, shapes)
    _check(path, tensors, typed(facts, _Origin, path), config)
    return tensors


def load_newest_checkpoint(
    folder: Folder, config: TrainConfig, fresh: TrainerState, workers: Workers
) -> tuple[TrainerState, Progress] | None:
    """Read the newest checkpoint; the first process reads, and tells the others.

    Args:
        folder: Where checkpoints are.
        config: What is trained.
        fresh: State of a trainer that has not begun, with the shapes of all tensors.
        workers: The processes that share the run.

    Returns:
        The trainer's state and the progress, or None if there is no checkpoint.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or of another algorithm; the message says how to go on before it.
    """
    shapes = {name: tuple(leaf.shape) for name, leaf in fresh.tensors.items()}
    names = _checkpoints(folder) if workers.first else []
    path = folder.path / names[-1] if names else folder.path
    try:
        read = folder.read(names[-1], most_bytes(shapes)) if names else None
        data = workers.broadcast(read)
        return None if data is None else _parse(path, data, shapes, config)
    except ValueError as error:
        hint = f"; delete it to go on from {names[-2]}" if len(names) > 1 else ""
        raise ValueError(f"{error}{hint}") from error


def _parse(
    path: Path, data: bytes, shapes: Shapes, config: TrainConfig
) -> tuple[TrainerState, Progress]:
    tensors, facts = parse_tensors(path, data, shapes)
    found = typed(facts, _Checkpoint, path)
    _check(path, tensors, found, config)
    _check_config(path, found.config, config)
    return TrainerState(tensors, msgspec.structs.asdict(found.counters)), found.progress


def _origin(config: TrainConfig, iteration: int) -> dict[str, str | int]:
    return {"env_id": config.env_id, "algorithm": config.algorithm, "iteration": iteration}


def _check(path: Path, tensors: dict[str, Tensor], found: _Origin, config: TrainConfig) -> None:
    """Refuse what belongs to another algorithm, and numbers that are not finite."""
    for name in ("env_id", "algorithm"):
        value, wanted = getattr(found, name), getattr(config, name)
        if value != wanted:
            raise ValueError(f"{path} does not fit its configuration: {name} {value!r}, {wanted!r}")
    require_finite(path, tensors)


def _state_values(config: TrainConfig) -> dict[str, Any]:
    """Return what the state depends on: not the budget, up to which training is the same."""
    values = config.decisive_values
    del values["total_steps"]
    return values


def _check_config(path: Path, found: Mapping[str, Any], config: TrainConfig) -> None:
    """Refuse a checkpoint that another run has left in the folder."""
    for name, wanted in _state_values(config).items():
        if (value := found.get(name)) != wanted:
            raise ValueError(
                f"{path} is of another run: {name} is {show(value)}, not {show(wanted)}"
            )


def _checkpoints(folder: Folder) -> list[str]:
    """Return the names of the checkpoints, the newest last."""
    found = [name for name in folder.names() if _NAME.fullmatch(name)]
    return sorted(found, key=lambda name: (len(name), name))


# What a training run depends on besides its configuration, and what it reports.


Metrics = dict[str, float]
"""Numbers of one meta-iteration, by name."""


class TrainerState(NamedTuple):
    """All that a training run depends on besides its configuration: no generator has a state."""

    tensors: dict[str, Tensor]
    counters: dict[str, int]
