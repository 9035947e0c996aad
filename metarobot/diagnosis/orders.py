"""Orders: which health checks are to be recorded, as checked columns with an address each."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from metarobot.diagnosis.channels import NUM_JOINTS
from metarobot.diagnosis.condition import Condition, healthy
from metarobot.diagnosis.faults import FAULTS, HEALTHY, find_fault
from metarobot.diagnosis.machines import Machines, check_seed
from metarobot.envs.counter_based_random import keys_of, uniforms
from metarobot.envs.task_parameter import TaskError

OIL_TEMPERATURE_C = (15.0, 35.0)
"""Lowest and highest temperature of the joints during a check."""
_TEMPERATURE = 2  # stream of random numbers; sensors.py has the others
_MOST_CHECKS = 1_000_000


@dataclass(frozen=True)
class Orders:
    """R health checks to be recorded."""

    machines: Machines
    """R machines, one for each check."""
    fault: np.ndarray
    """Name of each fault, or ``healthy``, (R,)."""
    severity: np.ndarray
    """In the fault's own unit, (R,)."""
    joint: np.ndarray
    """1 to 7, or 0 where the fault sits in none, (R,)."""
    check: np.ndarray
    """Which check of its machine, (R,)."""
    oil_temperature_c: np.ndarray
    """(R,); the same in one check of one machine, whatever its fault."""
    address: np.ndarray
    """Key of all noise, (R,) uint64."""

    def __len__(self) -> int:
        return len(self.fault)

    def rows(self, part: slice) -> Orders:
        """Return some of them."""
        columns = {f.name: getattr(self, f.name)[part] for f in fields(self)[1:]}
        return Orders(self.machines.rows(part), **columns)

    def condition(self) -> Condition:
        """Return what the machines are like in these checks, faults included."""
        condition = healthy(self.machines, self.oil_temperature_c)
        for name, fault in FAULTS.items():
            rows = np.flatnonzero((self.fault == name) & (self.severity > 0))
            if rows.size:
                fault.change(condition, (rows, self.joint[rows] - 1), self.severity[rows])
        return condition


def read_orders(
    machines: Machines,
    faults: Sequence[str] | str,
    severities: Any,
    seed: int,
    joints: Any,
    checks: Any,
) -> Orders:
    """Check what is to be recorded; the arguments are those of `record`.

    Raises:
        TaskError: There is no such fault, joint or severity, or two recordings would be the same.
    """
    count = len(machines)
    names = [faults] * count if isinstance(faults, str) else [str(name) for name in faults]
    if len(names) != count:
        raise TaskError(f"faults must name one for each of {count} machines, got {len(names)}")
    joint = _column("joints", joints, count, 1, NUM_JOINTS).astype(np.int64)
    check = _column("checks", checks, count, 0, _MOST_CHECKS).astype(np.int64)
    check_seed(seed)
    severity = _column("severities", severities, count, 0, np.inf)
    fault = np.array(names)
    for name in sorted(set(names)):
        _check_fault(name, severity[fault == name], joint[fault == name])
    in_joint = np.array([name != HEALTHY and bool(FAULTS[name].joints) for name in names])
    joint = np.where(in_joint, joint, 0)
    addresses, visits = _addresses(machines, fault, severity, joint, check, seed)
    low, high = OIL_TEMPERATURE_C
    warmth = uniforms(visits, np.zeros(count), _TEMPERATURE, np.arange(1))[:, 0]
    temperature_c = low + (high - low) * warmth
    return Orders(machines, fault, severity, joint, check, temperature_c, addresses)


def _column(name: str, values: Any, count: int, low: float, high: float) -> np.ndarray:
    column = np.asarray(values, np.float64)
    if column.shape not in ((), (count,)):
        raise TaskError(f"{name} must be one number or {count}, got the shape {column.shape}")
    whole = name == "severities" or bool((column == np.round(column)).all())
    if not (whole and (column >= low).all() and (column <= high).all()):
        raise TaskError(f"{name} must be in [{low:g}, {high:g}], got {str(values)[:60]}")
    return np.array(np.broadcast_to(column, (count,)))


def _check_fault(name: str, severity: np.ndarray, joint: np.ndarray) -> None:
    if name == HEALTHY:
        if severity.any():
            raise TaskError("a healthy machine has the severity 0")
        return
    fault = find_fault(name)
    if fault.joints and not np.isin(joint, fault.joints).all():
        allowed = ", ".join(map(str, fault.joints))
        raise TaskError(f"{name} can sit in the joints {allowed}, got {joint.max()}")
    parameter = fault.severity
    most, unit = parameter.allowed[1], "" if parameter.unit == "1" else f" {parameter.unit}"
    if (severity > most).any():
        raise TaskError(
            f"severity of {name} ({parameter.description}) must be in [0, {most:g}]{unit}, "
            f"got {severity.max():g}"
        )


def _addresses(
    machines: Machines,
    fault: np.ndarray,
    severity: np.ndarray,
    joint: np.ndarray,
    check: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of all recordings, and those of the visits to a machine, (R,) uint64."""
    same = [np.full(len(fault), seed), np.full(len(fault), machines.seed), machines.number, check]
    visits = keys_of(np.stack(same, axis=1).astype(np.float64))
    named = np.array([zlib.crc32(name.encode()) for name in fault])
    columns = [*same, named, severity, joint]
    addresses = keys_of(np.stack(columns, axis=1).astype(np.float64))
    _, first, times = np.unique(addresses, return_index=True, return_counts=True)
    if (times > 1).any():
        row = int(first[times > 1].min())
        twin = int(np.flatnonzero(addresses == addresses[row])[1])
        raise TaskError(
            f"recordings {row} and {twin} would be the same: give each check of a machine "
            "another number in checks"
        )
    return addresses, visits
