"""The health check: one fixed motion, the same on every machine.

Each joint follows a slow swing, which reverses often enough to show dry friction and play, and a
fast tremble on top, which shows what gives way.  A window lets the motion begin and end at rest.
All frequencies are multiples of one over the duration, so the motion is a Fourier series, and its
derivatives are exact.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import mujoco
import numpy as np

from metarobot.diagnosis.arm_model import compile_arm, home_rad
from metarobot.diagnosis.channels import JOINTS, SAMPLES_PER_S

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

DURATION_S = 3.2
NUM_SAMPLES = round(DURATION_S * SAMPLES_PER_S)

# Joint 1 to 7.  No two joints share a frequency, so that what one does can be told from another.
# Together at most 2.1 rad/s in joints 1 to 4 and 2.6 rad/s in the wrist, as the arm allows.
_SWING_RAD = np.array([0.40, 0.20, 0.16, 0.20, 0.17, 0.14, 0.13])
_SWINGS = np.array([2, 3, 5, 4, 6, 7, 8])  # in the whole check
_TREMBLE_RAD = np.array([0.008, 0.006, 0.006, 0.006, 0.008, 0.008, 0.006])
_TREMBLES = np.array([17, 19, 23, 21, 27, 25, 29])  # 5 to 9 Hz


class Motion(NamedTuple):
    """What the drives are asked to follow, T samples: (T, 7) each."""

    position_rad: np.ndarray
    velocity_rad_per_s: np.ndarray
    torque_nm: np.ndarray
    """What the machine as built needs for it, without dry friction: the feed-forward."""


@cache
def health_check() -> Motion:
    """Return the motion of the health check."""
    share = np.arange(NUM_SAMPLES)[:, None] / NUM_SAMPLES
    window = np.sin(np.pi * share) ** 2
    swing = _SWING_RAD * np.sin(2 * np.pi * _SWINGS * share)
    tremble = _TREMBLE_RAD * np.sin(2 * np.pi * _TREMBLES * share)
    position = home_rad() + window * (swing + tremble)
    velocity, acceleration = _differentiate(position), _differentiate(_differentiate(position))
    torque = _needed_torque(position, velocity, acceleration)
    for array in (position, velocity, torque):
        array.flags.writeable = False
    return Motion(position, velocity, torque)


def _differentiate(periodic: np.ndarray) -> np.ndarray:
    """Return the derivative in time of a Fourier series, (T, 7)."""
    rate = 2j * np.pi * np.fft.rfftfreq(len(periodic), 1 / SAMPLES_PER_S)
    return np.fft.irfft(rate[:, None] * np.fft.rfft(periodic, axis=0), len(periodic), axis=0)


def _needed_torque(
    position: np.ndarray, velocity: np.ndarray, acceleration: np.ndarray
) -> np.ndarray:
    """Return the torque of each motor, (T, 7), by inverse dynamics of the machine as built."""
    model = compile_arm()
    data = _mj.MjData(model)
    motors = [model.joint(joint).dofadr[0] for joint in JOINTS]
    torque = np.empty_like(position)
    for sample in range(len(position)):
        data.qpos[motors], data.qvel[motors] = position[sample], velocity[sample]
        data.qacc[motors] = acceleration[sample]
        _mj.mj_inverse(model, data)
        torque[sample] = data.qfrc_inverse[motors]
    return torque
