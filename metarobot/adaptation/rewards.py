"""Rewards that come from a robot, checked."""

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
    try:
        values = np.asarray(np.nan if reward is None else reward)
    except Exception:  # whatever the conversion of an unknown type raises
        values = np.asarray(None)
    fits = values.dtype.kind in "fiub" and values.shape in ((), shape)
    is_known = np.abs(values) <= LARGEST_REWARD if fits else np.asarray(False)  # NaN is not
    if fits and not is_known.all() and may_be_missing:
        is_known = is_known | np.isnan(values)
    if not is_known.all():
        each = f", or {shape} of them" if shape else ""
        shown = " ".join(show(reward).split())
        raise ValueError(f"reward must be a finite number{each}, got {shown}")
    return values.astype(np.float64)
