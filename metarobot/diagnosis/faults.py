"""Faults of simulated arms: the quantity of the machine that each changes, by its severity.

A severity of zero is no fault.  Every fault has a range of severities to train on, and one beyond
it.  Least severities lie outside the spread of machines as built; where no source is named, the
sizes are assumptions for an arm of this type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metarobot.envs.task_parameter import TaskError, TaskParameter, nearest_name

HEALTHY = "healthy"
"""Stands in place of a fault's name where there is none."""

NUM_JOINTS = 7
ROTOR_RATIO = np.array([1.0, 1.0, 1.0, 1.0, 0.4, 0.4, 0.4])
"""Size of a joint's gear and motor over that of joint 1: the wrist has smaller ones.  Gains, and
severities that are torques, are scaled by it."""

_ALL_JOINTS = (1, 2, 3, 4, 5, 6, 7)
_LOADED_JOINTS = (1, 2, 3, 4, 5, 6)
"""Joint 7 turns the tool about its own axis: hardly any torque passes its gear."""


def _add(own: np.ndarray, severity: np.ndarray, rotor_ratio: np.ndarray) -> np.ndarray:
    return own + severity


def _add_torque(own: np.ndarray, severity: np.ndarray, rotor_ratio: np.ndarray) -> np.ndarray:
    return own + severity * rotor_ratio


def _add_compliance(own: np.ndarray, severity: np.ndarray, rotor_ratio: np.ndarray) -> np.ndarray:
    return own + 1e-3 * severity / rotor_ratio


def _add_noise(own: np.ndarray, severity: np.ndarray, rotor_ratio: np.ndarray) -> np.ndarray:
    return np.hypot(own, severity)


def _lose(own: np.ndarray, severity: np.ndarray, rotor_ratio: np.ndarray) -> np.ndarray:
    return own * (1 - severity)


@dataclass(frozen=True)
class Fault:
    """One way in which a machine can be at fault."""

    name: str
    severity: TaskParameter
    """Its quantity and unit, the range to train on and the range beyond (extrapolation)."""
    quantity: str
    """Field of `Machines` that it changes."""
    change: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = _add
    """From values as built, severities and rotor ratios, (k,) each, to values with the fault."""
    joints: tuple[int, ...] = _ALL_JOINTS
    """Numbers of the joints that it can sit in; none where it is at the tool."""


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


_FAULTS = (
    # A worn bearing or seal adds Coulomb friction; healthy joints have 0.15 to 0.65 N m (Gaz et al.
    # 2019).
    Fault(
        "dry_friction",
        _severity("friction_nm", "N m", "dry friction over that as built", (0.8, 3.0), 5.0),
        "joint_friction_nm",
        _add_torque,
    ),
    # Thickened or lost grease adds friction that grows with speed (Bittencourt et al. 2010).
    Fault(
        "lost_lubricant",
        _severity(
            "damping_nms_per_rad",
            "N m s/rad",
            "viscous damping over that as built",
            (1.5, 5.0),
            8.0,
        ),
        "added_damping_nms_per_rad",
        _add_torque,
    ),
    # The disc of a brake that does not release rubs where it is warped, once a turn of the rotor.
    Fault(
        "dragging_brake",
        _severity("brake_nm", "N m", "greatest friction over a turn of the rotor", (1.5, 5.0), 8.0),
        "brake_nm",
        _add_torque,
    ),
    # New gears of robots have 1 to 3 arc minutes, 0.3 to 0.9 mrad; worn ones ten times that.
    Fault(
        "backlash",
        _severity("play_rad", "rad", "free play of the gear", (0.003, 0.012), 0.020),
        "gear_play_rad",
    ),
    # A belt under too little tension is a soft spring; 2 mrad/N m lower the first resonance of the
    # arm to about 3 Hz.
    Fault(
        "loose_belt",
        _severity(
            "compliance_mrad_per_nm", "mrad/N m", "how far the belt gives way", (0.4, 2.0), 3.5
        ),
        "gear_compliance_rad_per_nm",
        _add_compliance,
        _LOADED_JOINTS,
    ),
    # Demagnetised rotor or an open phase; drives as built differ by 4 %.
    Fault(
        "weak_drive",
        _severity("lost_share", "1", "share of the torque that is lost", (0.1, 0.3), 0.45),
        "drive_strength",
        _lose,
    ),
    # Strain-wave gears ripple twice a turn of the wave generator, at 1:100 two hundred times a turn
    # of the joint.
    Fault(
        "gear_ripple",
        _severity("ripple_nm", "N m", "amplitude of the ripple", (0.5, 2.5), 4.0),
        "ripple_nm",
        _add_torque,
    ),
    # One tooth of an intermediate wheel, which turns twenty times as fast as the joint.
    Fault(
        "chipped_tooth",
        _severity("chip_nm", "N m", "greatest torque as it meshes", (2.0, 6.0), 9.0),
        "chip_nm",
        _add_torque,
    ),
    # A coupling that has slipped; the check begins on the marks, so it shows as a jump.
    Fault(
        "encoder_bias",
        _severity("bias_rad", "rad", "angle shown on the marks", (0.005, 0.020), 0.035),
        "encoder_bias_rad",
    ),
    # A coupling that slips while the joint moves.
    Fault(
        "encoder_drift",
        _severity("drift_rad_per_s", "rad/s", "speed of the drift", (0.004, 0.015), 0.025),
        "encoder_drift_rad_per_s",
    ),
    # A broken shield or contact: the controller goes on with the last reading.
    Fault(
        "encoder_dropouts",
        _severity("dropout", "1", "probability that a reading is lost", (0.03, 0.15), 0.30),
        "encoder_dropout",
    ),
    # A resolver whose signal is weak; as built the noise is 0.002 to 0.006 rad/s.
    Fault(
        "noisy_speed_sensor",
        _severity("noise_rad_per_s", "rad/s", "noise that is added", (0.01, 0.05), 0.08),
        "velocity_noise_rad_per_s",
        _add_noise,
    ),
    # A strain gauge that comes off its shaft.
    Fault(
        "torque_sensor_gain",
        _severity("lost_gain", "1", "share of the torque not shown", (0.06, 0.25), 0.40),
        "torque_gain",
        _lose,
        _LOADED_JOINTS,
    ),
    # A load gripped off its place; as built it is within 1 cm of the tool's axis.
    Fault(
        "shifted_payload",
        _severity("shift_m", "m", "how far the payload has moved", (0.03, 0.08), 0.12),
        "payload_place_m",
        joints=(),
    ),
    # A load that a worn gripper does not hold fast slides to and fro.
    Fault(
        "loose_payload",
        _severity("play_m", "m", "how far the payload can slide", (0.001, 0.006), 0.010),
        "payload_play_m",
        joints=(),
    ),
)

FAULTS: dict[str, Fault] = {fault.name: fault for fault in _FAULTS}
"""All faults by name."""

HELD_OUT_FAULTS = (
    "dragging_brake",
    "backlash",
    "chipped_tooth",
    "encoder_drift",
    "loose_payload",
)
"""Faults that no training and no tuning sees, chosen by their physics before any learner was
measured: one of each kind (loss, gear, teeth, sensor, tool).  Each has relatives in training, but
acts in another way: friction that turns with the rotor, a gap, a pulse, an error that grows, a load
that knocks."""

TUNING_FAULTS = ("lost_lubricant", "loose_belt", "gear_ripple", "encoder_bias", "shifted_payload")
"""Faults to train on that are left out while options are chosen, so that these can be measured on
faults not seen.  One of each kind again."""


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


class FaultClass(NamedTuple):
    """A fault in a joint: what a diagnosis distinguishes."""

    fault: str
    """Name of the fault, or ``healthy``."""
    joint: int
    """1 to 7; 0 where the fault sits in none."""

    def __str__(self) -> str:
        """Return its name, such as ``dry friction in joint 3``."""
        words = self.fault.replace("_", " ")
        return f"{words} in joint {self.joint}" if self.joint else words


def classes_of(faults: Iterable[str]) -> tuple[FaultClass, ...]:
    """Return the classes of some faults, in the order of `FAULTS`; ``healthy`` comes first."""
    wanted = set(faults)
    healthy = (FaultClass(HEALTHY, 0),) if HEALTHY in wanted else ()
    found = [fault for fault in _FAULTS if fault.name in wanted]
    return healthy + tuple(FaultClass(f.name, joint) for f in found for joint in f.joints or (0,))
