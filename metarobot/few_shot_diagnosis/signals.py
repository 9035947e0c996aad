"""What a network sees of a recording: how it differs from the same machine when it was new.

The health check is the same motion every time.  So the difference, sample by sample, holds the
fault, the temperature and noise; the machine's own masses, friction and tool are gone from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metarobot.diagnosis import NUM_SAMPLES, health_check
from metarobot.diagnosis.channels import ACCELERATION, NUM_JOINTS
from metarobot.few_shot_diagnosis.pool import Pool

WINDOW = 5
"""Samples in a window, 20 ms: slower than that is the mean over it, faster its variance."""
NUM_WINDOWS = NUM_SAMPLES // WINDOW
NUM_KINDS = 4
"""Position, velocity, commanded and delivered torque, of each joint."""
NUM_PARTS = NUM_JOINTS + 1
"""Seven joints and the tool, whose three axes of acceleration are its kinds."""

_SMALLEST_VARIANCE = 1e-12
_MOST = 12.0
"""Greatest number that a network is shown, in standard deviations of healthy machines."""


def residuals(signals: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Return recordings less the mean of their machine's baselines, (R, C, T).

    Args:
        signals: (R, C, T).
        baseline: Healthy checks of the same machine each, (R, B, C, T), or means (R, 1, C, T).
    """
    return signals - baseline.mean(1)


def pool_residuals(pool: Pool) -> np.ndarray:
    """Return the residuals of all recordings of a pool, (R, C, T)."""
    machines, size = pool.spec.num_machines, pool.recordings.signals.shape[1:]
    means = pool.baselines.signals.reshape(machines, -1, *size).mean(1, keepdims=True)
    own = pool.recordings.signals.reshape(machines, -1, *size)
    return (own - means).reshape(-1, *size)


def windows_of(residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and logarithms of variances in windows, by part: (R, 8, 4, windows) each.

    The tool's fourth kind is zero.
    """
    count = len(residual)
    joints = residual[:, : ACCELERATION.start].reshape(count, NUM_KINDS, NUM_JOINTS, -1)
    parts = np.zeros((count, NUM_PARTS, NUM_KINDS, NUM_SAMPLES), np.float32)
    parts[:, :NUM_JOINTS] = joints.swapaxes(1, 2)
    parts[:, NUM_JOINTS, :3] = residual[:, ACCELERATION]
    split = parts.reshape(*parts.shape[:3], NUM_WINDOWS, WINDOW)
    return split.mean(-1), np.log(split.var(-1) + _SMALLEST_VARIANCE)


@dataclass(frozen=True)
class Scale:
    """What the residuals of healthy machines are like; (8, 4) each."""

    spread: np.ndarray
    """Root mean square of the means."""
    loudness: np.ndarray
    """Mean of the logarithms of the variances."""
    loudness_spread: np.ndarray
    """Standard deviation of these."""

    @classmethod
    def of(cls, healthy: np.ndarray) -> Scale:
        """Measure it on residuals of healthy machines, (R, C, T)."""
        means, logs = windows_of(healthy)
        spread = np.sqrt((means**2).mean((0, 3)))
        return cls(
            np.where(spread > 0, spread, 1.0),
            logs.mean((0, 3)),
            np.maximum(logs.std((0, 3)), 0.1),
        )

    def inputs(self, residual: np.ndarray) -> np.ndarray:
        """Return what a network sees, (R, 8 parts, 8 kinds, windows) float32.

        The inverse hyperbolic sine keeps small numbers and takes the logarithm of large ones: a
        fault ten times as severe is not ten times as far away.
        """
        means, logs = windows_of(residual)
        slow = np.arcsinh(means / self.spread[..., None])
        fast = (logs - self.loudness[..., None]) / self.loudness_spread[..., None]
        both = np.concatenate([slow, fast], axis=2)
        return np.clip(both, -_MOST, _MOST).astype(np.float32)


def motion_windows() -> np.ndarray:
    """Return the motion asked for, as every part is shown it: (8, 3, windows) float32.

    Position, velocity and torque of each joint, standardised.  Friction has the sign of the
    velocity and a weak drive lacks a share of the torque: with these a network can tell them apart
    by the same weights in every joint.  The tool is shown those of the base joint.
    """
    motion = health_check()
    columns = np.stack([motion.position_rad, motion.velocity_rad_per_s, motion.torque_nm])
    split = columns.reshape(3, NUM_WINDOWS, WINDOW, NUM_JOINTS).mean(2)  # (3, windows, 7)
    centred = split - split.mean(1, keepdims=True)
    unit = centred / centred.std(1, keepdims=True)
    joints = unit.transpose(2, 0, 1)
    return np.concatenate([joints, joints[:1]]).astype(np.float32)


def channel_spread(scale: Scale) -> np.ndarray:
    """Return the root mean square of healthy residuals, channel by channel, (31,)."""
    joints = scale.spread[:NUM_JOINTS].T.ravel()
    return np.concatenate([joints, scale.spread[NUM_JOINTS, :3]])
