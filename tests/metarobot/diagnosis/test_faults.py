"""Every fault shows in its recording, grows with its severity, and does what its name says."""

import mujoco
import numpy as np
import pytest
from health_checks import joint_of, least_and_greatest, one_machine, simulate

from metarobot.diagnosis import FAULTS, HEALTHY, sample_machines
from metarobot.diagnosis.arm_model import GRIP, JOINTS, LINKS, arm_spec
from metarobot.diagnosis.channels import (
    ACCELERATION,
    COMMANDED_TORQUE,
    DELIVERED_TORQUE,
    POSITION,
    VELOCITY,
)
from metarobot.diagnosis.orders import read_orders
from metarobot.diagnosis.simulation import Simulation

JOINT = 3
"""Column of joint 4, in which all faults of joints sit here."""
IN_THE_MODEL = (
    "dry_friction",
    "lost_lubricant",
    "backlash",
    "loose_belt",
    "shifted_payload",
    "loose_payload",
)


@pytest.fixture(scope="module")
def recordings():
    """Every fault at the ends of its ranges on one machine without noise, by name."""
    names, severities, joints = least_and_greatest()
    signals = simulate(one_machine(len(names)), names, severities, joints)
    return {name: signals[np.array(names) == name] for name in (*FAULTS, HEALTHY)}


@pytest.fixture(scope="module")
def noise():
    """Standard deviation of each channel's noise in recordings of that machine, (C,)."""
    machines = sample_machines(1).rows([0] * 4)
    orders = read_orders(machines, HEALTHY, 0, 0, 1, np.arange(4))
    condition = orders.condition()
    condition.damping_nms_per_rad[:] = condition.damping_nms_per_rad[0]  # one temperature
    signals = Simulation(condition, orders.address, 1).run()
    return np.sqrt(signals.var(axis=0, ddof=1).mean(axis=1))


def change(recordings, noise, name):
    """Return by how much a fault changes the channel that shows it best, over noise, (3,)."""
    squares = ((recordings[name] - recordings[HEALTHY]) ** 2).mean(axis=2)
    return (np.sqrt(squares) / noise).max(axis=1)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_shows_above_the_noise_and_grows(recordings, noise, name):
    least, greatest, beyond = change(recordings, noise, name)
    assert least > 1.5
    assert greatest > 1.3 * least
    assert beyond > 0.9 * greatest  # a load with more play strikes less often


def test_a_severity_of_zero_is_no_fault(recordings):
    joints = [joint_of(fault) for fault in FAULTS.values()]
    signals = simulate(one_machine(len(FAULTS)), list(FAULTS), 0.0, joints)
    np.testing.assert_array_equal(signals, np.repeat(recordings[HEALTHY], len(FAULTS), axis=0))


@pytest.mark.parametrize("name", FAULTS)
def test_ranges_begin_above_zero_and_go_beyond(name):
    severity = FAULTS[name].severity
    assert 0 < severity.train[0] < severity.train[1] == severity.extrapolation[0][0]
    assert severity.extrapolation[0][1] == severity.allowed[1]
    assert FAULTS[name].source


def test_machines_differ_by_more_than_the_noise(noise):
    machines = sample_machines(6)
    signals = simulate(machines, HEALTHY, 0, 1)
    spread = np.sqrt(signals.var(axis=0, ddof=1).mean(axis=1))
    assert (spread / noise).max() > 5


# What is a model field is the model that a compiler would make of the same numbers.


def edit_spec(spec, name, severity):
    """Write a fault of joint 4 into the scene before it is compiled."""
    motor, gear, payload = spec.joint("joint4"), spec.joint("gear4"), spec.body("payload")
    if name == "dry_friction":
        motor.frictionloss += severity
    elif name == "lost_lubricant":
        motor.damping = [motor.damping[0] + severity, 0, 0]
    elif name == "backlash":
        gear.armature, gear.damping = 0, [0.5, 0, 0]
        gear.range = [-severity / 2, severity / 2]
    elif name == "loose_belt":
        gear.armature, gear.stiffness = 0, [1000 / severity, 0, 0]
        gear.damping = [max(0.5, 0.004 * 1000 / severity), 0, 0]
    elif name == "shifted_payload":
        payload.pos = [payload.pos[0] + severity, *payload.pos[1:]]
    else:
        grip = spec.joint(GRIP)
        grip.armature, grip.damping, grip.range = 0, [1.0, 0, 0], [-severity / 2, severity / 2]


def edit_machine(spec, condition):
    """Write the machine of the first row into the scene."""
    machines = condition.machines
    for column, (joint, link) in enumerate(zip(JOINTS, LINKS, strict=True)):
        spec.joint(joint).frictionloss = machines.joint_friction_nm[0, column]
        spec.joint(joint).damping = [condition.damping_nms_per_rad[0, column], 0, 0]
        ratio = machines.link_mass_ratio[0, column]
        body = spec.body(link)
        body.mass, body.fullinertia = body.mass * ratio, np.array(body.fullinertia) * ratio
    payload = spec.body("payload")
    ratio = machines.payload_kg[0] / payload.mass
    payload.mass, payload.inertia = machines.payload_kg[0], np.array(payload.inertia) * ratio
    payload.pos = [machines.payload_place_m[0], *payload.pos[1:]]


@pytest.mark.filterwarnings("ignore:Attaching a spec with an empty prefix")
@pytest.mark.parametrize("name", IN_THE_MODEL)
def test_a_fault_in_the_model_is_that_of_a_recompiled_one(name):
    severity = FAULTS[name].severity.train[1]
    orders = read_orders(one_machine(1), name, severity, 0, joint_of(FAULTS[name]), 0)
    healthy = read_orders(one_machine(1), HEALTHY, 0, 0, 1, 0).condition()
    simulation = Simulation(orders.condition(), orders.address, 1)
    spec = arm_spec()
    edit_machine(spec, healthy)
    edit_spec(spec, name, severity)
    model = spec.compile()
    data = mujoco.MjData(model)
    position, velocity = (simulation.batch.bind(field) for field in ("qpos", "qvel"))
    data.qpos[:], data.qvel[:] = position[0], velocity[0]
    applied = simulation.batch.bind("qfrc_applied")
    for sample in range(200):
        simulation._sample(sample)
        data.qfrc_applied[:] = applied[0]
        mujoco.mj_step(model, data)
    assert np.abs(velocity[0]).max() > 0.1
    np.testing.assert_allclose(data.qpos, position[0], atol=1e-9)


# What is not: by what it must do.


def rms(signal):
    return np.sqrt((signal**2).mean(axis=-1))


def test_a_brake_that_drags_rubs_once_a_turn_of_the_rotor():
    orders = read_orders(one_machine(1), "dragging_brake", 3.0, 0, 4, 0)
    condition = orders.condition()
    simulation = Simulation(condition, orders.address, 1)
    column = simulation.batch.model.joint("joint4").dofadr[0]
    position, losses = simulation.batch.bind("qpos"), simulation.batch.expand("dof_frictionloss")
    phase = condition.machines.gear_phase_rad[0, JOINT]
    for sample in range(100):
        turn = 100 * position[0, column] + phase
        simulation._sample(sample)
        own = condition.machines.joint_friction_nm[0, JOINT]
        assert losses[0, column] == pytest.approx(own + 3.0 * (1 + np.cos(turn)) / 2)


def test_a_weak_drive_is_asked_for_more_and_delivers_the_same(recordings):
    weak, healthy = recordings["weak_drive"][1], recordings[HEALTHY][0]
    asked = rms(weak[COMMANDED_TORQUE][JOINT]) / rms(healthy[COMMANDED_TORQUE][JOINT])
    got = rms(weak[DELIVERED_TORQUE][JOINT]) / rms(healthy[DELIVERED_TORQUE][JOINT])
    assert asked == pytest.approx(1 / (1 - 0.3), rel=0.05)
    assert got == pytest.approx(1.0, rel=0.05)


def test_a_drive_is_asked_for_no_more_than_it_can():
    """The shoulder needs 57 N m at most, of which this drive would have to be asked for 104."""
    signals = simulate(one_machine(1), "weak_drive", 0.45, 2)[0]
    asked = np.abs(signals[COMMANDED_TORQUE]).max(axis=1)
    assert asked[1] == 87.0
    assert (asked <= [87] * 4 + [12] * 3).all()


def test_a_torque_sensor_changes_nothing_but_what_it_shows(recordings):
    shown, healthy = recordings["torque_sensor_gain"], recordings[HEALTHY][0]
    gains = np.array([1 - s for s in (0.06, 0.25, 0.40)])
    column = DELIVERED_TORQUE.start + JOINT
    np.testing.assert_allclose(shown[:, column], gains[:, None] * healthy[column], atol=1e-4)
    others = np.delete(np.arange(len(healthy)), column)
    np.testing.assert_array_equal(shown[:, others], np.repeat([healthy[others]], 3, axis=0))


def test_an_encoder_with_a_bias_shows_it_on_the_marks(recordings):
    first = recordings["encoder_bias"][:, POSITION][:, JOINT, 0]
    np.testing.assert_allclose(
        first - recordings[HEALTHY][0, POSITION][JOINT, 0], [0.005, 0.02, 0.035], atol=1e-6
    )


def test_what_an_encoder_drifts_is_missing_in_the_speed(recordings):
    """The controller follows the reading, so the joint moves off by as much."""
    change = recordings["encoder_drift"] - recordings[HEALTHY]
    mean_speed = change[:, VELOCITY][:, JOINT, 100:].mean(axis=1)
    np.testing.assert_allclose(mean_speed, [-0.004, -0.015, -0.025], rtol=0.15)


def test_readings_that_are_lost_are_the_last_ones(recordings):
    for signals, probability in zip(
        recordings["encoder_dropouts"], (0.03, 0.15, 0.30), strict=True
    ):
        readings = signals[POSITION][JOINT]
        assert (np.diff(readings) == 0).mean() == pytest.approx(probability, abs=0.03)


def test_a_noisy_speed_sensor_has_the_noise_that_it_says(recordings):
    """A smooth motion has small fourth differences; noise has its deviation times sqrt(70)."""
    for signals, noise in zip(recordings["noisy_speed_sensor"], (0.01, 0.05, 0.08), strict=True):
        differences = np.diff(signals[VELOCITY][JOINT], 4)
        assert differences.std() / np.sqrt(70) == pytest.approx(noise, rel=0.25)


def test_a_ripple_has_the_pitch_of_the_teeth(recordings):
    """The torque through the gear, over the motor's angle, repeats 200 times a turn."""
    change = (recordings["gear_ripple"][2] - recordings[HEALTHY][0])[DELIVERED_TORQUE][JOINT]
    angle = recordings["gear_ripple"][2][POSITION][JOINT]
    fast = np.abs(recordings["gear_ripple"][2][VELOCITY][JOINT]) > 0.4
    pitches = np.arange(100, 301, 20)
    power = [np.abs((change * np.exp(1j * n * angle))[fast].mean()) for n in pitches]
    assert pitches[np.argmax(power)] == 200


def test_a_chipped_tooth_strikes_twenty_times_a_turn(recordings):
    """Changes of the torque lie where the tooth meshes, and nowhere else."""
    signals, phase = recordings["chipped_tooth"][2], sample_machines(1).gear_phase_rad[0, JOINT]
    turns = (20 * signals[POSITION][JOINT] + phase) / (2 * np.pi)
    off = np.abs(turns - np.round(turns))
    jumps = np.abs(np.diff(signals[DELIVERED_TORQUE][JOINT], 2))
    near, away = jumps[off[1:-1] < 0.08], jumps[off[1:-1] > 0.2]
    assert near.max() > 3 * away.max()


def test_backlash_shows_at_the_tool_and_only_where_the_load_turns(recordings):
    """On one flank nothing happens; between them the torque through the gear is zero."""
    through = np.abs(recordings["backlash"][2][DELIVERED_TORQUE][JOINT])
    healthy = np.abs(recordings[HEALTHY][0, DELIVERED_TORQUE][JOINT])
    assert (through < 0.6).sum() > 3 * (healthy < 0.6).sum()
    at_rest = slice(-40, None)
    np.testing.assert_allclose(through[at_rest], healthy[at_rest], rtol=0.1)


def test_a_load_that_slides_strikes_the_tool(recordings):
    def hardness(signals):
        return np.abs(np.diff(signals[ACCELERATION][0])).max()

    least, greatest, _ = recordings["loose_payload"]
    assert hardness(recordings[HEALTHY][0]) < hardness(least) < hardness(greatest)
