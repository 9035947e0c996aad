"""The simulated fleet that wears: run-to-failure tables of arms, as users have them of machines.

In every machine one part wears, in joint 2 or 4, from new to the end of its life.  A *cycle* is a
day of production.  Every sixth day a health check is recorded, and one more on the last day, when
the part is found worn out.  The table has the indicators of every check.

Wear is 0 in a new part and 1 at the end of its life, a severity of one of the faults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaincinv

from metarobot.diagnosis.simulator import (
    COMMANDED_TORQUE,
    DELIVERED_TORQUE,
    FAULTS,
    JOINTS,
    NUM_JOINTS,
    POSITION,
    RIPPLES_PER_TURN,
    SAMPLES_PER_S,
    VELOCITY,
    Machines,
    MachineSplit,
    health_check,
    record,
    sample_machines,
)
from metarobot.envs.disturbances import keys_of, normals, uniforms

MOST_CYCLES = 600
CYCLES_BETWEEN_CHECKS = 6
HIGHEST = 1.5
"""Greatest severity, over the highest that a job tolerates; all faults allow it."""
WORN_JOINTS = (2, 4)
"""The shoulder and the elbow carry most of the weight."""

MEDIAN_LIFE_CYCLES = 100.0
MACHINE_SPREAD, PART_SPREAD = 0.35, 0.12
"""Standard deviations of the logarithm of a life: between machines, and between parts of one.
Assumptions.  Draws beyond `MOST_SPREADS` of them are moved there."""
MOST_SPREADS = 2.0
LOAD_EXPONENT = -0.5
"""Exponent of life over payload.  A bearing alone would have -3 (ISO 281); the arm itself is most
of the load."""
NOMINAL_PAYLOAD_KG = 0.6

GAMMA_SHAPE = 25.0
"""Shape of the gamma process at its expected end; its scale is the inverse."""

TOLERATED = (0.6, 1.0)
"""Least and greatest severity that a machine's job tolerates, over the highest of training: gluing
needs a more exact arm than stacking."""
SCATTER_RATIO, SCATTER_OFFSET = 0.15, 0.03
"""A part is not the same every day: debris moves, grease spreads.  The severity at a check is
multiplied by exp(0.15 n), and 0.03 n' of the highest severity is added; n and n' are standard
normal.  Assumptions: friction of a joint differs by some ten per cent from day to day (Bittencourt
et al. 2010 measured several times that over temperature)."""

_MACHINE, _PART, _PATH, _DAY = 101, 102, 103, 104  # streams of random numbers
_BATCH = 500  # recordings, of 100 kB each


Process = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Returns the wear (m, C) of m parts after C cycles, from their age in expected lives (m, C), a
constant of each machine in [0, 1) (m,), and uniforms (m, C), one a cycle."""


def exponential(age: np.ndarray, own: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Grow damage that feeds on itself: w = w_0^(1 - age), with w_0 from 3 to 15 %."""
    start = 0.03 * 5 ** own[:, None]
    start = np.clip(start * np.exp(0.3 * (2 * noise[:, :1] - 1)), 0.0, 0.5)
    return start ** (1 - age)


def gamma_process(age: np.ndarray, own: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Add small independent losses: a gamma process with mean age^b, b from 1 to 2.5.

    At the expected end of its life its wear spreads by a fifth.
    """
    shape = GAMMA_SHAPE * age ** (1.0 + 1.5 * own[:, None])
    steps = np.diff(shape, axis=1, prepend=0.0)
    lost = np.where(steps > 1e-6, gammaincinv(np.maximum(steps, 1e-6), noise), 0.0)
    return np.cumsum(lost, axis=1) / GAMMA_SHAPE


def sudden_onset(age: np.ndarray, own: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Grow from the start of a crack, after 40 to 75 % of the expected life; nothing before."""
    start = 0.4 + 0.3 * own[:, None] + 0.05 * noise[:, :1]
    return (np.maximum(age - start, 0.0) / (1 - start)) ** 1.5


PROCESSES: dict[str, Process] = {
    "dry_friction": sudden_onset,
    "lost_lubricant": exponential,
    "backlash": gamma_process,
    "gear_ripple": gamma_process,
    "loose_belt": exponential,
    "weak_drive": sudden_onset,
}
"""Process of each fault: assumptions.
Exponential growth from a random start: Gebraeel et al. 2005, "Residual-life distributions from
component degradation signals", IIE Transactions 37; Saxena et al. 2008, the damage propagation of
C-MAPSS.  Gamma processes: van Noortwijk 2009, "A survey of the application of gamma processes in
maintenance", Reliability Engineering and System Safety 94.  Two stages, healthy and degrading: Lei
et al. 2018, "Machinery health prognostics", Mechanical Systems and Signal Processing 104."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The worn parts of M machines, one each."""

    machines: Machines
    """M machines."""
    keys: np.ndarray
    """Key of the random numbers of each, (M,) uint64."""
    fault: np.ndarray
    """Name of the fault that grows with wear, (M,) of strings."""
    joint: np.ndarray
    """Number of its joint, (M,)."""
    most: np.ndarray
    """Highest severity of the fault that any job tolerates, in its unit, (M,)."""
    limit: np.ndarray
    """Severity that ends a life, (M,)."""
    wear: np.ndarray
    """Wear after each cycle, (M, MOST_CYCLES + 1)."""

    @property
    def life_cycles(self) -> np.ndarray:
        """Cycle in which each part reaches the end of its life, (M,)."""
        worn = self.wear >= 1.0
        return np.where(worn.any(axis=1), worn.argmax(axis=1), MOST_CYCLES)

    def severity(self, machine: np.ndarray, cycle: np.ndarray) -> np.ndarray:
        """Return severities of rows of machines (R,) at cycles (R,), scattered by day, (R,)."""
        draws = normals(self.keys[machine], cycle, _DAY, np.arange(2))
        worn, most = self.limit[machine] * self.wear[machine, cycle], self.most[machine]
        seen = worn * np.exp(SCATTER_RATIO * draws[:, 0]) + SCATTER_OFFSET * most * draws[:, 1]
        return np.clip(seen, 0.0, most * HIGHEST)


def sample_parts(machines: Machines) -> Parts:
    """Draw the wear of machines; that of one does not depend on the others."""
    zero = np.zeros(len(machines))
    keys = keys_of(np.stack([zero + machines.seed, machines.number], axis=1))
    draws = uniforms(keys, zero, _MACHINE, np.arange(4))
    fault = np.array(list(PROCESSES))[(draws[:, 0] * len(PROCESSES)).astype(int)]
    joint = np.array(WORN_JOINTS)[(draws[:, 1] * len(WORN_JOINTS)).astype(int)]
    most = np.array([FAULTS[name].train[1] for name in fault])
    limit = most * (TOLERATED[0] + (TOLERATED[1] - TOLERATED[0]) * draws[:, 3])
    own = np.clip(normals(keys, zero, _MACHINE, np.array([10])), -MOST_SPREADS, MOST_SPREADS)
    each = np.clip(normals(keys, zero, _PART, np.arange(1)), -MOST_SPREADS, MOST_SPREADS)
    median = MEDIAN_LIFE_CYCLES * (machines.payload_kg / NOMINAL_PAYLOAD_KG) ** LOAD_EXPONENT
    expected_cycles = median * np.exp(MACHINE_SPREAD * own + PART_SPREAD * each)[:, 0]
    age = np.arange(MOST_CYCLES + 1) / expected_cycles[:, None]
    noise = uniforms(keys, zero, _PATH, np.arange(MOST_CYCLES + 1))
    wear = np.empty_like(age)
    for name, process in PROCESSES.items():
        rows = fault == name
        wear[rows] = process(age[rows], draws[rows, 2], noise[rows])
    return Parts(machines, keys, fault, joint, most, limit, wear)


def wear_table(count: int, split: MachineSplit = "train", *, seed: int = 0) -> pd.DataFrame:
    """Record the checks of the first machines of a split until their parts are worn out.

    Args:
        count: Machines M.
        split: ``train`` or ``test``; no machine is in both.
        seed: Seed of the series, and of the sensors' noise.

    Returns:
        Columns ``unit``, ``cycle``, ``payload_kg``, the 63 indicators and ``event``, which is 1:
        the part is worn out at the last row of the unit.

    Raises:
        TaskError: There is no such split, or not so many machines in it.
    """
    parts = sample_parts(sample_machines(count, split, seed=seed))
    life = parts.life_cycles
    num_checks = (life - 1) // CYCLES_BETWEEN_CHECKS + 2  # the last one on the last day
    machine, check = np.nonzero(np.arange(num_checks.max()) < num_checks[:, None])
    cycle = np.minimum(check * CYCLES_BETWEEN_CHECKS, life[machine])
    severity = parts.severity(machine, cycle)
    seen = []
    for rows in np.split(np.arange(len(machine)), range(_BATCH, len(machine), _BATCH)):
        own = machine[rows]
        recordings = record(
            parts.machines.rows(own),
            parts.fault[own],
            severity[rows],
            seed,
            joints=parts.joint[own],
            checks=check[rows],
        )
        seen.append(indicators(recordings.stacked()))
    columns = [f"{joint} {name}" for joint in JOINTS for name in INDICATORS]
    table = pd.DataFrame(np.concatenate(seen), columns=columns)
    table.insert(0, "unit", parts.machines.number[machine])
    table.insert(1, "cycle", cycle)
    table.insert(2, "payload_kg", parts.machines.payload_kg[machine])
    table["event"] = 1
    return table


INDICATORS = (
    "dry friction (N m)",
    "viscous damping (N m s/rad)",
    "inertia of the rotor (kg m^2)",
    "torque lost by the drive (1)",
    "ripple (N m)",
    "residual torque (log N m)",
    "unplanned torque to 20 Hz (log N m)",
    "torque above 20 Hz (log N m)",
    "unplanned speed (log rad/s)",
)
"""Indicators of each joint.  Least squares split the commanded less the delivered torque into dry
friction, viscous damping, inertia of the rotor, the share lost by the drive, and ripple of the
teeth."""

_STANDSTILL_RAD_PER_S = 0.02
"""Dry friction changes its sign over about so much speed: the noise of the sensor."""
_RIDGE = 1e-6
_ROUGH_HZ = 20.0


def indicators(signals: np.ndarray) -> np.ndarray:
    """Return the indicators of recordings (R, C, T), (R, 7 x 9): joint by joint."""
    motion, found = health_check(), []
    channels = (POSITION, VELOCITY, COMMANDED_TORQUE, DELIVERED_TORQUE)
    for joint in range(NUM_JOINTS):
        position, velocity, commanded, delivered = (
            signals[:, channel][:, joint].astype(np.float64) for channel in channels
        )
        teeth = RIPPLES_PER_TURN * position
        causes = np.stack(
            [
                np.tanh(velocity / _STANDSTILL_RAD_PER_S),
                velocity,
                np.gradient(velocity, 1 / SAMPLES_PER_S, axis=1),
                commanded,
                np.sin(teeth),
                np.cos(teeth),
                np.ones_like(velocity),
            ],
            axis=2,
        )  # (R, T, 7)
        lost_nm = commanded - delivered
        products = causes.mT @ causes
        scale = np.trace(products, axis1=1, axis2=2)[:, None, None] / causes.shape[2]
        products += _RIDGE * scale * np.eye(causes.shape[2])
        amounts = np.linalg.solve(products, causes.mT @ lost_nm[:, :, None])
        unplanned_nm = delivered - motion.torque_nm[:, joint]
        rest = (
            lost_nm - (causes @ amounts)[:, :, 0],
            _slow(unplanned_nm - unplanned_nm.mean(axis=1, keepdims=True)),
            delivered - _slow(delivered),
            velocity - motion.velocity_rad_per_s[:, joint],
        )
        rms = np.stack([np.sqrt(np.mean(part**2, axis=1)) for part in rest], axis=1)
        ripple = np.hypot(amounts[:, 4], amounts[:, 5])
        found += [amounts[:, :4, 0], ripple, np.log(rms + 1e-6)]
    return np.concatenate(found, axis=1)


def _slow(signal: np.ndarray) -> np.ndarray:
    """Return a signal (R, T) below 20 Hz."""
    spectrum = np.fft.rfft(signal, axis=1)
    slow = np.fft.rfftfreq(signal.shape[1], 1 / SAMPLES_PER_S) <= _ROUGH_HZ
    return np.fft.irfft(spectrum * slow, signal.shape[1], axis=1)
