"""Laws of Push: which way a box turns, how far it goes, and what is seen of it."""

import numpy as np
import pytest

from metarobot.envs import make_env
from metarobot.envs.push import (
    CONTACT_MAX_M,
    GOAL_TOLERANCE_M,
    LOST_M,
    LOST_RAD,
    MISS_SCALE_M,
    YAW_SCALE_RAD,
    YAW_TOLERANCE_RAD,
)

PUSH = "metarobot/Push-v0"


def box_pose(env):
    """x (m), y (m) and yaw (rad) of every box, (num_envs, 3)."""
    box, qpos = env.model.joint("box").qposadr[0], env.batch.bind("qpos")
    yaw_rad = 2 * np.arctan2(qpos[:, box + 6], qpos[:, box + 3])
    return np.concatenate([qpos[:, box : box + 2], yaw_rad[:, None]], axis=1)


def push(actions, **columns):
    """One episode per task and constant action; return env, box poses, rewards and success."""
    actions = np.atleast_2d(actions)
    env = make_env(PUSH, len(actions), num_threads=1)
    env.set_tasks(env.distribution.with_values(columns))
    env.reset(options={"start": np.full((len(actions), env.start_size), 0.5)})
    rewards = []
    for _ in range(env.horizon):
        _, reward, _, _, info = env.step(actions)
        rewards.append(reward)
    return env, box_pose(env), np.array(rewards), info["is_success"]


@pytest.mark.parametrize(("offset_m", "friction"), [(-0.025, 0.1), (0.0, 0.4), (0.01, 0.1)])
def test_a_push_along_the_centre_of_mass_goes_straight(offset_m, friction):
    aims = offset_m / CONTACT_MAX_M + np.array([-0.4, 0.0, 0.4])
    actions = np.stack([np.zeros(3), aims], axis=1)
    _, pose, _, _ = push(actions, load_offset_m=[offset_m], box_friction=[friction])
    left, straight, right = pose[:, 2]
    assert abs(straight) < 0.1
    assert left > abs(straight)  # pushed right of its centre of mass, it turns left
    assert right < -abs(straight)


def test_a_faster_push_goes_farther_and_farthest_on_a_slippery_table():
    actions = np.stack([np.linspace(-0.9, 0.7, 9), np.zeros(9)], axis=1)
    gone = np.stack([push(actions, box_friction=[f])[1][:, 0] for f in (0.4, 0.2, 0.1)])
    assert (np.diff(gone, axis=1) > 0).all()
    assert (np.diff(gone, axis=0)[:, 3:] > 0.01).all()


def test_the_reward_comes_when_the_box_is_at_rest():
    actions = np.stack([np.linspace(-0.8, 0.6, 8), np.linspace(-0.5, 0.5, 8)], axis=1)
    env, pose, rewards, success = push(actions)
    assert np.abs(env.batch.bind("qvel")[:, 7:13]).max() < 0.05
    assert not rewards[:-1].any()
    miss_m = np.linalg.norm(pose[:, :2] - env.batch.bind("mocap_pos")[:, 0, :2], axis=1)
    turn = np.abs(pose[:, 2])
    expected = -((np.minimum(miss_m, LOST_M) / MISS_SCALE_M) ** 2)
    expected -= (np.minimum(turn, LOST_RAD) / YAW_SCALE_RAD) ** 2
    np.testing.assert_allclose(rewards[-1], expected)
    reached = (miss_m < GOAL_TOLERANCE_M) & (turn < YAW_TOLERANCE_RAD)
    np.testing.assert_array_equal(success, reached)


def test_the_box_is_seen_at_a_chosen_rate():
    env = make_env(PUSH, 1, num_threads=1, look_every_steps=3)
    env.reset(options={"start": np.full((1, env.start_size), 0.3)})
    poses, space = [box_pose(env)[0]], env.single_observation_space
    for step in range(1, env.horizon):
        observation = env.step(np.array([[0.3, 0.4]]))[0][0]
        poses.append(box_pose(env)[0])
        y_and_yaw = np.clip(poses[step - step % 3][1:], space.low[2:4], space.high[2:4])
        np.testing.assert_allclose(observation[2:4], y_and_yaw, atol=1e-6)
    with pytest.raises(ValueError, match="look_every_steps must be at least 0, got -1"):
        make_env(PUSH, 1, look_every_steps=-1)
