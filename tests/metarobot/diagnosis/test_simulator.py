"""Laws of simulated health checks: each fault does what its name says, and nothing else does."""

from dataclasses import fields, replace

import mujoco
import numpy as np
import pytest

from metarobot.diagnosis import simulator as sim
from metarobot.diagnosis.simulator import FAULTS, HEALTHY, FaultClass, classes_of
from metarobot.envs import TaskError

JOINT = 3
"""Column of joint 4, in which faults of joints sit where nothing else is said."""
LOOSE = ["backlash", "loose_belt", "loose_payload"]


def one_machine(count=1):
    """Return a machine whose sensors have no noise, ``count`` times."""
    machines = sim.sample_machines(1)
    noises = [field.name for field in fields(machines) if "noise" in field.name]
    quiet = replace(machines, **{name: 0 * getattr(machines, name) for name in noises})
    return quiet.rows([0] * count)


def simulate(names, severities):
    """Record one check of that machine for each fault, (R, C, T) float64."""
    checks = sim.record(one_machine(len(names)), names, severities, 0, joints=4, num_threads=1)
    return checks.stacked().astype(np.float64)


def simulation_of(name, severity, joint=4):
    fault = (np.array([name]), np.array([severity]), np.array([joint]))
    return sim.Simulation(one_machine(), *fault, np.zeros(1, np.uint64), 1)


def rms(signal):
    return np.sqrt((signal**2).mean(axis=-1))


@pytest.fixture(scope="module")
def recordings():
    """Return every fault at the ends of its ranges on that machine, by name: (3, C, T)."""
    rows = [(name, size) for name in FAULTS for size in sizes_of(name)]
    names, severities = zip(*rows, (HEALTHY, 0.0), strict=True)
    signals = simulate(names, severities)
    return {name: signals[np.array(names) == name] for name in (*FAULTS, HEALTHY)}


def sizes_of(name):
    return np.array([*FAULTS[name].train, FAULTS[name].most])


@pytest.fixture(scope="module")
def noise():
    """Return the standard deviation of each channel's noise in recordings of that machine, (C,)."""
    healthy = (np.full(4, HEALTHY), np.zeros(4), np.zeros(4))
    machines, keys = sim.sample_machines(1).rows([0] * 4), np.arange(4, dtype=np.uint64)
    signals = sim.Simulation(machines, *healthy, keys, 1).run()
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
    assert sim.record(one_machine(), "backlash", 0.0, 0).labels == (HEALTHY,)


def edit_spec(spec, name, severity):
    """Write a machine, and a fault of joint 6 or the tool, into the scene before it is compiled."""
    machines, payload, grip = one_machine(), spec.body("payload"), spec.joint(sim.GRIP)
    for column, (joint, link) in enumerate(zip(sim.JOINTS, sim.LINKS, strict=True)):
        spec.joint(joint).frictionloss = machines.joint_friction_nm[0, column]
        spec.joint(joint).damping = [machines.joint_damping_ratio[0, column], 0, 0]  # at 25 C
        ratio, body = machines.link_mass_ratio[0, column], spec.body(link)
        body.mass, body.fullinertia = body.mass * ratio, np.array(body.fullinertia) * ratio
    ratio = machines.payload_kg[0] / payload.mass
    payload.mass, payload.inertia = machines.payload_kg[0], np.array(payload.inertia) * ratio
    payload.pos = [machines.payload_place_m[0], *payload.pos[1:]]
    motor, gear, free = spec.joint("joint6"), spec.joint("gear6"), [-severity / 2, severity / 2]
    rubs, damps, stiff = motor.frictionloss, motor.damping[0], [400 / severity, 0, 0]
    element, changed = {
        "dry_friction": (motor, {"frictionloss": rubs + 0.4 * severity}),
        "lost_lubricant": (motor, {"damping": [damps + 0.4 * severity, 0, 0]}),
        "backlash": (gear, {"armature": 0, "damping": [0.2, 0, 0], "range": free}),
        "loose_belt": (gear, {"armature": 0, "stiffness": stiff, "damping": [0.8, 0, 0]}),
        "shifted_payload": (payload, {"pos": [payload.pos[0] + severity, *payload.pos[1:]]}),
        "loose_payload": (grip, {"armature": 0, "damping": [1.0, 0, 0], "range": free}),
    }[name]
    for attribute, value in changed.items():
        setattr(element, attribute, value)


@pytest.mark.filterwarnings("ignore:Attaching a spec with an empty prefix")
@pytest.mark.parametrize("name", [*LOOSE, "dry_friction", "lost_lubricant", "shifted_payload"])
def test_a_fault_in_the_model_is_that_of_a_recompiled_one(name):
    """Of the wrist, whose torques are scaled by the size of its rotors."""
    severity = FAULTS[name].train[1]
    simulation = simulation_of(name, severity, joint=6)
    spec = sim.arm_spec()
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


def of_joint(signals, quantity):
    return signals[:, quantity][:, JOINT]


SHOWN = {
    "encoder_bias": lambda own, healthy: of_joint(own - healthy, sim.POSITION)[:, 0],
    # The controller follows the reading, so the joint moves off by as much.
    "encoder_drift": lambda own, healthy: -of_joint(own - healthy, sim.VELOCITY)[:, 100:].mean(1),
    "encoder_dropouts": lambda own, _: (np.diff(of_joint(own, sim.POSITION)) == 0).mean(1),
    # A smooth motion has small fourth differences; noise has its deviation times sqrt(70).
    "noisy_speed_sensor": lambda own, _: (
        np.diff(of_joint(own, sim.VELOCITY), 4).std(1) / np.sqrt(70)
    ),
    "torque_sensor_gain": lambda own, healthy: (
        1 - rms(of_joint(own, sim.DELIVERED_TORQUE)) / rms(of_joint(healthy, sim.DELIVERED_TORQUE))
    ),
    "weak_drive": lambda own, healthy: (
        1 - rms(of_joint(healthy, sim.COMMANDED_TORQUE)) / rms(of_joint(own, sim.COMMANDED_TORQUE))
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_severity_can_be_read_off_a_recording(recordings, name):
    shown = SHOWN[name](recordings[name], recordings[HEALTHY])
    tolerance = {"encoder_bias": 1e-4, "torque_sensor_gain": 1e-4}.get(name, 0.25)
    np.testing.assert_allclose(shown, sizes_of(name), rtol=tolerance)


def test_a_torque_sensor_changes_nothing_but_its_reading(recordings):
    change = np.abs(recordings["torque_sensor_gain"] - recordings[HEALTHY]).max(axis=(0, 2))
    assert np.flatnonzero(change).tolist() == [sim.DELIVERED_TORQUE.start + JOINT]


def test_a_drive_is_asked_for_no_more_than_it_can():
    """The shoulder needs 57 N m at most, of which this drive would have to be asked for 104."""
    signals = sim.record(one_machine(), "weak_drive", 0.45, 0, joints=2).stacked()[0]
    assert np.abs(signals[sim.COMMANDED_TORQUE]).max(axis=1)[1] == 87.0


def test_a_brake_that_drags_rubs_once_a_turn_of_the_rotor():
    simulation, machine = simulation_of("dragging_brake", 3.0), one_machine()
    column = simulation.batch.model.joint("joint4").dofadr[0]
    position, losses = simulation.batch.bind("qpos"), simulation.batch.expand("dof_frictionloss")
    for sample in range(100):
        turn = 100 * position[0, column] + machine.gear_phase_rad[0, JOINT]
        simulation.sample(sample)
        own = machine.joint_friction_nm[0, JOINT]
        assert losses[0, column] == pytest.approx(own + 3.0 * (1 + np.cos(turn)) / 2)


def test_a_ripple_has_the_pitch_of_the_teeth_and_a_chip_strikes_where_its_tooth_meshes(recordings):
    """200 times a turn of the joint the one, 20 times the other."""
    ripple = recordings["gear_ripple"][2]
    change = (ripple - recordings[HEALTHY][0])[sim.DELIVERED_TORQUE][JOINT]
    fast = np.abs(ripple[sim.VELOCITY][JOINT]) > 0.4
    pitches = np.arange(100, 301, 20)
    angles = np.exp(1j * pitches[:, None] * ripple[sim.POSITION][JOINT])
    assert pitches[np.argmax(np.abs((change * angles)[:, fast].mean(axis=1)))] == 200
    chip, phase = recordings["chipped_tooth"][2], sim.sample_machines(1).gear_phase_rad[0, JOINT]
    turns = (20 * chip[sim.POSITION][JOINT] + phase) / (2 * np.pi)
    off = np.abs(turns - np.round(turns))[1:-1]
    jumps = np.abs(np.diff(chip[sim.DELIVERED_TORQUE][JOINT], 2))
    assert jumps[off < 0.08].max() > 3 * jumps[off > 0.2].max()


def test_backlash_shows_only_where_the_load_turns_and_a_loose_load_strikes_the_tool(recordings):
    """On one flank nothing happens; between them the torque through the gear is zero."""
    through = np.abs(recordings["backlash"][2][sim.DELIVERED_TORQUE][JOINT])
    healthy = np.abs(recordings[HEALTHY][0, sim.DELIVERED_TORQUE][JOINT])
    assert (through < 0.6).sum() > 3 * (healthy < 0.6).sum()
    np.testing.assert_allclose(through[-40:], healthy[-40:], rtol=0.1)  # at rest
    struck = np.concatenate([recordings[HEALTHY], recordings["loose_payload"][:2]])
    hardness = np.abs(np.diff(struck[:, sim.ACCELERATION][:, 0])).max(axis=1)
    assert (np.diff(hardness) > 0).all()


@pytest.mark.parametrize("name", LOOSE)
def test_a_check_begins_at_rest(recordings, name):
    """All loose parts hang as the arm's weight leaves them, so nothing jumps when it begins."""
    signals = recordings[name][1, :, :5]
    assert np.ptp(signals[sim.DELIVERED_TORQUE], axis=1).max() < 1.0  # of 20 N m
    # Brakes release a soft belt to 2 N m more than the feed-forward knows: the arm sags a little.
    assert np.abs(signals[sim.VELOCITY]).max() < 0.2


@pytest.mark.filterwarnings("ignore:Attaching a spec with an empty prefix")
def test_rigid_gears_are_as_no_gears_and_the_feed_forward_keeps_the_motion():
    """Driven by it, the arm moves as the one whose second joints are deleted."""
    motion, states = sim.health_check(), []
    spec = sim.arm_spec()
    for name in (*sim.GEARS, sim.GRIP):
        spec.delete(spec.joint(name))
    for model in (sim.compile_arm(), spec.compile()):
        data = mujoco.MjData(model)
        motors = [model.joint(joint).dofadr[0] for joint in sim.JOINTS]
        data.qpos[motors] = motion.position_rad[0]
        for torque_nm in motion.torque_nm[:200]:
            data.qfrc_applied[motors] = torque_nm
            mujoco.mj_step(model, data)
        states.append(np.concatenate([data.qpos[motors], data.qvel[motors]]))
    np.testing.assert_allclose(states[0], states[1], atol=1e-5)
    np.testing.assert_allclose(states[0][:7], motion.position_rad[200], atol=0.02)


def test_the_torque_through_the_gear_is_that_of_the_links_inverse_dynamics():
    """From the motion alone: no friction, no rotor."""
    simulation = simulation_of(HEALTHY, 0.0)
    model = simulation.batch.get_model(0)
    data = mujoco.MjData(model)
    motors = [model.joint(joint).dofadr[0] for joint in sim.JOINTS]
    gears = [model.joint(gear).dofadr[0] for gear in sim.GEARS]
    position, velocity = (simulation.batch.bind(field) for field in ("qpos", "qvel"))
    for sample in range(120):
        data.qpos[:], data.qvel[:] = position[0], velocity[0]
        delivered = simulation.sample(sample)[0, sim.DELIVERED_TORQUE]
        data.qacc[:] = 0
        data.qacc[motors] = (velocity[0, motors] - data.qvel[motors]) / model.opt.timestep
        mujoco.mj_inverse(model, data)
        np.testing.assert_allclose(delivered, data.qfrc_inverse[gears], atol=1e-3)


def test_machines_depend_on_nothing_but_seed_and_number():
    few, many = sim.sample_machines(3, seed=5), sim.sample_machines(9, seed=5).rows([0, 1, 2])
    others = (sim.sample_machines(9, "test", seed=5), sim.sample_machines(9, seed=6))
    for name in [field.name for field in fields(few)[2:]]:
        values = getattr(many, name)
        np.testing.assert_array_equal(getattr(few, name), values)
        for other in others:
            assert not np.isin(getattr(other, name), values).any(), name
    assert few.number.tolist() == [0, 1, 2]
    assert others[0].number.min() == 1_000_000


def record_all(order, num_threads):
    """Record every fault, in an order, on three machines."""
    names = np.array([*FAULTS, HEALTHY, HEALTHY])[order]
    severities = [0.0 if n == HEALTHY else FAULTS[n].train[1] for n in names]
    machines = sim.sample_machines(3).rows(np.array(order) % 3)
    return sim.record(
        machines, names, severities, 7, joints=4, checks=order, num_threads=num_threads
    )


def test_any_order_threads_and_batches_give_the_same_bits(monkeypatch):
    first = record_all(np.arange(17), 1)
    monkeypatch.setattr(sim, "_RECORDINGS_AT_ONCE", 5)
    order = np.random.default_rng(0).permutation(17)
    again = record_all(order, 2)
    np.testing.assert_array_equal(again.stacked(), first.stacked()[order])
    for name in ("label", "machine", "name"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name)[order])
    assert first.stacked().shape == (17, len(sim.CHANNELS), sim.NUM_SAMPLES)
    assert first.label[:2].tolist() == ["dry friction in joint 4", "lost lubricant in joint 4"]
    assert first.machines == ("arm 0", "arm 1", "arm 2")
    one, other = first.rows(first.label == HEALTHY).signals  # checks of two machines
    assert (one != other).mean() > 0.99


def test_a_pool_has_every_class_of_every_machine_once_and_healthy_baselines():
    classes = (*classes_of([HEALTHY, "backlash"])[:3], FaultClass("loose_payload", 0))
    recordings, baselines = sim.record_pool(2, classes, split="test")
    assert recordings.label.tolist() == [str(each) for each in classes] * 2
    assert recordings.machine.tolist() == ["arm 1000000"] * 4 + ["arm 1000001"] * 4
    assert baselines.labels == (HEALTHY,)
    assert baselines.machine.tolist() == np.repeat(recordings.machines, sim.NUM_BASELINES).tolist()
    assert len({*recordings.name, *baselines.name}) == 8 + 6


TWO = sim.sample_machines(2)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: sim.sample_machines(3, "trian"), "did you mean 'train'"),
        (lambda: sim.record(TWO, "dry_frictoin", 1.0, 0), "did you mean 'dry_friction'"),
        (lambda: sim.record(TWO, HEALTHY, 1.0, 0), "healthy machine has the severity 0"),
        (lambda: sim.record(TWO, "backlash", 1.0, 0), r"must be in \[0, 0.02\] rad, got 1"),
        (lambda: sim.record(TWO, "backlash", float("nan"), 0), "must be in .* got nan"),
        (lambda: sim.record(TWO, "backlash", 0.0, 0, joints=1.5), "in the joints 1, .* got 1.5"),
        (lambda: sim.record(TWO, "loose_belt", 0.0, 0, joints=7), "joints 1, .*, 6, got 7"),
        (lambda: sim.record(TWO, HEALTHY, 0.0, 1.5), r"seed must be .* in \[0, .* got 1.5"),
        (lambda: sim.record(TWO.rows([0, 0]), HEALTHY, 0.0, 0), "0 and 1 would be the same"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(ask, words):
    with pytest.raises(TaskError, match=words) as error:
        ask()
    assert "\n" not in str(error.value)
