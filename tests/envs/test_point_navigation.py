"""PointNavigation against the arithmetic of the published environment."""

import numpy as np
import pytest

from metarobot.envs import make_env
from metarobot.envs.point_navigation import MAX_STEP_M, START_SPREAD_M

FAMILY = "metarobot/PointNavigation-v0"


def make_point(goals):
    env = make_env(FAMILY, len(goals), num_threads=1)
    x, y = np.transpose(goals)
    env.set_tasks(env.distribution.with_values({"goal_x_m": x, "goal_y_m": y}))
    return env


def test_steps_and_rewards_are_those_of_the_published_environment():
    """Published: state += action, with |action| <= 0.1; reward = -|state - goal|."""
    goal, rng = np.array([0.45, -0.3]), np.random.default_rng(0)
    env = make_point([goal])
    state = env.reset(seed=0)[0][0].astype(float)
    assert np.abs(state).max() <= START_SPREAD_M
    for _ in range(100):
        action = rng.normal(0, 1, 2)
        observation, reward, terminated, _, _ = env.step(action[None])
        state += MAX_STEP_M * np.clip(action, -1, 1)
        np.testing.assert_allclose(observation[0], np.clip(state, -1, 1), atol=1e-6)
        assert reward[0] == pytest.approx(-np.linalg.norm(state - goal), abs=1e-6)
        assert terminated[0] == (np.abs(state - goal).max() < 0.01)


def test_an_episode_ends_where_the_goal_is_reached():
    env = make_point([(0.3, 0.1), (0.3, 0.2)])
    env.reset(options={"start": np.full((2, 2), 0.5)})  # at the origin
    action = np.array([[1.0, 1 / 3]] * 2)
    for _ in range(2):
        *_, terminated, truncated, info = env.step(action)
        assert not terminated.any()
    *_, terminated, truncated, info = env.step(action)
    assert terminated.tolist() == [True, False]
    assert not truncated.any()
    assert info["is_success"].tolist() == [True, False]
    observation, reward, terminated, _, _ = env.step(action)  # starts anew
    assert np.abs(observation[0]).max() <= START_SPREAD_M
    assert reward[0] == 0.0
    assert not terminated.any()


def test_a_lost_point_is_truncated_and_recovers():
    env = make_point([(0.1, 0.2), (-0.3, 0.4)])
    env.reset(seed=0)
    marker = env.batch.bind("mocap_pos")[:, 0]
    np.testing.assert_allclose(marker[:, :2], [[0.1, 0.2], [-0.3, 0.4]])
    before = env.step(np.full((2, 2), 0.1))[0]
    env.batch.bind("qpos")[1, 0] = np.inf
    observation, reward, terminated, truncated, info = env.step(np.full((2, 2), 0.1))
    assert truncated.tolist() == info["sim_unstable"].tolist() == [False, True]
    assert not terminated.any()
    assert reward[1] == 0.0
    np.testing.assert_array_equal(observation[1], before[1])
    observation, *_, info = env.step(np.full((2, 2), 0.1))
    assert np.abs(observation[1]).max() <= START_SPREAD_M
    assert not info["sim_unstable"].any()
