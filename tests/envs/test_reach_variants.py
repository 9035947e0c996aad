"""Laws of the two variants of Reach: what they hide, and that it matters."""

import numpy as np

from metarobot.envs import make_env

HIDDEN, FEED_FORWARD = "metarobot/ReachHiddenGoal-v0", "metarobot/ReachFeedForward-v0"


def observations(env, action, start=0.4):
    """Observations of one episode under a constant action, (T, num_envs, O), and the return."""
    seen, _ = env.reset(options={"start": np.full((env.num_envs, env.start_size), start)})
    every, total = [seen], np.zeros(env.num_envs)
    for _ in range(env.horizon):
        seen, rewards, *_ = env.step(np.tile(action, (env.num_envs, 1)))
        every.append(seen)
        total += rewards
    return np.array(every), total


def test_a_hidden_goal_shows_in_the_reward_alone():
    env = make_env(HIDDEN, 2, num_threads=1)
    env.set_tasks(env.distribution.with_values({"goal_y_m": [-0.2, 0.2]}))
    seen, total = observations(env, [0.0, 0.3, 0.0])
    np.testing.assert_array_equal(seen[:, 0], seen[:, 1])
    assert total[1] > total[0] + 10


def test_a_hidden_goal_lies_where_the_task_says():
    env = make_env(HIDDEN, 3, num_threads=1)
    tasks = env.distribution.sample(np.random.default_rng(0), 3, "extrapolation")
    env.set_tasks(tasks)
    env.reset(seed=0)
    np.testing.assert_allclose(env._goal, env._home_tool + tasks.values)


def test_without_feedback_nothing_tells_the_payload():
    env = make_env(FEED_FORWARD, 2, num_threads=1)
    env.set_tasks(env.distribution.with_values({"payload_kg": [0.1, 3.0]}))
    seen, total = observations(env, [0.1, 0.1, 0.1])
    np.testing.assert_array_equal(seen[:, 0], seen[:, 1])
    assert abs(total[0] - total[1]) > 2


def test_the_arm_sags_by_the_payloads_weight_over_the_drives_stiffness():
    env = make_env(FEED_FORWARD, 3, num_threads=1, horizon=60)
    columns = {"payload_kg": [1.0, 3.0, 3.0], "drive_strength": [1.0, 1.0, 0.7]}
    env.set_tasks(env.distribution.with_values(columns))
    observations(env, [0.0, 0.0, 0.0], start=0.5)
    sag_m = env._start_tool[:, 2] - env._tool[:, 2]
    stiffness_n_per_m = env.model.actuator("z").gainprm[0] * np.array([1.0, 1.0, 0.7])
    np.testing.assert_allclose(sag_m, 9.81 * np.array([1, 3, 3]) / stiffness_n_per_m, rtol=0.05)
