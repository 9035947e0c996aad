"""`Recordings`: what the sensors of machines read in health checks, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from metarobot.diagnosis.channels import (
    ACCELERATION,
    COMMANDED_TORQUE,
    DELIVERED_TORQUE,
    POSITION,
    VELOCITY,
)


@dataclass(frozen=True)
class Recordings:
    """R recordings of C channels (`CHANNELS`) and T samples at 250 Hz.

    A split of recordings must not part what `machine` holds together: a machine's own masses and
    noise are in all of its recordings.  Windows of one recording share its `address`.
    """

    signals: np.ndarray
    """All channels, (R, C, T) float32."""
    machine: np.ndarray
    """Number of the machine, (R,); from a million on it is one to test on."""
    fault: np.ndarray
    """Name of the fault, or ``healthy``, (R,) of strings."""
    severity: np.ndarray
    """Severity in the fault's own unit, (R,); 0 where healthy."""
    joint: np.ndarray
    """Number of the joint that the fault sits in, 1 to 7, (R,); 0 where it sits in none."""
    check: np.ndarray
    """Which check of its machine it is, (R,)."""
    oil_temperature_c: np.ndarray
    """Temperature of the joints during the check, (R,), which no channel tells."""
    address: np.ndarray
    """What its noise was drawn from, (R,) uint64: no two recordings share it."""

    def __len__(self) -> int:
        return len(self.signals)

    def rows(self, indices: Sequence[int] | slice | np.ndarray) -> Recordings:
        """Return the recordings at ``indices``."""
        return Recordings(*(getattr(self, field.name)[indices] for field in fields(self)))

    @property
    def position_rad(self) -> np.ndarray:
        """What the encoders read, a view (R, 7, T)."""
        return self.signals[:, POSITION]

    @property
    def velocity_rad_per_s(self) -> np.ndarray:
        """What the speed sensors read, a view (R, 7, T)."""
        return self.signals[:, VELOCITY]

    @property
    def commanded_torque_nm(self) -> np.ndarray:
        """What the drives are asked for, a view (R, 7, T)."""
        return self.signals[:, COMMANDED_TORQUE]

    @property
    def delivered_torque_nm(self) -> np.ndarray:
        """What the torque sensors between gear and link read, a view (R, 7, T)."""
        return self.signals[:, DELIVERED_TORQUE]

    @property
    def tool_acceleration_m_per_s2(self) -> np.ndarray:
        """What the accelerometer reads, in the tool's frame, a view (R, 3, T)."""
        return self.signals[:, ACCELERATION]
