"""Laws of Grip: how force, mass and friction decide between slipping, holding and crushing."""

from functools import cache

import numpy as np
import pytest

from metarobot.envs import make_env
from metarobot.envs.grip import (
    BEARABLE_WEIGHTS,
    CLOSE_STEPS,
    CRUSH_PENALTY,
    FORCE,
    GRAVITY_M_PER_S2,
    LIFT_HEIGHT_M,
    SLIP_LOST_M,
    SLIP_PENALTY,
    SLIP_TOLERANCE_M,
    crush,
    lift_velocity,
)

GRIP = "metarobot/Grip-v0"
ACTIONS = np.linspace(-1, 1, 41)
TASKS = [(0.08, 0.25), (1.2, 1.0)]  # kg, 1

each_task = pytest.mark.parametrize(("mass_kg", "friction"), TASKS)


def height(env, body):
    """Height of the tool or the block in every simulation, m."""
    return env.batch.bind("sensordata")[:, env.model.sensor(f"{body}_position").adr[0] + 2].copy()


@cache
def squeeze_constantly(mass_kg, friction):
    """One episode per constant action; return slip, lift, summed rewards and success, each (N,)."""
    env = make_env(GRIP, len(ACTIONS), num_threads=1)
    columns = {"block_mass_kg": [mass_kg], "pad_friction": [friction]}
    env.set_tasks(env.distribution.with_values(columns))
    env.reset(options={"start": np.full((len(ACTIONS), env.start_size), 0.5)})
    low, total = height(env, "tool"), np.zeros(len(ACTIONS))
    for _ in range(env.horizon):
        _, rewards, _, _, info = env.step(ACTIONS[:, None])
        total += rewards
    slip = height(env, "tool") - height(env, "block")
    return slip, height(env, "tool") - low, total, info["is_success"]


@each_task
def test_force_decides_between_slipping_holding_and_crushing(mass_kg, friction):
    slip, _, total, success = squeeze_constantly(mass_kg, friction)
    assert success.any()
    assert not success[[0, -1]].any()
    assert np.abs(np.diff(success.astype(int))).sum() == 2  # one interval of forces holds
    assert (np.diff(slip) < 2e-3).all()
    assert slip[0] > SLIP_LOST_M
    assert slip[-1] < 1e-3
    needed_n = mass_kg * GRAVITY_M_PER_S2 / (2 * friction)  # the weight over twice the friction
    weakest_n = FORCE.value(ACTIONS[slip < SLIP_TOLERANCE_M]).min()
    assert needed_n < weakest_n < 1.5 * needed_n  # more than at rest: the lift accelerates
    cost = CRUSH_PENALTY * crush(FORCE.value(ACTIONS), mass_kg)
    cost += SLIP_PENALTY * np.clip(slip, 0, SLIP_LOST_M) / SLIP_LOST_M
    np.testing.assert_allclose(total, -cost, atol=1e-9)


def test_a_firm_grip_lifts_the_block_with_the_tool():
    lift = squeeze_constantly(*TASKS[0])[1][24]
    np.testing.assert_allclose(lift, LIFT_HEIGHT_M, atol=2e-3)


# Functions.


def test_crush_is_the_squared_e_folds_beyond_what_the_block_bears():
    mass_kg = np.array([0.1, 0.5, 1.0])
    bearable_n = BEARABLE_WEIGHTS * mass_kg * GRAVITY_M_PER_S2
    np.testing.assert_array_equal(crush(0.9 * bearable_n, mass_kg), 0)
    np.testing.assert_allclose(crush(np.e * bearable_n, mass_kg), 1)
    np.testing.assert_allclose(crush(np.e**2 * bearable_n, mass_kg), 4)


def test_the_observed_lift_is_the_integral_of_the_commanded_velocity():
    env = make_env(GRIP, 1, num_threads=1)
    lifted = [env.reset(seed=0)[0][0, 1]]
    for step in range(env.horizon):
        lifted.append(env.step(np.zeros((1, 1)))[0][0, 1])
        expected = lift_velocity(np.arange(step + 1), env.control_dt_s).sum() * env.control_dt_s
        np.testing.assert_allclose(lifted[-1], expected, atol=1e-7)
    np.testing.assert_allclose(lifted[-1], LIFT_HEIGHT_M)


def test_the_gripper_feels_neither_weight_nor_slip_before_the_lift():
    env = make_env(GRIP, 4, num_threads=1)
    columns = {"block_mass_kg": [0.1, 1.0, 0.1, 1.0], "pad_friction": [0.3, 0.3, 0.9, 0.9]}
    env.set_tasks(env.distribution.with_values(columns))
    env.reset(options={"start": np.full((4, env.start_size), 0.5)})
    space = env.single_observation_space
    for _ in range(CLOSE_STEPS):
        observations = env.step(np.full((4, 1), 0.3))[0] / (space.high - space.low)
        assert np.ptp(observations, axis=0).max() < 0.01
