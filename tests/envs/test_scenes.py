"""Laws that the scene files obey: kinematics, torques, equilibria, squeezing force, friction."""

import contextlib
import copy
from functools import cache
from pathlib import Path

import mujoco
import numpy as np
import pytest

import metarobot.envs

SCENES = Path(metarobot.envs.__file__).parent
FAMILIES = ("reach", "reach_soft", "grip", "slide", "push", "carry", "insert")
GRAVITY_M_PER_S2 = 9.81
PADS = ("pad_left", "pad_right")

# Craig's convention, Franka Panda: a and d in metres, alpha in radians, one row per joint.
DH_A = (0, 0, 0, 0.0825, -0.0825, 0, 0.088)
DH_D = (0.333, 0, 0.316, 0, 0.384, 0, 0)
DH_ALPHA = np.radians((0, -90, 90, 90, -90, 90, 90))
FLANGE_M = 0.107
JOINT_LIMITS = np.array(
    [
        (-2.8973, 2.8973),
        (-1.7628, 1.7628),
        (-2.8973, 2.8973),
        (-3.0718, -0.0698),
        (-2.8973, 2.8973),
        (-0.0175, 3.7525),
        (-2.8973, 2.8973),
    ]
)
TORQUE_LIMITS_NM = np.array([87, 87, 87, 87, 12, 12, 12])


@cache
def compiled(name):
    return mujoco.MjModel.from_xml_path(str(SCENES / f"{name}.xml"))


@pytest.fixture
def reach():
    return copy.copy(compiled("reach"))


@pytest.fixture
def grip():
    return copy.copy(compiled("grip"))


@pytest.fixture(params=FAMILIES)
def model(request):
    """A scene of the package, with an empty hand."""
    model = copy.copy(compiled(request.param))
    with contextlib.suppress(KeyError):
        set_mass(model, "payload", 1e-6)
    return model


def at_home(model):
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    return data


def simulate(model, data, seconds):
    mujoco.mj_step(model, data, round(seconds / model.opt.timestep))
    mujoco.mj_forward(model, data)
    assert not any(data.warning.number)


def set_mass(model, body, mass_kg):
    index = model.body(body).id
    model.body_inertia[index] *= mass_kg / model.body_mass[index]
    model.body_mass[index] = mass_kg
    mujoco.mj_setConst(model, mujoco.MjData(model))


def tilt_deg(data):
    return np.degrees(np.arccos(np.clip(-data.site("tool").xmat[8], -1, 1)))


def dh_frames(q):
    """Poses (rotation, position) of the link frames 1 to 7 from the DH table alone."""
    pose, frames = np.eye(4), []
    for a, d, alpha, angle in zip(DH_A, DH_D, DH_ALPHA, q, strict=True):
        c, s, ca, sa = np.cos(angle), np.sin(angle), np.cos(alpha), np.sin(alpha)
        pose = pose @ np.array(
            [
                [c, -s, 0, a],
                [s * ca, c * ca, -sa, -d * sa],
                [s * sa, c * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
        frames.append(pose)
    return frames


@pytest.mark.parametrize(("name", "hand"), [("grip", "end_effector"), ("panda", "tool")])
def test_links_follow_the_dh_table_within_the_published_limits(name, hand):
    model = compiled(name)
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for q in rng.uniform(JOINT_LIMITS[:, 0], JOINT_LIMITS[:, 1], (20, 7)):
        data.qpos[:7] = q
        mujoco.mj_kinematics(model, data)
        frames = dh_frames(q)
        for index, frame in enumerate(frames, start=1):
            link = data.body(f"link{index}")
            np.testing.assert_allclose(link.xpos, frame[:3, 3], atol=1e-9)
            np.testing.assert_allclose(link.xmat.reshape(3, 3), frame[:3, :3], atol=1e-9)
        flange = frames[-1] @ (0, 0, FLANGE_M, 1)
        np.testing.assert_allclose(data.body(hand).xpos, flange[:3], atol=1e-9)
    joints = [model.joint(f"joint{index}").id for index in range(1, 8)]
    np.testing.assert_allclose(model.jnt_range[joints], JOINT_LIMITS)
    expected = np.stack([-TORQUE_LIMITS_NM, TORQUE_LIMITS_NM], axis=1)
    np.testing.assert_allclose(model.jnt_actfrcrange[joints], expected)


def test_home_is_an_equilibrium_and_no_motor_exceeds_its_torque(model):
    data = at_home(model)
    home = data.site("tool").xpos.copy()
    np.testing.assert_allclose(home, data.act[:3], atol=1e-9)
    np.testing.assert_allclose(data.sensor("tool_position").data, home)
    simulate(model, data, 2.0)
    assert np.linalg.norm(data.site("tool").xpos - home) < 1e-3
    assert tilt_deg(data) < 0.5
    data.act[:3] = [0.9, 0.9, 0.9]
    for _ in range(50):
        mujoco.mj_step(model, data)
        assert (np.abs(data.qfrc_actuator[:7]) <= TORQUE_LIMITS_NM + 1e-9).all()


def test_gravity_compensation_floats_the_arm_but_not_the_payload(reach):
    reach.actuator_gainprm[:], reach.actuator_biasprm[:] = 0, 0
    reach.jnt_stiffness[:] = 0
    payload = reach.body("payload").id
    reach.body_mass[payload], reach.body_inertia[payload] = 0, 0
    data = mujoco.MjData(reach)
    rng = np.random.default_rng(0)
    for q in rng.uniform(JOINT_LIMITS[:, 0], JOINT_LIMITS[:, 1], (20, 7)):
        data.qpos[:7] = q
        mujoco.mj_forward(reach, data)
        np.testing.assert_allclose(data.qacc, 0, atol=1e-9)
    reach.body_mass[payload] = 1
    mujoco.mj_forward(reach, data)
    assert np.abs(data.qacc).max() > 0.1


def pad_contacts(model, data):
    """Return the (contact, normal force in N) of every pad that touches the block."""
    pads, found = {model.geom(pad).id for pad in PADS}, []
    for index, contact in enumerate(data.contact):
        if pads & set(contact.geom.tolist()):
            wrench = np.zeros(6)
            mujoco.mj_contactForce(model, data, index, wrench)
            found.append((contact, wrench[0]))
    return found


@pytest.mark.parametrize("force_n", [0.2, 60.0])
def test_each_pad_presses_with_the_commanded_force(grip, force_n):
    data = at_home(grip)
    data.ctrl[grip.actuator("grip").id] = force_n
    simulate(grip, data, 1.0)
    forces = [force for _, force in pad_contacts(grip, data)]
    np.testing.assert_allclose(forces, [force_n, force_n], rtol=0.01)


def test_block_stands_on_the_table_between_open_fingers_that_close_within_50_ms(grip):
    data = at_home(grip)
    np.testing.assert_allclose(data.sensor("block_position").data, (0.5, 0, 0.03))
    assert not pad_contacts(grip, data)
    gap_m = data.joint("finger_left").qpos[0] + data.joint("finger_right").qpos[0]
    width_m = 2 * grip.geom("block").size[1]
    np.testing.assert_allclose(gap_m - width_m, 0.01, atol=1e-9)
    data.ctrl[grip.actuator("grip").id] = 5.0
    simulate(grip, data, 0.048)
    assert len(pad_contacts(grip, data)) == 2
