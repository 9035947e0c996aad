"""The single environment is a batch of one; what is its own is only the unwrapping."""

import numpy as np
import pytest

from metarobot.envs import TaskEnv


@pytest.fixture
def single(env_id):
    env = TaskEnv(env_id, num_threads=1)
    yield env
    env.close()


def test_it_returns_scalars_and_rows(single):
    observation, info = single.reset(seed=0)
    assert observation.shape == single.observation_space.shape
    assert info == {}
    observation, reward, terminated, truncated, info = single.step(single.action_space.sample())
    assert observation.shape == single.observation_space.shape
    assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]
    assert info.keys() == {"is_success", "sim_unstable"}
    assert all(type(value) is bool for value in info.values())


def test_a_given_start_overrides_the_seed(single):
    start = {"start": np.full(single.vector_env.start_size, 0.25)}
    qpos = single.vector_env.batch.bind("qpos")
    starts = []
    for seed in (0, 1):
        single.reset(seed=seed, options=start)
        starts.append(qpos.copy())
    np.testing.assert_array_equal(*starts)


def test_frames_play_at_the_speed_of_the_world(single):
    assert single.metadata["render_fps"] == round(1 / single.vector_env.control_dt_s)
    assert single.metadata["render_modes"] == ["rgb_array"]


def test_without_a_render_mode_nothing_is_rendered(single):
    single.reset(seed=0)
    assert single.render() is None
