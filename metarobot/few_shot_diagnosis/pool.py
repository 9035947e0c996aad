"""Pools: recordings in which every machine has every class once.

So no two recordings of a class are of one machine, and parting machines parts recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from metarobot.diagnosis import FAULTS, HEALTHY, MachineSplit, Recordings, record, sample_machines
from metarobot.few_shot_diagnosis.classes import FaultClass

NUM_BASELINES = 3
"""Health checks of every machine from when it was new, at other temperatures each."""

SeveritySplit = Literal["train", "extrapolation"]


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """Which recordings a pool holds."""

    machines: MachineSplit
    """Whether its machines are to be trained on or to be tested on."""
    num_machines: int
    """M."""
    classes: tuple[FaultClass, ...]
    """C classes."""
    severities: SeveritySplit = "train"
    """Range of the severities: that trained on, or beyond it."""
    seed: int = 0
    """Of machines, severities and noise."""


@dataclass(frozen=True)
class Pool:
    """M machines with C classes; signals (M, C, channels, T)."""

    spec: PoolSpec
    recordings: Recordings
    """M C recordings: all classes of a machine one after the other."""
    baselines: Recordings
    """M B healthy recordings: all of a machine one after the other."""

    def row(self, machine: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return the row of the recording of a machine (0 .. M - 1) and a class (0 .. C - 1)."""
        return machine * len(self.spec.classes) + label


def record_pool(spec: PoolSpec, *, num_threads: int = 0, cache: Path | None = None) -> Pool:
    """Record a pool, or take it from the cache.

    Args:
        spec: Which recordings.
        num_threads: Native threads; 0 takes every processor.
        cache: Folder that keeps what was recorded.

    Raises:
        OSError: The cache cannot be written to.
    """
    machines = sample_machines(spec.num_machines, spec.machines, seed=spec.seed)
    count = len(spec.classes)
    recordings = record(
        machines.rows(np.repeat(np.arange(len(machines)), count)),
        [own.fault for own in spec.classes] * len(machines),
        _severities(spec),
        spec.seed,
        joints=[own.joint or 1 for own in spec.classes] * len(machines),
        # Every recording is of another visit, and so at another temperature.
        checks=np.tile(NUM_BASELINES + np.arange(count), len(machines)),
        num_threads=num_threads,
        cache=cache,
    )
    baselines = record(
        machines.rows(np.repeat(np.arange(len(machines)), NUM_BASELINES)),
        HEALTHY,
        0.0,
        spec.seed,
        checks=np.tile(np.arange(NUM_BASELINES), len(machines)),
        num_threads=num_threads,
        cache=cache,
    )
    return Pool(spec, recordings, baselines)


def _severities(spec: PoolSpec) -> np.ndarray:
    """Draw the severity of every recording, (M C,), evenly over its fault's range."""
    rng = np.random.default_rng((spec.seed, spec.severities == "extrapolation"))
    severity = np.zeros((spec.num_machines, len(spec.classes)))
    for column, own in enumerate(spec.classes):
        if own.fault != HEALTHY:
            parameter = FAULTS[own.fault].severity
            severity[:, column] = parameter.sample(rng, spec.num_machines, spec.severities)
    return severity.ravel()
