"""Copies of an environment are new ones with the same arguments and tasks, in every way to copy."""

import copy
import pickle

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from metarobot.envs import TaskEnv, make_env

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda env, protocol=protocol: pickle.loads(  # noqa: S301
            pickle.dumps(env, protocol)
        )
        for protocol in (0, pickle.HIGHEST_PROTOCOL)
    },
    "cloudpickle": lambda env: pickle.loads(cloudpickle.dumps(env)),  # noqa: S301
}
MAKERS = {
    "batch": lambda env_id, **kwargs: make_env(env_id, 4, num_threads=1, **kwargs),
    "single": lambda env_id, **kwargs: TaskEnv(env_id, num_threads=1, **kwargs),
    "gym.make": gym.make,
    "gym.make_vec": lambda env_id, **kwargs: gym.make_vec(env_id, num_envs=4, **kwargs),
}

# A shallow copy of a wrapper is of the wrapper alone.
every_way = pytest.mark.parametrize(
    ("maker", "way"),
    [(maker, way) for maker in MAKERS for way in WAYS if (maker, way) != ("gym.make", "copy")],
)


def play(env, steps=3):
    """What is seen in the first steps of a seeded episode."""
    seen = [env.reset(seed=3)[0]]
    for step in range(steps):
        seen += env.step(np.full(env.action_space.shape, 0.3 * step, np.float32))[:2]
    return seen


def draw_tasks(env):
    held = env.unwrapped.tasks
    return env.unwrapped.distribution.sample(np.random.default_rng(1), len(held))


@every_way
def test_a_copy_plays_as_the_first_does(maker, way):
    env = MAKERS[maker]("metarobot/Grip-v0", horizon=7, observe_task=True)
    tasks = draw_tasks(env)
    env.unwrapped.set_tasks(tasks)
    expected = play(env)
    again = WAYS[way](env)  # within an episode
    assert again.unwrapped is not env.unwrapped
    assert type(again) is type(env)
    assert again.unwrapped.tasks == tasks
    assert again.unwrapped.spec == env.unwrapped.spec
    going_on = env.step(np.zeros(env.action_space.shape, np.float32))[0]
    for one, other in zip(play(again), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    play(env)
    np.testing.assert_array_equal(
        going_on, env.step(np.zeros(env.action_space.shape, np.float32))[0]
    )


@every_way
def test_a_copy_does_not_pretend_to_go_on(maker, way):
    env = MAKERS[maker]("metarobot/Grip-v0")
    play(env)
    with pytest.raises(ResetNeeded, match="reset"):
        WAYS[way](env).step(np.zeros(env.action_space.shape, np.float32))


@pytest.mark.parametrize("way", ["deepcopy", "cloudpickle"])
def test_a_copy_keeps_what_only_its_family_takes(way):
    env = TaskEnv("metarobot/Push-v0", look_every_steps=2, variant="lopsided_boxes")
    again = WAYS[way](env)
    assert again.vector_env._look_every_steps == 2
    assert again.vector_env.variant == env.vector_env.variant
    for one, other in zip(play(env), play(again), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_first_step_needs_a_reset(maker):
    env = MAKERS[maker]("metarobot/Grip-v0")
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(env.action_space.shape, np.float32))
