"""Laws of Slide: how far a puck goes, and that nothing tells before it is gone."""

from functools import cache

import mujoco
import numpy as np
import pytest

from metarobot.envs import make_env
from metarobot.envs.slide import (
    FEET,
    GOAL_TOLERANCE_M,
    LOST_RATIO,
    MISS_RATIO,
    miss_cost,
)

SLIDE = "metarobot/Slide-v0"
GRAVITY_M_PER_S2 = 9.81


def puck_x(env):
    return env.batch.bind("sensordata")[:, env.model.sensor("puck_position").adr[0]].copy()


@cache
def strike(mass_kg, friction, num_actions=15):
    """One episode per constant action; return the env, distances gone (m), rewards, success."""
    actions = np.linspace(-1, 1, num_actions)
    env = make_env(SLIDE, len(actions), num_threads=1)
    columns = {"puck_mass_kg": [mass_kg], "table_friction": [friction]}
    env.set_tasks(env.distribution.with_values(columns))
    env.reset(options={"start": np.full((len(actions), env.start_size), 0.5)})
    before, rewards = puck_x(env), []
    for _ in range(env.horizon):
        _, reward, _, _, info = env.step(actions[:, None])
        rewards.append(reward)
    gone = puck_x(env) - before
    return env, gone, np.array(rewards), info["is_success"]


@pytest.mark.parametrize(("friction", "speed"), [(0.07, 0.8), (0.35, 1.7)])
def test_a_free_puck_slides_as_far_as_friction_lets_it(friction, speed):
    model = mujoco.MjModel.from_xml_path(str(make_env(SLIDE, 1).scene_path))
    model.geom_friction[[model.geom(foot).id for foot in FEET], 0] = friction
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    data.joint("puck").qpos[0] += 0.1  # clear of the paddle
    mujoco.mj_step(model, data, 100)
    start = data.joint("puck").qpos[0]
    data.joint("puck").qvel[0] = speed
    mujoco.mj_step(model, data, 500)
    gone = data.joint("puck").qpos[0] - start
    np.testing.assert_allclose(gone, speed**2 / (2 * friction * GRAVITY_M_PER_S2), rtol=0.01)


@pytest.mark.parametrize(("mass_kg", "friction"), [(0.2, 0.07), (2.0, 0.35)])
def test_a_faster_strike_goes_farther_and_every_goal_can_be_reached(mass_kg, friction):
    _, gone, _, success = strike(mass_kg, friction, 61)
    assert (np.diff(gone[::4]) > 0).all()
    assert gone.min() < 0.5
    assert gone.max() > 0.65
    assert success.any()
    assert np.abs(np.diff(success.astype(int))).sum() == 2  # one interval of speeds


def test_the_same_strike_goes_farther_on_a_slippery_table():
    gone = [strike(0.6, friction)[1][9] for friction in (0.35, 0.15)]
    assert gone[1] > gone[0] + 0.1


def test_the_reward_comes_when_the_puck_is_at_rest():
    env, gone, rewards, success = strike(0.6, 0.15)
    assert np.abs(env.batch.bind("qvel")[gone < 1, 7:10]).max() < 0.02
    assert not rewards[:-1].any()
    wanted = env.batch.bind("mocap_pos")[:, 0, 0] - puck_x(env) + gone
    np.testing.assert_allclose(rewards[-1], -miss_cost(gone, wanted))
    np.testing.assert_array_equal(success, np.abs(gone - wanted) < GOAL_TOLERANCE_M)


def test_too_far_costs_as_much_as_too_short():
    gone = np.array([1.0, MISS_RATIO, 1 / MISS_RATIO, MISS_RATIO**2, 10.0, -0.1])
    most = (np.log(LOST_RATIO) / np.log(MISS_RATIO)) ** 2
    np.testing.assert_allclose(miss_cost(gone, np.ones(6)), [0, 1, 1, 4, most, most])
