"""What a policy and a robot must agree on: spaces, rewards, ends of episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space

from metarobot.envs.checked_numbers import show

_RELATIVE_TOLERANCE = 1e-5
"""Bounds that differ by less are equal: single precision, or a unit converted and back."""


LARGEST_REWARD = float(np.finfo(np.float32).max)
"""Rewards are kept in single precision."""


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


def read_reward(
    reward: Any, shape: tuple[int, ...] = (), *, may_be_missing: bool = True
) -> np.ndarray:
    """Return the reward of a step in double precision; NaN where nobody measured it.

    Args:
        reward: A number, or an array with one for each robot; NaN or None where nobody measured it.
        shape: Shape of such an array; () for one robot.
        may_be_missing: Whether it may be NaN or None.

    Raises:
        ValueError: It is no real number, has another shape, or is not finite in single precision.
    """
    values = _to_array(np.nan if reward is None else reward)
    fits = values.dtype.kind in "fiub" and values.shape in ((), shape)
    is_known = np.abs(values) <= LARGEST_REWARD if fits else np.asarray(False)  # NaN is not
    if fits and not is_known.all() and may_be_missing:
        is_known = is_known | np.isnan(values)
    if not is_known.all():
        each = f", or {shape} of them" if shape else ""
        raise ValueError(f"reward must be a finite number{each}, got {_in_a_line(reward)}")
    return values.astype(np.float64)


def read_flags(name: str, flags: Any, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Return what is true or false, such as whether an episode has ended; 0 and 1 are so too.

    Args:
        name: What it is called in errors.
        flags: Of one robot, or an array with one for each.
        shape: Shape of the array; () for one robot.

    Raises:
        ValueError: It is neither, or has another shape.
    """
    values = _to_array(flags)
    fits = values.dtype.kind in "fiub" and values.shape == shape
    if not fits or not ((values == 0) | (values == 1)).all():
        each = f" for each of {shape[0]} robots" if shape else ""
        raise ValueError(f"{name} must be true or false{each}, got {_in_a_line(flags)}")
    return values.astype(bool)


def _to_array(values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception:  # whatever the conversion of an unknown type raises
        return np.asarray(None)


def _in_a_line(value: Any) -> str:
    return " ".join(show(value).split())
