"""Checks of what comes from outside: numbers, arrays, options of a reset, and memory.

An error is one line that names the value and what is allowed.  What is too large for the machine is
refused before anything is allocated: the system would give the memory, and end the process when it
is written to.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from metarobot.machine import MOST_THREADS

if TYPE_CHECKING:
    from metarobot.envs.family import TaskFamily

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

LONGEST_VALUE = 60
"""Characters of a value that an error shows."""
MOST_SIMULATIONS = 100_000
MOST_HORIZON = 1_000_000
"""Control steps of an episode."""

_UNKNOWN_MACHINE_BYTES = 16 * 2**30
_CGROUP_FILES = ("memory.max", "memory/memory.limit_in_bytes")


def show(value: Any) -> str:
    """Return a value for an error, in one line that is not too long."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # an integer of thousands of digits, or a deep nest
        text = f"{type(value).__name__} that is too long to show"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def after_number(unit: str) -> str:
    """Return a unit as it stands after a number, with the space before; nothing for a ratio."""
    return "" if unit in ("", "1") else f" {unit}"


def nearest_name(name: str, allowed: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest allowed name, or an empty string."""
    close = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def is_integer(value: Any, least: float, most: float) -> bool:
    """Whether a value is an integer in [least, most], also NumPy's; true and false are none."""
    return _is_integral(value) and least <= value <= most


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether a value is a number in [low, high]; NaN, true and false are none."""
    return (isinstance(value, float) or _is_integral(value)) and low <= value <= high


def _is_integral(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_integers(values: Any, bounds: Mapping[str, tuple[int, int]]) -> None:
    """Check attributes that are integers.

    Args:
        values: What holds them.
        bounds: Least and most of each, by its name.

    Raises:
        ValueError: One is no such integer; the message names it, what is allowed and its value.
    """
    for name, (least, most) in bounds.items():
        value = getattr(values, name)
        if not is_integer(value, least, most):
            raise ValueError(f"{name} must be an integer in [{least}, {most}], got {show(value)}")


def keep_plain_integers(values: Any) -> None:
    """Turn NumPy's integers in a frozen dataclass and its tuples into Python's, as JSON needs."""
    for name, value in [*vars(values).items()]:
        plain = tuple(map(_plain, value)) if isinstance(value, tuple) else _plain(value)
        if plain is not value:
            object.__setattr__(values, name, plain)


def _plain(value: Any) -> Any:
    return int(value) if _is_integral(value) and not isinstance(value, int) else value


def read_numbers(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return values as an array of real numbers of exactly this shape, in their own precision.

    Raises:
        ValueError: They are something else.
    """
    try:
        array = np.asarray(values)
    except Exception:  # whatever the conversion of an unknown type raises
        array = np.array(None)
    if array.dtype.kind not in "fiub":
        is_array = array.ndim or isinstance(values, np.ndarray)
        got = f"{array.dtype} of shape {array.shape}" if is_array else show(values)
        raise ValueError(f"{name} must be real numbers of shape {shape}, got {got}")
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
        raise ValueError(f"options must be a mapping of {', '.join(allowed)}, got {show(options)}")
    for name in options:
        if name not in allowed:
            raise ValueError(
                f"no option {name!r} of reset, allowed: {', '.join(allowed)}"
                + nearest_name(name, allowed)
            )
    return options


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


def check_counts(num_envs: Any, num_threads: Any, horizon: Any) -> None:
    """Refuse numbers of simulations, threads and control steps that no machine has a use for.

    Raises:
        ValueError: One is not an integer, too small or too large; the message names it.
    """
    counts = {
        "num_envs": (num_envs, 1, MOST_SIMULATIONS),
        "num_threads": (num_threads, 0, MOST_THREADS),
        "horizon": (1 if horizon is None else horizon, 1, MOST_HORIZON),
    }
    for name, (value, least, most) in counts.items():
        if not is_integer(value, least, most):
            raise ValueError(f"{name} must be an integer in [{least}, {most}], got {show(value)}")


def simulation_bytes(model: Any) -> int:
    """Return the memory of one simulation of a model."""
    data = _mj.MjData(model)
    return data.nbuffer + data.narena


@cache
def own_simulation_bytes(family: type[TaskFamily]) -> int:
    """Return the memory of one simulation in a family's own scene."""
    return simulation_bytes(family.compile_own_scene())


def require_memory(parts: Mapping[str, int], way_out: str) -> None:
    """Refuse what does not fit into the memory of this machine.

    Args:
        parts: What takes memory, in words that name the sizes, and its bytes.
        way_out: What to make smaller.

    Raises:
        ValueError: All of it together is more than the machine has.
    """
    needed, there = sum(parts.values()), machine_bytes()
    if needed > there:
        largest = ", ".join(
            f"{name} {_gigabytes(size)}"
            for name, size in sorted(parts.items(), key=lambda part: -part[1])
            if size > needed / 20
        )
        raise ValueError(
            f"this would take {_gigabytes(needed)} of memory ({largest}), "
            f"and this machine has {_gigabytes(there)}: {way_out}"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


@cache
def machine_bytes() -> int:
    """Return the memory that this process may use: the machine's, or its container's if less."""
    try:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # Windows
        limits = [_UNKNOWN_MACHINE_BYTES]
    for name in _CGROUP_FILES:
        try:
            text = Path("/sys/fs/cgroup", name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)
