"""Laws of Carry: how a load swings, what takes the swing out, and that nothing tells before."""

import copy
import json
from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.optimize import lsq_linear

from metarobot.envs import make_env
from metarobot.envs.carry import (
    DISTRIBUTION,
    MOVE_STEPS,
    PATH_SCALE_M,
    PATH_TOLERANCE_M,
    SPEED,
    SWING_SCALE_M_PER_S,
    SWING_TOLERANCE_M_PER_S,
    SWINGS,
    TIME_COST,
    miss_cost,
)

CARRY = "metarobot/Carry-v0"
GRAVITY_M_PER_S2 = 9.81
LENGTHS_M = (0.13, 0.43)
STILL = [0.5, 0.5]  # uniforms of a load that starts still


def carry(speeds, start=(*STILL, 0.5), **columns):
    """One episode a row of speeds (N, MOVE_STEPS); return the env, its last rewards, success."""
    env = make_env(CARRY, len(speeds), num_threads=1)
    env.set_tasks(env.distribution.with_values(columns))
    env.reset(options={"start": np.broadcast_to(start, (len(speeds), 3))})
    actions = np.pad(2 * np.asarray(speeds) / SPEED.high - 1, ((0, 0), (0, 1)))
    for column in actions.T[:-1]:
        _, rewards, *_ = env.step(column[:, None])
        assert not rewards.any()
    _, rewards, _, truncated, info = env.step(actions.T[-1][:, None])
    assert truncated.all()
    return env, rewards, info["is_success"]


def shaped_speeds(length_m, distance_m, dt_s):
    """Speeds of the move that leave least swing of a rod, by least squares (input shaping).

    A change of speed at time t leaves a swing that turns at sqrt(g / length); the path missed and
    the path to go after each step count as Carry charges for them.
    """
    turned = np.exp(1j * np.sqrt(GRAVITY_M_PER_S2 / length_m) * dt_s * np.arange(MOVE_STEPS + 1))
    left = (turned[:-1] - turned[1:]) / SWING_SCALE_M_PER_S
    path = np.full(MOVE_STEPS, dt_s / PATH_SCALE_M)
    share = np.tri(MOVE_STEPS) * dt_s / distance_m * np.sqrt(2 * TIME_COST / MOVE_STEPS)
    wanted = [0.0, 0.0, distance_m / PATH_SCALE_M, *share[-1] * distance_m / dt_s]
    rows = np.stack([left.real, left.imag, path, *share])
    return lsq_linear(rows, wanted, (0.0, SPEED.high)).x


def swing_freely(num_envs, num_substeps=1000, **columns):
    """Let loads swing after a start at one side; return the env and the rods' angles, (T, N)."""
    env = make_env(CARRY, num_envs, num_threads=1)
    env.set_tasks(env.distribution.with_values(columns))
    env.reset(options={"start": np.tile([0.0, 0.5, 0.5], (num_envs, 1))})
    angle, angles = env.model.joint(SWINGS[0]).qposadr[0], []
    for _ in range(num_substeps):
        env.batch.step(nstep=1)
        angles.append(env.batch.bind("qpos")[:, angle].copy())
    return env, np.array(angles)


def test_a_load_swings_at_the_frequency_of_its_rod():
    env, angles = swing_freely(len(LENGTHS_M), rod_length_m=LENGTHS_M)
    for angle, length_m in zip(angles.T, LENGTHS_M, strict=True):
        crossings = np.flatnonzero(np.diff(np.sign(angle)))
        period_s = 2 * np.diff(crossings).mean() * env.model.opt.timestep
        expected_s = 2 * np.pi * np.sqrt(length_m / GRAVITY_M_PER_S2)
        np.testing.assert_allclose(period_s, expected_s, rtol=0.03)


def test_damping_shrinks_the_swing_by_the_law_of_a_pendulum():
    damping = np.array([0.002, 0.015])
    angles = np.abs(swing_freely(2, swing_damping_nms_per_rad=damping)[1])
    late = angles[500:].max(axis=0) / angles[:250].max(axis=0)
    # exp(-b t / (2 m L^2)), from about the first peak to the first one after 2 s.
    rate_per_s = damping / (2 * 0.8 * 0.25**2)
    assert late[1] < late[0]
    np.testing.assert_allclose(np.log(late[0] / late[1]), np.diff(rate_per_s)[0] * 2.0, rtol=0.1)


@pytest.mark.parametrize("length_m", LENGTHS_M)
def test_a_shaper_made_for_the_rod_takes_its_swing_out(length_m):
    """Made for about the rod: the arm gives way a little, and a wide swing is a little slower."""
    dt_s = make_env(CARRY, 1).control_dt_s
    ratios = np.geomspace(0.7, 1.5, 24)
    speeds = [shaped_speeds(ratio * length_m, 0.5, dt_s) for ratio in ratios]
    env, rewards, _ = carry(speeds, rod_length_m=[length_m])
    assert swing_m_per_s(env).min() < SWING_TOLERANCE_M_PER_S
    assert 0.95 < ratios[rewards.argmax()] < 1.25
    assert rewards[[0, -1]].max() < -1.0
    rises = np.diff(rewards) > 0
    assert np.abs(np.diff(rises.astype(int))).sum() == 1  # one optimum


def test_an_even_speed_suits_the_rod_whose_period_is_the_time_of_the_move():
    move_s = MOVE_STEPS * make_env(CARRY, 1).control_dt_s
    own_m = GRAVITY_M_PER_S2 * (move_s / (2 * np.pi)) ** 2
    rods_m = own_m * np.array([0.5, 1.0, 1.5])
    _, rewards, success = carry(np.full((3, MOVE_STEPS), 0.5 / move_s), rod_length_m=rods_m)
    np.testing.assert_array_equal(success, [False, True, False])
    assert (rewards[[0, 2]] < -0.5).all()


def sensor(env, name):
    start = env.model.sensor(name).adr[0]
    return env.batch.bind("sensordata")[:, start : start + 3]


def swing_m_per_s(env):
    """Speed of each load beside its tool at the lowest point, by E / m = v^2 / 2 + g h, (N,)."""
    hang_m = sensor(env, "tool_position") - sensor(env, "load_position")
    speed = np.linalg.norm(sensor(env, "load_velocity") - sensor(env, "tool_velocity"), axis=1)
    height_m = np.linalg.norm(hang_m, axis=1) - hang_m[:, 2]
    return np.sqrt(speed**2 + 2 * GRAVITY_M_PER_S2 * height_m)


def test_the_reward_is_the_cost_of_swing_path_and_time():
    speeds = np.full((2, MOVE_STEPS), 0.5)
    env, rewards, success = carry(speeds, rod_length_m=[0.2, 0.4])
    left = 1 - np.arange(1, MOVE_STEPS + 1) * 0.5 * env.control_dt_s / 0.5
    goal = env.batch.bind("mocap_pos")[:, 0]
    off_m = np.linalg.norm((sensor(env, "tool_position") - goal)[:, :2], axis=1)
    swing = swing_m_per_s(env)
    np.testing.assert_allclose(off_m, np.abs(0.5 * left[-1]), atol=2e-3)
    cost = miss_cost(swing, off_m) + TIME_COST * (left**2).mean()
    np.testing.assert_allclose(rewards, -cost, rtol=1e-6)
    still = (swing < SWING_TOLERANCE_M_PER_S) & (off_m < PATH_TOLERANCE_M)
    np.testing.assert_array_equal(success, still)


def test_a_motion_solves_every_corner_of_the_splits():
    """A search found them that knew the tasks: far ends of all splits, near and far goals."""
    found = json.loads(Path(__file__).with_name("carry_motions.json").read_text())
    columns = {name: [task[name] for task in found["tasks"]] for name in DISTRIBUTION.names}
    for parameter in DISTRIBUTION.parameters:
        ends = [end for pair in (parameter.train, *parameter.extrapolation) for end in pair]
        assert {min(ends), max(ends)} <= set(columns[parameter.name])
    _, rewards, success = carry(found["speeds_m_per_s"], found["start"], **columns)
    assert success.all()
    assert rewards.min() > -0.35


def test_a_miss_of_one_unit_costs_the_same_by_swing_and_by_path():
    one = np.log(2) / 2
    np.testing.assert_allclose(miss_cost(np.array(SWING_SCALE_M_PER_S), np.array(0.0)), one)
    np.testing.assert_allclose(miss_cost(np.array(0.0), np.array(PATH_SCALE_M)), one)
    far = miss_cost(np.array([100.0, 200.0]), np.zeros(2))
    np.testing.assert_allclose(far[1] - far[0], np.log(2), rtol=1e-2)  # the wait to halve it


def test_the_picture_shows_the_rod_of_the_task():
    env = make_env(CARRY, 2, num_threads=1)
    env.set_tasks(env.distribution.with_values({"rod_length_m": [0.2, 0.4]}))
    for sim, length_m in enumerate((0.2, 0.4)):
        env.copy_drawn(sim, model := copy.copy(env.model), mujoco.MjData(model))
        rod = model.geom("rod")
        assert (rod.size[1], rod.pos[2]) == (length_m / 2, length_m / 2)
