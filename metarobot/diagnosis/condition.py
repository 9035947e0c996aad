"""The condition of machines: every physical quantity that a fault can change, for R recordings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metarobot.diagnosis.arm_model import JOINT_DAMPING_NMS_PER_RAD
from metarobot.diagnosis.channels import NUM_JOINTS
from metarobot.diagnosis.machines import Machines

OIL_NOMINAL_C = 25.0
OIL_THINNING_PER_DEGREE = 0.02
"""Share of the viscous damping that a degree takes from it.  Warm joints rub less: Bittencourt et
al., "An extended friction model to capture load and temperature effects in robot joints", IROS
2010.  The size is an assumption."""


@dataclass
class Condition:
    """What R machines are like while they are recorded; zeros where nothing is worn."""

    machines: Machines
    """R machines as they were built."""
    friction_nm: np.ndarray
    """Dry friction, (R, 7)."""
    damping_nms_per_rad: np.ndarray
    """Viscous damping, (R, 7)."""
    drive_strength: np.ndarray
    """Torque at the rotor over torque commanded, (R, 7)."""
    ripple_nm: np.ndarray
    """Amplitude of the torque that the gear's teeth add, (R, 7)."""
    chip_nm: np.ndarray
    """Greatest torque that a chipped tooth adds when it meshes, (R, 7)."""
    brake_nm: np.ndarray
    """Greatest dry friction of a brake that drags, (R, 7)."""
    gear_play_rad: np.ndarray
    """Free play between motor and link, from end to end, (R, 7)."""
    gear_compliance_rad_per_nm: np.ndarray
    """How far the gear gives way, (R, 7)."""
    encoder_bias_rad: np.ndarray
    """Angle that the encoder shows on the marks, (R, 7)."""
    encoder_drift_rad_per_s: np.ndarray
    """How fast it moves off while the check goes on, (R, 7)."""
    encoder_dropout: np.ndarray
    """Probability that a reading is lost, and the last one is read again, (R, 7)."""
    velocity_noise_rad_per_s: np.ndarray
    """Standard deviation of the speed sensors' noise, (R, 7)."""
    torque_gain: np.ndarray
    """What the torque sensor shows over what is there, (R, 7)."""
    payload_place_m: np.ndarray
    """How far the payload is off the tool's axis, (R,)."""
    payload_play_m: np.ndarray
    """How far the payload can slide in its grip, from end to end, (R,)."""


def healthy(machines: Machines, temperature_c: np.ndarray) -> Condition:
    """Return the condition of machines without a fault.

    Args:
        machines: R machines.
        temperature_c: Temperature of the oil in all joints, (R,).
    """
    size = (len(machines), NUM_JOINTS)
    oil = np.exp(-OIL_THINNING_PER_DEGREE * (temperature_c - OIL_NOMINAL_C))[:, None]
    noise = np.repeat(machines.velocity_noise_rad_per_s[:, None], NUM_JOINTS, axis=1)
    return Condition(
        machines=machines,
        friction_nm=machines.joint_friction_nm.copy(),
        damping_nms_per_rad=oil * machines.joint_damping_ratio * JOINT_DAMPING_NMS_PER_RAD,
        drive_strength=machines.drive_strength.copy(),
        ripple_nm=machines.ripple_nm.copy(),
        chip_nm=np.zeros(size),
        brake_nm=np.zeros(size),
        gear_play_rad=np.zeros(size),
        gear_compliance_rad_per_nm=np.zeros(size),
        encoder_bias_rad=np.zeros(size),
        encoder_drift_rad_per_s=np.zeros(size),
        encoder_dropout=np.zeros(size),
        velocity_noise_rad_per_s=noise,
        torque_gain=np.ones(size),
        payload_place_m=machines.payload_place_m.copy(),
        payload_play_m=np.zeros(len(machines)),
    )
