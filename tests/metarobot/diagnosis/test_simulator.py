"""Laws of simulated health checks: each fault does what its name says, and nothing else does."""

from dataclasses import fields, replace

import mujoco
import numpy as np
import pytest

from metarobot.diagnosis import simulator
from metarobot.diagnosis.faults import FAULTS, HEALTHY, FaultClass, classes_of
from metarobot.diagnosis.simulator import (
    ACCELERATION,
    CHANNELS,
    COMMANDED_TORQUE,
    DELIVERED_TORQUE,
    GEARS,
    GRIP,
    JOINTS,
    LINKS,
    NUM_BASELINES,
    NUM_SAMPLES,
    POSITION,
    SAMPLES_PER_S,
    VELOCITY,
    Simulation,
    arm_spec,
    compile_arm,
    health_check,
    home_rad,
    record,
    record_pool,
    sample_machines,
    with_faults,
)
from metarobot.envs import TaskError

JOINT = 3
"""Column of joint 4, in which all faults of joints sit here."""
OIL_C = np.full(1, 25.0)
KEYS = np.zeros(1, np.uint64)


def one_machine(count=1):
    """Return a machine whose sensors have no noise, ``count`` times."""
    machines = sample_machines(1)
    noises = [field.name for field in fields(machines) if "noise" in field.name]
    quiet = replace(machines, **{name: 0 * getattr(machines, name) for name in noises})
    return quiet.rows([0] * count)


def simulate(names, severities):
    """Record one check of that machine for each fault, (R, C, T) float64."""
    checks = record(one_machine(len(names)), names, severities, 0, joints=4, num_threads=1)
    return checks.stacked().astype(np.float64)


def simulation_of(name, severity):
    faults = (np.array([name]), np.array([severity]), np.array([4]))
    return Simulation(with_faults(one_machine(), *faults), OIL_C, KEYS, 1)


@pytest.fixture(scope="module")
def recordings():
    """Return every fault at the ends of its ranges on that machine, by name: (3, C, T)."""
    rows = [
        (name, size)
        for name, fault in FAULTS.items()
        for size in (*fault.severity.train, fault.severity.allowed[1])
    ]
    names, severities = zip(*rows, (HEALTHY, 0.0), strict=True)
    signals = simulate(names, severities)
    return {name: signals[np.array(names) == name] for name in (*FAULTS, HEALTHY)}


@pytest.fixture(scope="module")
def noise():
    """Return the standard deviation of each channel's noise in recordings of that machine, (C,)."""
    keys = np.arange(4, dtype=np.uint64)
    signals = Simulation(sample_machines(1).rows([0] * 4), np.full(4, 25.0), keys, 1).run()
    return np.sqrt(signals.var(axis=0, ddof=1).mean(axis=1))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_shows_above_the_noise_and_grows(recordings, noise, name):
    change = recordings[name] - recordings[HEALTHY]
    least, greatest, beyond = (rms(change) / noise).max(axis=1)
    assert least > 1.5
    assert greatest > 1.3 * least
    assert beyond > 0.9 * greatest  # a load with more play strikes less often


def test_a_severity_of_zero_is_no_fault(recordings):
    healthy = np.repeat(recordings[HEALTHY], len(FAULTS), axis=0)
    np.testing.assert_array_equal(simulate(list(FAULTS), 0.0), healthy)
    assert record(one_machine(), "backlash", 0.0, 0).labels == (HEALTHY,)


def test_torques_are_scaled_to_the_smaller_rotors_of_the_wrist():
    for name, change in {"gear_ripple": 0.4, "loose_belt": 1e-3 / 0.4, "encoder_bias": 1.0}.items():
        faulty = with_faults(one_machine(), np.array([name]), np.ones(1), np.array([6]))
        quantity = FAULTS[name].quantity
        added = getattr(faulty, quantity) - getattr(one_machine(), quantity)
        np.testing.assert_allclose(added, [[0, 0, 0, 0, 0, change, 0]])


# A fault in a field of the model is that of the model that a compiler makes of the same numbers.


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
    elif name == "loose_payload":
        grip = spec.joint(GRIP)
        grip.armature, grip.damping, grip.range = 0, [1.0, 0, 0], [-severity / 2, severity / 2]


def edit_machine(spec, machines):
    """Write the machine of the first row into the scene."""
    for column, (joint, link) in enumerate(zip(JOINTS, LINKS, strict=True)):
        spec.joint(joint).frictionloss = machines.joint_friction_nm[0, column]
        spec.joint(joint).damping = [machines.joint_damping_ratio[0, column], 0, 0]  # at 25 C
        ratio = machines.link_mass_ratio[0, column]
        body = spec.body(link)
        body.mass, body.fullinertia = body.mass * ratio, np.array(body.fullinertia) * ratio
    payload = spec.body("payload")
    ratio = machines.payload_kg[0] / payload.mass
    payload.mass, payload.inertia = machines.payload_kg[0], np.array(payload.inertia) * ratio
    payload.pos = [machines.payload_place_m[0], *payload.pos[1:]]


@pytest.mark.filterwarnings("ignore:Attaching a spec with an empty prefix")
@pytest.mark.parametrize(
    "name",
    [
        "dry_friction",
        "lost_lubricant",
        "backlash",
        "loose_belt",
        "shifted_payload",
        "loose_payload",
    ],
)
def test_a_fault_in_the_model_is_that_of_a_recompiled_one(name):
    severity = FAULTS[name].severity.train[1]
    simulation = simulation_of(name, severity)
    spec = arm_spec()
    edit_machine(spec, one_machine())
    edit_spec(spec, name, severity)
    model = spec.compile()
    data = mujoco.MjData(model)
    position, velocity = (simulation.batch.bind(field) for field in ("qpos", "qvel"))
    data.qpos[:], data.qvel[:] = position[0], velocity[0]
    applied = simulation.batch.bind("qfrc_applied")
    for sample in range(200):
        simulation.sample(sample)
        data.qfrc_applied[:] = applied[0]
        mujoco.mj_step(model, data)
    assert np.abs(velocity[0]).max() > 0.1
    np.testing.assert_allclose(data.qpos, position[0], atol=1e-9)


# All others show where their physics says.


def rms(signal):
    return np.sqrt((signal**2).mean(axis=-1))


def test_a_brake_that_drags_rubs_once_a_turn_of_the_rotor():
    simulation, machine = simulation_of("dragging_brake", 3.0), one_machine()
    column = simulation.batch.model.joint("joint4").dofadr[0]
    position, losses = simulation.batch.bind("qpos"), simulation.batch.expand("dof_frictionloss")
    for sample in range(100):
        turn = 100 * position[0, column] + machine.gear_phase_rad[0, JOINT]
        simulation.sample(sample)
        own = machine.joint_friction_nm[0, JOINT]
        assert losses[0, column] == pytest.approx(own + 3.0 * (1 + np.cos(turn)) / 2)


def test_a_weak_drive_is_asked_for_more_and_delivers_the_same(recordings):
    weak, healthy = recordings["weak_drive"][1], recordings[HEALTHY][0]
    asked = rms(weak[COMMANDED_TORQUE][JOINT]) / rms(healthy[COMMANDED_TORQUE][JOINT])
    got = rms(weak[DELIVERED_TORQUE][JOINT]) / rms(healthy[DELIVERED_TORQUE][JOINT])
    assert asked == pytest.approx(1 / (1 - 0.3), rel=0.05)
    assert got == pytest.approx(1.0, rel=0.05)


def test_a_drive_is_asked_for_no_more_than_it_can():
    """The shoulder needs 57 N m at most, of which this drive would have to be asked for 104."""
    signals = record(one_machine(), "weak_drive", 0.45, 0, joints=2).stacked()[0]
    asked = np.abs(signals[COMMANDED_TORQUE]).max(axis=1)
    assert asked[1] == 87.0
    assert (asked <= [87] * 4 + [12] * 3).all()


def test_a_torque_sensor_changes_nothing_but_its_reading(recordings):
    shown, healthy = recordings["torque_sensor_gain"], recordings[HEALTHY][0]
    gains = np.array([1 - s for s in (0.06, 0.25, 0.40)])
    column = DELIVERED_TORQUE.start + JOINT
    np.testing.assert_allclose(shown[:, column], gains[:, None] * healthy[column], atol=1e-4)
    others = np.delete(np.arange(len(healthy)), column)
    np.testing.assert_array_equal(shown[:, others], np.repeat([healthy[others]], 3, axis=0))


def test_an_encoder_with_a_bias_shows_it_on_the_marks(recordings):
    first = recordings["encoder_bias"][:, POSITION][:, JOINT, 0]
    healthy = recordings[HEALTHY][0, POSITION][JOINT, 0]
    np.testing.assert_allclose(first - healthy, [0.005, 0.02, 0.035], atol=1e-6)


def test_the_drift_of_an_encoder_is_missing_in_the_speed(recordings):
    """The controller follows the reading, so the joint moves off by as much."""
    change = recordings["encoder_drift"] - recordings[HEALTHY]
    mean_speed = change[:, VELOCITY][:, JOINT, 100:].mean(axis=1)
    np.testing.assert_allclose(mean_speed, [-0.004, -0.015, -0.025], rtol=0.15)


def test_readings_that_are_lost_are_the_last_ones(recordings):
    readings = recordings["encoder_dropouts"][:, POSITION][:, JOINT]
    repeated = (np.diff(readings) == 0).mean(axis=1)
    np.testing.assert_allclose(repeated, [0.03, 0.15, 0.30], atol=0.03)


def test_a_noisy_speed_sensor_has_the_noise_of_its_severity(recordings):
    """A smooth motion has small fourth differences; noise has its deviation times sqrt(70)."""
    differences = np.diff(recordings["noisy_speed_sensor"][:, VELOCITY][:, JOINT], 4)
    np.testing.assert_allclose(differences.std(1) / np.sqrt(70), [0.01, 0.05, 0.08], rtol=0.25)


def test_a_ripple_has_the_pitch_of_the_teeth(recordings):
    """The torque through the gear, over the motor's angle, repeats 200 times a turn."""
    ripple = recordings["gear_ripple"][2]
    change = (ripple - recordings[HEALTHY][0])[DELIVERED_TORQUE][JOINT]
    fast = np.abs(ripple[VELOCITY][JOINT]) > 0.4
    pitches = np.arange(100, 301, 20)
    angles = np.exp(1j * pitches[:, None] * ripple[POSITION][JOINT])
    assert pitches[np.argmax(np.abs((change * angles)[:, fast].mean(axis=1)))] == 200


def test_a_chipped_tooth_strikes_twenty_times_a_turn(recordings):
    """Changes of the torque lie where the tooth meshes, and nowhere else."""
    signals, phase = recordings["chipped_tooth"][2], sample_machines(1).gear_phase_rad[0, JOINT]
    turns = (20 * signals[POSITION][JOINT] + phase) / (2 * np.pi)
    off = np.abs(turns - np.round(turns))[1:-1]
    jumps = np.abs(np.diff(signals[DELIVERED_TORQUE][JOINT], 2))
    assert jumps[off < 0.08].max() > 3 * jumps[off > 0.2].max()


def test_backlash_shows_only_where_the_load_turns(recordings):
    """On one flank nothing happens; between them the torque through the gear is zero."""
    through = np.abs(recordings["backlash"][2][DELIVERED_TORQUE][JOINT])
    healthy = np.abs(recordings[HEALTHY][0, DELIVERED_TORQUE][JOINT])
    assert (through < 0.6).sum() > 3 * (healthy < 0.6).sum()
    np.testing.assert_allclose(through[-40:], healthy[-40:], rtol=0.1)  # at rest


def test_a_load_that_slides_strikes_the_tool(recordings):
    def hardness(signals):
        return np.abs(np.diff(signals[ACCELERATION][0])).max()

    least, greatest, _ = recordings["loose_payload"]
    assert hardness(recordings[HEALTHY][0]) < hardness(least) < hardness(greatest)


# The machine without a fault is the arm of the package.


@pytest.mark.filterwarnings("ignore:Attaching a spec with an empty prefix")
def test_rigid_gears_are_as_no_gears_and_the_feed_forward_keeps_the_motion():
    """Driven by it, the arm moves as the one whose second joints are deleted."""
    motion, states = health_check(), []
    spec = arm_spec()
    for name in (*GEARS, GRIP):
        spec.delete(spec.joint(name))
    for model in (compile_arm(), spec.compile()):
        data = mujoco.MjData(model)
        motors = [model.joint(joint).dofadr[0] for joint in JOINTS]
        data.qpos[motors] = home_rad()
        for torque_nm in motion.torque_nm[:200]:
            data.qfrc_applied[motors] = torque_nm
            mujoco.mj_step(model, data)
        states.append(np.concatenate([data.qpos[motors], data.qvel[motors]]))
    assert np.abs(states[0][7:]).max() > 0.1
    np.testing.assert_allclose(states[0], states[1], atol=1e-5)
    np.testing.assert_allclose(states[0][:7], motion.position_rad[200], atol=0.02)


def test_the_torque_through_the_gear_is_that_of_the_links_inverse_dynamics():
    """From the motion alone: no friction, no rotor."""
    simulation = simulation_of(HEALTHY, 0.0)
    model = simulation.batch.get_model(0)
    data = mujoco.MjData(model)
    motors = [model.joint(joint).dofadr[0] for joint in JOINTS]
    gears = [model.joint(gear).dofadr[0] for gear in GEARS]
    position, velocity = (simulation.batch.bind(field) for field in ("qpos", "qvel"))
    for sample in range(120):
        data.qpos[:], data.qvel[:] = position[0], velocity[0]
        delivered = simulation.sample(sample)[0, DELIVERED_TORQUE]
        data.qacc[:] = 0
        data.qacc[motors] = (velocity[0, motors] - data.qvel[motors]) / model.opt.timestep
        mujoco.mj_inverse(model, data)
        np.testing.assert_allclose(delivered, data.qfrc_inverse[gears], atol=1e-3)


@pytest.mark.parametrize("name", ["backlash", "loose_belt", "loose_payload"])
def test_a_check_begins_at_rest(recordings, name):
    """All loose parts hang as the arm's weight leaves them, so nothing jumps when it begins."""
    signals = recordings[name][1, :, :5]
    assert np.ptp(signals[DELIVERED_TORQUE], axis=1).max() < 1.0  # of 20 N m
    # Brakes release a soft belt to 2 N m more than the feed-forward knows: the arm sags a little.
    assert np.abs(signals[VELOCITY]).max() < 0.2


# Machines and recordings.


def test_machines_depend_on_nothing_but_seed_and_number():
    drawn = [f.name for f in fields(sample_machines(1))[2:-10]]
    few, many = sample_machines(3, seed=5), sample_machines(9, seed=5).rows([0, 1, 2])
    others = (sample_machines(9, "test", seed=5), sample_machines(9, seed=6))
    for name in drawn:
        values = getattr(many, name)
        np.testing.assert_array_equal(getattr(few, name), values)
        for other in others:
            assert not np.isin(getattr(other, name), values).any(), name
    assert few.number.tolist() == [0, 1, 2]
    assert others[0].number.min() == 1_000_000


def record_all(order, num_threads):
    """Record every fault, in an order, on three machines."""
    names = np.array([*FAULTS, HEALTHY, HEALTHY])[order]
    severities = [0.0 if n == HEALTHY else FAULTS[n].severity.train[1] for n in names]
    machines = sample_machines(3).rows(np.array(order) % 3)
    return record(machines, names, severities, 7, joints=4, checks=order, num_threads=num_threads)


def test_any_order_threads_and_batches_give_the_same_bits(monkeypatch):
    first = record_all(np.arange(17), 1)
    monkeypatch.setattr(simulator, "_RECORDINGS_AT_ONCE", 5)
    order = np.random.default_rng(0).permutation(17)
    again = record_all(order, 2)
    np.testing.assert_array_equal(again.stacked(), first.stacked()[order])
    for name in ("label", "machine", "name"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name)[order])
    assert first.stacked().shape == (17, len(CHANNELS), NUM_SAMPLES)
    assert first.rate_hz == SAMPLES_PER_S
    assert first.label[:2].tolist() == ["dry friction in joint 4", "lost lubricant in joint 4"]
    assert first.machines == ("arm 0", "arm 1", "arm 2")


def test_no_two_checks_splits_or_seeds_share_their_noise():
    machine = sample_machines(1)
    two_checks = record(machine.rows([0, 0]), HEALTHY, 0, 7, checks=[0, 1])
    others = [record(machine, HEALTHY, 0, 8), record(sample_machines(1, "test"), HEALTHY, 0, 7)]
    signals = [*two_checks.signals, *(other.signals[0] for other in others)]
    for row, signal in enumerate(signals):
        for other in signals[:row]:
            assert (signal != other).mean() > 0.99
    assert len({*two_checks.name, *(other.name[0] for other in others)}) == 4


def test_a_pool_has_every_class_of_every_machine_once_and_healthy_baselines():
    classes = (*classes_of([HEALTHY, "backlash"])[:3], FaultClass("loose_payload", 0))
    recordings, baselines = record_pool(2, classes, split="test", severities="extrapolation")
    assert recordings.label.tolist() == [str(each) for each in classes] * 2
    assert recordings.machine.tolist() == ["arm 1000000"] * 4 + ["arm 1000001"] * 4
    assert baselines.labels == (HEALTHY,)
    assert baselines.machine.tolist() == np.repeat(recordings.machines, NUM_BASELINES).tolist()
    assert len({*recordings.name, *baselines.name}) == 8 + 6


@pytest.mark.parametrize(
    ("faults", "options", "words"),
    [
        ("dry_frictoin", {}, "did you mean 'dry_friction'"),
        ([HEALTHY], {}, "faults must be one or 2"),
        (HEALTHY, {"severities": 1.0}, "healthy machine has the severity 0"),
        ("backlash", {"severities": 1.0}, r"must be in \[0, 0.02\] rad, got 1"),
        ("backlash", {"severities": float("nan")}, "must be in .* got nan"),
        ("backlash", {"joints": 1.5}, "can sit in the joints 1, .* got 1.5"),
        ("loose_belt", {"joints": 7}, "can sit in the joints 1, 2, 3, 4, 5, 6, got 7"),
        (HEALTHY, {"seed": 1.5}, r"seed must be an integer in \[0, .* got 1.5"),
        (HEALTHY, {"same": True}, "recordings 0 and 1 would be the same"),
    ],
)
def test_an_impossible_recording_is_refused_in_one_line(faults, options, words):
    machines = sample_machines(2).rows([0, 0] if options.get("same") else [0, 1])
    arguments = {"severities": 0.0, "seed": 0, **options}
    arguments.pop("same", None)
    with pytest.raises(TaskError, match=words) as error:
        record(machines, faults, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"), [((3, "trian"), "did you mean 'train'"), ((0,), "count of machines")]
)
def test_machines_that_do_not_exist_are_refused(arguments, words):
    with pytest.raises(TaskError, match=words):
        sample_machines(*arguments)
