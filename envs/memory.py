"""Limits of a batch of simulations: bounds of its numbers, and the memory that it takes.

What is too large is refused before anything is allocated, in one line. Left to itself, the system
would give the memory, and end the process when it is written to.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mujoco

from metarobot.envs.checked_numbers import is_integer, show

if TYPE_CHECKING:
    from metarobot.envs.task_family import TaskFamily

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

MOST_SIMULATIONS = 100_000
MOST_HORIZON = 1_000_000
"""Control steps of an episode."""
MOST_THREADS = 1024
"""More than any machine has; with tens of thousands, libraries end the process."""

_UNKNOWN_MACHINE_BYTES = 16 * 2**30
_CGROUP_FILES = ("memory.max", "memory/memory.limit_in_bytes")


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


@cache
def machine_bytes() -> int:
    """Return the memory that this process may use: the machine's, or its container's if less."""
    limits = [_physical_bytes()]
    for name in _CGROUP_FILES:
        try:
            text = Path("/sys/fs/cgroup", name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return _UNKNOWN_MACHINE_BYTES


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
