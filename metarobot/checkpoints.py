"""The checkpoints of one agent: all that its training needs to go on as if never interrupted.

CHECKPOINTS/
  iteration-000120.safetensors   the last three: the trainer's state, and how far the log had come
  best.safetensors               the policy with the highest smoothed return so far
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from metarobot.config import TrainConfig
from metarobot.meta_trainer import TrainerState
from metarobot.policies import Params
from metarobot.tensor_files import (
    Shapes,
    load_tensors,
    parse_tensors,
    read_tensor_bytes,
    require_finite,
    save_tensors,
)
from metarobot.workers import Workers

NUM_KEPT = 3
"""Checkpoints kept, besides the best policy."""
BEST_FILE = "best.safetensors"
_PATTERN = "iteration-*.safetensors"
_SMOOTHING = 0.9


@dataclass
class Progress:
    """How far training has come, besides the trainer's state."""

    log_bytes: int = 0
    """Length of curve.csv."""
    seconds: float = 0.0
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


def save_checkpoint(
    folder: Path, config: TrainConfig, state: TrainerState, progress: Progress
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
    folder.mkdir(exist_ok=True)
    iteration = state.counters["iteration"]
    facts = {
        **_origin(config, iteration),
        "config": _state_values(config),
        "counters": state.counters,
        "progress": asdict(progress),
    }
    save_tensors(folder / f"iteration-{iteration:06}.safetensors", state.tensors, facts)
    for old in _checkpoints(folder)[:-NUM_KEPT]:
        old.unlink()


def save_policy(path: Path, config: TrainConfig, params: Params, iteration: int) -> None:
    """Write a policy's parameters in one piece, with where they come from."""
    path.parent.mkdir(exist_ok=True)
    save_tensors(path, params, _origin(config, iteration))


def load_policy(path: Path, config: TrainConfig, shapes: Shapes) -> Params:
    """Read a policy's parameters.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, of another agent, or does not fit.
    """
    tensors, facts = load_tensors(path, shapes)
    _check(path, tensors, facts, config)
    return tensors


def load_newest_checkpoint(
    folder: Path, config: TrainConfig, fresh: TrainerState, workers: Workers
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
        ValueError: It is damaged, or of another agent; the message says how to go on before it.
    """
    shapes = {name: tuple(leaf.shape) for name, leaf in fresh.tensors.items()}
    paths = _checkpoints(folder) if workers.first else []
    path = paths[-1] if paths else folder
    try:
        data = workers.broadcast(read_tensor_bytes(path, shapes) if paths else None)
        return None if data is None else _parse(path, data, shapes, config)
    except ValueError as error:
        hint = f"; delete it to go on from {paths[-2].name}" if len(paths) > 1 else ""
        raise ValueError(f"{error}{hint}") from error


def _parse(
    path: Path, data: bytes, shapes: Shapes, config: TrainConfig
) -> tuple[TrainerState, Progress]:
    tensors, facts = parse_tensors(path, data, shapes)
    _check(path, tensors, facts, config)
    _check_config(path, facts.get("config"), config)
    try:
        counters = {name: int(facts["counters"][name]) for name in ("iteration", "total_steps")}
        return TrainerState(tensors, counters), Progress(**facts["progress"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no checkpoint: {error}") from error


def _origin(config: TrainConfig, iteration: int) -> dict[str, str | int]:
    return {"env_id": config.env_id, "agent": config.agent, "iteration": iteration}


def _check(
    path: Path, tensors: dict[str, Tensor], facts: dict[str, Any], config: TrainConfig
) -> None:
    """Refuse what belongs to another agent, and numbers that are not finite."""
    for name in ("env_id", "agent"):
        found, wanted = facts.get(name), getattr(config, name)
        if found != wanted:
            raise ValueError(f"{path} does not fit its configuration: {name} {found!r}, {wanted!r}")
    require_finite(path, tensors)


def _state_values(config: TrainConfig) -> dict[str, Any]:
    """Return what the state depends on: not the budget, up to which training is the same."""
    values = config.decisive_values
    del values["total_steps"]
    return values


def _check_config(path: Path, found: Any, config: TrainConfig) -> None:
    """Refuse a checkpoint that another run has left in the folder."""
    wanted = _state_values(config)
    found = found if isinstance(found, dict) else {}
    for name in wanted:
        if found.get(name) != wanted[name]:
            raise ValueError(
                f"{path} is of another run: {name} is {found.get(name)!r}, not {wanted[name]!r}"
            )


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints, the newest last."""
    return sorted(folder.glob(_PATTERN), key=lambda path: (len(path.name), path.name))
