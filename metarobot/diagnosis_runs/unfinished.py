"""`Unfinished`: how far a training has come, so that one that was stopped can go on exactly.

A learner's meta-batches are drawn by their number.  So its own state, with the moments of Adam and
the number of updates, is all that the rest of a training depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from metarobot.diagnosis_runs.material import Material
from metarobot.few_shot import Learner
from metarobot.files import Seconds, typed
from metarobot.folder import Folder
from metarobot.tensor_files import most_bytes, parse_tensors, require_finite, seal_tensors

UNFINISHED_FILE = "unfinished.safetensors"
_DRAWN_TASKS = 64


class _Facts(msgspec.Struct):
    """What the file says."""

    order: dict[str, Any]
    losses: list[float]
    processor_s: Seconds


class UnfinishedError(ValueError):
    """There is no training to go on with, or another one; the message is one line."""


class Unfinished:
    """Keeps a training in its run folder.

    Args:
        path: Run folder; None keeps nothing.
        resume: Whether to go on with what is kept there.
    """

    def __init__(self, path: Path | None = None, *, resume: bool = False) -> None:
        self._folder = None if path is None else Folder(path)
        self._resume = resume
        self._order: dict[str, Any] = {}
        self.processor_s = 0.0
        """What was spent before it goes on."""

    def begin(
        self, learner: Learner[Any], material: Material, plan: Mapping[str, Any]
    ) -> list[float]:
        """Restore a learner where that is asked for.

        Args:
            learner: One that knows nothing yet.
            material: What it is trained on.
            plan: How, as JSON values.

        Returns:
            The mean losses by now; none at the beginning.

        Raises:
            UnfinishedError: What is kept is of another training, or damaged.
        """
        self._order = {"plan": dict(plan), "recordings": fingerprint(material), **learner.facts()}
        if self._folder is None or not self._resume:
            return []
        path = self._folder.path / UNFINISHED_FILE
        shapes = {name: tuple(leaf.shape) for name, leaf in learner.state().items()}
        try:
            data = self._folder.read(UNFINISHED_FILE, most_bytes(shapes))
            state, facts = parse_tensors(path, data, shapes)
            require_finite(path, state)
            kept = typed(facts, _Facts, path)
        except ValueError as error:
            raise UnfinishedError(f"--resume: {error}") from error
        if kept.order != self._order:
            raise UnfinishedError(
                f"--resume: {path} is of a training with other options or recordings: name those "
                "that it began with"
            )
        learner.restore(state)
        self.processor_s = kept.processor_s
        return kept.losses

    def keep(self, learner: Learner[Any], losses: list[float], processor_s: float) -> None:
        """Keep how far a training has come, and what that has cost.

        Raises:
            OSError: The folder cannot be written to.
        """
        if self._folder is not None:
            self._folder.make()
            facts = {"order": self._order, "losses": losses, "processor_s": processor_s}
            self._folder.write(UNFINISHED_FILE, seal_tensors(learner.state(), facts))


def fingerprint(material: Material) -> str:
    """Return the SHA-256 of what tasks are made of, and of some that are drawn."""
    rows = material.draw(np.random.default_rng(0), _DRAWN_TASKS, 1)
    digest = hashlib.sha256(repr(material.classes).encode())
    for part in (material.support.numpy(), material.query.numpy(), *rows):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
