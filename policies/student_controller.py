"""A student on a robot: the acting half of `TeacherStudentPolicy` with NumPy."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metarobot.policies.controller import Array, Controller, Layer
from metarobot.policies.episode_encoder import CHANGE_UNIT
from metarobot.policies.student_windows import WINDOW


class StudentWeights(NamedTuple):
    """What the controller computes with."""

    centre: Array
    """Centre of the observation bounds, (O,)."""
    half_range: Array
    """Half of their width, (O,)."""
    layers: Sequence[Layer]
    """All layers of the policy; the first takes scaled observation, latent and their products."""
    student: Mapping[str, Layer]
    """Layers of the student's `EpisodeEncoder`: left, right, hidden and last."""


class StudentController(Controller):
    """Looks back on the last moves of the present episode.

    Args:
        weights: What it computes with.
        action_size: A.
    """

    remembers = True

    def __init__(self, weights: StudentWeights, action_size: int) -> None:
        self.weights, self.action_size = weights, action_size
        self.begin()

    def begin(self) -> None:
        """An episode begins, as if there had been none before."""
        self._moments: list[Array] = []
        self._last: tuple[Array, Array, Array] | None = None

    def act(self, observations: Array) -> Array:
        """Return the means of the actions (..., A) for observations (..., O)."""
        w = self.weights
        scaled = (observations - w.centre) / w.half_range
        before = np.zeros((*scaled.shape[:-1], self.action_size))
        if self._last is not None:
            self._note(scaled, *self._last)
            before = self._last[1]
        latent = self._recognise(scaled.shape[:-1])
        crossed = (scaled[..., :, None] * latent[..., None, :]).reshape(*scaled.shape[:-1], -1)
        hidden = np.concatenate([scaled, latent, crossed], axis=-1)
        *hidden_layers, (weight, bias) = w.layers
        for layer_weight, layer_bias in hidden_layers:
            hidden = np.tanh(hidden @ layer_weight + layer_bias)
        action = hidden @ weight + bias
        self._last = scaled, np.minimum(np.maximum(action, -1.0), 1.0), before
        return action

    def _note(self, scaled: Array, last: Array, action: Array, before: Array) -> None:
        """Take note of the last move: from where, what came of it, what was done."""
        change = (scaled - last) / CHANGE_UNIT
        logarithm = np.sign(change) * np.log1p(np.abs(change))
        move = np.concatenate([last, logarithm, action, before], axis=-1)
        (left, left_bias), (right, right_bias) = (
            self.weights.student[n] for n in ("left", "right")
        )
        self._moments.append((move @ left + left_bias) * (move @ right + right_bias))
        del self._moments[:-WINDOW]

    def _recognise(self, shape: tuple[int, ...]) -> Array:
        """Return what the student makes of the last moves, (..., Z)."""
        (hidden, hidden_bias), (last, last_bias) = (
            self.weights.student[n] for n in ("hidden", "last")
        )
        nothing = np.zeros((*shape, len(hidden)))
        mean = sum(self._moments, nothing) / max(1, len(self._moments))
        return np.tanh(np.tanh(mean @ hidden + hidden_bias) @ last + last_bias)
