"""Faults of simulated arms: where each can sit, and how severe it can be.

A severity of zero is no fault.  Every fault has a range of severities to train on, and one beyond
it.  Least severities lie outside the spread of machines as built; where no source is named, the
sizes are assumptions for an arm of this type.  `Simulation` says what a fault does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from metarobot.envs.task_parameter import TaskError, TaskParameter, nearest_name

HEALTHY = "healthy"
"""Stands in place of a fault's name where there is none."""

NUM_JOINTS = 7
_ALL_JOINTS = (1, 2, 3, 4, 5, 6, 7)
_LOADED_JOINTS = (1, 2, 3, 4, 5, 6)
"""Joint 7 turns the tool about its own axis: hardly any torque passes its gear."""
_TOOL: tuple[int, ...] = ()


class Fault(NamedTuple):
    """One way in which a machine can be at fault."""

    name: str
    severity: TaskParameter
    """Its quantity and unit, the range to train on and the range beyond (extrapolation)."""
    joints: tuple[int, ...]
    """Numbers of the joints that it can sit in; none where it is at the tool."""


def _fault(
    name: str,
    unit: str,
    description: str,
    ends: tuple[float, float, float],
    joints: tuple[int, ...] = _ALL_JOINTS,
) -> Fault:
    """Return a fault; severities are trained on from the first end to the second."""
    least, greatest, beyond = ends
    severity = TaskParameter(
        name=name,
        unit=unit,
        description=description,
        nominal=0.0,
        train=(least, greatest),
        extrapolation=((greatest, beyond),),
        allowed=(0.0, beyond),
    )
    return Fault(name, severity, joints)


_FAULTS = (
    # A worn bearing or seal adds Coulomb friction; healthy joints have 0.15 to 0.65 N m (Gaz et al.
    # 2019).
    _fault("dry_friction", "N m", "dry friction over that as built", (0.8, 3.0, 5.0)),
    # Thickened or lost grease adds friction that grows with speed (Bittencourt et al. 2010).
    _fault("lost_lubricant", "N m s/rad", "viscous damping over that as built", (1.5, 5.0, 8.0)),
    # The disc of a brake that does not release rubs where it is warped, once a turn of the rotor.
    _fault("dragging_brake", "N m", "greatest friction over a turn of the rotor", (1.5, 5.0, 8.0)),
    # New gears of robots have 1 to 3 arc minutes, 0.3 to 0.9 mrad; worn ones ten times that.
    _fault("backlash", "rad", "free play of the gear", (0.003, 0.012, 0.020)),
    # A belt under too little tension is a soft spring; 2 mrad/N m lower the first resonance of the
    # arm to about 3 Hz.
    _fault("loose_belt", "mrad/N m", "how far the belt gives way", (0.4, 2.0, 3.5), _LOADED_JOINTS),
    # Demagnetised rotor or an open phase; drives as built differ by 4 %.
    _fault("weak_drive", "1", "share of the torque that is lost", (0.1, 0.3, 0.45)),
    # Strain-wave gears ripple twice a turn of the wave generator, at 1:100 two hundred times a turn
    # of the joint.
    _fault("gear_ripple", "N m", "amplitude of the ripple", (0.5, 2.5, 4.0)),
    # One tooth of an intermediate wheel, which turns twenty times as fast as the joint.
    _fault("chipped_tooth", "N m", "greatest torque as it meshes", (2.0, 6.0, 9.0)),
    # A coupling that has slipped; the check begins on the marks, so it shows as a jump.
    _fault("encoder_bias", "rad", "angle shown on the marks", (0.005, 0.020, 0.035)),
    # A coupling that slips while the joint moves.
    _fault("encoder_drift", "rad/s", "speed of the drift", (0.004, 0.015, 0.025)),
    # A broken shield or contact: the controller goes on with the last reading.
    _fault("encoder_dropouts", "1", "probability that a reading is lost", (0.03, 0.15, 0.30)),
    # A resolver whose signal is weak; as built the noise is 0.002 to 0.006 rad/s.
    _fault("noisy_speed_sensor", "rad/s", "noise that is added", (0.01, 0.05, 0.08)),
    # A strain gauge that comes off its shaft.
    _fault(
        "torque_sensor_gain",
        "1",
        "share of the torque not shown",
        (0.06, 0.25, 0.40),
        _LOADED_JOINTS,
    ),
    # A load gripped off its place; as built it is within 1 cm of the tool's axis.
    _fault("shifted_payload", "m", "how far the payload has moved", (0.03, 0.08, 0.12), _TOOL),
    # A load that a worn gripper does not hold fast slides to and fro.
    _fault("loose_payload", "m", "how far the payload can slide", (0.001, 0.006, 0.010), _TOOL),
)

FAULTS = {fault.name: fault for fault in _FAULTS}
"""All faults by name."""

HELD_OUT_FAULTS = ("dragging_brake", "backlash", "chipped_tooth", "encoder_drift", "loose_payload")
"""Faults that no training and no tuning sees, chosen by their physics before any learner was
measured: one of each kind (loss, gear, teeth, sensor, tool).  Each has relatives in training, but
acts in another way: friction that turns with the rotor, a gap, a pulse, an error that grows, a load
that knocks."""


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
