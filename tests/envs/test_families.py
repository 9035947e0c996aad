"""One battery over every family: interface, determinism, tasks, rows, resets, pictures.

A task in the batch is the model that a compiler would make of the same numbers: families whose
tasks are physics are compared with a scene into which the task was written before it was compiled.
"""

import copy
import inspect

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_with_gymnasium
from stable_baselines3.common.env_checker import check_env as check_with_sb3

from metarobot.envs import FAMILIES, TaskEnv, Tasks, make_env
from metarobot.envs.carry import SWINGS
from metarobot.envs.insert import DRAWN_MOUTH_M, FIXTURE, PEG_RADIUS_M, WALL_HALF_WIDTH_M, WALLS
from metarobot.envs.panda import DAMPING, FRICTION_NM, STIFFNESS
from metarobot.envs.push import LOAD_SHARE
from metarobot.envs.reach import DRIVES, JOINTS, WRIST_FRICTION_RATIO
from metarobot.envs.slide import FEET
from metarobot.machine import opengl_problem

REACH, GRIP, SLIDE, PUSH, CARRY, INSERT = (
    f"metarobot/{name}-v0" for name in ("Reach", "Grip", "Slide", "Push", "Carry", "Insert")
)
POINT = "metarobot/PointNavigation-v0"
PADS = ("pad_left", "pad_right")
two_families = pytest.mark.parametrize("shared", [GRIP, PUSH], indirect=True)
"""Where the mechanism does not depend on the family; Push waits for its box to come to rest."""


@pytest.fixture(scope="module", params=FAMILIES)
def shared(request):
    """Four simulations of a family, for all tests of a module that set its tasks."""
    env = make_env(request.param, 4, num_threads=1)
    yield env
    env.close()


@pytest.fixture
def batch(shared):
    shared.set_tasks(draw_tasks(shared, 4))
    return shared


def draw_tasks(env, num_tasks, seed=0):
    return env.distribution.sample(np.random.default_rng(seed), num_tasks)


def draw_actions(env, num_steps, seed=0):
    return np.random.default_rng(seed).uniform(-1.2, 1.2, (num_steps, *env.action_space.shape))


def env_id_of(env):
    return next(env_id for env_id, family in FAMILIES.items() if type(env) is family)


def steps_of(env, actions, **reset):
    """Yield all arrays that a reset and each step return."""
    yield [env.reset(**reset)[0]]
    for action in actions:
        *results, info = env.step(action)
        yield [*results, *info.values()]


def play(env, actions, **reset):
    """Return observations (T + 1, N, O), then everything else that was seen, (T, N) each."""
    (first,), *later = [[*map(np.copy, arrays)] for arrays in steps_of(env, actions, **reset)]
    observations, *columns = map(np.stack, zip(*later, strict=True))
    return [np.concatenate([first[None], observations]), *columns]


def assert_bitwise_equal(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_checkers_of_gymnasium_and_stable_baselines_pass(env_id):
    env = gym.make(env_id, disable_env_checker=True, observe_task=True).unwrapped
    env.metadata["render_modes"] = ["rgb_array"]  # a window needs a display
    check_with_gymnasium(env, skip_render_check=opengl_problem() is not None)
    check_with_sb3(env)


def test_a_family_declares_itself(shared):
    assert shared.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP
    assert len(set(shared.heat_map_axes)) == (2 if len(shared.distribution.names) > 1 else 0)
    assert shared.single_action_space == gym.spaces.Box(-1.0, 1.0, (len(shared.action_elements),))
    assert len(shared.action_scales) in (0, len(shared.action_elements))
    elements = shared.observation_elements
    assert all(element.quantity and element.unit and element.source for element in elements)
    space = shared.single_observation_space
    bounds = [(element.low, element.high) for element in elements]
    np.testing.assert_array_equal([space.low, space.high], np.float32(bounds).T)
    lines = inspect.getdoc(type(shared)).splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if "|" in line]
    assert rows[2:] == [
        [str(index), e.quantity, e.unit, f"{e.low:g} .. {e.high:g}", e.source]
        for index, e in enumerate(elements)
    ]


def test_episodes_repeat_and_own_what_they_return(batch):
    actions, returned, copies = draw_actions(batch, 3 * batch.horizon), [], []
    for arrays in steps_of(batch, actions, seed=0):
        for array in arrays:
            assert not any(np.shares_memory(array, earlier) for earlier in returned[-12:])
        returned += arrays
        copies += copy.deepcopy(arrays)
    assert_bitwise_equal(returned, copies)  # nothing was written again
    kept = iter(copies)
    for arrays in steps_of(batch, actions, seed=0):
        for array in arrays:
            np.testing.assert_array_equal(array, next(kept))
            array[:] = 1  # whatever the caller does with it


@two_families
def test_the_number_of_threads_changes_no_bit(batch):
    actions = draw_actions(batch, batch.horizon + 5)
    threaded = make_env(env_id_of(batch), 4, num_threads=3)
    threaded.set_tasks(batch.tasks)
    assert threaded.batch.nthread == 3
    assert_bitwise_equal(play(batch, actions, seed=0), play(threaded, actions, seed=0))


def test_starts_differ_between_seeds_simulations_and_episodes(batch):
    qpos, starts = batch.batch.bind("qpos"), []
    for seed in (0, 100, None):
        batch.reset(seed=seed)
        starts.append(qpos.copy())
    starts = np.concatenate(starts)
    assert len(np.unique(starts, axis=0)) == len(starts)
    batch.reset(seed=0)
    np.testing.assert_array_equal(qpos, starts[:4])


def test_each_row_is_a_single_environment_bit_for_bit(batch):
    actions = draw_actions(batch, 2 * batch.horizon + 1)
    shown, rewards, terminated, truncated, success, unstable = play(batch, actions, seed=7)
    assert truncated[batch.horizon - 1].all()
    for sim in (0, 3):
        single = TaskEnv(env_id_of(batch), num_threads=1)
        single.set_tasks(batch.tasks.rows([sim]))
        np.testing.assert_array_equal(single.reset(seed=7 + sim)[0], shown[0, sim])
        for step, action in enumerate(actions[: batch.horizon, sim]):
            observation, *results, info = single.step(action)
            np.testing.assert_array_equal(observation, shown[step + 1, sim])
            columns = (rewards, terminated, truncated)
            assert results == [column[step, sim] for column in columns]
            assert [type(value) for value in results] == [float, bool, bool]
            assert info == {"is_success": success[step, sim], "sim_unstable": unstable[step, sim]}
        single.reset()  # the autoreset of the batch draws the same start
        for step in range(batch.horizon + 1, 2 * batch.horizon + 1):
            observation, reward, *_ = single.step(actions[step, sim])
            np.testing.assert_array_equal(observation, shown[step + 1, sim])
            assert reward == rewards[step, sim]


@pytest.mark.parametrize("shared", [GRIP, "metarobot/HalfCheetahVelocity-v0"], indirect=True)
@pytest.mark.parametrize("bad", [np.nan, 1e9])
def test_an_unstable_simulation_is_truncated_and_recovers(batch, bad):
    actions, seen = draw_actions(batch, batch.horizon + 4), []
    healthy = play(batch, actions, seed=0)
    batch.reset(seed=0)
    for step, action in enumerate(actions):
        if step == 2:
            batch.batch.bind("qvel")[1, 3] = bad
        *results, info = batch.step(action)
        seen.append((*results, *info.values()))
    sick = [np.stack(column) for column in zip(*seen, strict=True)]
    others = [0, 2, 3]
    assert_bitwise_equal(sick[0][:, others], healthy[0][1:, others])
    assert_bitwise_equal([c[:, others] for c in sick[1:]], [c[:, others] for c in healthy[1:]])
    shown, rewards, terminated, truncated, success, unstable = sick
    assert np.flatnonzero(unstable[:, 1]).tolist() == [2]
    assert (truncated[2, 1], rewards[2, 1]) == (True, 0.0)
    assert not terminated.any()
    assert not success[2, 1]
    np.testing.assert_array_equal(shown[2, 1], shown[1, 1])  # the last good one
    assert np.isfinite(shown).all()
    single = TaskEnv(env_id_of(batch), num_threads=1)  # from its autoreset on it is healthy
    single.set_tasks(batch.tasks.rows([1]))
    single.reset(seed=1)
    np.testing.assert_array_equal(single.reset()[0], shown[3, 1])
    for step in range(4, batch.horizon + 4):
        np.testing.assert_array_equal(single.step(actions[step, 1])[0], shown[step, 1])


def test_a_mask_chooses_who_is_reset_and_the_others_go_on(batch):
    actions, mask = draw_actions(batch, 3), np.array([False, True, False, True])
    undisturbed = play(batch, actions, seed=7)
    batch.reset(seed=7)
    before = batch.step(actions[0])[0]
    start = np.random.default_rng(2).random((2, batch.start_size))
    after, _ = batch.reset(options={"reset_mask": mask, "start": start})
    np.testing.assert_array_equal(after[~mask], before[~mask])
    fresh = make_env(env_id_of(batch), 2, num_threads=1)
    fresh.set_tasks(batch.tasks.rows([1, 3]))
    np.testing.assert_array_equal(after[mask], fresh.reset(options={"start": start})[0])
    for step in (1, 2):
        observations, rewards, *_ = batch.step(actions[step])
        np.testing.assert_array_equal(observations[~mask], undisturbed[0][step + 1][~mask])
        assert_bitwise_equal(
            (observations[mask], rewards[mask]), fresh.step(actions[step, mask])[:2]
        )


def test_with_autoreset_disabled_an_ended_simulation_is_held_until_it_is_reset(env_id):
    env = gym.make_vec(env_id, 3, horizon=4, autoreset_mode=gym.vector.AutoresetMode.DISABLED)
    actions = draw_actions(env, 8)
    env.reset(seed=0)
    env.reset(options={"reset_mask": np.array([True, False, False])})
    for action in actions[:4]:
        *_, truncated, _ = env.step(action)
    ended = np.array([False, True, True]) | truncated
    fields = [env.batch.bind(name) for name in ("ctrl", "act", "qpos", "qvel", "time")]
    before = [field[ended] for field in fields]
    for action in actions[4:7]:
        _, rewards, terminated, truncated, _ = env.step(action)
        assert not rewards[ended].any()
        assert not (terminated | truncated)[ended].any()
        assert_bitwise_equal([field[ended] for field in fields], before)
    env.reset()
    env.step(actions[7])
    assert not np.array_equal(env.batch.bind("time")[ended], before[-1])
    env.close()


def tasks_of_all_splits(distribution, num_tasks):
    """As many tasks of each split, (splits * num_tasks) tasks."""
    rng = np.random.default_rng(0)
    parts = [distribution.sample(rng, num_tasks, split) for split in distribution.splits]
    return Tasks({name: np.concatenate([p[name] for p in parts]) for name in distribution.names})


def test_extreme_commands_stay_stable_and_observations_in_the_space(env_id):
    tasks = tasks_of_all_splits(FAMILIES[env_id].distribution, 16)
    env = make_env(env_id, len(tasks), num_threads=1, observe_task=True)
    rng, seen = np.random.default_rng(0), []
    env.set_tasks(tasks)
    env.reset(seed=0)
    held = rng.choice([-1.0, 1.0], env.action_space.shape)
    for step in range(env.horizon):
        bang = rng.choice([-1.0, 1.0], env.action_space.shape)
        observations, *_, info = env.step(held if step % 4 else bang)
        assert not info["sim_unstable"].any()
        assert observations.dtype == np.float32
        assert env.observation_space.contains(observations)
        seen.append(observations)
    space = env.single_observation_space
    assert (np.ptp(seen, axis=(0, 1)) > 0.02 * (space.high - space.low)).all()  # none is constant


def test_an_oracle_is_told_the_scaled_task(env_id):
    tasks = tasks_of_all_splits(FAMILIES[env_id].distribution, 2)
    plain, oracle = (
        make_env(env_id, 2 * len(tasks), num_threads=1, observe_task=told) for told in (False, True)
    )
    told = np.repeat(plain.distribution.encode(tasks), 2, axis=0)
    for env in (plain, oracle):
        env.set_tasks(tasks)
    actions, size = draw_actions(plain, 8), len(plain.observation_elements)
    ours, theirs = (play(env, actions, seed=0)[0] for env in (oracle, plain))
    np.testing.assert_array_equal(ours[..., :size], theirs)
    expected = np.broadcast_to(told, (9, *told.shape))
    np.testing.assert_allclose(ours[..., size:], expected, rtol=1e-6, atol=1e-6)


HIDDEN = ["Slide", "Push", "Carry", "ReachHiddenGoal", "ReachFeedForward"]


@pytest.mark.parametrize("name", HIDDEN)
def test_nothing_observed_in_an_episode_tells_the_task_but_the_return_does(name):
    env = make_env(f"metarobot/{name}-v0", 4, num_threads=1)
    env.set_tasks(draw_tasks(env, 4))
    options = {"start": np.full((4, env.start_size), 0.4)}
    observations, rewards, *_ = play(
        env, np.full((env.horizon, *env.action_space.shape), 0.2), options=options
    )
    np.testing.assert_array_equal(observations, observations[:, [0] * 4])
    assert len(np.unique(rewards.sum(axis=0).round(2))) > 1


def test_task_a_then_b_then_a_plays_as_a_and_stays_across_resets(batch):
    a, b = draw_tasks(batch, 4, seed=1), draw_tasks(batch, 2, seed=2)
    actions, seen = draw_actions(batch, batch.horizon + 3), []
    for tasks in (a, b, a, None):
        if tasks is not None:
            batch.set_tasks(tasks)
            assert batch.tasks == (tasks if len(tasks) == 4 else tasks.rows([0, 0, 1, 1]))
        seen.append(play(batch, actions, seed=0))
    assert_bitwise_equal(seen[0], seen[2])
    assert_bitwise_equal(seen[0], seen[3])
    assert not np.array_equal(seen[0][1], seen[1][1])


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


def edit_panda(spec, task):
    tool = spec.body("tool")
    scale_mass(tool, task["tool_mass_kg"])
    tool.ipos = [task[f"mass_centre_{axis}_m"] for axis in "xyz"]
    for name, friction_nm in zip(JOINTS, FRICTION_NM, strict=True):
        spec.joint(name).frictionloss = friction_nm * task["joint_friction_ratio"]
    for names, ratio in ((STIFFNESS, "drive_stiffness_ratio"), (DAMPING, "drive_damping_ratio")):
        for name in names:
            drive = spec.actuator(name)
            drive.gainprm = np.array(drive.gainprm) * task[ratio]
            drive.biasprm = np.array(drive.biasprm) * task[ratio]
            drive.delay = task["command_delay_s"]


EDITS = {
    "Reach": edit_reach,
    "ReachHiddenGoal": edit_hidden_goal,
    "ReachFeedForward": edit_feed_forward,
    "Grip": edit_grip,
    "Slide": edit_slide,
    "Push": edit_push,
    "Carry": edit_carry,
    "Insert": edit_insert,
    "Panda": edit_panda,
}
"""Write a task into a scene before it is compiled."""


PHYSICAL = [env_id for env_id in FAMILIES if FAMILIES[env_id].family in EDITS]
HELD_SUBSTEPS = 10


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
    elif env.family == "Panda":
        ctrl[:] = np.tile(rng.uniform(-1.5, 1.5, 7), 2)
    elif env.family != "Grip":
        ctrl[:3] = rng.uniform(-0.5, 0.5, 3)
    else:
        ctrl[env.model.actuator("z").id] = rng.uniform(-0.1, 0.4)
        ctrl[env.model.actuator("grip").id] = rng.uniform(0.3, 60.0)
    return ctrl


def greatest_difference(env, models):
    """Step batch and models through the same commands; return max |qpos, qvel| difference."""
    env.reset(seed=0)
    qpos, qvel, ctrl = (env.batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
    datas, rng, worst = [mujoco.MjData(model) for model in models], np.random.default_rng(1), 0.0
    start = env.batch.state.copy()
    for model, data, state in zip(models, datas, start, strict=True):
        mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    for _ in range(20):
        ctrl[:] = random_ctrl(env, rng)
        env.batch.step(nstep=HELD_SUBSTEPS, stage=mujoco.mjtStage.mjSTAGE_VEL.value)
        for sim, (model, data) in enumerate(zip(models, datas, strict=True)):
            data.ctrl[:] = ctrl[sim]
            mujoco.mj_step(model, data, HELD_SUBSTEPS)
            for ours, theirs in ((qpos[sim], data.qpos), (qvel[sim], data.qvel)):
                worst = np.maximum(worst, np.abs(ours - theirs).max())  # NaN stays NaN
    assert np.abs(qpos - start[:, 1 : 1 + env.model.nq]).max() > 0.05  # it did move
    return worst


@pytest.mark.filterwarnings("ignore:Attaching a spec with an empty prefix")
@pytest.mark.parametrize("env_id", PHYSICAL)
def test_a_task_is_a_recompiled_model_in_every_field_and_moves_as_it(env_id):
    env = make_env(env_id, 6, num_threads=1)
    rng = np.random.default_rng(0)
    drawn = [env.distribution.sample(rng, 2, split) for split in ("train", "extrapolation")]
    edges = {p.name: np.ravel([p.train, *p.extrapolation]) for p in env.distribution.parameters}
    corners = Tasks({name: [values.min(), values.max()] for name, values in edges.items()})
    env.set_tasks(env.distribution.nominal())
    env.set_tasks(
        Tasks({name: np.concatenate([t[name] for t in (*drawn, corners)]) for name in edges})
    )
    models = [recompiled(env, task) for task in env.tasks.to_dicts()]
    assert greatest_difference(env, models) <= 1e-9
    env.reset()
    for sim, theirs in enumerate(models):
        ours = env.batch.get_model(sim)
        for name in mujoco.batch.MODEL_FIELDS:
            if not name.startswith("opt."):
                np.testing.assert_allclose(
                    getattr(ours, name), getattr(theirs, name), rtol=1e-12, err_msg=name
                )


@pytest.mark.parametrize("env_id", [*PHYSICAL, POINT])
def test_each_parameter_changes_the_motion_or_the_goal(env_id):
    env = make_env(env_id, 3, num_threads=1)
    for parameter in env.distribution.parameters:
        # The nominal value too: beside a hole, the plate is the same everywhere.
        values = (parameter.train[0], parameter.nominal, parameter.train[1])
        env.set_tasks(env.distribution.with_values({parameter.name: values}))
        env.reset(options={"start": np.full((3, env.start_size), 0.5)})
        for _ in range(min(env.horizon, 40)):
            env.step(np.full(env.action_space.shape, 0.2))
        goals = env.batch.bind("mocap_pos").reshape(3, -1) if env.model.nmocap else np.zeros((3, 0))
        places = np.concatenate([env.batch.bind("qpos"), goals], axis=1)
        assert np.ptp(places, axis=0).max() > 1e-4, parameter.name


@pytest.mark.parametrize("env_id", [CARRY, GRIP])
@pytest.mark.usefixtures("opengl")
def test_a_batch_renders_one_frame_a_simulation(env_id):
    env = make_env(env_id, 2, num_threads=1, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.batch.state.copy()
    frames = env.render()
    kept = frames[0].copy()
    np.testing.assert_array_equal(env.batch.state, before)
    env.step(np.full(env.action_space.shape, 0.3))
    for frame in (*frames, *env.render()):
        assert (frame.shape, frame.dtype) == ((480, 640, 3), np.uint8)
        assert frame.std() > 5  # not blank
    assert not np.array_equal(*frames)  # two starts: two pictures
    assert not np.array_equal(kept, env.render()[0])
    np.testing.assert_array_equal(frames[0], kept)
    env.close()
    env.close()


def test_no_log_file_is_written_when_a_scene_is_compiled(tmp_path):
    before, loud = mujoco.MjLogConfig.get(), mujoco.MjLogConfig.get()
    loud.logto_file, loud.logfile = True, str(tmp_path / "log.txt")
    loud.set()
    try:
        env = make_env(GRIP, 1)
        assert not list(tmp_path.iterdir())
        mujoco.MjModel.from_xml_path(str(env.scene_path))
        assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]  # the setting is back
    finally:
        before.set()
