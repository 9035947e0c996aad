"""HalfCheetah against Gymnasium's, and against its rewards by hand."""

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import kstest

from metarobot.envs import make_env
from metarobot.envs.half_cheetah import SPEED_TOLERANCE_M_PER_S

DIRECTION, VELOCITY = "metarobot/HalfCheetahDirection-v0", "metarobot/HalfCheetahVelocity-v0"
GOAL = "goal_velocity_m_per_s"


@pytest.fixture
def gymnasiums():
    env = gym.make("HalfCheetah-v5", max_episode_steps=None)
    env.reset(seed=0)
    yield env
    env.close()


@pytest.mark.parametrize("env_id", [DIRECTION, VELOCITY])
def test_trajectories_are_those_of_gymnasium(env_id, gymnasiums):
    """Both start from the same state; what is observed saturates, and is compared within."""
    env, rng = make_env(env_id, 1, num_threads=1), np.random.default_rng(0)
    theirs = gymnasiums.unwrapped
    if env_id == DIRECTION:
        env.set_tasks({"direction": -1.0})
    env.reset(seed=0)
    qpos, qvel = env.batch.bind("qpos"), env.batch.bind("qvel")
    theirs.set_state(qpos[0].copy(), qvel[0].copy())
    for _ in range(100):
        action = rng.uniform(-1, 1, 6)
        observation, reward, *_ = env.step(action[None])
        expected, _, _, _, info = theirs.step(action)
        np.testing.assert_allclose(qpos[0], theirs.data.qpos, rtol=0, atol=1e-9)
        np.testing.assert_allclose(qvel[0], theirs.data.qvel, rtol=0, atol=1e-7)
        low, high = env.single_observation_space.low, env.single_observation_space.high
        np.testing.assert_allclose(observation[0], np.clip(expected, low, high), atol=1e-6)
        # Gymnasium charges 0.1 for a squared action, MAML half of it.
        cost = info["reward_ctrl"] / 2
        wanted = -info["x_velocity"] if env_id == DIRECTION else -abs(info["x_velocity"] - 1.0)
        assert reward[0] == pytest.approx(wanted + cost, abs=1e-8)


def test_starts_are_uniform_and_normal_around_rest():
    env = make_env(DIRECTION, 500, num_threads=1)
    env.reset(seed=0)
    qpos, qvel = env.batch.bind("qpos"), env.batch.bind("qvel")
    for joint in range(9):
        assert kstest(qpos[:, joint], "uniform", (-0.1, 0.2)).pvalue > 1e-3
        assert kstest(qvel[:, joint], "norm", (0.0, 0.1)).pvalue > 1e-3
    for uniform in (0.0, 1.0 - 2**-24):
        env.reset(options={"start": np.full((500, env.start_size), uniform)})
        assert np.abs(qvel).max() < 0.6


def drag(env, speeds):
    """Play an episode in which the robot is dragged at given speeds, one for each step."""
    qpos = env.batch.bind("qpos")
    env.reset(seed=0)
    success = []
    for speed in speeds:
        env._command(np.zeros(env.action_space.shape))
        env._elapsed += 1
        qpos[:, 0] += speed * env.control_dt_s
        success.append(env._evaluate(np.zeros(env.action_space.shape))[1])
    return np.stack(success)


def test_success_of_a_direction_is_the_mean_speed():
    env = make_env(DIRECTION, 2, num_threads=1, horizon=4)
    env.set_tasks(env.distribution.with_values({"direction": [-1.0, 1.0]}))
    assert drag(env, [0.0, 3.0, 1.0, 0.1])[:, 1].tolist() == [False, True, True, True]
    assert not drag(env, [0.0, 3.0, 1.0, 0.1])[:, 0].any()
    assert drag(env, [-1.1] * 4)[:, 0].all()


def test_success_of_a_velocity_is_the_error_of_the_second_half():
    env = make_env(VELOCITY, 1, num_threads=1, horizon=4)
    env.set_tasks(env.distribution.with_values({GOAL: [1.5]}))
    near, far = 1.5 + 0.9 * SPEED_TOLERANCE_M_PER_S, 1.5 - 1.2 * SPEED_TOLERANCE_M_PER_S
    assert drag(env, [0.0, 0.0, near, 1.5])[:, 0].tolist() == [False, False, True, True]
    assert drag(env, [1.5, 1.5, far, near])[:, 0].tolist() == [False, False, False, False]
    assert drag(env, [0.0, 0.0, far, 1.5])[:, 0].tolist() == [False, False, False, True]
