"""Laws of Panda: a motion that the arm can follow, a delay that is continuous, errors that tell."""

import numpy as np
import pytest

from metarobot.envs import make_env
from metarobot.envs.panda import (
    END_RAD,
    ERROR_SCALE_RAD,
    ERROR_TOLERANCE_RAD,
    MAX_CORRECTION_RAD,
    START_RAD,
    PandaVectorEnv,
    motion_rad,
)

PANDA = "metarobot/Panda-v0"
# Published by Franka Emika.
SPEED_LIMITS = np.array([2.175] * 4 + [2.61] * 3)  # rad/s
ACCELERATION_LIMITS = np.array([15, 7.5, 10, 12.5, 15, 20, 20])  # rad/s^2
MIDDLE = 0.5
"""Uniform of a start without an offset."""
T = PandaVectorEnv.default_horizon


def run(env, corrections, start=MIDDLE):
    """One episode of corrections (N, T, 7), rad; returns, success, errors (N, T + 1, 7)."""
    start = np.broadcast_to(start, (env.num_envs, env.start_size))
    observations, _ = env.reset(options={"start": start})
    errors, returns = [observations[:, 1:8]], 0.0
    for step in range(T):
        observations, rewards, *_, info = env.step(corrections[:, step] / MAX_CORRECTION_RAD)
        errors.append(observations[:, 1:8])
        returns = returns + rewards
    return returns, info["is_success"], np.stack(errors, axis=1)


def learn(env, episodes, rng):
    """Iterative learning control; return its corrections (N, T, 7) in rad."""
    corrections = np.zeros((env.num_envs, T, 7))
    ahead = np.minimum(np.arange(T) + PandaVectorEnv.repeated_motion.lead_steps, T)
    for _ in range(episodes):
        errors = run(env, corrections, rng.random((env.num_envs, 7)))[-1]
        corrections = corrections + 0.5 * errors[:, ahead]
    return corrections


def test_the_motion_is_within_the_limits_of_speed_and_acceleration():
    places = motion_rad(np.linspace(0, T, 1001), T)
    np.testing.assert_allclose(places[[0, -1]], [START_RAD, END_RAD], rtol=1e-15)
    dt_s = PandaVectorEnv.control_step_s() * T / 1000
    speed = np.gradient(places, dt_s, axis=0)
    acceleration = np.gradient(speed, dt_s, axis=0)
    assert T * PandaVectorEnv.control_step_s() == pytest.approx(0.56)
    for reached, limits in ((speed, SPEED_LIMITS), (acceleration, ACCELERATION_LIMITS)):
        share = np.abs(reached).max(axis=0) / limits
        assert 0.8 < share.max() < 1.0


def test_reward_and_success_are_those_of_the_errors_observed():
    env = make_env(PANDA, 2, num_threads=1)
    env.set_tasks({"tool_mass_kg": [0.5, 2.0]})
    corrections = learn(env, 4, np.random.default_rng(0))
    returns, success, errors = run(env, corrections * [[[1.0]], [[0.0]]])
    mean_rad = np.sqrt((errors[:, 1:].astype(float) ** 2).mean(axis=2)).mean(axis=1)
    np.testing.assert_allclose(returns, -mean_rad / ERROR_SCALE_RAD, rtol=1e-5)
    assert success.tolist() == (mean_rad < ERROR_TOLERANCE_RAD).tolist() == [True, False]


def test_a_delay_is_continuous_and_a_later_command_moves_the_arm_later():
    delays_s = np.array([0.010, 0.011, 0.012, 0.016, 0.020])  # a time step is 0.004 s
    env = make_env(PANDA, len(delays_s), num_threads=1)
    env.set_tasks({"command_delay_s": delays_s})
    error = run(env, np.zeros((len(delays_s), T, 7)))[-1][:, T // 2, 0]  # joint 1, at full speed
    slopes = np.diff(error) / np.diff(delays_s)  # about the speed, 2.1 rad/s
    assert ((slopes > 1.5) & (slopes < 3.0)).all()
    assert np.ptp(slopes) < 0.1 * slopes.mean()


def test_the_drives_hold_the_arm_but_not_its_tool():
    env = make_env(PANDA, 2, num_threads=1)
    env.set_tasks({"tool_mass_kg": [0.01, 2.0], "joint_friction_ratio": [0.0, 0.0]})
    env.reset(options={"start": np.full((2, 7), MIDDLE)})
    env.batch.step(nstep=500)  # no command, 2 s
    off_rad = np.abs(env.batch.bind("qpos") - START_RAD).max(axis=1)
    assert off_rad[0] < 2e-4
    # 20 N at 0.49 m from the shoulder, and the drives' 600 N m/rad: 16 mrad.
    assert off_rad[1] == pytest.approx(0.016, rel=0.2)


def test_corrections_learned_on_a_task_help_there_and_not_on_another():
    env = make_env(PANDA, 12, num_threads=1)
    rng = np.random.default_rng(0)
    env.set_tasks(env.distribution.sample(rng, 12))
    learned = learn(env, 8, rng)
    start = rng.random((12, 7))
    none, own, other, mean = (
        run(env, corrections, start)[0].mean()
        for corrections in (
            np.zeros_like(learned),
            learned,
            np.roll(learned, 1, axis=0),
            np.broadcast_to(learned.mean(axis=0), learned.shape),
        )
    )
    assert own > 0.1 * none  # returns are negative
    assert mean > none
    assert other < 5 * own
    assert mean < 4 * own
