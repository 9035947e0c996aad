"""Machines: arms of one series, each with its own masses, losses, drives, sensors and tool.

A machine is addressed by a seed and its number.  Machines to train on and machines to test on have
other numbers, so none is ever both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np

from metarobot.diagnosis.channels import NUM_JOINTS, ROTOR_SHARE
from metarobot.envs.checked_numbers import is_integer, show
from metarobot.envs.counter_based_random import keys_of, uniforms
from metarobot.envs.task_parameter import TaskError, nearest_name

MachineSplit = Literal["train", "test"]
MACHINE_SPLITS: tuple[MachineSplit, ...] = get_args(MachineSplit)
FIRST_TEST_NUMBER = 1_000_000
"""Machines with lower numbers are to be trained on, those from here on to be tested on."""
MOST_SEED = 2**53 - 1  # seeds are hashed as doubles

_BY_JOINT: dict[str, tuple[float, float]] = {
    "link_mass_ratio": (0.95, 1.05),
    "joint_friction_nm": (0.15, 0.65),
    "joint_damping_ratio": (0.7, 1.4),
    "drive_strength": (0.96, 1.04),
    "ripple_nm": (0.0, 0.15),
    "gear_phase_rad": (0.0, 2 * np.pi),
    "torque_noise_nm": (0.03, 0.10),
}
_BY_MACHINE: dict[str, tuple[float, float]] = {
    "payload_kg": (0.3, 0.9),
    "payload_place_m": (-0.01, 0.01),
    "position_noise_rad": (5e-5, 2e-4),
    "velocity_noise_rad_per_s": (0.002, 0.006),
    "acceleration_noise_m_per_s2": (0.03, 0.10),
}
"""Lowest and highest values, drawn uniformly.  Dry friction is as Gaz et al. 2019 identified it on
an arm of this type (see envs/arm.xml); the other spreads are assumptions about one series."""

_SCALED_BY_ROTOR = ("ripple_nm", "torque_noise_nm")


@dataclass(frozen=True)
class Machines:
    """N machines; arrays (N, 7) have a column for each joint."""

    seed: int
    """Seed of the series that they are drawn from."""
    number: np.ndarray
    """Number of each, (N,): with the seed its address."""
    link_mass_ratio: np.ndarray
    """Mass of links 1 to 7 over that of the drawing, (N, 7)."""
    joint_friction_nm: np.ndarray
    """Dry friction of each joint, (N, 7)."""
    joint_damping_ratio: np.ndarray
    """Viscous damping of each joint over the nominal, at 25 degrees C, (N, 7)."""
    drive_strength: np.ndarray
    """Torque at the rotor over torque commanded, (N, 7)."""
    ripple_nm: np.ndarray
    """Amplitude of the ripple that a healthy gear has, (N, 7)."""
    gear_phase_rad: np.ndarray
    """How the teeth of each gear stand at angle zero, (N, 7)."""
    torque_noise_nm: np.ndarray
    """Standard deviation of the torque sensors' noise, (N, 7)."""
    payload_kg: np.ndarray
    """Mass at the tool, (N,); the drives count on that of the arm as built."""
    payload_place_m: np.ndarray
    """How far it is off the tool's axis, along x, (N,)."""
    position_noise_rad: np.ndarray
    """Standard deviation of the encoders' noise, (N,)."""
    velocity_noise_rad_per_s: np.ndarray
    """Standard deviation of the speed sensors' noise, (N,)."""
    acceleration_noise_m_per_s2: np.ndarray
    """Standard deviation of the accelerometer's noise, (N,)."""

    def __len__(self) -> int:
        return len(self.number)

    def rows(self, indices: Sequence[int] | slice | np.ndarray) -> Machines:
        """Return the machines at ``indices``, any of them as often as it is named."""
        columns = {f.name: getattr(self, f.name)[indices] for f in fields(self) if f.name != "seed"}
        return Machines(seed=self.seed, **columns)


def sample_machines(count: int, split: MachineSplit = "train", *, seed: int = 0) -> Machines:
    """Return the first machines of a split: the same for the same seed, whatever their count.

    Args:
        count: Number of machines N.
        split: ``train`` or ``test``; no machine is in both.
        seed: Seed of the series.

    Raises:
        TaskError: There is no such split, or not so many machines in it, or the seed is not one.
    """
    if split not in MACHINE_SPLITS:
        raise TaskError(
            f"no machines of {split!r}, allowed: {', '.join(MACHINE_SPLITS)}"
            + nearest_name(split, MACHINE_SPLITS)
        )
    if not 1 <= count <= FIRST_TEST_NUMBER:
        raise TaskError(f"count of machines must be in [1, {FIRST_TEST_NUMBER}], got {count}")
    check_seed(seed)
    number = np.arange(count) + (FIRST_TEST_NUMBER if split == "test" else 0)
    keys = keys_of(np.stack([np.full(count, seed), number], axis=1))
    columns = {
        name: _draw(keys, stream, name, bounds)
        for stream, (name, bounds) in enumerate((_BY_JOINT | _BY_MACHINE).items())
    }
    return Machines(seed=seed, number=number, **columns)


def check_seed(seed: int) -> None:
    """Refuse what is no seed.

    Raises:
        TaskError: It is no integer, or lies outside what a key can hold.
    """
    if not is_integer(int(seed) if isinstance(seed, np.integer) else seed, 0, MOST_SEED):
        raise TaskError(f"seed must be an integer in [0, {MOST_SEED}], got {show(seed)}")


def _draw(keys: np.ndarray, stream: int, name: str, bounds: tuple[float, float]) -> np.ndarray:
    """Draw one quantity of every machine, (N, 7) or (N,)."""
    low, high = bounds
    size = NUM_JOINTS if name in _BY_JOINT else 1
    values = low + (high - low) * uniforms(keys, np.zeros(len(keys)), stream, np.arange(size))
    if name in _SCALED_BY_ROTOR:
        values = values * ROTOR_SHARE
    return values if name in _BY_JOINT else values[:, 0]
