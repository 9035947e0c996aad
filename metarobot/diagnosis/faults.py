"""Faults: what each changes in a machine's condition, in units, by its severity.

A severity of zero is no fault.  Each has a range to train on, and one beyond it.  Least severities
lie outside what machines differ by as they are built; where no source is named, the sizes are
assumptions for an arm of this type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metarobot.diagnosis.channels import NUM_JOINTS, ROTOR_SHARE
from metarobot.diagnosis.condition import Condition
from metarobot.envs.task_parameter import TaskError, TaskParameter, nearest_name

HEALTHY = "healthy"
"""What stands in the place of a fault's name where there is none."""

Where = tuple[np.ndarray, np.ndarray]
"""Rows of recordings, and columns of joints, k of them."""

_SHARE = np.array(ROTOR_SHARE)
_LOADED_JOINTS = (1, 2, 3, 4, 5, 6)
"""Joint 7 turns the tool about its own axis: hardly any torque passes its gear."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way in which a machine can be at fault."""

    name: str
    severity: TaskParameter
    """What its severity is, its unit, the range trained on and the range beyond (extrapolation)."""
    joints: tuple[int, ...] = tuple(range(1, NUM_JOINTS + 1))
    """Numbers of the joints that it can sit in; none where it is at the tool."""
    source: str
    """Where its physics, or its size, is from."""
    change: Callable[[Condition, Where, np.ndarray], None]
    """Writes severities (k,) into the condition of rows and joints."""


def find_fault(name: str) -> Fault:
    """Return a fault by its name.

    Raises:
        TaskError: There is none of that name.
    """
    if name not in FAULTS:
        raise TaskError(
            f"no fault {name!r}, allowed: {', '.join(FAULTS)}" + nearest_name(name, FAULTS)
        )
    return FAULTS[name]


def _severity(
    name: str, unit: str, description: str, train: tuple[float, float], beyond: float
) -> TaskParameter:
    return TaskParameter(
        name=name,
        unit=unit,
        description=description,
        nominal=0.0,
        train=train,
        extrapolation=((train[1], beyond),),
        allowed=(0.0, beyond),
    )


# Losses, in the model.


def _dry_friction(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.friction_nm[where] += severity * _SHARE[where[1]]


def _lost_lubricant(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.damping_nms_per_rad[where] += severity * _SHARE[where[1]]


def _dragging_brake(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.brake_nm[where] = severity * _SHARE[where[1]]


# Gears, in the model.


def _backlash(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.gear_play_rad[where] = severity


def _loose_belt(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.gear_compliance_rad_per_nm[where] = 1e-3 * severity / _SHARE[where[1]]


# Drives.


def _weak_drive(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.drive_strength[where] *= 1 - severity


def _gear_ripple(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.ripple_nm[where] += severity * _SHARE[where[1]]


def _chipped_tooth(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.chip_nm[where] = severity * _SHARE[where[1]]


# Sensors.


def _encoder_bias(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.encoder_bias_rad[where] = severity


def _encoder_drift(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.encoder_drift_rad_per_s[where] = severity


def _encoder_dropouts(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.encoder_dropout[where] = severity


def _noisy_speed_sensor(condition: Condition, where: Where, severity: np.ndarray) -> None:
    own = condition.velocity_noise_rad_per_s[where]
    condition.velocity_noise_rad_per_s[where] = np.hypot(own, severity)


def _torque_sensor_gain(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.torque_gain[where] -= severity


# The tool, in the model.


def _shifted_payload(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.payload_place_m[where[0]] += severity


def _loose_payload(condition: Condition, where: Where, severity: np.ndarray) -> None:
    condition.payload_play_m[where[0]] = severity


_ALL = (
    Fault(
        name="dry_friction",
        severity=_severity(
            "friction_nm", "N m", "dry friction over that as built", (0.8, 3.0), 5.0
        ),
        source="a worn bearing or seal adds Coulomb friction; healthy joints have 0.15 to 0.65 N m "
        "(Gaz et al. 2019)",
        change=_dry_friction,
    ),
    Fault(
        name="lost_lubricant",
        severity=_severity(
            "damping_nms_per_rad",
            "N m s/rad",
            "viscous damping over that as built",
            (1.5, 5.0),
            8.0,
        ),
        source="thickened or lost grease adds friction that grows with speed; Bittencourt et al. "
        "2010 for friction over speed",
        change=_lost_lubricant,
    ),
    Fault(
        name="dragging_brake",
        severity=_severity(
            "brake_nm", "N m", "greatest friction over a turn of the rotor", (1.5, 5.0), 8.0
        ),
        source="the disc of a brake that does not release rubs where it is warped, once a turn of "
        "the rotor",
        change=_dragging_brake,
    ),
    Fault(
        name="backlash",
        severity=_severity("play_rad", "rad", "free play of the gear", (0.003, 0.012), 0.020),
        source="new gears of robots have 1 to 3 arc minutes, 0.3 to 0.9 mrad; worn ones ten times "
        "that",
        change=_backlash,
    ),
    Fault(
        name="loose_belt",
        severity=_severity(
            "compliance_mrad_per_nm", "mrad/N m", "how far the belt gives way", (0.4, 2.0), 3.5
        ),
        source="a belt under too little tension is a soft spring; 2 mrad/N m lower the first "
        "resonance of the arm to about 3 Hz",
        joints=_LOADED_JOINTS,
        change=_loose_belt,
    ),
    Fault(
        name="weak_drive",
        severity=_severity("lost_share", "1", "share of the torque that is lost", (0.1, 0.3), 0.45),
        source="demagnetised rotor or an open phase; drives as built differ by 4 %",
        change=_weak_drive,
    ),
    Fault(
        name="gear_ripple",
        severity=_severity("ripple_nm", "N m", "amplitude of the ripple", (0.5, 2.5), 4.0),
        source="strain-wave gears ripple twice a turn of the wave generator, at 1:100 two hundred "
        "times a turn of the joint",
        change=_gear_ripple,
    ),
    Fault(
        name="chipped_tooth",
        severity=_severity("chip_nm", "N m", "greatest torque as it meshes", (2.0, 6.0), 9.0),
        source="one tooth of an intermediate wheel, which turns twenty times as fast as the joint",
        change=_chipped_tooth,
    ),
    Fault(
        name="encoder_bias",
        severity=_severity("bias_rad", "rad", "angle shown on the marks", (0.005, 0.020), 0.035),
        source="a coupling that has slipped; the check begins on the marks, so it shows as a jump",
        change=_encoder_bias,
    ),
    Fault(
        name="encoder_drift",
        severity=_severity("drift_rad_per_s", "rad/s", "speed of the drift", (0.004, 0.015), 0.025),
        source="a coupling that slips while the joint moves",
        change=_encoder_drift,
    ),
    Fault(
        name="encoder_dropouts",
        severity=_severity(
            "dropout", "1", "probability that a reading is lost", (0.03, 0.15), 0.30
        ),
        source="a broken shield or contact: the controller goes on with the last reading",
        change=_encoder_dropouts,
    ),
    Fault(
        name="noisy_speed_sensor",
        severity=_severity("noise_rad_per_s", "rad/s", "noise that is added", (0.01, 0.05), 0.08),
        source="a resolver whose signal is weak; as built the noise is 0.002 to 0.006 rad/s",
        change=_noisy_speed_sensor,
    ),
    Fault(
        name="torque_sensor_gain",
        severity=_severity("lost_gain", "1", "share of the torque not shown", (0.06, 0.25), 0.40),
        source="a strain gauge that comes off its shaft",
        joints=_LOADED_JOINTS,
        change=_torque_sensor_gain,
    ),
    Fault(
        name="shifted_payload",
        severity=_severity("shift_m", "m", "how far the payload has moved", (0.03, 0.08), 0.12),
        joints=(),
        source="a load gripped off its place; as built it is within 1 cm of the tool's axis",
        change=_shifted_payload,
    ),
    Fault(
        name="loose_payload",
        severity=_severity("play_m", "m", "how far the payload can slide", (0.001, 0.006), 0.010),
        joints=(),
        source="a load that a worn gripper does not hold fast slides to and fro",
        change=_loose_payload,
    ),
)

FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
"""All faults by name."""
