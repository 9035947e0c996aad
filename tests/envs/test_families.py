"""One battery over every task family: interface, determinism, no shared memory, sense, pictures."""

import copy
import inspect

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_with_gymnasium
from gymnasium.wrappers import RecordVideo, RenderCollection
from stable_baselines3.common.env_checker import check_env as check_with_sb3

from metarobot.envs import FAMILIES, make_env
from metarobot.envs.carry import SWINGS
from metarobot.envs.insert import (
    DRAWN_MOUTH_M,
    FIXTURE,
    PEG_RADIUS_M,
    WALL_HALF_WIDTH_M,
    WALLS,
)
from metarobot.envs.reach import DRIVES, WRIST_FRICTION_RATIO
from metarobot.machine import opengl_problem

every_split = pytest.mark.parametrize(
    ("env_id", "split"),
    [(env_id, s) for env_id in FAMILIES for s in FAMILIES[env_id].distribution.splits],
)


def play_randomly(env, num_steps, seed=0):
    """Yield what each of num_steps random steps returns, through the autoresets."""
    rng = np.random.default_rng(seed)
    yield env.reset(seed=seed)
    for _ in range(num_steps):
        yield env.step(rng.uniform(-1, 1, env.action_space.shape))


def leaves(result):
    """Every array and number in a step's result."""
    return [*result[:-1], *result[-1].values()]


# Interface.  Warnings are errors in this test suite.


@pytest.mark.parametrize("observe_task", [False, True])
def test_gymnasiums_checker_passes(env_id, observe_task):
    env = gym.make(env_id, disable_env_checker=True, observe_task=observe_task)
    check_with_gymnasium(env.unwrapped, skip_render_check=opengl_problem() is not None)


@pytest.mark.parametrize("observe_task", [False, True])
def test_stable_baselines_checker_passes(env_id, observe_task):
    check_with_sb3(gym.make(env_id, observe_task=observe_task).unwrapped)


def test_a_family_declares_itself(env):
    assert env.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP
    assert len(set(env.heat_map_axes)) == (2 if len(env.distribution.names) > 1 else 0)
    assert set(env.heat_map_axes) <= set(env.distribution.names)
    assert env.single_action_space == gym.spaces.Box(-1.0, 1.0, (len(env.action_elements),))
    for element in env.observation_elements:
        assert element.low < element.high
        assert element.quantity
        assert element.unit
        assert element.source
    bounds = [(element.low, element.high) for element in env.observation_elements]
    space = env.single_observation_space
    np.testing.assert_array_equal([space.low, space.high], np.float32(bounds).T)


def test_the_docstring_holds_the_observation_table(env_id):
    vector_class = FAMILIES[env_id]
    lines = inspect.getdoc(vector_class).splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if "|" in line]
    assert rows[0] == ["index", "quantity", "unit", "range", "source"]
    assert rows[2:] == [
        [str(index), e.quantity, e.unit, f"{e.low:g} .. {e.high:g}", e.source]
        for index, e in enumerate(vector_class.observation_elements)
    ]


# Determinism and memory.


def test_a_thousand_steps_repeat_bit_for_bit(env_id):
    runs = []
    for _ in range(2):
        env = make_env(env_id, 2, num_threads=1)
        env.set_tasks(env.distribution.sample(np.random.default_rng(0), 2))
        runs.append([leaves(result) for result in play_randomly(env, 1_000)])
    for first, second in zip(*runs, strict=True):
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)
    assert any(truncated.all() for _, _, _, truncated, *_ in runs[0][1:])  # through autoresets


def test_what_was_returned_is_never_written_again(env):
    returned, copies = [], []
    for result in play_randomly(env, env.horizon + 4):
        arrays = leaves(result)
        for array in arrays:
            for earlier in returned[-12:]:
                assert not np.shares_memory(array, earlier)
        returned += arrays
        copies += copy.deepcopy(arrays)
    for array, kept in zip(returned, copies, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_writing_into_what_was_returned_changes_nothing(env, env_id):
    untouched = make_env(env_id, 4, num_threads=1)
    steps = env.horizon + 4
    for ours, theirs in zip(
        play_randomly(env, steps), play_randomly(untouched, steps), strict=True
    ):
        for one, other in zip(leaves(ours), leaves(theirs), strict=True):
            np.testing.assert_array_equal(one, other)
            one[:] = 1


# Observations.


@every_split
def test_observations_lie_in_the_space(env_id, split):
    env = make_env(env_id, 8, num_threads=1, observe_task=True)
    env.set_tasks(env.distribution.sample(np.random.default_rng(0), 8, split))
    for result in play_randomly(env, env.horizon + 2):
        assert result[0].dtype == np.float32
        assert env.observation_space.contains(result[0])


def test_no_observation_element_is_constant(env_id):
    env = make_env(env_id, 8, num_threads=1, observe_task=True)
    env.set_tasks(env.distribution.sample(np.random.default_rng(0), 4))
    seen = np.concatenate([result[0] for result in play_randomly(env, 2 * env.horizon)])
    space = env.single_observation_space
    assert (np.ptp(seen, axis=0) > 0.02 * (space.high - space.low)).all()


@every_split
def test_an_oracle_is_told_the_scaled_task(env_id, split):
    plain = make_env(env_id, 4, num_threads=1)
    oracle = make_env(env_id, 4, num_threads=1, observe_task=True)
    tasks = plain.distribution.sample(np.random.default_rng(0), 2, split)
    told = np.repeat(plain.distribution.encode(tasks), 2, axis=0)
    for env in (plain, oracle):
        env.set_tasks(tasks)
    size = len(plain.observation_elements)
    for ours, theirs in zip(play_randomly(oracle, 20), play_randomly(plain, 20), strict=True):
        np.testing.assert_array_equal(ours[0][:, :size], theirs[0])
        np.testing.assert_allclose(ours[0][:, size:], told, rtol=1e-6, atol=1e-6)
    if split != "extrapolation":
        assert (np.abs(told) <= 1).all()


# Starts.


def test_starts_differ_between_seeds_simulations_and_episodes(env):
    qpos, starts = env.batch.bind("qpos"), []
    for seed in (0, 100):
        env.reset(seed=seed)
        starts.append(qpos.copy())
    env.reset()
    starts.append(qpos.copy())
    starts = np.concatenate(starts)
    assert len(np.unique(starts, axis=0)) == len(starts)
    env.reset(seed=0)
    np.testing.assert_array_equal(qpos, starts[: env.num_envs])


# Tasks.


def reach_task(env, model, sim):
    friction_nm = [model.joint(f"joint{index}").frictionloss[0] for index in range(1, 8)]
    np.testing.assert_allclose(friction_nm[4:], WRIST_FRICTION_RATIO * friction_nm[0])
    x, y = env.batch.bind("ctrl")[sim, :2]  # of the command "forward"
    nominal_damping = env.model.joint("joint1").damping[0]
    return {
        "frame_yaw_rad": np.arctan2(y, x),
        "payload_kg": model.body("payload").mass[0],
        "joint_friction_nm": friction_nm[0],
        "joint_damping_ratio": model.joint("joint1").damping[0] / nominal_damping,
        "drive_strength": drive_strength(env, model),
    }


def feed_forward_task(env, model, sim):
    return {
        "payload_kg": model.body("payload").mass[0],
        "drive_strength": drive_strength(env, model),
    }


def drive_strength(env, model):
    strengths = [
        model.actuator(name).gainprm[0] / env.model.actuator(name).gainprm[0] for name in DRIVES
    ]
    np.testing.assert_allclose(strengths, strengths[0])
    return strengths[0]


def hidden_goal_task(env, model, sim):
    offset = env.batch.bind("mocap_pos")[sim, 0] - env._home_tool
    return {f"goal_{axis}_m": value for axis, value in zip("xyz", offset, strict=True)}


def grip_task(env, model, sim):
    pads = {model.geom(pad).friction[0] for pad in ("pad_left", "pad_right")}
    assert len(pads) == 1
    return {"block_mass_kg": model.body("block").mass[0], "pad_friction": pads.pop()}


def slide_task(env, model, sim):
    return {
        "puck_mass_kg": model.body("puck").mass[0],
        "table_friction": model.geom("foot1").friction[0],
    }


def push_task(env, model, sim):
    box_kg, load_kg = model.body("box").mass[0], model.body("load").mass[0]
    return {
        "box_mass_kg": box_kg + load_kg,
        "box_friction": model.geom("box").friction[0],
        "load_offset_m": load_kg / (box_kg + load_kg) * model.body("load").pos[1],
    }


def insert_task(env, model, sim):
    fixture, walls = model.body("fixture"), [model.body(wall) for wall in WALLS]
    x, y, _ = fixture.pos - DRAWN_MOUTH_M
    w, _, turn, _ = fixture.quat
    frictions = {model.geom(geom).friction[0] for geom in FIXTURE}
    clearances = [np.abs(wall.pos).max() - WALL_HALF_WIDTH_M - PEG_RADIUS_M for wall in walls]
    np.testing.assert_allclose(clearances, clearances[0], rtol=0, atol=1e-15)
    assert len(frictions) == 1
    return {
        "offset_x_m": x,
        "offset_y_m": y,
        "lean_rad": 2 * np.arctan2(turn, w),
        "clearance_m": clearances[0],
        "hole_friction": frictions.pop(),
    }


def carry_task(env, model, sim):
    damping = {model.joint(joint).damping[0] for joint in SWINGS}
    assert len(damping) == 1
    return {
        "rod_length_m": model.body("load").pos[2],
        "load_mass_kg": model.body("load").mass[0],
        "swing_damping_nms_per_rad": damping.pop(),
    }


def point_task(env, model, sim):
    x, y, _ = env.batch.bind("mocap_pos")[sim, 0]
    return {"goal_x_m": x, "goal_y_m": y}


TASK_READERS = {
    "Reach": reach_task,
    "ReachHiddenGoal": hidden_goal_task,
    "ReachFeedForward": feed_forward_task,
    "Grip": grip_task,
    "Slide": slide_task,
    "Push": push_task,
    "Carry": carry_task,
    "Insert": insert_task,
    # In the reward alone: the families' own tests find it there.
    "HalfCheetahDirection": lambda env, model, sim: {"direction": env._direction[sim]},
    "HalfCheetahVelocity": lambda env, model, sim: {
        "goal_velocity_m_per_s": env._goal_velocity[sim]
    },
    "PointNavigation": point_task,
}
"""Read the task back from a simulation's own model, state and last command."""


@every_split
def test_the_sampled_task_is_in_the_model_after_every_reset(env_id, split):
    env = make_env(env_id, 4, num_threads=1)
    forward = np.eye(env.action_space.shape[1])[[0] * env.num_envs]
    rng = np.random.default_rng(0)
    for _ in range(2):
        tasks = env.distribution.sample(rng, env.num_envs, split)
        env.set_tasks(tasks)
        for _ in range(3):
            env.reset()
            env.step(forward)
            for sim, task in enumerate(tasks.to_dicts()):
                found = TASK_READERS[env.family](env, env.batch.get_model(sim), sim)
                assert found == pytest.approx(task, rel=1e-12, abs=1e-12)


@every_split
def test_no_task_becomes_unstable_under_extreme_commands(env_id, split):
    env = make_env(env_id, 32, num_threads=1)
    rng = np.random.default_rng(0)
    env.set_tasks(env.distribution.sample(rng, 32, split))
    env.reset(seed=0)
    held = rng.choice([-1.0, 1.0], env.action_space.shape)
    for step in range(env.horizon):
        bang = rng.choice([-1.0, 1.0], env.action_space.shape)
        *_, info = env.step(held if step % 4 else bang)
        assert not info["sim_unstable"].any()


# Pictures.


def record(env):
    """Play one episode and close the wrapper, which writes what it holds."""
    env.reset(seed=0)
    truncated = False
    while not truncated:
        _, _, _, truncated, _ = env.step(np.full(env.action_space.shape, 0.3))


def assert_moving_pictures(frames, num_frames):
    assert len(frames) == num_frames
    for frame in frames:
        assert frame.shape == (480, 640, 3)
        assert frame.dtype == np.uint8
        assert frame.std() > 5  # not blank
    assert not np.array_equal(frames[0], frames[-1])


@pytest.mark.usefixtures("opengl")
def test_frames_show_the_motion(env_id):
    env = RenderCollection(gym.make(env_id, horizon=6, render_mode="rgb_array"), pop_frames=False)
    record(env)
    assert_moving_pictures(env.render(), 7)
    env.close()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the reader's pipes
@pytest.mark.usefixtures("opengl")
def test_record_video_writes_a_video(env_id, tmp_path):
    pytest.importorskip("moviepy", reason="Gymnasium's RecordVideo writes with moviepy")
    from imageio.v3 import imread

    # Of 9 pictures moviepy drops none at any family's rate: it rounds their number down.
    env = gym.make(env_id, horizon=8, render_mode="rgb_array")
    env = RecordVideo(env, str(tmp_path / "videos"), episode_trigger=lambda _: True)
    record(env)
    env.close()
    (video,) = (tmp_path / "videos").glob("*.mp4")
    assert_moving_pictures(imread(video), 9)


@pytest.mark.usefixtures("opengl")
def test_a_batch_renders_one_frame_a_simulation(env_id):
    env = make_env(env_id, 2, num_threads=1, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.batch.state.copy()
    frames = env.render()
    assert_moving_pictures(frames, 2)  # two starts: two pictures
    np.testing.assert_array_equal(env.batch.state, before)
    kept = frames[0].copy()
    env.step(np.full(env.action_space.shape, 0.3))
    env.render()
    np.testing.assert_array_equal(frames[0], kept)
    env.close()
    env.close()


def test_with_autoreset_disabled_an_ended_simulation_is_held_until_it_is_reset(env_id):
    env = gym.make_vec(env_id, 3, horizon=4, autoreset_mode=gym.vector.AutoresetMode.DISABLED)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    env.reset(options={"reset_mask": np.array([True, False, False])})
    for _ in range(4):
        *_, truncated, _ = env.step(rng.uniform(-1, 1, env.action_space.shape))
    ended = np.array([False, True, True]) | truncated
    fields = [env.batch.bind(name) for name in ("ctrl", "act", "qpos", "qvel", "time")]
    before = [field.copy() for field in fields]
    for _ in range(3):
        _, rewards, terminated, truncated, _ = env.step(rng.uniform(-1, 1, env.action_space.shape))
        assert not rewards[ended].any()
        assert not (terminated | truncated)[ended].any()
        for field, values in zip(fields, before, strict=True):
            np.testing.assert_array_equal(field[ended], values[ended])
    env.reset()
    env.step(rng.uniform(-1, 1, env.action_space.shape))
    assert not np.array_equal(env.batch.bind("time"), before[-1])


def test_same_step_autoreset_is_refused():
    with pytest.raises(ValueError, match="must be NEXT_STEP or DISABLED, got"):
        gym.make_vec("metarobot/Grip-v0", 1, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
