"""The arm of the package as a machine that can wear: motors, gears and links apart.

The kinematics and masses are those of envs/arm.xml with the tool of Reach.  Every joint gets a
second hinge on the same axis, between the motor and the link: its gear.  A healthy gear is rigid, a
worn one has play or gives way.  In the same way the payload can slide in its grip.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from metarobot.diagnosis.channels import JOINTS
from metarobot.envs import scene

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

REACH_SCENE = Path(scene.__file__).with_name("reach.xml")
GEARS = tuple(f"gear{number}" for number in range(1, 8))
GRIP = "grip"
LINKS = tuple(f"link{number}" for number in range(1, 8))
ACCELEROMETER = "tool_acceleration"

RIGID_ARMATURE = 1e8
"""kg m^2, or kg for the grip: so much inertia against relative motion that there is none.  It costs
no constraint and no smaller time step, and adds nothing to what moves as one."""
JOINT_DAMPING_NMS_PER_RAD = 1.0
END_STOP_SOLREF = (0.008, 1.0)
"""s and ratio: the hardest end of a play that a time step of 4 ms allows."""
END_STOP_SOLIMP = (0.99, 0.99, 0.001, 0.5, 2.0)
"""Under 30 N m the teeth then sink in by about 0.2 mrad."""

_SOLVER_TOLERANCE = 1e-16
"""MuJoCo scales it by the mean inertia, in which the rigid gears count: 1e-8 of an arm without."""
_MEMORY_BYTES = 1 << 17  # of each simulation; without contacts it needs a tenth of that


@cache
def compile_arm() -> Any:
    """Return the machine as built, compiled."""
    with warnings.catch_warnings():  # the spec need not be saved: envs/arm.xml
        warnings.simplefilter("ignore", UserWarning)
        return arm_spec().compile()


@cache
def home_rad() -> np.ndarray:
    """Return the joint angles of the marks that a health check begins on, (7,)."""
    spec = _reach_spec()  # held, for its arrays are views
    return np.array(spec.key("home").qpos)


def arm_spec() -> Any:
    """Return the machine as built, to be edited: for `compile_arm`, and for tests of faults."""
    spec = _reach_spec()
    for element in (*spec.actuators, *spec.keys, *spec.sensors):
        spec.delete(element)
    spec.delete(spec.body("goal"))
    for body in spec.bodies:
        body.gravcomp = 0.0  # the drives compensate it, by what they know: drives.py
    for joint_name, gear_name in zip(JOINTS, GEARS, strict=True):
        joint = spec.joint(joint_name)
        joint.stiffness = np.zeros(3)  # linear, quadratic and cubic, as the damping
        joint.damping = [JOINT_DAMPING_NMS_PER_RAD, 0.0, 0.0]
        _add_play(joint.parent, gear_name, _mj.mjtJoint.mjJNT_HINGE, (0, 0, 1))
    _add_play(spec.body("payload"), GRIP, _mj.mjtJoint.mjJNT_SLIDE, (1, 0, 0))
    spec.add_sensor(
        name=ACCELEROMETER,
        type=_mj.mjtSensor.mjSENS_ACCELEROMETER,
        objtype=_mj.mjtObj.mjOBJ_SITE,
        objname="tool",
    )
    spec.option.tolerance = _SOLVER_TOLERANCE
    spec.memory = _MEMORY_BYTES
    return spec


def _reach_spec() -> Any:
    scene.silence_mujoco()
    return _mj.MjSpec.from_file(str(REACH_SCENE))


def _add_play(body: Any, name: str, kind: Any, axis: tuple[int, int, int]) -> None:
    """Give a body a second joint in series, which does not move as built."""
    joint = body.add_joint(name=name, type=kind, axis=axis, armature=RIGID_ARMATURE)
    joint.damping, joint.actfrclimited = np.zeros(3), False
    joint.limited, joint.range = True, (-1.0, 1.0)  # never reached
    joint.solref_limit, joint.solimp_limit = END_STOP_SOLREF, END_STOP_SOLIMP
