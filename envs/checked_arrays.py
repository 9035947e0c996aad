"""Arrays and options that come from outside, checked; what is wrong is said in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from metarobot.envs.task_parameter import nearest_name

_LONGEST_VALUE = 40


def read_numbers(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return values as an array of real numbers of exactly this shape, in their own precision.

    Raises:
        ValueError: They are something else.
    """
    try:
        array = np.asarray(values)
    except Exception:  # whatever the conversion of an unknown type raises
        raise ValueError(_need(name, shape, f"a {type(values).__name__}")) from None
    if array.dtype.kind not in "fiub":
        raise ValueError(_need(name, shape, _describe(values, array)))
    if array.shape != shape:
        raise ValueError(f"{name} have shape {array.shape}, need {shape}")
    return array


def read_actions(family: str, actions: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return actions (num_envs, A) clipped to [-1, 1], float64.

    Raises:
        ValueError: They are no real numbers of this shape, or one is NaN.
    """
    commands = np.clip(read_numbers("actions", actions, shape).astype(np.float64), -1.0, 1.0)
    bad = np.isnan(commands)
    if bad.any():
        sim, element = np.argwhere(bad)[0]
        raise ValueError(
            f"actions of {family} must be numbers in [-1, 1], "
            f"got nan in simulation {sim}, element {element}"
        )
    return commands


def read_start(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the uniforms that place a start.

    Raises:
        ValueError: They are no real numbers of this shape, or not all in [0, 1).
    """
    start = read_numbers("start values", values, shape)
    bad = start[~((start >= 0) & (start < 1))]  # NaN compares false
    if bad.size:
        raise ValueError(f"start values must lie in [0, 1), got {bad[0]:g}")
    return start


def read_options(options: Any, allowed: Iterable[str]) -> Mapping[str, Any]:
    """Return the options of a reset, none for None.

    Raises:
        ValueError: They are no mapping, or name something that is not allowed.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(
            f"options must be a mapping of {', '.join(allowed)}, got a {type(options).__name__}"
        )
    for name in options:
        if name not in allowed:
            raise ValueError(
                f"no option {name!r} of reset, allowed: {', '.join(allowed)}"
                + nearest_name(name, allowed)
            )
    return options


def _need(name: str, shape: tuple[int, ...], got: str) -> str:
    return f"{name} must be real numbers of shape {shape}, got {got}"


def _describe(values: Any, array: np.ndarray) -> str:
    if array.ndim or isinstance(values, np.ndarray):
        return f"{array.dtype} of shape {array.shape}"
    if values is None or isinstance(values, (str, bytes, complex)):
        return repr(values)[:_LONGEST_VALUE]
    return f"a {type(values).__name__}"


def read_mask(mask: Any, num_envs: int) -> np.ndarray:
    """Return which simulations a mask chooses, (num_envs,) bool; all of them without one.

    Raises:
        ValueError: It is no such array, or chooses none.
    """
    if mask is None:
        return np.ones(num_envs, bool)
    mask = np.asarray(mask)
    if mask.shape != (num_envs,) or mask.dtype != bool or not mask.any():
        raise ValueError(
            f"reset_mask must be ({num_envs},) bool and choose a simulation, "
            f"got {mask.dtype} {mask.shape}"
        )
    return mask
