"""How parts wear: from new to the end of their life, at the pace of their machine.

Wear is a share: 0 is a new part, 1 the end of its life, which is a severity of one of the faults of
`metarobot.diagnosis`.  In every machine one part wears.  When it is worn out it is replaced, and
the next one begins anew, under the same load: so the parts of a machine last about as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv

from metarobot.diagnosis import FAULTS, Machines
from metarobot.envs.counter_based_random import keys_of, normals, uniforms

CYCLE = "a day of production"
"""What a cycle is.  Nothing depends on it; it makes lives about as many cycles as those of the
engines that the PHM 2008 score was made for."""
MOST_CYCLES = 600
NUM_PARTS = 2
HIGHEST = 1.5
"""All faults allow a severity as high over that of training."""
WORN_JOINTS = (2, 4)
"""The shoulder and the elbow carry most of the weight."""

MEDIAN_LIFE_CYCLES = 100.0
MACHINE_SPREAD, PART_SPREAD = 0.35, 0.12
"""Standard deviations of the logarithm of a life: between machines, and between the parts of one.
Assumptions.  Draws beyond `MOST_SPREADS` of them are moved there."""
MOST_SPREADS = 2.0
LOAD_EXPONENT = -0.5
"""Of life over payload.  A bearing alone would have -3 (ISO 281); the arm itself is most of it."""
NOMINAL_PAYLOAD_KG = 0.6

GAMMA_SHAPE = 25.0
"""Of the gamma process at its expected end; its scale is the inverse."""

TOLERATED = (0.6, 1.0)
"""Least and greatest share of the highest severity of training that a machine's job tolerates:
gluing needs a more exact arm than stacking.  It ends the life of all parts of a machine."""
SCATTER_RATIO, SCATTER_OFFSET = 0.15, 0.03
"""A part is not the same every day: debris moves, grease spreads, a gear is loaded otherwise.  The
severity at a check is multiplied by exp(0.15 n), and 0.03 n' of the highest severity is added; n
and n' are standard normal.  Assumptions: friction of a joint differs by some ten per cent from day
to day (Bittencourt et al. 2010 measured several times that over temperature)."""

_MACHINE, _PART, _PATH, _DAY = 101, 102, 103, 104  # streams of random numbers


@dataclass(frozen=True)
class Parts:
    """What wears in M machines, P parts one after the other."""

    machines: Machines
    """M machines."""
    fault: np.ndarray
    """Name of the fault that the wear is, (M,) of strings."""
    joint: np.ndarray
    """Number of the joint that it sits in, (M,)."""
    limit: np.ndarray
    """Severity that ends a life, in the unit of the fault, (M,)."""
    wear: np.ndarray
    """Share of the end of life after each cycle, (M, P, MOST_CYCLES + 1)."""

    @property
    def life_cycles(self) -> np.ndarray:
        """Cycle in which each part reaches the end of its life, (M, P)."""
        worn = self.wear >= 1.0
        return np.where(worn.any(axis=2), worn.argmax(axis=2), MOST_CYCLES)

    def severity(self, machine: np.ndarray, part: np.ndarray, cycle: np.ndarray) -> np.ndarray:
        """Return what a check finds, in the unit of the fault, (R,), with the scatter of its day.

        Args:
            machine: Rows of machines, (R,).
            part: 0 for the first part of each, (R,).
            cycle: Age of the part, (R,).
        """
        most = np.array([most_severe(name) for name in self.fault])[machine]
        days = part * (MOST_CYCLES + 1) + cycle
        draws = normals(_keys(self.machines)[machine], days, _DAY, np.arange(2))
        worn = self.limit[machine] * self.wear[machine, part, cycle]
        seen = worn * np.exp(SCATTER_RATIO * draws[:, 0]) + SCATTER_OFFSET * most * draws[:, 1]
        return np.clip(seen, 0.0, most * HIGHEST)


def sample_parts(machines: Machines) -> Parts:
    """Draw what wears in machines, and how: the same for a machine, whatever stands beside it."""
    count = len(machines)
    keys = _keys(machines)
    names = np.array(list(PROCESSES))
    draws = uniforms(keys, np.zeros(count), _MACHINE, np.arange(4))
    low, high = TOLERATED
    fault = names[(draws[:, 0] * len(names)).astype(int)]
    joint = np.array(WORN_JOINTS)[(draws[:, 1] * len(WORN_JOINTS)).astype(int)]
    limit = np.array([most_severe(name) for name in fault]) * (low + (high - low) * draws[:, 3])
    pace_cycles = _pace_cycles(machines, keys)
    wear = np.empty((count, NUM_PARTS, MOST_CYCLES + 1))
    for part in range(NUM_PARTS):
        age = np.arange(MOST_CYCLES + 1) / pace_cycles[:, part, None]  # in expected lives
        noise = uniforms(keys, np.full(count, part), _PATH, np.arange(MOST_CYCLES + 1))
        for name, process in PROCESSES.items():
            rows = fault == name
            wear[rows, part] = process(age[rows], draws[rows, 2], noise[rows])
    return Parts(machines, fault, joint, limit, wear)


def most_severe(fault: str) -> float:
    """Return the highest severity that any job tolerates: the highest that diagnosis trains on."""
    return FAULTS[fault].severity.train[1]


def _keys(machines: Machines) -> np.ndarray:
    """Return the key of what wears in each machine, (M,) uint64."""
    return keys_of(np.stack([np.full(len(machines), machines.seed), machines.number], axis=1))


def _pace_cycles(machines: Machines, keys: np.ndarray) -> np.ndarray:
    """Return the expected life of each part, (M, P)."""
    zero = np.zeros(len(keys))
    own = np.clip(normals(keys, zero, _MACHINE, np.array([10])), -MOST_SPREADS, MOST_SPREADS)
    each = np.clip(normals(keys, zero, _PART, np.arange(NUM_PARTS)), -MOST_SPREADS, MOST_SPREADS)
    median = median_life_cycles(machines.payload_kg)[:, None]
    return median * np.exp(MACHINE_SPREAD * own + PART_SPREAD * each)


def median_life_cycles(payload_kg: np.ndarray) -> np.ndarray:
    """Return the median of the expected lives under payloads."""
    return MEDIAN_LIFE_CYCLES * (payload_kg / NOMINAL_PAYLOAD_KG) ** LOAD_EXPONENT


# Processes: wear (m, C) of m parts after C cycles, from their age in expected lives (m, C), what is
# the machine's own in [0, 1) (m,), and uniforms (m, C), one a cycle.


def exponential(age: np.ndarray, own: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Damage that feeds on itself: w = w_0^(1 - age), with 3 to 15 % of it there from the start."""
    start = 0.03 * 5 ** own[:, None]
    start = np.clip(start * np.exp(0.3 * (2 * noise[:, :1] - 1)), 0.0, 0.5)
    return start ** (1 - age)


def gamma_process(age: np.ndarray, own: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Small independent losses, never undone: a gamma process with mean age^b, b from 1 to 2.5.

    At the expected end of its life its wear spreads by a fifth.
    """
    shape = gamma_shape(age, own[:, None])
    steps = np.diff(shape, axis=1, prepend=0.0)
    lost = np.where(steps > 1e-6, gammaincinv(np.maximum(steps, 1e-6), noise), 0.0)
    return np.cumsum(lost, axis=1) / GAMMA_SHAPE


def gamma_shape(age: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the shape of the gamma process at ages in expected lives, that broadcast with own."""
    return GAMMA_SHAPE * age ** (1.0 + 1.5 * own)


def sudden_onset(age: np.ndarray, own: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Nothing until a crack starts, after 40 to 75 % of the expected life; then it grows."""
    start = 0.4 + 0.3 * own[:, None] + 0.05 * noise[:, :1]
    return (np.maximum(age - start, 0.0) / (1 - start)) ** 1.5


Process = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

PROCESSES: dict[str, Process] = {
    "dry_friction": sudden_onset,
    "lost_lubricant": exponential,
    "backlash": gamma_process,
    "gear_ripple": gamma_process,
    "loose_belt": exponential,
    "weak_drive": sudden_onset,
}
"""Which process each fault follows: assumptions, by which the fleet's machines are alike.
Exponential growth from a random start: Gebraeel et al. 2005, "Residual-life distributions from
component degradation signals", IIE Transactions 37; Saxena et al. 2008, the damage propagation of
C-MAPSS.  Gamma processes: van Noortwijk 2009, "A survey of the application of gamma processes in
maintenance", Reliability Engineering and System Safety 94.  Two stages, healthy and degrading: Lei
et al. 2018, "Machinery health prognostics", Mechanical Systems and Signal Processing 104."""

WEARING_FAULTS = tuple(PROCESSES)
