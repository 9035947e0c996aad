"""`Lives`: what is known at every check of a fleet, as numbers that networks and curves read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS, Fleet
from metarobot.remaining_life.health_index import HealthIndex
from metarobot.remaining_life.wear import NOMINAL_PAYLOAD_KG, WEARING_FAULTS

WINDOW = 8
"""Checks that the inputs of a network look back over."""
SUMMARY_POINTS = 8
"""Points that a whole life is summed up by, evenly spaced."""
_LIFE_CYCLES = 100.0  # scale of ages


@dataclass(frozen=True)
class Lives:
    """M machines with P parts each, K checks of every part at most."""

    fault: np.ndarray
    """Which of `WEARING_FAULTS` the wear is, (M,); known when a part is replaced."""
    payload_kg: np.ndarray
    """(M,)."""
    life_cycles: np.ndarray
    """(M, P); known when the part is replaced."""
    num_checks: np.ndarray
    """(M, P)."""
    index: np.ndarray
    """Health index by fault, (M, P, K, F)."""
    window: np.ndarray
    """What the check and the last ones before it say, (M, P, K, D)."""
    record: np.ndarray
    """What the whole record of the machine up to the check says besides, (M, P, K, D')."""

    def __len__(self) -> int:
        return len(self.fault)

    def rows(self, indices: Sequence[int] | slice | np.ndarray) -> Lives:
        """Return the machines at ``indices``."""
        return Lives(*(getattr(self, field.name)[indices] for field in fields(self)))

    @property
    def remaining_cycles(self) -> np.ndarray:
        """From every check to the end of the part's life, (M, P, K); at least 1."""
        age = np.arange(self.index.shape[2]) * CYCLES_BETWEEN_CHECKS
        return np.maximum(self.life_cycles[:, :, None] - age, 1)


def read_lives(fleet: Fleet, health: HealthIndex) -> Lives:
    """Compute the health index of every check, and what networks read."""
    index = health.of(fleet)
    names = list(WEARING_FAULTS)
    fault = np.array([names.index(name) for name in fleet.fault])
    return Lives(
        fault=fault,
        payload_kg=fleet.payload_kg,
        life_cycles=fleet.life_cycles,
        num_checks=fleet.num_checks,
        index=index,
        window=_window(index, fleet.payload_kg),
        record=_record(index, fleet.life_cycles, fleet.num_checks),
    )


def _window(index: np.ndarray, payload_kg: np.ndarray) -> np.ndarray:
    """Return age, payload, the index at the last checks, its mean by fault and its slope."""
    machines, parts, checks = index.shape[:3]
    total = index.sum(axis=3)
    age = np.arange(checks) * CYCLES_BETWEEN_CHECKS
    padded = np.concatenate([np.zeros((machines, parts, WINDOW - 1)), total], axis=2)
    last = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=2)  # (M, P, K, W)
    load = np.log(payload_kg / NOMINAL_PAYLOAD_KG)[:, None, None]
    columns = (
        np.broadcast_to(age / _LIFE_CYCLES, total.shape),
        np.broadcast_to(np.log1p(age) / 5, total.shape),
        np.broadcast_to(np.minimum(np.arange(checks) + 1, WINDOW) / WINDOW, total.shape),
        np.broadcast_to(load, total.shape),
        last[..., -3:].mean(axis=3),
    )
    return np.concatenate([np.stack(columns, axis=3), last, _recent_mean(index)], axis=3)


def _recent_mean(index: np.ndarray, over: int = 4) -> np.ndarray:
    """Return the mean over the last checks, or as many as there are, (M, P, K, F)."""
    before = np.concatenate([np.zeros_like(index[:, :, :1]), np.cumsum(index, axis=2)], axis=2)
    check = np.arange(index.shape[2])
    first = np.maximum(check - over + 1, 0)
    sums = before[:, :, check + 1] - before[:, :, first]
    return sums / (check - first + 1)[:, None]


def _record(index: np.ndarray, life_cycles: np.ndarray, num_checks: np.ndarray) -> np.ndarray:
    """Return the part's life so far, and the life of the part before it, in a few points each."""
    machines, parts, checks = index.shape[:3]
    total = index.sum(axis=3)
    so_far = np.stack([_points(total, np.full((machines, parts), k)) for k in range(checks)], 2)
    whole = _points(total, num_checks - 1)  # (M, P, SUMMARY_POINTS)
    rows = np.arange(machines)[:, None], np.arange(parts)[None]
    end = _recent_mean(index)[*rows, num_checks - 1]  # (M, P, F)
    length = np.log(life_cycles / _LIFE_CYCLES)[..., None]
    life = np.concatenate([np.ones_like(length), length, whole, end], axis=2)
    before = np.concatenate([np.zeros_like(life[:, :1]), life[:, :-1]], axis=1)
    spread = np.broadcast_to(before[:, :, None], (machines, parts, checks, before.shape[2]))
    return np.concatenate([so_far, spread], axis=3)


def _points(total: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return a series at evenly spaced checks from 0 to ``last``, (M, P, SUMMARY_POINTS)."""
    place = last[..., None] * np.linspace(0.0, 1.0, SUMMARY_POINTS)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, last[..., None])
    near, far = (np.take_along_axis(total, at, axis=2) for at in (low, high))
    return near + (place - low) * (far - near)
