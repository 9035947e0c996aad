"""Laws of Carry: how a load swings, what takes the swing out, and that nothing tells before."""

import json
from pathlib import Path

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
    TIME_COST,
    miss_cost,
)

CARRY = "metarobot/Carry-v0"
GRAVITY_M_PER_S2 = 9.81
LENGTHS_M = (0.13, 0.19, 0.28, 0.43)
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


def swing_freely(env, num_substeps):
    """Let all simulations go on, and return the angle of the rod in the plane, (T, N)."""
    qpos, angles = env.batch.bind("qpos"), []
    for _ in range(num_substeps):
        env.batch.step(nstep=1)
        angles.append(qpos[:, env._angles[0]].copy())
    return np.array(angles)


def test_a_load_swings_at_the_frequency_of_its_rod():
    env = make_env(CARRY, len(LENGTHS_M), num_threads=1)
    env.set_tasks(env.distribution.with_values({"rod_length_m": LENGTHS_M}))
    env.reset(options={"start": np.tile([0.0, 0.5, 0.5], (len(LENGTHS_M), 1))})
    angles = swing_freely(env, 1000)
    for angle, length_m in zip(angles.T, LENGTHS_M, strict=True):
        crossings = np.flatnonzero(np.diff(np.sign(angle)))
        period_s = 2 * np.diff(crossings).mean() * env.model.opt.timestep
        expected_s = 2 * np.pi * np.sqrt(length_m / GRAVITY_M_PER_S2)
        np.testing.assert_allclose(period_s, expected_s, rtol=0.03)


def test_damping_shrinks_the_swing_by_the_law_of_a_pendulum():
    damping = np.array([0.002, 0.015])
    env = make_env(CARRY, 2, num_threads=1)
    env.set_tasks(env.distribution.with_values({"swing_damping_nms_per_rad": damping}))
    env.reset(options={"start": np.tile([0.0, 0.5, 0.5], (2, 1))})
    angles = np.abs(swing_freely(env, 1000))
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
    assert env._swing_m_per_s().min() < SWING_TOLERANCE_M_PER_S
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


def test_the_cost_has_one_optimum():
    """It is about quasi-convex in the speeds: half-way between two motions no worse than both.

    The motions are near an even one: the wide swings of wild motions are not linear in the speeds.
    """
    rng = np.random.default_rng(0)
    even = 0.5 / (MOVE_STEPS * make_env(CARRY, 1).control_dt_s)
    one, other = even + rng.uniform(-0.3, 0.3, (2, 60, MOVE_STEPS))
    rod_m = {"rod_length_m": np.geomspace(0.13, 0.43, 60)}
    rewards = [carry(speeds, **rod_m)[1] for speeds in (one, (one + other) / 2, other)]
    assert (rewards[1] > np.minimum(rewards[0], rewards[2]) - 0.05).all()


def test_the_reward_is_the_cost_of_swing_path_and_time():
    speeds = np.full((2, MOVE_STEPS), 0.5)
    env, rewards, success = carry(speeds, rod_length_m=[0.2, 0.4])
    left = 1 - np.arange(1, MOVE_STEPS + 1) * 0.5 * env.control_dt_s / 0.5
    off_m, swing = env._off_m(), env._swing_m_per_s()
    np.testing.assert_allclose(off_m, np.abs(0.5 * left[-1]), atol=2e-3)
    cost = miss_cost(swing, off_m) + TIME_COST * (left**2).mean()
    np.testing.assert_allclose(rewards, -cost, rtol=1e-9)
    still = (swing < SWING_TOLERANCE_M_PER_S) & (off_m < PATH_TOLERANCE_M)
    np.testing.assert_array_equal(success, still)


def test_the_swing_is_the_energy_wherever_the_load_is_on_its_way():
    env = make_env(CARRY, 1, num_threads=1)
    env.set_tasks(env.distribution.with_values({"swing_damping_nms_per_rad": [0.0]}))
    env.reset(options={"start": [[0.0, 1 - 1e-9, 0.5]]})
    seen = []
    for _ in range(40):
        env.batch.step(nstep=10)
        env.batch.forward()
        seen.append(env._swing_m_per_s()[0])
    expected = np.sqrt(2) * 0.01 * np.sqrt(GRAVITY_M_PER_S2 * 0.25)
    np.testing.assert_allclose(seen, expected, rtol=0.05)


def test_the_tool_is_at_rest_when_the_swing_is_measured():
    env, _, _ = carry(np.full((4, MOVE_STEPS), SPEED.high), rod_length_m=LENGTHS_M)
    assert np.abs(env._sensor("tool_velocity")).max() < 0.03


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
        model = env.batch.get_model(sim)
        env._paint(sim, model)
        rod = model.geom("rod")
        assert (rod.size[1], rod.pos[2]) == (length_m / 2, length_m / 2)
