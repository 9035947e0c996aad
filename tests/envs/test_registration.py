"""Ids make the right classes, with and without `import metarobot`."""

import subprocess
import sys

import gymnasium as gym
import pytest

from metarobot.envs import FAMILIES, TaskError, TaskVectorEnv, make_env, register_families


def test_make_gives_the_single_environment(env_id):
    env = gym.make(env_id, horizon=5)
    assert type(env.unwrapped) is FAMILIES[env_id]
    assert env.unwrapped.vector_env.horizon == 5
    env.close()


def test_make_finds_the_package_by_the_prefix(env_id):
    env = gym.make(f"metarobot:{env_id}")
    assert type(env.unwrapped) is FAMILIES[env_id]
    env.close()


def test_the_prefix_alone_imports_the_package(tmp_path):
    code = (
        "import gymnasium as gym\n"
        "env = gym.make('metarobot:metarobot/Grip-v0')\n"
        "print(type(env.unwrapped).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("GripEnv\n", "")
    assert not list(tmp_path.iterdir())  # no MUJOCO_LOG.TXT


def test_make_vec_gives_the_native_batch(env_id):
    env = gym.make_vec(env_id, num_envs=3, horizon=5)
    assert type(env.unwrapped) is FAMILIES[env_id].vector_class
    assert (env.num_envs, env.unwrapped.horizon) == (3, 5)
    assert isinstance(env.metadata["autoreset_mode"], gym.vector.AutoresetMode)
    env.close()


def test_make_vec_can_also_stack_single_environments(env_id):
    env = gym.make_vec(env_id, num_envs=2, vectorization_mode="sync")
    assert type(env.envs[0].unwrapped) is FAMILIES[env_id]
    env.close()


def test_a_spec_can_be_written_and_read(env_id):
    spec = gym.spec(env_id)
    assert gym.envs.registration.EnvSpec.from_json(spec.to_json()) == spec


def test_registering_again_changes_nothing(env_id):
    before = gym.spec(env_id)
    register_families()
    assert gym.spec(env_id) is before


def test_make_env_gives_the_batch_itself(env_id):
    env = make_env(env_id, 2)
    assert isinstance(env, TaskVectorEnv)
    assert env.num_envs == 2


def test_an_unknown_family_is_refused_with_the_nearest_id():
    with pytest.raises(TaskError, match=r"'metarobot/Girp-v0', .*mean 'metarobot/Grip-v0'\?"):
        make_env("metarobot/Girp-v0", 1)
