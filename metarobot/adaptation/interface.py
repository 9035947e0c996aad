"""What a policy and a robot must agree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box, Space

_RELATIVE_TOLERANCE = 1e-5
"""Bounds that differ by less are equal: single precision, or a unit converted and back."""


@dataclass(frozen=True)
class Interface:
    """The observations, actions and episodes of a task family."""

    observation_low: tuple[float, ...]
    """Lowest value of every observation element, in the family's units, (O,)."""
    observation_high: tuple[float, ...]
    """Highest value, (O,)."""
    action_size: int
    """A, action elements, each in half action ranges: [-1, 1]."""
    horizon: int
    """T, control steps of an episode at most."""

    def observe(self, observations: np.ndarray, where: str = "observation") -> np.ndarray:
        """Return observations (..., O) as the family reports them: float32, within the bounds.

        Raises:
            ValueError: They have another number of elements, or one is not finite.
        """
        observations = np.asarray(observations, np.float64)
        size = len(self.observation_low)
        if observations.ndim == 0 or observations.shape[-1] != size:
            raise ValueError(f"{where} must have {size} elements, got shape {observations.shape}")
        if not np.isfinite(observations).all():
            *_, element = place = tuple(np.argwhere(~np.isfinite(observations))[0])
            raise ValueError(
                f"{where} must hold finite numbers, got {observations[place]} as element {element}"
            )
        return np.clip(observations, self.observation_low, self.observation_high, dtype=np.float32)

    def require_sizes(self, horizon: int, action_size: int) -> None:
        """Refuse episodes that are longer than the family's, or have other actions.

        Raises:
            ValueError: One does not fit.
        """
        if horizon > self.horizon:
            raise ValueError(f"episodes have at most {self.horizon} control steps, got {horizon}")
        if action_size != self.action_size:
            raise ValueError(f"actions must have {self.action_size} elements, got {action_size}")

    def require_spaces(self, observations: Space, actions: Space) -> None:
        """Refuse a robot whose spaces are not those of the family.

        Observation bounds must be the family's, or infinite: then observations are clipped to the
        family's.  Actions must be of floats; their bounds lie within [-1, 1], or are infinite.

        Raises:
            ValueError: One does not fit; the message holds both.
        """
        low, high = (np.array(b, np.float32) for b in (self.observation_low, self.observation_high))
        if not (isinstance(observations, Box) and _same(observations, low, high)):
            raise ValueError(
                f"the robot's observations are {_words(observations)}, but the policy needs "
                f"observations {_words(Box(low, high))}"
            )
        shape = (self.action_size,)
        alike = isinstance(actions, Box) and actions.shape == shape and actions.dtype.kind == "f"
        if not (alike and isinstance(actions, Box) and _within(actions)):
            wrapper = "wrappers.RescaleAction" if alike else "ActionWrapper of yours"
            raise ValueError(
                f"the robot's actions are {_words(actions)}, but the policy gives actions "
                f"{_words(Box(-1.0, 1.0, shape))}: a gymnasium.{wrapper} turns these into those"
            )


def _same(space: Box, low: np.ndarray, high: np.ndarray) -> bool:
    if space.shape != low.shape:
        return False
    tolerance = _RELATIVE_TOLERANCE * (high - low)
    lows = np.isneginf(space.low) | (np.abs(space.low - low) <= tolerance)
    highs = np.isposinf(space.high) | (np.abs(space.high - high) <= tolerance)
    return bool((lows & highs).all())


def _within(space: Box) -> bool:
    lows = np.isneginf(space.low) | (space.low >= -1.0)
    highs = np.isposinf(space.high) | (space.high <= 1.0)
    return bool((lows & highs).all())


def _words(space: Space) -> str:
    """Describe a space in one line."""
    if not isinstance(space, Box):
        return f"a {type(space).__name__}"
    low, high = (np.array2string(b, max_line_width=10**6) for b in (space.low, space.high))
    kind = "" if space.dtype.kind == "f" else f"{space.dtype} "
    return f"{kind}of shape {space.shape} in {low} .. {high}".replace("\n", " ")
