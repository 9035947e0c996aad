"""`record`: health checks of machines with faults, as recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarobot.diagnosis.channels import NUM_CHANNELS
from metarobot.diagnosis.health_check import NUM_SAMPLES
from metarobot.diagnosis.machines import Machines
from metarobot.diagnosis.orders import Orders, read_orders
from metarobot.diagnosis.recordings import Recordings
from metarobot.diagnosis.simulation import Simulation
from metarobot.envs.memory import require_memory

_RECORDINGS_AT_ONCE = 500
"""Simulations in one batch, and recordings in one file of the cache: about 50 MB."""


class RecordingError(RuntimeError):
    """A simulation has left the numbers that physics can continue from."""


def record(
    machines: Machines,
    faults: Sequence[str] | str,
    severities: Any,
    seed: int,
    *,
    joints: Any = 2,
    checks: Any = 0,
    num_threads: int = 0,
    cache: Path | None = None,
) -> Recordings:
    """Record one health check of every machine.

    A recording depends, bit for bit, on its own row and the seed: not on the other rows, their
    order, or the number of threads.

    Args:
        machines: R machines, one for each recording; ``machines.rows`` repeats them.
        faults: Names of R faults of `FAULTS`, or ``healthy``; or one for all.
        severities: R severities, each in its fault's own unit; or one for all.  Zero is no fault.
        seed: Seed of sensor noise and temperatures.
        joints: Number of the joint that the fault sits in, 1 to 7, for each or for all.
        checks: Number of the check, for each or for all: another number, other noise and another
            temperature.
        num_threads: Native threads; 0 takes every processor.
        cache: Folder that keeps what was recorded, and gives it back; none where None.

    Raises:
        TaskError: A fault, severity or joint is not allowed, or two recordings would be the same.
        RecordingError: A simulation became unstable.
        OSError: The cache cannot be written to.
    """
    orders = read_orders(machines, faults, severities, seed, joints, checks)
    size = 4 * NUM_CHANNELS * NUM_SAMPLES * len(orders)
    require_memory({f"{len(orders)} recordings": size}, "record fewer at a time")
    signals = np.empty((len(orders), NUM_CHANNELS, NUM_SAMPLES), np.float32)
    for first in range(0, len(orders), _RECORDINGS_AT_ONCE):
        part = slice(first, first + _RECORDINGS_AT_ONCE)
        signals[part] = _recall(orders.rows(part), num_threads, cache)
    return Recordings(
        signals,
        machine=orders.machines.number,
        fault=orders.fault,
        severity=orders.severity,
        joint=orders.joint,
        check=orders.check,
        oil_temperature_c=orders.oil_temperature_c,
        address=orders.address,
    )


def _recall(orders: Orders, num_threads: int, cache: Path | None) -> np.ndarray:
    """Return what the cache holds of these orders, or record them and keep them, (R, C, T)."""
    if cache is None:
        return _simulate(orders, num_threads)
    from metarobot.diagnosis.cache import keep, recall  # needs torch, for its tensor files

    signals = recall(cache, orders)
    if signals is None:
        signals = _simulate(orders, num_threads)
        keep(cache, orders, signals)
    return signals


def _simulate(orders: Orders, num_threads: int) -> np.ndarray:
    signals = Simulation(orders.condition(), orders.address, num_threads).run()
    bad = ~np.isfinite(signals).all(axis=(1, 2))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise RecordingError(
            f"the simulation of {orders.fault[row]} {orders.severity[row]:g} in joint "
            f"{orders.joint[row]} of machine {orders.machines.number[row]} became unstable"
        )
    return signals
