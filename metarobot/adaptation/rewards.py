"""Rewards and ends of episodes that come from a robot, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from metarobot.envs.checked_numbers import show

LARGEST_REWARD = float(np.finfo(np.float32).max)
"""Rewards are kept in single precision."""


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
