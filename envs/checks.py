"""Checks of user input: numbers, arrays, options of a reset, and memory.

An error is one line that names the value and what is allowed.  Memory is checked before anything is
allocated: the system would grant more than there is, and kill the process on the first write.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarobot.machine import import_mujoco

if TYPE_CHECKING:
    from metarobot.envs.family import MujocoFamily

LONGEST_VALUE = 60
"""Characters of a value that an error shows."""
MOST_HORIZON = 1_000_000
"""Control steps of an episode."""
_UNKNOWN_MACHINE_BYTES = 16 * 2**30


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
    """Whether a value is an integer in [least, most], also NumPy's; booleans are not."""
    kind = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return kind and bool(least <= value <= most)


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether a value is a number in [low, high]; NaN and booleans are not."""
    return (isinstance(value, float) and low <= value <= high) or is_integer(value, low, high)


def require_integer(name: str, value: Any, least: int, most: int) -> None:
    """Refuse a value that is no integer in [least, most] by a ValueError that names it."""
    if not is_integer(value, least, most):
        raise ValueError(f"{name} must be an integer in [{least}, {most}], got {show(value)}")


def require_integers(values: Any, bounds: Mapping[str, tuple[int, int]]) -> None:
    """Check the attributes of an object that are named in ``bounds``; as `require_integer`."""
    for name, (least, most) in bounds.items():
        require_integer(name, getattr(values, name), least, most)


def keep_plain_integers(values: Any) -> None:
    """Turn NumPy's integers in a frozen dataclass and its tuples into Python's, as JSON needs."""

    def plain(value: Any) -> Any:
        return int(value) if isinstance(value, np.integer) else value

    for name, value in [*vars(values).items()]:
        kept = tuple(map(plain, value)) if isinstance(value, tuple) else plain(value)
        object.__setattr__(values, name, kept)


def read_numbers(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return values as an array of real numbers of exactly this shape, in their own precision.

    Raises:
        ValueError: They are something else.
    """
    try:
        array = np.asarray(values)
    except Exception:  # the conversion of an unknown type may raise any
        array = np.array(None)
    if array.dtype.kind not in "fiub":
        is_array = array.ndim or isinstance(values, np.ndarray)
        got = f"{array.dtype} of shape {array.shape}" if is_array else show(values)
        raise ValueError(f"{name} must be real numbers of shape {shape}, got {got}")
    if array.shape != shape:
        raise ValueError(f"{name} have shape {array.shape}, need {shape}")
    return array


def read_start(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the uniforms in [0, 1) that place a start; ValueError if they are something else."""
    start = read_numbers("start values", values, shape)
    bad = start[~((start >= 0) & (start < 1))]  # NaN compares false
    if bad.size:
        raise ValueError(f"start values must lie in [0, 1), got {bad[0]:g}")
    return start


def read_options(options: Any, allowed: Iterable[str]) -> Mapping[str, Any]:
    """Return the options of a reset, none for None; ValueError if one is not allowed."""
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"options must be a mapping of {', '.join(allowed)}, got {show(options)}")
    for name in options or {}:
        if name not in allowed:
            raise ValueError(
                f"no option {name!r} of reset, allowed: {', '.join(allowed)}"
                + nearest_name(name, allowed)
            )
    return options or {}


def simulation_bytes(model: Any) -> int:
    """Return the memory of one simulation of a model."""
    data = import_mujoco().MjData(model)
    return data.nbuffer + data.narena


@cache
def own_simulation_bytes(family: type[MujocoFamily]) -> int:
    """Return the memory of one simulation in a family's own scene."""
    return simulation_bytes(family.compile_own_scene())


def require_memory(parts: Mapping[str, int], way_out: str) -> None:
    """Refuse an allocation that does not fit into the memory of this machine.

    Args:
        parts: Description of each part, with its sizes, to its bytes.
        way_out: Advice on reducing the memory.

    Raises:
        ValueError: The parts together exceed the memory of the machine.
    """
    needed, there = sum(parts.values()), machine_bytes()
    if needed > there:
        largest = sorted(parts.items(), key=lambda part: -part[1])
        shown = ", ".join(f"{n} {b / 2**30:,.1f} GiB" for n, b in largest if b > needed / 20)
        raise ValueError(
            f"this would take {needed / 2**30:,.1f} GiB of memory ({shown}), "
            f"and this machine has {there / 2**30:,.1f} GiB: {way_out}"
        )


@cache
def machine_bytes() -> int:
    """Return the memory that this process may use: the machine's, or its container's if less."""
    try:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # Windows
        limits = [_UNKNOWN_MACHINE_BYTES]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # version 2 and 1 of cgroups
        try:
            text = Path("/sys/fs/cgroup", name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)
