"""Simulated health checks: arms of one series, with faults, carry out one fixed motion.

The arm is that of envs/arm.xml with the tool of Reach, as a machine that can wear: every joint has
a second hinge on the same axis, between the motor and the link, which is its gear.  A healthy gear
is rigid, a worn one has play or gives way.  In the same way the payload can slide in its grip.

A severity of zero is no fault.  Every fault has a range of severities to train on, and one beyond
it.  Least severities lie outside the spread of machines as built; where no source is named, the
sizes are assumptions for an arm of this type.

A machine is addressed by a seed and its number.  Training and test machines have different
numbers, so no machine is in both splits.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import mujoco
import numpy as np
from mujoco.batch import Batch

from metarobot.diagnosis.recordings import Channel, Recordings
from metarobot.envs import scene
from metarobot.envs.checks import after_number, is_integer, nearest_name, require_memory, show
from metarobot.envs.disturbances import keys_of, normals, uniforms
from metarobot.envs.physics import set_body_mass, set_body_position
from metarobot.envs.tasks import TaskError

_mj: Any = mujoco
"""MuJoCo; type checkers cannot see its compiled names."""

HEALTHY = "healthy"
"""Label of a machine without a fault."""

NUM_JOINTS = 7
_ALL = (1, 2, 3, 4, 5, 6, 7)
_LOADED = (1, 2, 3, 4, 5, 6)
"""Joint 7 turns the tool about its own axis: hardly any torque passes its gear."""


class Fault(NamedTuple):
    """One way in which a machine can be at fault."""

    name: str
    unit: str
    """Unit of a severity."""
    description: str
    """Quantity that a severity measures."""
    train: tuple[float, float]
    """Severities to train on; 0 is no fault."""
    most: float
    """Greatest severity that can be simulated."""
    joints: tuple[int, ...]
    """Numbers of the joints that it can sit in; none where it is at the tool."""


_FAULTS = (
    # A worn bearing or seal adds Coulomb friction; healthy joints have 0.15 to 0.65 N m (Gaz et al.
    # 2019).
    Fault("dry_friction", "N m", "dry friction over that as built", (0.8, 3.0), 5.0, _ALL),
    # Thickened or lost grease adds friction that grows with speed (Bittencourt et al. 2010).
    Fault("lost_lubricant", "N m s/rad", "damping over that as built", (1.5, 5.0), 8.0, _ALL),
    # The disc of a brake that does not release rubs where it is warped, once a turn of the rotor.
    Fault("dragging_brake", "N m", "greatest friction in a turn", (1.5, 5.0), 8.0, _ALL),
    # New gears of robots have 1 to 3 arc minutes, 0.3 to 0.9 mrad; worn ones ten times that.
    Fault("backlash", "rad", "free play of the gear", (0.003, 0.012), 0.020, _ALL),
    # A belt under too little tension is a soft spring; 2 mrad/N m lower the first resonance of the
    # arm to about 3 Hz.
    Fault("loose_belt", "mrad/N m", "compliance of the belt", (0.4, 2.0), 3.5, _LOADED),
    # Demagnetised rotor or an open phase; drives as built differ by 4 %.
    Fault("weak_drive", "1", "share of the torque that is lost", (0.1, 0.3), 0.45, _ALL),
    # Strain-wave gears ripple twice a turn of the wave generator, at 1:100 two hundred times a turn
    # of the joint.
    Fault("gear_ripple", "N m", "amplitude of the ripple", (0.5, 2.5), 4.0, _ALL),
    # One tooth of an intermediate wheel, which turns twenty times as fast as the joint.
    Fault("chipped_tooth", "N m", "greatest torque as it meshes", (2.0, 6.0), 9.0, _ALL),
    # A coupling that has slipped; the check begins on the marks, so it shows as a jump.
    Fault("encoder_bias", "rad", "angle shown on the marks", (0.005, 0.020), 0.035, _ALL),
    # A coupling that slips while the joint moves.
    Fault("encoder_drift", "rad/s", "speed of the drift", (0.004, 0.015), 0.025, _ALL),
    # A broken shield or contact: the controller goes on with the last reading.
    Fault("encoder_dropouts", "1", "probability of losing a reading", (0.03, 0.15), 0.30, _ALL),
    # A resolver with a weak signal; as built the noise is 0.002 to 0.006 rad/s.
    Fault("noisy_speed_sensor", "rad/s", "noise that is added", (0.01, 0.05), 0.08, _ALL),
    # A strain gauge that comes off its shaft.
    Fault("torque_sensor_gain", "1", "share of the torque not shown", (0.06, 0.25), 0.40, _LOADED),
    # A load gripped off its place; as built it is within 1 cm of the tool's axis.
    Fault("shifted_payload", "m", "displacement of the payload", (0.03, 0.08), 0.12, ()),
    # A load that a worn gripper does not hold fast slides to and fro.
    Fault("loose_payload", "m", "free travel of the payload", (0.001, 0.006), 0.010, ()),
)
FAULTS = {fault.name: fault for fault in _FAULTS}
"""All faults by name."""

HELD_OUT_FAULTS = ("dragging_brake", "backlash", "chipped_tooth", "encoder_drift", "loose_payload")
"""Faults that no training and no tuning sees, chosen by their physics before any learner was
measured: one of each kind (loss, gear, teeth, sensor, tool).  Each has relatives in training, but
acts in another way: friction that turns with the rotor, a gap, a pulse, an error that grows, a load
that knocks."""


def find_fault(name: str) -> Fault:
    """Return a fault by its name; a TaskError if the name is unknown."""
    if name not in FAULTS:
        near = nearest_name(name, FAULTS)
        raise TaskError(f"no fault {name!r}, allowed: {', '.join(FAULTS)}{near}")
    return FAULTS[name]


class FaultClass(NamedTuple):
    """A fault in a joint, as a class of a diagnosis."""

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
    wanted = {*faults}
    classes = [FaultClass(f.name, joint) for f in _FAULTS for joint in f.joints or (0,)]
    return tuple(each for each in (FaultClass(HEALTHY, 0), *classes) if each.fault in wanted)


SAMPLES_PER_S = 250
NUM_SAMPLES = 800  # 3.2 s

_QUANTITIES = ("position", "velocity", "commanded torque", "delivered torque")
CHANNELS = (
    *(
        Channel(f"joint{joint + 1} {quantity}", unit)
        for quantity, unit in zip(_QUANTITIES, ("rad", "rad/s", "N m", "N m"), strict=True)
        for joint in range(NUM_JOINTS)
    ),
    *(Channel(f"tool acceleration {axis}", "m/s^2") for axis in "xyz"),
)
"""Position: reading of the encoder on the motor's side of the gear.  Velocity: reading of the
motor's own speed sensor.  Commanded torque: input of the drive.  Delivered torque: reading of the
sensor between gear and link.  Acceleration: reading of an accelerometer at the tool, gravity
included, in the tool's frame."""
POSITION, VELOCITY, COMMANDED_TORQUE, DELIVERED_TORQUE = (
    slice(first, first + NUM_JOINTS) for first in range(0, 28, NUM_JOINTS)
)
ACCELERATION = slice(28, 31)

ROTOR_RATIO = np.array([1.0, 1.0, 1.0, 1.0, 0.4, 0.4, 0.4])
"""Size of a joint's gear and motor over that of joint 1: the wrist has smaller ones.  Gains, and
severities that are torques, are scaled by it."""
MachineSplit = Literal["train", "test"]
FIRST_TEST_NUMBER = 1_000_000
"""Machines with lower numbers are to be trained on, those from here on to be tested on."""
_MOST_SEED = 2**53 - 1  # seeds are hashed as doubles


def _uniform(low: float, high: float, size: int = NUM_JOINTS) -> dict[str, Any]:
    """Return the distribution of a quantity in a series: for each joint, or one for the machine."""
    return {"drawn": (low, high, size)}


@dataclass(frozen=True)
class Machines:
    """N machines as built; arrays (N, 7) have a column for each joint.

    Dry friction is as Gaz et al. 2019 identified it on an arm of this type (see envs/arm.xml); the
    other spreads are assumptions about one series.
    """

    seed: int
    """Seed of the series that they are drawn from."""
    number: np.ndarray
    """Number of each, (N,): with the seed its address."""
    link_mass_ratio: np.ndarray = field(metadata=_uniform(0.95, 1.05))
    """Mass of links 1 to 7 over that of the drawing, (N, 7)."""
    joint_friction_nm: np.ndarray = field(metadata=_uniform(0.15, 0.65))
    """Dry friction of each joint, (N, 7)."""
    joint_damping_ratio: np.ndarray = field(metadata=_uniform(0.7, 1.4))
    """Viscous damping of each joint over the nominal, at 25 degrees C, (N, 7)."""
    drive_strength: np.ndarray = field(metadata=_uniform(0.96, 1.04))
    """Torque at the rotor over torque commanded, (N, 7)."""
    ripple_nm: np.ndarray = field(metadata=_uniform(0.0, 0.15))
    """Amplitude of the torque that the gear's teeth add, (N, 7); drawn for joint 1."""
    gear_phase_rad: np.ndarray = field(metadata=_uniform(0.0, 2 * np.pi))
    """Angle of the teeth of each gear at joint angle zero, (N, 7)."""
    torque_noise_nm: np.ndarray = field(metadata=_uniform(0.03, 0.10))
    """Standard deviation of the torque sensors' noise, (N, 7); drawn for joint 1."""
    payload_kg: np.ndarray = field(metadata=_uniform(0.3, 0.9, 1))
    """Mass at the tool, (N,); the drives count on that of the drawing."""
    payload_place_m: np.ndarray = field(metadata=_uniform(-0.01, 0.01, 1))
    """Offset of the payload from the tool's axis, along x, (N,)."""
    position_noise_rad: np.ndarray = field(metadata=_uniform(5e-5, 2e-4, 1))
    """Standard deviation of the encoders' noise, (N,)."""
    velocity_noise_rad_per_s: np.ndarray = field(metadata=_uniform(0.002, 0.006, 1))
    """Standard deviation of the speed sensors' noise, (N,)."""
    acceleration_noise_m_per_s2: np.ndarray = field(metadata=_uniform(0.03, 0.10, 1))
    """Standard deviation of the accelerometer's noise, (N,)."""

    def __len__(self) -> int:
        return len(self.number)

    def rows(self, index: Sequence[int] | slice | np.ndarray) -> Machines:
        """Return the machines of an index, any of them as often as it names them."""
        columns = {each.name: getattr(self, each.name)[index] for each in fields(self)[1:]}
        return Machines(self.seed, **columns)


def sample_machines(count: int, split: MachineSplit = "train", *, seed: int = 0) -> Machines:
    """Return the first machines of a split: the same for the same seed and any count.

    Args:
        count: Number of machines N.
        split: ``train`` or ``test``; no machine is in both.
        seed: Seed of the series.

    Raises:
        TaskError: There is no such split, or not so many machines in it, or the seed is not one.
    """
    splits = get_args(MachineSplit)
    if split not in splits:
        allowed = f"allowed: {', '.join(splits)}{nearest_name(split, splits)}"
        raise TaskError(f"no machines of {split!r}, {allowed}")
    if not is_integer(count, 1, FIRST_TEST_NUMBER):
        raise TaskError(f"count of machines must be in [1, {FIRST_TEST_NUMBER}], got {show(count)}")
    _check_seed(seed)
    number = np.arange(count) + (FIRST_TEST_NUMBER if split == "test" else 0)
    keys = keys_of(np.stack([np.full(count, seed), number], axis=1))
    drawn: dict[str, np.ndarray] = {}
    for stream, each in enumerate(fields(Machines)[2:]):
        low, high, size = each.metadata["drawn"]
        values = low + (high - low) * uniforms(keys, np.zeros(count), stream, np.arange(size))
        drawn[each.name] = values if size > 1 else values[:, 0]
    for name in ("ripple_nm", "torque_noise_nm"):
        drawn[name] *= ROTOR_RATIO
    return Machines(seed, number, **drawn)


def _check_seed(seed: int) -> None:
    if not is_integer(seed, 0, _MOST_SEED):
        raise TaskError(f"seed must be an integer in [0, {_MOST_SEED}], got {show(seed)}")


JOINTS = tuple(f"joint{number}" for number in range(1, 8))
LINKS = tuple(f"link{number}" for number in range(1, 8))
GEARS = tuple(f"gear{number}" for number in range(1, 8))
GRIP = "grip"
_PLAYS = (*GEARS, GRIP)
"""All joints in series, P = 8, which are rigid as built."""
_SCENE = Path(scene.__file__).with_name("reach.xml")

_RIGID_ARMATURE = 1e8
"""kg m^2, or kg for the grip: inertia against relative motion that makes a play rigid.  It needs no
constraint and no smaller time step, and adds no inertia to common motion."""
_PLAY_DAMPING = np.array([*(0.5 * ROTOR_RATIO), 1.0])
"""N m s/rad, or N s/m for the grip: damping of a gear with play or of a slack belt, (P,)."""
_JOINT_DAMPING_NMS_PER_RAD = 1.0
_END_STOP_SOLREF = (0.008, 1.0)
"""s and ratio: the hardest end of a play that a time step of 4 ms allows."""
_END_STOP_SOLIMP = (0.99, 0.99, 0.001, 0.5, 2.0)
"""Under 30 N m the teeth then sink in by about 0.2 mrad."""
_SOLVER_TOLERANCE = 1e-16
"""MuJoCo scales it by the mean inertia, in which the rigid gears count: 1e-8 of an arm without."""
_MEMORY_BYTES = 1 << 17  # of each simulation; without contacts it needs a tenth of that


def arm_spec() -> Any:
    """Return the machine of the drawing, to be edited and compiled."""
    scene.silence_mujoco()
    spec = _mj.MjSpec.from_file(str(_SCENE))
    for element in (*spec.actuators, *spec.keys, *spec.sensors):
        spec.delete(element)
    spec.delete(spec.body("goal"))
    for body in spec.bodies:
        body.gravcomp = 0.0  # the drives compensate it, by the drawing: `Motion.torque_nm`
    for joint_name, gear_name in zip(JOINTS, GEARS, strict=True):
        joint = spec.joint(joint_name)
        joint.stiffness = np.zeros(3)  # linear, quadratic and cubic, as the damping
        joint.damping = [_JOINT_DAMPING_NMS_PER_RAD, 0.0, 0.0]
        _add_play(joint.parent, gear_name, _mj.mjtJoint.mjJNT_HINGE, (0, 0, 1))
    _add_play(spec.body("payload"), GRIP, _mj.mjtJoint.mjJNT_SLIDE, (1, 0, 0))
    spec.add_sensor(
        name="tool_acceleration",
        type=_mj.mjtSensor.mjSENS_ACCELEROMETER,
        objtype=_mj.mjtObj.mjOBJ_SITE,
        objname="tool",
    )
    spec.option.tolerance = _SOLVER_TOLERANCE
    spec.memory = _MEMORY_BYTES
    return spec


@cache
def compile_arm() -> Any:
    """Return the machine of the drawing, compiled."""
    with warnings.catch_warnings():  # the spec need not be saved: envs/arm.xml
        warnings.simplefilter("ignore", UserWarning)
        return arm_spec().compile()


def _add_play(body: Any, name: str, kind: Any, axis: tuple[int, int, int]) -> None:
    """Give a body a second joint in series, which does not move as built."""
    joint = body.add_joint(name=name, type=kind, axis=axis, armature=_RIGID_ARMATURE)
    joint.damping, joint.actfrclimited = np.zeros(3), False
    joint.limited, joint.range = True, (-1.0, 1.0)  # never reached
    joint.solref_limit, joint.solimp_limit = _END_STOP_SOLREF, _END_STOP_SOLIMP


def _joints(model: Any, names: Sequence[str]) -> np.ndarray:
    """Return the places of joints among joints, and so among positions and speeds: one each."""
    return np.array([model.joint(name).id for name in names])


# Joint 1 to 7.  Each follows a slow swing, which reverses often enough to show dry friction and
# play, and a fast tremble on top, which shows compliance.  No two joints share a frequency, so
# their effects can be separated.  Together at most 2.1 rad/s in joints 1 to 4 and 2.6 rad/s in the
# wrist, as the arm allows.
_SWING_RAD = np.array([0.40, 0.20, 0.16, 0.20, 0.17, 0.14, 0.13])
_SWINGS = np.array([2, 3, 5, 4, 6, 7, 8])  # in the whole check
_TREMBLE_RAD = np.array([0.008, 0.006, 0.006, 0.006, 0.008, 0.008, 0.006])
_TREMBLES = np.array([17, 19, 23, 21, 27, 25, 29])  # 5 to 9 Hz


class Motion(NamedTuple):
    """Reference of the drives, T samples: (T, 7) each.  It begins at rest on the marks."""

    position_rad: np.ndarray
    velocity_rad_per_s: np.ndarray
    torque_nm: np.ndarray
    """Inverse dynamics of the machine of the drawing, without dry friction: the feed-forward."""


@cache
def health_check() -> Motion:
    """Return the motion of the health check: one fixed motion, the same on every machine.

    A window lets it begin and end at rest.  All frequencies are multiples of one over the duration,
    so it is a Fourier series, and its derivatives are exact.
    """
    time = np.arange(NUM_SAMPLES)[:, None] / NUM_SAMPLES
    swing = _SWING_RAD * np.sin(2 * np.pi * _SWINGS * time)
    tremble = _TREMBLE_RAD * np.sin(2 * np.pi * _TREMBLES * time)
    home = scene.compile_scene(_SCENE).key("home").qpos
    position = home + np.sin(np.pi * time) ** 2 * (swing + tremble)
    velocity = _differentiate(position)
    acceleration = _differentiate(velocity)
    torque = np.empty_like(position)
    model = compile_arm()
    data, motors = _mj.MjData(model), _joints(model, JOINTS)
    for sample in range(NUM_SAMPLES):
        data.qpos[motors], data.qvel[motors] = position[sample], velocity[sample]
        data.qacc[motors] = acceleration[sample]
        _mj.mj_inverse(model, data)
        torque[sample] = data.qfrc_inverse[motors]
    for array in (position, velocity, torque):
        array.flags.writeable = False
    return Motion(position, velocity, torque)


def _differentiate(periodic: np.ndarray) -> np.ndarray:
    """Return the derivative in time of a Fourier series, (T, 7)."""
    rate = 2j * np.pi * np.fft.rfftfreq(len(periodic), 1 / SAMPLES_PER_S)
    return np.fft.irfft(rate[:, None] * np.fft.rfft(periodic, axis=0), len(periodic), axis=0)


GEAR_RATIO = 100
RIPPLES_PER_TURN = 2 * GEAR_RATIO
"""Ripples per turn of the joint: a strain-wave gear meshes twice a turn of its wave generator."""
CHIPS_PER_TURN = 20
"""Number of times that a chipped tooth of an intermediate wheel meshes in a turn of the joint."""
_CHIP_WIDTH_RAD = 0.008
"""Angle of the joint from the middle of the chip to its greatest torque."""

_POSITION_GAIN_NM_PER_RAD = 300.0 * ROTOR_RATIO
_SPEED_GAIN_NMS_PER_RAD = 30.0 * ROTOR_RATIO
"""A damping ratio of about 0.7 for the inertia that joint 2 moves at the marks; a motor that play
parts from its link loses four fifths of its speed in a time step, and does not overshoot much."""

_OIL_TEMPERATURE_C = (15.0, 35.0)
"""Lowest and highest temperature of the joints during a check."""
_OIL_NOMINAL_C = 25.0
_OIL_THINNING_PER_DEGREE = 0.02
"""Share of the viscous damping that a degree takes from it.  Warm joints rub less: Bittencourt et
al., "An extended friction model to capture load and temperature effects in robot joints", IROS
2010.  The size is an assumption."""

_BRAKES_NM = 1e4
_SETTLING_STEPS = 25  # 0.1 s: a part that hangs against an end stop sinks in until it is carried
_SPEEDS_CURRENT: int = _mj.mjtStage.mjSTAGE_VEL.value
"""After a step, positions and speeds are those of its end, torques and accelerations of its start:
just the quantities that are recorded of one sample."""

_NOISE, _DROPOUT, _TEMPERATURE = range(3)  # streams of random numbers


class Simulation:
    """The health check of R machines, carried out as one native batch.

    Each joint follows the motion by a feed-forward and loops of position and speed at 250 Hz.  The
    drives know only the readings of the sensors, so a fault of a sensor moves the arm.

    Args:
        machines: R machines, as warm as they are in the check.
        faults: Name of each one's fault, or ``healthy``, (R,).
        severities: Its severity, in its own unit, (R,).
        joints: Number of its joint, 1 to 7, (R,); without effect where it sits in none.
        keys: Key of each recording's noise, (R,) uint64.
        num_threads: Native threads; 0 takes every processor.  Results do not depend on it.
    """

    def __init__(
        self,
        machines: Machines,
        faults: np.ndarray,
        severities: np.ndarray,
        joints: np.ndarray,
        keys: np.ndarray,
        num_threads: int = 0,
    ) -> None:
        model = compile_arm()
        self.batch = Batch(model, len(keys), num_threads, persistent=True)
        self._machines, self._keys = machines, keys
        self._severity = {name: np.zeros((len(keys), NUM_JOINTS)) for name in FAULTS}
        for name in set(faults.tolist()) - {HEALTHY}:
            rows = np.flatnonzero(faults == name)
            column = joints[rows].astype(int) - 1 if FAULTS[name].joints else 0
            self._severity[name][rows, column] = severities[rows]
        own = self._severity
        self._friction_nm = machines.joint_friction_nm + own["dry_friction"] * ROTOR_RATIO
        damping_nms_per_rad = machines.joint_damping_ratio * _JOINT_DAMPING_NMS_PER_RAD
        self._damping_nms_per_rad = damping_nms_per_rad + own["lost_lubricant"] * ROTOR_RATIO
        # Free play and deflection under load of gears and grip, (R, P) each.
        self._play = np.column_stack([own["backlash"], own["loose_payload"][:, 0]])
        self._compliance = np.pad(1e-3 * own["loose_belt"] / ROTOR_RATIO, ((0, 0), (0, 1)))
        self._noise_sizes = noise = np.empty((len(keys), 24))
        noise[:, :7] = machines.position_noise_rad[:, None]
        built = machines.velocity_noise_rad_per_s[:, None]
        noise[:, 7:14] = np.hypot(built, own["noisy_speed_sensor"])
        noise[:, 14:21] = machines.torque_noise_nm
        noise[:, 21:] = machines.acceleration_noise_m_per_s2[:, None]
        self._motors, self._plays = _joints(model, JOINTS), _joints(model, _PLAYS)
        self._limit_nm = model.jnt_actfrcrange[self._motors, 1]
        self._armature_kg_m2 = model.dof_armature[self._motors]
        self._position, self._velocity = self.batch.bind("qpos"), self.batch.bind("qvel")
        self._friction = self.batch.expand("dof_frictionloss")
        self._last_read_rad = np.zeros((len(keys), NUM_JOINTS))
        self._write_machines()
        self._stand_still()

    def run(self) -> np.ndarray:
        """Carry out the health check; return its recordings, (R, C, T) float32."""
        samples = [self.sample(sample).astype(np.float32) for sample in range(NUM_SAMPLES)]
        return np.ascontiguousarray(np.stack(samples).transpose(1, 2, 0))

    def _write_machines(self) -> None:
        """Give every simulation its machine, in the fields of the model that differ."""
        batch, machines, model = self.batch, self._machines, self.batch.model
        for column, link in enumerate(LINKS):
            nominal_kg = model.body_mass[model.body(link).id]
            set_body_mass(batch, link, machines.link_mass_ratio[:, column] * nominal_kg)
        set_body_mass(batch, "payload", machines.payload_kg)
        shift_m = self._severity["shifted_payload"][:, 0]
        set_body_position(batch, "payload", 0, machines.payload_place_m + shift_m)
        batch.expand("dof_damping")[:, self._motors] = self._damping_nms_per_rad
        # Free the plays that have room or give way; all others stay rigid.
        play, compliance = self._play, self._compliance
        stiffness = np.divide(1.0, compliance, out=np.zeros_like(compliance), where=compliance > 0)
        # Damping for a time step's worth of the spring keeps it stable, however stiff it is.
        damping = np.maximum(_PLAY_DAMPING, stiffness * model.opt.timestep)
        loose = (play > 0) | (compliance > 0)
        batch.expand("dof_armature")[:, self._plays] = np.where(loose, 0.0, _RIGID_ARMATURE)
        batch.expand("dof_damping")[:, self._plays] = np.where(loose, damping, 0.0)
        batch.expand("jnt_stiffness")[:, self._plays] = stiffness
        half = np.where(play > 0, play / 2, 1.0)
        batch.expand("jnt_range")[:, self._plays] = np.stack([-half, half], axis=2)
        batch.set_const()

    def _stand_still(self) -> None:
        """Put the motors on the marks; their brakes hold them until loose parts are at rest."""
        batch, home = self.batch, health_check().position_rad[0]
        batch.reset()
        self._position[:, self._motors] = home
        for _ in range(3):  # compliance changes the posture, and so the weight that it carries
            batch.forward(stage=_SPEEDS_CURRENT)
            load = batch.bind("qfrc_bias")[:, self._plays]
            self._position[:, self._plays] = (
                -self._compliance * load - np.sign(load) * self._play / 2
            )
        self._friction[:, self._motors] = _BRAKES_NM
        batch.step(nstep=_SETTLING_STEPS, stage=_SPEEDS_CURRENT)
        self._friction[:, self._motors] = self._friction_nm
        self._position[:, self._motors] = home
        self._velocity[:] = 0.0
        batch.forward(stage=_SPEEDS_CURRENT)

    def sample(self, sample: int) -> np.ndarray:
        """Read the motors, command the drives, let the time pass: one sample, (R, C)."""
        own, motors, motion = self._severity, self._motors, health_check()
        angle, velocity = self._position[:, motors], self._velocity[:, motors]
        steps = np.full(len(self._keys), sample)
        noise = self._noise_sizes * normals(self._keys, steps, _NOISE, np.arange(24))
        drift_rad = own["encoder_drift"] * (sample / SAMPLES_PER_S)
        read_angle = angle + own["encoder_bias"] + drift_rad + noise[:, :7]
        if sample and own["encoder_dropouts"].any():
            draws = uniforms(self._keys, steps, _DROPOUT, np.arange(NUM_JOINTS))
            read_angle = np.where(draws < own["encoder_dropouts"], self._last_read_rad, read_angle)
        self._last_read_rad = read_angle
        read_velocity = velocity + noise[:, 7:14]
        wanted_nm = (
            motion.torque_nm[sample]
            + _POSITION_GAIN_NM_PER_RAD * (motion.position_rad[sample] - read_angle)
            + _SPEED_GAIN_NMS_PER_RAD * (motion.velocity_rad_per_s[sample] - read_velocity)
        )
        command_nm = np.clip(wanted_nm, -self._limit_nm, self._limit_nm)
        # On each rotor act, besides friction, the drive, the ripple of the teeth, and a chipped
        # tooth, which pulls the wheel into its gap, and holds it back on the way out.
        phase = self._machines.gear_phase_rad
        strength = self._machines.drive_strength * (1 - own["weak_drive"])
        ripple_nm = self._machines.ripple_nm + own["gear_ripple"] * ROTOR_RATIO
        teeth = np.sin(RIPPLES_PER_TURN * angle + phase)
        pitch = 2 * np.pi / CHIPS_PER_TURN
        off = ((angle + phase / CHIPS_PER_TURN + pitch / 2) % pitch - pitch / 2) / _CHIP_WIDTH_RAD
        chip = -off * np.exp((1 - off**2) / 2)
        rotor_nm = strength * command_nm + ripple_nm * teeth
        rotor_nm = rotor_nm + own["chipped_tooth"] * ROTOR_RATIO * chip
        turn = GEAR_RATIO * angle + phase  # of the rotor
        rubbing_nm = own["dragging_brake"] * ROTOR_RATIO * (1 + np.cos(turn)) / 2
        self._friction[:, motors] = self._friction_nm + rubbing_nm
        self.batch.bind("qfrc_applied")[:, motors] = rotor_nm
        self.batch.step(nstep=1, stage=_SPEEDS_CURRENT)
        # The gear passes the torque that rotor and friction leave.  MuJoCo's implicit
        # integrator damps by the speed after the time step.
        next_velocity = self._velocity[:, motors]
        gained = (next_velocity - velocity) * SAMPLES_PER_S  # rad/s^2
        dry_nm = self.batch.bind("qfrc_constraint")[:, motors]
        viscous_nm = self._damping_nms_per_rad * next_velocity
        link_nm = rotor_nm + dry_nm - viscous_nm - self._armature_kg_m2 * gained
        read_nm = (1 - own["torque_sensor_gain"]) * link_nm + noise[:, 14:21]
        read_acceleration = self.batch.bind("sensordata") + noise[:, 21:]
        channels = (read_angle, read_velocity, command_nm, read_nm, read_acceleration)
        return np.concatenate(channels, axis=1)


NUM_BASELINES = 3
"""Healthy checks of every machine of a pool, at other temperatures each."""
_RECORDINGS_AT_ONCE = 500  # simulations in one batch


def record(
    machines: Machines,
    faults: Sequence[str] | np.ndarray | str,
    severities: Any,
    seed: int,
    *,
    joints: Any = 1,
    checks: Any = 0,
    num_threads: int = 0,
) -> Recordings:
    """Record one health check of every machine.

    A recording depends, bit for bit, on its own row and the seed: not on the other rows, their
    order, or the number of threads.  A severity of zero is no fault: its label is ``healthy``.

    Args:
        machines: R machines as built, one for each recording; ``machines.rows`` repeats them.
        faults: Names of R faults of `FAULTS`, or ``healthy``; or one for all.
        severities: R severities, each in its fault's own unit; or one for all.
        seed: Seed of sensor noise and temperatures.
        joints: Number of the joint that the fault sits in, 1 to 7, for each or for all.
        checks: Number of the check, for each or for all: another number, other noise and another
            temperature.
        num_threads: Native threads; 0 takes every processor.

    Raises:
        TaskError: A fault, severity or joint is not allowed, or two recordings would be the same.
        ValueError: The recordings do not fit into memory.
        RuntimeError: A simulation became unstable.
    """
    count = len(machines)
    _check_seed(seed)
    fault, severity, joint, check = (
        np.broadcast_to(each, (count,)) for each in (faults, severities, joints, checks)
    )
    severity = severity.astype(np.float64)
    for name in sorted(set(fault.tolist())):
        _check_fault(name, severity[fault == name], joint[fault == name])
    joint = np.where([name != HEALTHY and bool(FAULTS[name].joints) for name in fault], joint, 0)
    visit = [np.full(count, seed), np.full(count, machines.seed), machines.number, check]
    named = np.array([zlib.crc32(name.encode()) for name in fault])
    keys = keys_of(np.stack([*visit, named, severity, joint], axis=1))
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    for row in np.flatnonzero(first[place] < np.arange(count)):
        raise TaskError(
            f"recordings {first[place[row]]} and {row} would be the same: give each check of a "
            "machine another number in checks"
        )
    low, high = _OIL_TEMPERATURE_C
    draws = uniforms(keys_of(np.stack(visit, axis=1)), np.zeros(count), _TEMPERATURE, np.arange(1))
    oil_c = low + (high - low) * draws  # the same in one check of a machine, with any fault
    thin = np.exp(-_OIL_THINNING_PER_DEGREE * (oil_c - _OIL_NOMINAL_C))  # (R, 1)
    warm = replace(machines, joint_damping_ratio=thin * machines.joint_damping_ratio)
    shape = (count, len(CHANNELS), NUM_SAMPLES)
    require_memory({f"{count} recordings": 4 * math.prod(shape)}, "record fewer at a time")
    signals = np.empty(shape, np.float32)
    for begin in range(0, count, _RECORDINGS_AT_ONCE):
        part = slice(begin, begin + _RECORDINGS_AT_ONCE)
        own = (each[part] for each in (fault, severity, joint, keys))
        signals[part] = Simulation(warm.rows(part), *own, num_threads=num_threads).run()
    labels = [
        str(FaultClass(name, int(number))) if severe else HEALTHY
        for name, number, severe in zip(fault, joint, severity, strict=True)
    ]
    for row in np.flatnonzero(~np.isfinite(signals).all(axis=(1, 2))):
        raise RuntimeError(
            f"simulation of {labels[row]} (severity {severity[row]:g}) of machine "
            f"{machines.number[row]} became unstable"
        )
    return Recordings(
        tuple(signals),
        float(SAMPLES_PER_S),
        CHANNELS,
        label=np.array(labels),
        machine=np.array([f"arm {number}" for number in machines.number]),
        name=np.array([f"{key:016x}" for key in keys]),
    )


def _check_fault(name: str, severity: np.ndarray, joint: np.ndarray) -> None:
    if name == HEALTHY:
        if severity.any():
            raise TaskError("a healthy machine has the severity 0")
        return
    fault = find_fault(name)
    for misplaced in joint[~np.isin(joint, fault.joints or joint)]:
        allowed = ", ".join(map(str, fault.joints))
        raise TaskError(f"{name} can sit in the joints {allowed}, got {misplaced}")
    for beyond in severity[~((severity >= 0) & (severity <= fault.most))]:
        raise TaskError(
            f"severity of {name} ({fault.description}) must be in [0, {fault.most:g}]"
            f"{after_number(fault.unit)}, got {beyond:g}"
        )


def record_pool(
    num_machines: int, classes: Sequence[FaultClass], *, split: MachineSplit, seed: int = 0
) -> tuple[Recordings, Recordings]:
    """Record machines that have every class once, so no two recordings of a class share a machine.

    Args:
        num_machines: M.
        classes: C classes, healthy or a fault in a joint; severities are drawn from `Fault.train`.
        split: Whether the machines are to be trained on or to be tested on.
        seed: Seed of machines, severities and noise.

    Returns:
        M C recordings, all classes of a machine one after the other, and their baselines: M B
        recordings of the same machines when they were healthy, all of a machine one after the
        other.  Every recording is of another check, and so at another temperature.
    """
    machines = sample_machines(num_machines, split, seed=seed)
    rng = np.random.default_rng((seed, 0))
    severity = np.zeros((num_machines, len(classes)))
    for column, (fault, _) in enumerate(classes):
        if fault != HEALTHY:
            least, most = FAULTS[fault].train
            span = most - least
            severity[:, column] = most - (span - rng.random(num_machines) * span)
    machine, column = np.indices(severity.shape).reshape(2, -1)
    recordings = record(
        machines.rows(machine),
        np.array([own.fault for own in classes])[column],
        severity.ravel(),
        seed,
        joints=np.array([own.joint for own in classes])[column],
        checks=NUM_BASELINES + column,
    )
    machine, check = np.indices((num_machines, NUM_BASELINES)).reshape(2, -1)
    return recordings, record(machines.rows(machine), HEALTHY, 0.0, seed, checks=check)
