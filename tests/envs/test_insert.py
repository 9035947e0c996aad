"""Laws of Insert: where the peg goes, what it feels, and what counts as seated."""

import numpy as np

from metarobot.envs import make_env
from metarobot.envs.insert import (
    COSTLY_FORCE_N,
    DRAWN_MOUTH_M,
    FEED_M_PER_S,
    FORCE_LIMIT_N,
    FORCE_NOISE_N,
    HOLE_DEPTH_M,
    LATERAL_M_PER_S,
    LEAN_RAD_PER_S,
    LOST_M,
    MAX_LEAD_M,
    MISS_SCALE_M,
    PEG_RADIUS_M,
    SEATED_TOLERANCE_M,
)

INSERT = "metarobot/Insert-v0"


def insert_env(num_envs=1, **columns):
    """Simulations at the start of an episode, in the middle of all starts."""
    env = make_env(INSERT, num_envs, num_threads=1)
    env.set_tasks(env.distribution.with_values(columns))
    env.reset(options={"start": np.full((num_envs, env.start_size), 0.5)})
    return env


def set_point(env):
    """Set-point of the peg in every simulation: x, y, z (m) and lean (rad), (N, 4)."""
    lean = env.batch.bind("ctrl")[:, [env.model.actuator("ry").id]]
    return np.concatenate([env.batch.bind("act"), -lean], axis=1)


def tip(env):
    start = env.model.sensor("tool_position").adr[0]
    return env.batch.bind("sensordata")[:, start : start + 3]


def play_aimed(env, x_m, y_m, lean_rad):
    """Bring the set-point over a hole in each simulation, and down along it, for an episode.

    Return the summed rewards, success and the greatest force seen, in N.
    """
    steps = np.array([LATERAL_M_PER_S, LATERAL_M_PER_S, LEAN_RAD_PER_S]) * env.control_dt_s
    total, force_n = np.zeros(env.num_envs), np.zeros(env.num_envs)
    for _ in range(env.horizon):
        x, y, z, lean = (set_point(env) - (*DRAWN_MOUTH_M, 0.0)).T
        along_x_m = x_m - np.maximum(-z, 0.0) * np.sin(lean_rad)
        missing = np.stack([along_x_m - x, y_m - y, lean_rad - lean], axis=1)
        actions = np.insert(np.clip(missing / steps, -1, 1), 2, 0.0, axis=1)
        observations, rewards, _, _, info = env.step(actions)
        total += rewards
        force_n = np.maximum(force_n, np.linalg.norm(observations[:, -3:], axis=1))
    return total, info["is_success"], force_n


def test_a_policy_that_knows_the_hole_is_seated_in_every_task_without_force():
    env = make_env(INSERT, 60, num_threads=1)
    tasks = env.distribution.sample(np.random.default_rng(0), 60, "extrapolation")
    env.set_tasks(tasks)
    env.reset(seed=0)
    hole = (tasks[name] for name in env.distribution.names[:3])
    total, success, force_n = play_aimed(env, *hole)
    assert success.all()
    assert (total > -0.05).all()
    assert (force_n < 0.6 * FORCE_LIMIT_N).all()


def test_a_peg_that_does_not_lean_with_a_tight_hole_presses_harder():
    env = insert_env(2, lean_rad=[0.15], clearance_m=[0.0006])
    returns, success, force_n = play_aimed(env, np.zeros(2), np.zeros(2), np.array([0.15, 0.0]))
    assert list(success) == [True, False]
    assert returns[1] < returns[0] - 0.1
    assert force_n[1] > force_n[0] + 5


def test_a_peg_beside_the_hole_stands_on_the_plate_and_feels_only_its_normal():
    env = insert_env(2, offset_x_m=[0.014, -0.014], offset_y_m=[0.014, 0.014])
    for _ in range(env.horizon):
        forces = env.step(np.zeros((2, 4)))[0][:, -3:]
    assert (forces[:, 2] > 10).all()
    assert np.abs(forces[:, :2]).max() < 4 * FORCE_NOISE_N
    np.testing.assert_allclose(tip(env)[:, 2], DRAWN_MOUTH_M[2], atol=5e-4)
    # A peg that rests on the plate is in balance: contact and impedance cancel.
    stiffness = env.model.actuator("z").gainprm[0]
    expected_n = stiffness * (tip(env)[:, 2] - set_point(env)[:, 2])
    np.testing.assert_allclose(forces[:, 2], expected_n, rtol=0.02, atol=4 * FORCE_NOISE_N)


def test_the_nose_slips_into_a_hole_near_by_and_feels_where_it_is():
    offset_m = 0.5 * PEG_RADIUS_M
    env = insert_env(2, offset_x_m=[offset_m, -offset_m])
    side_force_n = np.zeros(2)
    for _ in range(env.horizon):
        side_force_n += env.step(np.zeros((2, 4)))[0][:, -3]
    assert side_force_n[0] > 5
    assert side_force_n[1] < -5
    assert (tip(env)[:, 2] < DRAWN_MOUTH_M[2] - 0.8 * HOLE_DEPTH_M).all()


def test_the_return_is_the_miss_and_the_costly_force_at_the_end():
    offsets, force_n = np.linspace(0, 0.02, 33), np.zeros(33)
    env = insert_env(33, offset_x_m=offsets, lean_rad=np.linspace(-0.05, 0.05, 33))
    for step in range(env.horizon):
        observations, reward, _, _, info = env.step(np.zeros((33, 4)))
        assert step == env.horizon - 1 or not reward.any()
        force_n = np.maximum(force_n, np.linalg.norm(observations[:, -3:], axis=1))
    seats = []
    for sim in range(33):  # the bottom of the hole
        fixture = env.batch.get_data(sim).body("fixture")
        bottom = fixture.xmat.reshape(3, 3) @ (0, 0, -HOLE_DEPTH_M)
        seats.append(fixture.xpos + bottom)
    miss_m = np.linalg.norm(tip(env) - seats, axis=1)
    assert force_n.min() < COSTLY_FORCE_N < FORCE_LIMIT_N < force_n.max()
    excess = (np.clip(force_n, COSTLY_FORCE_N, FORCE_LIMIT_N) - COSTLY_FORCE_N) / FORCE_LIMIT_N
    expected = -((np.minimum(miss_m, LOST_M) / MISS_SCALE_M) ** 2) - excess**2
    np.testing.assert_allclose(reward, expected, atol=0.05)  # the force is seen with noise
    seated = (miss_m < SEATED_TOLERANCE_M) & (force_n <= FORCE_LIMIT_N)
    np.testing.assert_array_equal(info["is_success"], seated)


def test_actions_correct_the_drawn_path():
    env = insert_env(5)
    home = set_point(env)
    env.step(np.eye(5, 4))
    moved = set_point(env) - home
    rates = [LATERAL_M_PER_S, LATERAL_M_PER_S, -FEED_M_PER_S, LEAN_RAD_PER_S]
    drawn = np.array([0, 0, -FEED_M_PER_S, 0])
    corrections = np.eye(5, 4) * rates
    np.testing.assert_allclose(moved, (drawn + corrections) * env.control_dt_s, atol=1e-12)


def test_the_set_point_does_not_run_away():
    env = insert_env(2, offset_x_m=[0.02])
    for _ in range(env.horizon):
        env.step(np.array([[1, 0, 1, 0], [0, -1, 1, 0]]))
        lead_m = np.abs(set_point(env)[:, :3] - tip(env))
        assert (lead_m < MAX_LEAD_M + 4 * FEED_M_PER_S * env.control_dt_s).all()


def test_the_observed_force_is_noisy_and_the_noise_depends_on_the_start_alone():
    num_envs = 400
    env = make_env(INSERT, num_envs, num_threads=1)
    start = np.random.default_rng(0).random((num_envs, env.start_size))
    observations, _ = env.reset(options={"start": start})
    noise = observations[:, -3:]  # nothing touches yet
    np.testing.assert_allclose(noise.std(axis=0), FORCE_NOISE_N, rtol=0.15)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=4 * FORCE_NOISE_N / np.sqrt(num_envs))
    few = make_env(INSERT, 3, num_threads=1)
    np.testing.assert_array_equal(few.reset(options={"start": start[5:8]})[0], observations[5:8])
