"""Laws of Insert: where the peg goes, what it feels, and what counts as seated."""

import numpy as np
import pytest

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


def insert_env(**columns):
    """One simulation per task, at the start of an episode."""
    num_envs = max(map(len, columns.values()), default=1)
    env = make_env(INSERT, num_envs, num_threads=1)
    env.set_tasks(env.distribution.with_values(columns))
    env.reset(options={"start": np.full((num_envs, env.start_size), 0.5)})
    return env


def aimed_actions(env, x_m, y_m, lean_rad):
    """Actions that bring the set-point over a hole, one in each simulation, and down along it."""
    depth_m = np.maximum(DRAWN_MOUTH_M[2] - env._act[:, 2], 0.0)
    x_m = x_m - depth_m * np.sin(lean_rad)
    at = [env._act[:, 0] - DRAWN_MOUTH_M[0], env._act[:, 1], -env._ctrl[:, env._lean]]
    steps = np.array([LATERAL_M_PER_S, LATERAL_M_PER_S, LEAN_RAD_PER_S]) * env.control_dt_s
    missing = np.stack([x_m, y_m, lean_rad], axis=1) - np.stack(at, axis=1)
    return np.insert(np.clip(missing / steps, -1, 1), 2, 0.0, axis=1)


def play_aimed(env, x_m, y_m, lean_rad):
    """One episode aimed at a hole; return summed rewards and success."""
    total = np.zeros(env.num_envs)
    for _ in range(env.horizon):
        _, rewards, _, _, info = env.step(aimed_actions(env, x_m, y_m, lean_rad))
        total += rewards
    return total, info["is_success"]


@pytest.mark.parametrize("split", ["train", "extrapolation"])
def test_who_knows_the_hole_is_seated_in_every_task_without_force(split):
    env = make_env(INSERT, 60, num_threads=1)
    tasks = env.distribution.sample(np.random.default_rng(0), 60, split)
    env.set_tasks(tasks)
    env.reset(seed=0)
    total, success = play_aimed(env, *(tasks[name] for name in env.distribution.names[:3]))
    assert success.all()
    assert (total > -0.05).all()
    assert (env._greatest_force_n < 0.6 * FORCE_LIMIT_N).all()


def test_a_peg_beside_the_hole_stands_on_the_plate_and_feels_only_its_normal():
    env = insert_env(offset_x_m=[0.014, -0.014], offset_y_m=[0.014, 0.014])
    for _ in range(10):
        env.step(np.zeros((2, 4)))
    forces = env._contact_force()
    assert (forces[:, 2] > 10).all()
    assert np.abs(forces[:, :2]).max() < 0.02 * forces[:, 2].min()
    np.testing.assert_allclose(env._tip[:, 2], DRAWN_MOUTH_M[2], atol=5e-4)


def test_the_nose_slips_into_a_hole_near_by_and_feels_where_it_is():
    offset_m = 0.5 * PEG_RADIUS_M
    env = insert_env(offset_x_m=[offset_m, -offset_m])
    side_force_n = np.zeros(2)
    for _ in range(env.horizon):
        env.step(np.zeros((2, 4)))
        side_force_n += env._contact_force()[:, 0]
    assert side_force_n[0] > 5
    assert side_force_n[1] < -5
    assert (env._tip[:, 2] < DRAWN_MOUTH_M[2] - 0.8 * HOLE_DEPTH_M).all()


def test_a_peg_that_does_not_lean_with_a_tight_hole_presses_harder():
    columns = {"lean_rad": [0.15, 0.15], "clearance_m": [0.0006, 0.0006]}
    env = insert_env(**columns)
    returns, success = play_aimed(env, [0, 0], [0, 0], [0.15, 0.0])
    assert list(success) == [True, False]
    assert returns[1] < returns[0] - 0.1
    assert env._greatest_force_n[1] > env._greatest_force_n[0] + 5


def test_the_return_is_the_miss_and_the_costly_force_at_the_end():
    offsets = np.linspace(0, 0.02, 9)
    env = insert_env(offset_x_m=offsets)
    rewards = [env.step(np.zeros((9, 4)))[1] for _ in range(env.horizon - 1)]
    assert not np.any(rewards)
    _, reward, _, _, info = env.step(np.zeros((9, 4)))
    miss_m = np.linalg.norm(env._tip - env._seat, axis=1)
    force_n = env._greatest_force_n
    assert force_n.min() < COSTLY_FORCE_N < FORCE_LIMIT_N < force_n.max()
    excess = (np.clip(force_n, COSTLY_FORCE_N, FORCE_LIMIT_N) - COSTLY_FORCE_N) / FORCE_LIMIT_N
    np.testing.assert_allclose(
        reward, -((np.minimum(miss_m, LOST_M) / MISS_SCALE_M) ** 2) - excess**2
    )
    seated = (miss_m < SEATED_TOLERANCE_M) & (force_n <= FORCE_LIMIT_N)
    np.testing.assert_array_equal(info["is_success"], seated)
    assert seated[0]


def test_the_seat_is_the_bottom_of_the_hole():
    env = insert_env(offset_x_m=[0.01, -0.01], offset_y_m=[-0.005, 0.005], lean_rad=[0.1, -0.1])
    for sim in range(2):
        data = env.batch.get_data(sim)
        bottom = data.body("fixture").xmat.reshape(3, 3) @ (0, 0, -HOLE_DEPTH_M)
        np.testing.assert_allclose(env._seat[sim], data.body("fixture").xpos + bottom, atol=1e-12)


# Commands.


def test_actions_correct_the_drawn_path():
    env = insert_env(offset_x_m=[0.0] * 5)
    home = env._act.copy()
    env.step(np.eye(5, 4))
    moved = env._act - home
    drawn = (0, 0, -FEED_M_PER_S * env.control_dt_s)
    np.testing.assert_allclose(moved[4], drawn, atol=1e-12)
    corrections = np.diag([LATERAL_M_PER_S, LATERAL_M_PER_S, -FEED_M_PER_S]) * env.control_dt_s
    np.testing.assert_allclose(moved[:3] - drawn, corrections, atol=1e-12)
    leans = -env._ctrl[:, env._lean]
    np.testing.assert_allclose(leans, np.eye(5, 4)[:, 3] * LEAN_RAD_PER_S * env.control_dt_s)


def test_the_peg_leans_as_the_hole_does():
    env = insert_env(lean_rad=[0.1])
    for _ in range(env.horizon):
        env.step(aimed_actions(env, [0], [0], [0.1]))
    data = env.batch.get_data(0)
    hole, peg = (data.body(name).xmat.reshape(3, 3)[:, 2] for name in ("fixture", "end_effector"))
    assert np.arccos(-hole @ peg) < 0.03


def test_the_set_point_does_not_run_away():
    env = insert_env(offset_x_m=[0.02] * 2)
    for _ in range(env.horizon):
        env.step(np.array([[1, 0, 1, 0], [0, -1, 1, 0]]))
        lead_m = np.abs(env._act - env._tip)
        assert (lead_m < MAX_LEAD_M + 4 * FEED_M_PER_S * env.control_dt_s).all()


# What the wrist sensor gives.


def test_the_sensor_holds_the_forces_of_one_control_step():
    env = insert_env()
    sensor = env.model.sensor("contact_force")
    assert env.model.sensor_history[sensor.id, 0] == env.substeps
    env.set_tasks({"offset_x_m": 0.014})
    env.reset(seed=0)
    for _ in range(env.horizon):
        env.step(np.zeros((1, 4)))
        last = env._sensors[0, sensor.adr[0] : sensor.adr[0] + 3]
        samples = env._force_samples.reshape(-1, 3)
        assert (samples == last).all(axis=1).any()
    assert samples.any(axis=1).all()
    env.reset(seed=1)
    assert not env._force_samples.any()


def test_the_contact_force_holds_the_drives():
    """A peg that rests on the plate is in balance: contact and impedance cancel."""
    env = insert_env(offset_x_m=[0.02])
    for _ in range(env.horizon):
        env.step(np.zeros((1, 4)))
    stiffness = env.model.actuator("z").gainprm[0]
    expected_n = stiffness * (env._tip[0, 2] - env._act[0, 2])
    np.testing.assert_allclose(env._contact_force()[0, 2], expected_n, rtol=0.02)


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
