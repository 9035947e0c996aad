"""Laws of Reach and its variants: yaw and payload decide; what is hidden does not show."""

import numpy as np

from metarobot.envs import make_env
from metarobot.envs.grip import GRAVITY_M_PER_S2
from metarobot.envs.reach import (
    GOAL_HEIGHT_M,
    GOAL_RADIUS_M,
    GOAL_TOLERANCE_M,
    MAX_LEAD_M,
    MAX_SPEED_M_PER_S,
)

REACH = "metarobot/Reach-v0"
NUM_STARTS = 16
GAIN_PER_M = 5.0


def make_reach(num_envs=NUM_STARTS, **columns):
    env = make_env(REACH, num_envs, num_threads=1)
    env.set_tasks(env.distribution.with_values(columns))
    return env


def chase(env, turn_rad=0.0):
    """Command a velocity in proportion to the error, turned by an angle; return the last step's
    rewards and success.
    """
    observations, _ = env.reset(seed=0)
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    for _ in range(env.horizon):
        x, y, z = observations[:, :3].T
        actions = GAIN_PER_M * np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=1)
        observations, rewards, _, _, info = env.step(actions)
    return rewards, info["is_success"]


def tool(env):
    """Place of the tool in every simulation, a live view (N, 3)."""
    start = env.model.sensor("tool_position").adr[0]
    return env.batch.bind("sensordata")[:, start : start + 3]


def stay(env, num_steps=40):
    env.reset(options={"start": np.full((env.num_envs, env.start_size), 0.5)})
    start = tool(env)[:, 2].copy()
    for _ in range(num_steps):
        env.step(np.zeros(env.action_space.shape))
    return tool(env)[:, 2] - start


def test_the_frame_is_turned_by_the_tasks_yaw():
    straight, success = chase(make_reach(frame_yaw_rad=[0.0]))
    assert success.all()
    assert (straight > -0.05).all()  # within 5 mm
    rewards, success = chase(make_reach(frame_yaw_rad=[np.pi]))
    assert not success.any()
    assert (rewards < -GOAL_RADIUS_M[0] / 0.1).all()  # further away than any start
    rewards, success = chase(make_reach(frame_yaw_rad=[1.0]), turn_rad=-1.0)
    assert success.all()
    np.testing.assert_allclose(rewards, straight, atol=1e-3)  # 0.1 mm: clipping is per axis


def test_the_payload_sags_by_its_weight_over_the_stiffness():
    payload_kg, strength = np.array([0.1, 3.0, 2.0, 2.0]), np.array([1.0, 1.0, 0.55, 1.2])
    columns = {"payload_kg": payload_kg, "drive_strength": strength}
    env = make_reach(4, joint_friction_nm=np.zeros(4), **columns)
    stiffness_n_per_m = env.model.actuator("z").gainprm[0] * strength
    sag_m = payload_kg * GRAVITY_M_PER_S2 / stiffness_n_per_m
    np.testing.assert_allclose(stay(env), -sag_m, rtol=0.02)


def test_joint_friction_holds_what_would_sag():
    sag_m = -stay(make_reach(3, joint_friction_nm=[0.0, 1.0, 2.2]))
    assert (np.diff(sag_m) < 0).all()


def test_the_setpoint_moves_at_the_commanded_speed_but_never_runs_away():
    env = make_reach(1)
    env.reset(options={"start": np.full((1, env.start_size), 0.5)})
    setpoint = env.batch.bind("act")
    start = setpoint[0, 0]
    env.step(np.array([[1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(setpoint[0, 0] - start, MAX_SPEED_M_PER_S * env.control_dt_s)
    furthest_m = MAX_LEAD_M + MAX_SPEED_M_PER_S * env.control_dt_s
    for _ in range(env.horizon - 1):
        before = tool(env).copy()
        env.step(np.array([[1.0, 1.0, 1.0]]))
        assert (np.abs(setpoint[:, :3] - before) < furthest_m + 1e-9).all()


def test_goals_lie_around_the_tools_home():
    env = make_reach(256)
    home = np.array([0.45, 0.0, 0.40])
    env.reset(seed=0)
    offset = env.batch.bind("mocap_pos")[:, 0] - home
    radius = np.linalg.norm(offset[:, :2], axis=1)
    assert GOAL_RADIUS_M[0] - 1e-6 < radius.min() < radius.max() < GOAL_RADIUS_M[1] + 1e-6
    assert np.abs(offset[:, 2]).max() < GOAL_HEIGHT_M + 1e-6
    assert np.ptp(np.arctan2(offset[:, 1], offset[:, 0])) > 6  # all around


def test_the_reward_is_the_distance_and_success_is_near():
    env = make_reach()
    env.reset(seed=0)
    seen_success = set()
    for _ in range(env.horizon):
        x, y, z = (env.batch.bind("mocap_pos")[:, 0] - tool(env)).T
        _, rewards, _, _, info = env.step(GAIN_PER_M * np.stack([x, y, z], axis=1))
        distance_m = np.linalg.norm(env.batch.bind("mocap_pos")[:, 0] - tool(env), axis=1)
        np.testing.assert_allclose(rewards, -distance_m / 0.1)
        np.testing.assert_array_equal(info["is_success"], distance_m < GOAL_TOLERANCE_M)
        seen_success |= set(info["is_success"].tolist())
    assert seen_success == {True, False}


def test_without_feedback_the_arm_sags_by_the_payloads_weight_over_the_drives_stiffness():
    env = make_env("metarobot/ReachFeedForward-v0", 3, num_threads=1, horizon=60)
    strength = np.array([1.0, 1.0, 0.7])
    env.set_tasks({"payload_kg": [1.0, 3.0, 3.0], "drive_strength": strength})
    stiffness_n_per_m = env.model.actuator("z").gainprm[0] * strength
    expected_m = GRAVITY_M_PER_S2 * np.array([1, 3, 3]) / stiffness_n_per_m
    np.testing.assert_allclose(-stay(env, 60), expected_m, rtol=0.05)
