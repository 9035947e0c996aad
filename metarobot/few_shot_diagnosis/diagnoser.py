"""`Diagnoser`: a trained learner with the scale of its inputs, in one sealed file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from metarobot.few_shot import AdaptedModel, Examples, Learner
from metarobot.few_shot_diagnosis.learners import LEARNERS
from metarobot.few_shot_diagnosis.signals import NUM_KINDS, NUM_PARTS, Scale, residuals
from metarobot.options import require_known
from metarobot.policies.params import under_prefix, with_prefix
from metarobot.tensor_files import load_tensors, require_finite, save_tensors

_LEARNER, _SCALE = "learner.", "scale."


class Diagnosis(NamedTuple):
    """What a diagnoser says of some recordings."""

    classes: tuple[str, ...]
    """Names of C classes, as the examples have them, in alphabetical order."""
    probabilities: np.ndarray
    """Of each class, (R, C)."""

    @property
    def best(self) -> list[str]:
        """The most likely class of each recording."""
        return [self.classes[column] for column in self.probabilities.argmax(1)]


class Adapted(NamedTuple):
    """A diagnoser that knows the faults of a plant."""

    model: AdaptedModel
    scale: Scale
    classes: tuple[str, ...]

    def predict(self, signals: np.ndarray, baseline: np.ndarray) -> Diagnosis:
        """Diagnose recordings.

        Args:
            signals: (R, C, T).
            baseline: Healthy checks of the machine of each, (R, B, C, T).
        """
        inputs = torch.from_numpy(self.scale.inputs(residuals(signals, baseline)))
        logits = self.model.predict(inputs[None])[0][:, : len(self.classes)]
        return Diagnosis(self.classes, torch.softmax(logits, dim=1).numpy())


class Diagnoser:
    """A learner, and what makes its inputs of recordings.

    Args:
        name: One of `LEARNERS`.
        scale: Measured on the machines that it was trained on.
        way: Most classes that it tells apart; prototypes tell any number apart.
        seed: Of the learner.
    """

    def __init__(self, name: str, scale: Scale, way: int = 5, seed: int = 0) -> None:
        require_known([name], LEARNERS, "learner")
        self.name, self.scale, self.way = name, scale, way
        self.learner: Learner[Any] = LEARNERS[name](seed, way)

    def adapt(self, signals: np.ndarray, baseline: np.ndarray, labels: Sequence[str]) -> Adapted:
        """Learn the faults of a plant from a few examples of each.

        Args:
            signals: S recordings, (S, C, T).
            baseline: Healthy checks of the machine of each, (S, B, C, T).
            labels: The class of each, by any names.

        Raises:
            ValueError: There are more classes than the learner's head has.
        """
        classes = tuple(sorted(set(labels)))
        if self.name != "prototypical_network" and len(classes) > self.way:
            raise ValueError(f"this learner tells {self.way} classes apart, got {len(classes)}")
        inputs = torch.from_numpy(self.scale.inputs(residuals(signals, baseline)))
        targets = torch.tensor([classes.index(own) for own in labels])
        model = self.learner.adapt(Examples(inputs[None], targets[None]))
        return Adapted(model, self.scale, classes)

    def save(self, path: Path) -> None:
        """Write it into a sealed file, without pickle."""
        tensors = with_prefix(_LEARNER, self.learner.state())
        save_tensors(path, tensors | with_prefix(_SCALE, self._scale_tensors()), self._facts())

    @classmethod
    def load(cls, path: Path, name: str, way: int = 5, seed: int = 0) -> Diagnoser:
        """Read a diagnoser of the same name, way and seed.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is damaged, or of another learner.
        """
        flat = np.ones((NUM_PARTS, NUM_KINDS))
        found = cls(name, Scale(flat, flat, flat), way, seed)
        wanted = with_prefix(_LEARNER, found.learner.state())
        wanted |= with_prefix(_SCALE, found._scale_tensors())
        tensors, facts = load_tensors(
            path, {key: tuple(leaf.shape) for key, leaf in wanted.items()}
        )
        if facts != found._facts():
            raise ValueError(f"{path} is of another learner: {facts}, not {found._facts()}")
        require_finite(path, tensors)
        found.learner.restore(under_prefix(_LEARNER, tensors))
        scale = {key: leaf.numpy() for key, leaf in under_prefix(_SCALE, tensors).items()}
        found.scale = Scale(**scale)
        return found

    def _facts(self) -> dict[str, Any]:
        return {**self.learner.facts(), "way": self.way}

    def _scale_tensors(self) -> dict[str, torch.Tensor]:
        return {
            key: torch.from_numpy(np.asarray(value, np.float32))
            for key, value in vars(self.scale).items()
        }
