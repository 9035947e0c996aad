"""A policy on a robot: one set of parameters, no action noise, few microseconds a step.

PyTorch takes 50 to 300 microseconds for what is a handful of products of small matrices.  A
controller computes them with NumPy in double precision; it differs from the policy by the latter's
rounding, less than 1e-6.  All arrays are (..., X): one robot, (X,), or M of them, (M, X).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layer = tuple[Array, Array]
"""Weights (I, J) and biases (J,) of x W + b."""


class Controller(ABC):
    """Acts on one robot or several, and may remember."""

    remembers: ClassVar[bool] = False
    """Whether the steps before change what it does: then all steps are of the same robots."""

    def begin(self) -> None:  # noqa: B027
        """An episode begins; what came before may be remembered."""

    @abstractmethod
    def act(self, observations: Array) -> Array:
        """Return the means of the actions (..., A) for observations (..., O)."""

    def learn(self, rewards: float | Array) -> None:
        """Take note of the rewards (...) of the step before, NaN where nobody measured them."""
        del rewards


class MlpController(Controller):
    """A tanh network.

    Args:
        layers: All layers; the first takes observations as they come, not scaled.
        direct: Weights (O, A) by which what the first layer sees reaches the action directly.
    """

    def __init__(self, layers: Sequence[Layer], direct: Array | None = None) -> None:
        self.layers, self.direct = tuple(layers), direct
        *self._hidden, self._last = layers

    def act(self, observations: Array) -> Array:
        """Return the means of the actions (..., A) for observations (..., O)."""
        hidden = observations
        for weight, bias in self._hidden:
            hidden = np.tanh(hidden @ weight + bias)
        weight, bias = self._last
        action = hidden @ weight + bias
        return action if self.direct is None else action + observations @ self.direct


def scaled_layer(weight: Array, bias: Array, centre: Array, half_range: Array) -> Layer:
    """Fold the scaling of observations into the layer that reads them.

    W (o - c) / h + b = (W / h) o + (b - W c / h)

    Args:
        weight: W, (J, O), of scaled observations.
        bias: b, (J,).
        centre: c, (O,).
        half_range: h, (O,).

    Returns:
        The layer that takes observations as they come.
    """
    weight = weight / half_range
    return np.ascontiguousarray(weight.T), bias - weight @ centre
