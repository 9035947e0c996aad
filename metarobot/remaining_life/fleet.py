"""`Fleet`: what the health checks of machines have shown, from new to worn out, part after part."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from metarobot.diagnosis import Machines, MachineSplit, record, sample_machines
from metarobot.diagnosis.cache import content_hash
from metarobot.diagnosis.orders import read_orders
from metarobot.remaining_life.indicators import INDICATORS, NUM_INDICATORS, indicators
from metarobot.remaining_life.wear import MOST_CYCLES, NUM_PARTS, Parts, sample_parts
from metarobot.tensor_files import load_tensors, save_tensors

CYCLES_BETWEEN_CHECKS = 6
"""A health check is made once in so many cycles, the first on the new part."""
_AT_ONCE = 500  # recordings, of 100 kB each


@dataclass(frozen=True)
class Fleet:
    """M machines, P parts each, and up to K checks of every part.

    What is known when: the indicators of a check from then on; the life of a part from when it is
    replaced on; its fault and joint then as well, because it is looked at.  The payload always.
    """

    indicators: np.ndarray
    """(M, P, K, NUM_INDICATORS); zeros after the last check of a part."""
    life_cycles: np.ndarray
    """Of each part, (M, P)."""
    fault: np.ndarray
    """Name of the fault that its wear is, (M,)."""
    payload_kg: np.ndarray
    """(M,)."""

    def __post_init__(self) -> None:
        """Check that all indicators are numbers.

        Raises:
            ValueError: One is not finite; the message names it.
        """
        bad = np.argwhere(~np.isfinite(self.indicators))
        if len(bad):
            machine, part, check, column = bad[0].tolist()
            joint, place = divmod(column, len(INDICATORS))
            raise ValueError(
                f"indicators must be finite numbers, {INDICATORS[place]!r} of joint {joint + 1} is "
                f"{self.indicators[tuple(bad[0])]:g} at check {check} of part {part} of machine "
                f"{machine}: record that check again, or leave out the machine"
            )

    def __len__(self) -> int:
        return len(self.fault)

    def rows(self, indices: Sequence[int] | slice | np.ndarray) -> Fleet:
        """Return the machines at ``indices``."""
        columns = (self.indicators, self.life_cycles, self.fault, self.payload_kg)
        return Fleet(*(column[indices] for column in columns))

    @property
    def num_checks(self) -> np.ndarray:
        """Checks of each part before the end of its life, (M, P)."""
        return (self.life_cycles - 1) // CYCLES_BETWEEN_CHECKS + 1


def watch_fleet(
    count: int,
    split: MachineSplit,
    *,
    seed: int = 0,
    cache: Path | None = None,
    num_threads: int = 0,
) -> Fleet:
    """Watch the first machines of a split until all of their parts are worn out.

    Args:
        count: Machines M.
        split: ``train`` or ``test``; no machine is in both.
        seed: Of the series, and of the sensors' noise.
        cache: Folder that keeps the indicators; none where None.  What is damaged is recorded
            again.
        num_threads: Native threads; 0 takes every processor.

    Raises:
        TaskError: There is no such split, or not so many machines in it.
        OSError: The cache cannot be written to.
    """
    parts = sample_parts(sample_machines(count, split, seed=seed))
    life = parts.life_cycles
    num_checks = (life - 1) // CYCLES_BETWEEN_CHECKS + 1
    machine, part, check = np.nonzero(np.arange(num_checks.max()) < num_checks[:, :, None])
    shape = (count, NUM_PARTS, int(num_checks.max()), NUM_INDICATORS)
    seen = np.zeros(shape)
    for first in range(0, len(machine), _AT_ONCE):
        rows = (machine[first : first + _AT_ONCE],)
        rows += (part[first : first + _AT_ONCE], check[first : first + _AT_ONCE])
        seen[rows] = _look(parts, *rows, seed, cache, num_threads)
    return Fleet(seen, life, parts.fault, parts.machines.payload_kg)


def _look(
    parts: Parts,
    machine: np.ndarray,
    part: np.ndarray,
    check: np.ndarray,
    seed: int,
    cache: Path | None,
    num_threads: int,
) -> np.ndarray:
    """Return the indicators of some checks, (R, NUM_INDICATORS), from the cache or recorded."""
    machines: Machines = parts.machines.rows(machine)
    severity = parts.severity(machine, part, check * CYCLES_BETWEEN_CHECKS)
    number = part * (MOST_CYCLES + 1) + check
    fault, joint = parts.fault[machine].tolist(), parts.joint[machine]
    orders = read_orders(machines, fault, severity, seed, joint, number)
    path = None if cache is None else cache / f"indicators-{_hash(content_hash(orders))}"
    if path is not None and (kept := _recall(path, len(machine))) is not None:
        return kept
    recordings = record(
        machines, fault, severity, seed, joints=joint, checks=number, num_threads=num_threads
    )
    found = indicators(recordings).astype(np.float32)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, {"indicators": torch.from_numpy(found)}, {})
    return found


def _recall(path: Path, count: int) -> np.ndarray | None:
    """Return the indicators that a file keeps, (R, NUM_INDICATORS); None if none, or damaged."""
    if not path.exists():
        return None
    try:
        tensors, _ = load_tensors(path, {"indicators": (count, NUM_INDICATORS)})
    except ValueError:
        return None
    return tensors["indicators"].numpy()


def _hash(content: str) -> str:
    """Return a name for the indicators of recordings, as indicators.py computes them."""
    source = Path(__file__).with_name("indicators.py").read_bytes()
    return hashlib.sha256(content.encode() + source).hexdigest()[:32]
