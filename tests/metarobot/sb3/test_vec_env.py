"""The bridge against Stable-Baselines3's own vector environment of single environments."""

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from metarobot.envs import TaskEnv, find_variant, make_env
from metarobot.sb3 import SB3VecEnv

GRIP, NAVIGATION = "metarobot/Grip-v0", "metarobot/PointNavigation-v0"
N = 3


@pytest.fixture
def grip():
    env = SB3VecEnv(make_env(GRIP, N, horizon=3, num_threads=1))
    yield env
    env.close()


def both(env_id, **kwargs):
    """The bridge, and what Stable-Baselines3 makes of single environments with the same tasks."""
    env = make_env(env_id, N, num_threads=1, **kwargs)
    env.set_tasks(env.distribution.sample(np.random.default_rng(0), N))
    singles = [TaskEnv(env_id, num_threads=1, **kwargs) for _ in range(N)]
    for sim, single in enumerate(singles):
        single.set_tasks(env.tasks.rows([sim]))
    return SB3VecEnv(env), DummyVecEnv([lambda s=single: s for single in singles])


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        (GRIP, {"horizon": 5}),
        (NAVIGATION, {"horizon": 9, "observe_task": True}),
        ("metarobot/Reach-v0", {"horizon": 4, "variant": find_variant("dropped_frames")}),
        ("metarobot/Reach-v0", {"horizon": 4, "variant": find_variant("noisy_encoder")}),
    ],
)
def test_equal_bit_for_bit_to_single_environments(env_id, kwargs):
    ours, theirs = both(env_id, **kwargs)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    rng = np.random.default_rng(1)
    for seed in (3, None):  # the second time the generators go on
        if seed is not None:
            assert ours.seed(seed) == theirs.seed(seed)
        np.testing.assert_array_equal(ours.reset(), theirs.reset())
        for _ in range(13):
            action = rng.uniform(-1, 1, (N, *ours.action_space.shape)).astype(np.float32)
            results, expected = ours.step(action), theirs.step(action)
            for one, other in zip(results[:3], expected[:3], strict=True):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)
            for ended, info, other in zip(results[2], results[3], expected[3], strict=True):
                if not ended:
                    assert info == {}
                    continue
                last, wanted = info.pop("terminal_observation"), other.pop("terminal_observation")
                np.testing.assert_array_equal(last, wanted)
                assert info == other


def test_episodes_that_end_early_are_no_time_limit():
    env = make_env(NAVIGATION, 2, horizon=50, num_threads=1)
    distribution = env.distribution
    x, y = distribution.names
    env.set_tasks(distribution.with_values({x: [0.05, 0.4], y: [0.0, 0.4]}))
    vec_env = SB3VecEnv(env)
    vec_env.reset()
    infos = {}
    for step in range(50):
        action = np.clip((env._goal - env._qpos) / 0.1, -1, 1)  # straight to the goal
        observations, _, ended, step_infos = vec_env.step(action)
        for sim in np.flatnonzero(ended):
            infos.setdefault(sim, (step, step_infos[sim], observations[sim]))
    (first, info, shown), (second, *_) = infos[0], infos[1]
    assert first < second < 49
    assert info["TimeLimit.truncated"] is False
    assert info["is_success"] is True
    assert np.abs(info["terminal_observation"] - [0.05, 0.0]).max() < 0.02
    assert not np.array_equal(shown, info["terminal_observation"])  # that of the next episode


def test_an_unstable_simulation_ends_its_episode_and_the_learner_sees_only_numbers(grip):
    grip.reset()
    grip.env.batch.bind("qvel")[1] = np.nan
    observations, rewards, ended, infos = grip.step(np.zeros((N, 1), np.float32))
    assert ended.tolist() == [False, True, False]
    assert infos[1]["sim_unstable"] is True
    assert infos[1]["TimeLimit.truncated"] is True
    assert np.isfinite(infos[1]["terminal_observation"]).all()
    assert np.isfinite(observations).all()
    assert np.isfinite(rewards).all()
    assert grip.step(np.zeros((N, 1), np.float32))[2].tolist() == [False, False, False]
    assert grip.step(np.zeros((N, 1), np.float32))[2].tolist() == [True, False, True]


def test_ppo_learns_on_it_within_the_usual_wrappers():
    env = make_env(GRIP, 8, num_threads=1)
    env.set_tasks(env.distribution.sample(np.random.default_rng(0), 4))
    wrapped = VecNormalize(VecMonitor(SB3VecEnv(env)))
    model = PPO("MlpPolicy", wrapped, n_steps=32, batch_size=64, n_epochs=2, seed=0, device="cpu")
    before = model.policy.action_net.weight.detach().clone()
    model.learn(256)
    assert model.num_timesteps == 256
    assert not np.array_equal(before.numpy(), model.policy.action_net.weight.detach().numpy())
    episodes = list(model.ep_info_buffer)
    assert len(episodes) == len(model.ep_success_buffer) == 256 // env.horizon
    assert {episode["l"] for episode in episodes} == {env.horizon}
