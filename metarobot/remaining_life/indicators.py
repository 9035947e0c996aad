"""Indicators: a few physical quantities of a recording, each fitted to one joint.

What a joint loses is the commanded less the delivered torque.  Least squares divide it into dry
friction, viscous damping, inertia of the rotor, share lost by the drive, and ripple of the teeth.
What is left over, and how roughly the torque comes through, tells of play and of what gives way.
"""

from __future__ import annotations

import numpy as np

from metarobot.diagnosis import SAMPLES_PER_S, Recordings, health_check
from metarobot.diagnosis.channels import NUM_JOINTS
from metarobot.diagnosis.drives import RIPPLES_PER_TURN

INDICATORS = (
    "dry friction (N m)",
    "viscous damping (N m s/rad)",
    "inertia of the rotor (kg m^2)",
    "torque lost by the drive (1)",
    "ripple (N m)",
    "torque left over (log N m)",
    "delivered torque that was not planned, to 20 Hz (log N m)",
    "delivered torque above 20 Hz (log N m)",
    "speed that was not planned (log rad/s)",
)
NUM_INDICATORS = NUM_JOINTS * len(INDICATORS)

_STANDSTILL_RAD_PER_S = 0.02
"""Dry friction changes its sign over about so much speed: the noise of the sensor."""
_RIDGE = 1e-6
_ROUGH_HZ = 20.0


def indicators(recordings: Recordings) -> np.ndarray:
    """Return the indicators of R recordings, (R, NUM_INDICATORS): joint by joint."""
    columns = [_of_joint(recordings, joint) for joint in range(NUM_JOINTS)]
    return np.concatenate(columns, axis=1)


def _of_joint(recordings: Recordings, joint: int) -> np.ndarray:
    """Return the indicators of one joint, (R, 9)."""
    motion = health_check()
    velocity = recordings.velocity_rad_per_s[:, joint].astype(np.float64)
    commanded = recordings.commanded_torque_nm[:, joint].astype(np.float64)
    delivered = recordings.delivered_torque_nm[:, joint].astype(np.float64)
    teeth = RIPPLES_PER_TURN * recordings.position_rad[:, joint].astype(np.float64)
    causes = (
        np.tanh(velocity / _STANDSTILL_RAD_PER_S),
        velocity,
        np.gradient(velocity, 1 / SAMPLES_PER_S, axis=1),
        commanded,
        np.sin(teeth),
        np.cos(teeth),
        np.ones_like(velocity),
    )
    shares, left_over = _least_squares(np.stack(causes, axis=2), commanded - delivered)
    unplanned_nm = delivered - motion.torque_nm[:, joint]
    unplanned_nm -= unplanned_nm.mean(axis=1, keepdims=True)
    slow_nm, _ = _split(unplanned_nm)
    _, rough_nm = _split(delivered)
    amounts = (left_over, slow_nm, rough_nm, velocity - motion.velocity_rad_per_s[:, joint])
    rms = np.stack([np.sqrt(np.mean(amount**2, axis=1)) for amount in amounts], axis=1)
    ripple = np.hypot(shares[:, 4], shares[:, 5])[:, None]
    return np.concatenate([shares[:, :4], ripple, np.log(rms + 1e-6)], axis=1)


def _least_squares(causes: np.ndarray, torque_nm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of each cause, (R, k), and the torque left over, (R, T)."""
    normal = np.einsum("rtk,rtl->rkl", causes, causes)
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    normal += _RIDGE * scale / causes.shape[1] * np.eye(causes.shape[2])
    moments = np.einsum("rtk,rt->rk", causes, torque_nm)
    shares = np.linalg.solve(normal, moments[:, :, None])[:, :, 0]
    return shares, torque_nm - np.einsum("rtk,rk->rt", causes, shares)


def _split(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a signal (R, T) below and above 20 Hz."""
    spectrum = np.fft.rfft(signal, axis=1)
    slow = np.fft.rfftfreq(signal.shape[1], 1 / SAMPLES_PER_S) <= _ROUGH_HZ
    low = np.fft.irfft(spectrum * slow, signal.shape[1], axis=1)
    return low, signal - low
