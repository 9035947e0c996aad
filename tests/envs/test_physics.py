"""A task in the batch is the model that a compiler would make of the same numbers."""

from itertools import product

import mujoco
import numpy as np
import pytest

from metarobot.envs import FAMILIES, make_env
from metarobot.envs.carry import SWINGS
from metarobot.envs.grip import FORCE_MAX_N, FORCE_MIN_N
from metarobot.envs.insert import DRAWN_MOUTH_M, FIXTURE, PEG_RADIUS_M, WALL_HALF_WIDTH_M, WALLS
from metarobot.envs.physics import set_body_mass
from metarobot.envs.push import LOAD_SHARE
from metarobot.envs.reach import DRIVES, JOINTS, WRIST_FRICTION_RATIO
from metarobot.envs.slide import FEET

REACH, GRIP = "metarobot/Reach-v0", "metarobot/Grip-v0"
SLIDE, PUSH = "metarobot/Slide-v0", "metarobot/Push-v0"
CARRY, INSERT = "metarobot/Carry-v0", "metarobot/Insert-v0"
TASK_IN_THE_REWARD = (
    "metarobot/HalfCheetahDirection-v0",
    "metarobot/HalfCheetahVelocity-v0",
    "metarobot/PointNavigation-v0",
)
SUBSTEPS, HELD_SUBSTEPS = 200, 10
PADS = ("pad_left", "pad_right")

pytestmark = pytest.mark.filterwarnings("ignore:Attaching a spec with an empty prefix")


# The same tasks, written into the scene before it is compiled.


def scale_mass(body, mass_kg):
    body.inertia = np.array(body.inertia) * mass_kg / body.mass
    body.mass = mass_kg


def edit_reach(spec, task):
    scale_mass(spec.body("payload"), task["payload_kg"])
    for index, name in enumerate(JOINTS):
        joint = spec.joint(name)
        joint.frictionloss = task["joint_friction_nm"] * (1 if index < 4 else WRIST_FRICTION_RATIO)
        joint.damping = np.array(joint.damping) * task["joint_damping_ratio"]
    edit_drives(spec, task)


def edit_drives(spec, task):
    for name in DRIVES:
        drive = spec.actuator(name)
        drive.gainprm = np.array(drive.gainprm) * task["drive_strength"]
        drive.biasprm = np.array(drive.biasprm) * task["drive_strength"]


def edit_grip(spec, task):
    spec.geom("block").mass = task["block_mass_kg"]
    for name in PADS:
        scale_friction(spec.geom(name), task["pad_friction"])


def edit_hidden_goal(spec, task):
    nominal = FAMILIES[REACH].distribution.nominal().to_dicts()[0]
    edit_reach(spec, nominal)


def edit_feed_forward(spec, task):
    scale_mass(spec.body("payload"), task["payload_kg"])
    edit_drives(spec, task)


def scale_friction(geom, friction):
    geom.friction = np.array(geom.friction) * friction / geom.friction[0]


def edit_slide(spec, task):
    spec.geom("puck").mass = task["puck_mass_kg"]
    for foot in FEET:
        scale_friction(spec.geom(foot), task["table_friction"])


def edit_push(spec, task):
    spec.geom("box").mass = (1 - LOAD_SHARE) * task["box_mass_kg"]
    load = spec.body("load")
    scale_mass(load, LOAD_SHARE * task["box_mass_kg"])
    load.pos = [0, task["load_offset_m"] / LOAD_SHARE, 0]
    scale_friction(spec.geom("box"), task["box_friction"])


def edit_carry(spec, task):
    load = spec.body("load")
    scale_mass(load, task["load_mass_kg"])
    load.pos = [0, 0, task["rod_length_m"]]
    for name in SWINGS:
        joint = spec.joint(name)
        nominal = np.array(joint.damping)
        joint.damping = nominal * task["swing_damping_nms_per_rad"] / nominal[0]


def edit_insert(spec, task):
    x, y, z = DRAWN_MOUTH_M
    fixture = spec.body("fixture")
    fixture.pos = [x + task["offset_x_m"], y + task["offset_y_m"], z]
    fixture.quat = [np.cos(task["lean_rad"] / 2), 0, np.sin(task["lean_rad"] / 2), 0]
    for wall, (axis, side) in WALLS.items():
        place = np.zeros(3)
        place[axis] = side * (PEG_RADIUS_M + task["clearance_m"] + WALL_HALF_WIDTH_M)
        spec.body(wall).pos = place
    for geom in FIXTURE:
        scale_friction(spec.geom(geom), task["hole_friction"])


EDITS = {
    "Reach": edit_reach,
    "ReachHiddenGoal": edit_hidden_goal,
    "ReachFeedForward": edit_feed_forward,
    "Grip": edit_grip,
    "Slide": edit_slide,
    "Push": edit_push,
    "Carry": edit_carry,
    "Insert": edit_insert,
}


def recompiled(env, task):
    spec = mujoco.MjSpec.from_file(str(env.scene_path))
    EDITS[env.family](spec, task)
    return spec.compile()


def random_ctrl(env, rng):
    """Commands that exercise a scene: a stroke, a carry, an insertion, a grip, or around."""
    ctrl = np.zeros(env.model.nu)
    if env.family in ("Slide", "Push"):
        ctrl[0] = rng.uniform(0.1, 1.5)
    elif env.family == "Carry":
        ctrl[1] = rng.uniform(0.0, 1.2)
    elif env.family == "Insert":
        ctrl[:3] = rng.uniform(-0.1, 0.1, 3) - (0, 0, 0.1)
        ctrl[3:] = rng.uniform(-0.1, 0.1, 3)
    elif env.family != "Grip":
        ctrl[:3] = rng.uniform(-0.5, 0.5, 3)
    else:
        ctrl[env.model.actuator("z").id] = rng.uniform(-0.1, 0.4)
        ctrl[env.model.actuator("grip").id] = rng.uniform(FORCE_MIN_N, FORCE_MAX_N)
    return ctrl


def greatest_difference(env, models):
    """Step batch and models through the same commands; return max |qpos, qvel| difference."""
    env.reset(seed=0)
    qpos, qvel, ctrl = (env.batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
    datas, rng, worst = [mujoco.MjData(model) for model in models], np.random.default_rng(1), 0.0
    start = env.batch.state.copy()
    for model, data, state in zip(models, datas, start, strict=True):
        mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    for _ in range(SUBSTEPS // HELD_SUBSTEPS):
        ctrl[:] = random_ctrl(env, rng)
        env.batch.step(nstep=HELD_SUBSTEPS, stage=mujoco.mjtStage.mjSTAGE_VEL.value)
        for sim, (model, data) in enumerate(zip(models, datas, strict=True)):
            data.ctrl[:] = ctrl[sim]
            mujoco.mj_step(model, data, HELD_SUBSTEPS)
            for ours, theirs in ((qpos[sim], data.qpos), (qvel[sim], data.qvel)):
                worst = np.maximum(worst, np.abs(ours - theirs).max())  # NaN stays NaN
    assert np.abs(qpos - start[:, 1 : 1 + env.model.nq]).max() > 0.05  # it did move
    return worst


def extremes(parameter):
    """The lowest and highest value of any split."""
    edges = np.array([parameter.train, *parameter.extrapolation])
    return [edges.min(), edges.max()]


PHYSICAL = [family for family in FAMILIES if family not in TASK_IN_THE_REWARD]
PARAMETERS = [
    (env_id, parameter)
    for env_id in PHYSICAL
    for parameter in FAMILIES[env_id].distribution.parameters
]
every_physical_family = pytest.mark.parametrize("env_id", PHYSICAL)


@every_physical_family
def test_all_parameters_at_once_equal_a_recompiled_model(env_id):
    env = make_env(env_id, 6, num_threads=1)
    rng = np.random.default_rng(0)
    drawn = [env.distribution.sample(rng, 2, split) for split in ("train", "extrapolation")]
    corners = env.distribution.with_values(
        {p.name: extremes(p) for p in env.distribution.parameters}
    )
    columns = {
        name: np.concatenate([tasks[name] for tasks in (*drawn, corners)])
        for name in env.distribution.names
    }
    env.set_tasks(env.distribution.with_values(columns))
    models = [recompiled(env, task) for task in env.tasks.to_dicts()]
    assert greatest_difference(env, models) <= 1e-9


@every_physical_family
def test_every_field_of_the_model_follows(env_id):
    env = make_env(env_id, 3, num_threads=1)
    env.set_tasks(env.distribution.sample(np.random.default_rng(0), 3, "extrapolation"))
    for sim, task in enumerate(env.tasks.to_dicts()):
        ours, theirs = env.batch.get_model(sim), recompiled(env, task)
        for name in mujoco.batch.MODEL_FIELDS:
            if not name.startswith("opt."):
                np.testing.assert_allclose(
                    getattr(ours, name), getattr(theirs, name), rtol=1e-12, err_msg=name
                )


# The comparison above can fail.


def test_mass_without_set_const_differs_from_a_recompiled_model():
    env = make_env(GRIP, 1, num_threads=1)
    task = env.distribution.with_values({"block_mass_kg": [0.1]})
    set_body_mass(env.batch, "block", task["block_mass_kg"])
    models = [recompiled(env, task.to_dicts()[0])]
    assert greatest_difference(env, models) > 1e-6
    env.batch.set_const()
    assert greatest_difference(env, models) <= 1e-9


@pytest.mark.parametrize(
    ("env_id", "body", "parameter", "mass_kg"),
    [
        (REACH, "payload", "payload_kg", 3.0),
        (GRIP, "block", "block_mass_kg", 1.8),
        (PUSH, "load", "box_mass_kg", 2.0),
        (CARRY, "load", "load_mass_kg", 2.5),
    ],
)
def test_mass_without_inertia_differs_from_a_recompiled_model(env_id, body, parameter, mass_kg):
    env = make_env(env_id, 1, num_threads=1)
    env.batch.expand("body_mass")[:, env.model.body(body).id] = mass_kg
    env.batch.set_const()
    task = env.distribution.with_values({parameter: [mass_kg]}).to_dicts()[0]
    assert greatest_difference(env, [recompiled(env, task)]) > 1e-6


@pytest.mark.parametrize(("env_id", "parameter"), PARAMETERS, ids=lambda x: getattr(x, "name", x))
def test_each_parameter_changes_the_motion_or_the_goal(env_id, parameter):
    env = make_env(env_id, 3, num_threads=1)
    # The nominal value too: beside a hole, the plate is the same everywhere.
    values = (parameter.train[0], parameter.nominal, parameter.train[1])
    env.set_tasks(env.distribution.with_values({parameter.name: values}))
    env.reset(options={"start": np.full((3, env.start_size), 0.5)})
    actions = np.full(env.action_space.shape, 0.2)
    for _ in range(env.horizon):
        env.step(actions)
    goals = env.batch.bind("mocap_pos").reshape(3, -1) if env.model.nmocap else np.zeros((3, 0))
    assert np.ptp(np.concatenate([env.batch.bind("qpos"), goals], axis=1), axis=0).max() > 1e-4


# Contacts.


def test_the_pads_friction_is_the_friction_of_the_contact():
    env = make_env(GRIP, 4, num_threads=1)
    friction = np.array([0.18, 0.5, 1.0, 1.3])
    env.set_tasks(env.distribution.with_values({"pad_friction": friction}))
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.full((4, 1), 0.4))
    pads = {env.model.geom(name).id for name in PADS}
    for sim in range(4):
        model, data = env.batch.get_model(sim), env.batch.get_data(sim)
        mujoco.mj_forward(model, data)
        gripped = [contact for contact in data.contact if pads & set(contact.geom.tolist())]
        assert len(gripped) == len(PADS)
        for contact in gripped:
            np.testing.assert_array_equal(contact.friction[:2], friction[sim])


@pytest.mark.parametrize(
    ("env_id", "parameter", "geoms"),
    [(SLIDE, "table_friction", set(FEET)), (PUSH, "box_friction", {"box"})],
)
def test_the_tasks_friction_is_the_friction_of_the_contact(env_id, parameter, geoms):
    env = make_env(env_id, 3, num_threads=1)
    friction = np.array([0.08, 0.25, 0.38])
    env.set_tasks(env.distribution.with_values({parameter: friction}))
    env.reset(seed=0)
    env.step(np.zeros(env.action_space.shape))
    for sim in range(3):
        model, data = env.batch.get_model(sim), env.batch.get_data(sim)
        mujoco.mj_forward(model, data)
        touching = [{model.geom(g).name for g in contact.geom} for contact in data.contact]
        assert set().union(*touching) == {"table"} | geoms
        for contact in data.contact:
            np.testing.assert_array_equal(contact.friction[:2], friction[sim])


def test_the_holes_friction_is_the_friction_of_the_contact():
    env = make_env(INSERT, 4, num_threads=1)
    friction = np.array([0.08, 0.2, 0.4, 0.5])
    offset_m = [0.004, -0.004, 0.014, 0.014]  # two pegs slip into the hole, two stand beside it
    columns = {"hole_friction": friction, "offset_x_m": offset_m}
    env.set_tasks(env.distribution.with_values(columns))
    env.reset(seed=0)
    num_contacts = np.zeros(4, int)
    for _, sim in product(range(env.horizon), range(4)):
        if sim == 0:
            env.step(np.zeros(env.action_space.shape))
        model, data = env.batch.get_model(sim), env.batch.get_data(sim)
        mujoco.mj_forward(model, data)
        num_contacts[sim] += len(data.contact)
        for contact in data.contact:
            first, second = (model.geom(geom).name for geom in contact.geom)
            assert {first, second} & set(FIXTURE)
            assert "peg" in (first, second)
            np.testing.assert_array_equal(contact.friction[:2], friction[sim])
    assert num_contacts.all()


def test_the_boxs_load_moves_its_centre_of_mass():
    env = make_env(PUSH, 2, num_threads=1)
    env.set_tasks(env.distribution.with_values({"load_offset_m": [-0.02, 0.02]}))
    env.reset(seed=0)
    for sim, offset_m in enumerate((-0.02, 0.02)):
        model, data = env.batch.get_model(sim), env.batch.get_data(sim)
        mujoco.mj_forward(model, data)
        box = model.body("box").id
        offset = data.xmat[box].reshape(3, 3).T @ (data.subtree_com[box] - data.xpos[box])
        np.testing.assert_allclose(offset, [0, offset_m, 0], atol=1e-12)


# Each setter scales from the model as compiled.


def test_setting_a_mass_twice_is_setting_it_once():
    env = make_env(GRIP, 1, num_threads=1)
    for mass_kg in (1.8, 0.05, 0.7):
        set_body_mass(env.batch, "block", np.array([mass_kg]))
    block = env.model.body("block").id
    model = env.batch.get_model(0)
    np.testing.assert_array_equal(model.body_mass[block], 0.7)
    nominal_kg = env.model.body_mass[block]
    np.testing.assert_array_equal(
        model.body_inertia[block], 0.7 / nominal_kg * env.model.body_inertia[block]
    )
