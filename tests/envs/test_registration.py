"""Ids make the right classes, with and without `import metarobot`."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from metarobot.envs import FAMILIES, TaskEnv, TaskError, make_env


def test_make_gives_the_single_environment(env_id):
    env = gym.make(env_id, horizon=5)
    assert type(env.unwrapped) is TaskEnv
    assert type(env.unwrapped.vector_env) is FAMILIES[env_id]
    assert env.unwrapped.vector_env.horizon == 5
    env.close()


def test_the_prefix_alone_imports_the_package(tmp_path):
    code = (
        "import gymnasium as gym\n"
        "env = gym.make('metarobot:metarobot/Grip-v0')\n"
        "print(type(env.unwrapped.vector_env).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("GripVectorEnv\n", "")
    assert not list(tmp_path.iterdir())  # no MUJOCO_LOG.TXT


def test_make_vec_gives_the_native_batch(env_id):
    env = gym.make_vec(env_id, num_envs=3, horizon=5)
    assert type(env.unwrapped) is FAMILIES[env_id]
    assert (env.num_envs, env.unwrapped.horizon) == (3, 5)
    assert isinstance(env.metadata["autoreset_mode"], gym.vector.AutoresetMode)
    env.close()


def test_a_spec_can_be_written_and_read(env_id):
    spec = gym.spec(env_id)
    assert gym.envs.registration.EnvSpec.from_json(spec.to_json()) == spec


def test_an_unknown_family_is_refused_with_the_nearest_id():
    with pytest.raises(TaskError, match=r"'metarobot/Girp-v0', .*mean 'metarobot/Grip-v0'\?"):
        make_env("metarobot/Girp-v0", 1)


# The length of an episode.


def count_steps(env):
    """Control steps until every episode has ended."""
    env.reset(seed=0)
    for step in range(1, 500):
        _, _, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape, np.float32))
        assert not np.any(terminated)
        if np.all(truncated):
            return step
    raise AssertionError("no episode has ended")


MAKERS = {
    "make": gym.make,
    "make_vec": lambda env_id, **kwargs: gym.make_vec(env_id, num_envs=2, **kwargs),
    "sync": lambda env_id, **kwargs: gym.make_vec(
        env_id, num_envs=2, vectorization_mode="sync", **kwargs
    ),
}
LIMITS = [  # horizon, Gymnasium's limit; as a change to the family's own, None for not given
    (None, None),
    (-3, None),
    (+3, None),
    (None, -3),
    (+3, -3),
    (-3, -5),
    (-5, -3),
    (+5, +3),
]


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(("horizon", "limit"), LIMITS)
def test_the_spec_knows_how_long_episodes_are(maker, horizon, limit):
    env_id = "metarobot/Grip-v0"
    own = FAMILIES[env_id].default_horizon
    options = {"horizon": horizon, "max_episode_steps": limit}
    options = {name: own + change for name, change in options.items() if change is not None}
    env = MAKERS[maker](env_id, **options)
    length = min([options.get("horizon", own), options.get("max_episode_steps", own + 99)])
    assert count_steps(env) == length
    spec = env.envs[0].spec if maker == "sync" else env.spec
    if maker != "make_vec":  # Gymnasium's wrapper knows its own limit only, were it the longer one
        length = options.get("max_episode_steps", length)
    assert spec.max_episode_steps == length
    env.close()


@pytest.mark.parametrize("horizon", [None, 3, 40])
def test_what_is_made_of_a_spec_has_episodes_of_the_same_length(horizon):
    env_id = "metarobot/Grip-v0"
    first = gym.make(env_id, horizon=horizon)
    for again in (gym.make(first.spec), gym.make_vec(first.spec, num_envs=2)):
        assert again.spec.max_episode_steps == count_steps(again) == first.spec.max_episode_steps
    batch = gym.make_vec(env_id, num_envs=2, horizon=horizon)
    again = gym.make_vec(batch.spec)
    assert again.spec.max_episode_steps == count_steps(again) == batch.spec.max_episode_steps


def test_wrappers_that_ask_for_the_length_get_it():
    env = gym.wrappers.TimeAwareObservation(gym.make("metarobot/Grip-v0"), normalize_time=True)
    env.reset(seed=0)
    truncated = False
    while not truncated:
        observation, _, _, truncated, _ = env.step(np.zeros(env.action_space.shape, np.float32))
        assert observation in env.observation_space
    assert observation[-1] == 1.0


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1, got 0"):
        make_env("metarobot/Grip-v0", 1, max_episode_steps=0)
