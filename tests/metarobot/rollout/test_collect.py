from dataclasses import fields

import numpy as np
import pytest
import torch
from fakes import FakeEnv
from gymnasium.vector import AutoresetMode

from metarobot.envs import Tasks, make_env
from metarobot.policies import GaussianMLP, log_prob
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, draw_episodes

N, E, T = 3, 2, 5
POLICY = GaussianMLP([-1.0] * 3, [1.0] * 3, 2, (8,))
TREES = [POLICY.initial_params(torch.Generator().manual_seed(seed)) for seed in range(N)]
PARAMS = {name: torch.stack([tree[name] for tree in TREES]) for name in TREES[0]}
TARGETS = np.array([[0.1, 0.2], [-0.5, 0.0], [0.7, -0.7]])
DRAWS = draw_episodes(0, 0, Phase.PRE_UPDATE, tasks=range(N), episode_shape=(E, T, 2, 2))


def make_episodes(noise=DRAWS.noise, **kwargs):
    env = FakeEnv(N * E, T, **kwargs)
    env.set_tasks(Tasks({"x": TARGETS[:, 0], "y": TARGETS[:, 1]}))
    return collect(env, POLICY, PARAMS, noise=noise, start=DRAWS.start)


def test_actions_are_mean_plus_scaled_noise_and_log_probs_are_theirs():
    episodes = make_episodes()
    mean, log_std = POLICY.distribution(PARAMS, episodes.observations)
    log_std = log_std[:, None, None]
    expected = mean + log_std.exp() * torch.from_numpy(DRAWS.noise)
    torch.testing.assert_close(episodes.actions, expected)
    torch.testing.assert_close(episodes.log_probs, log_prob(mean, log_std, expected))


def test_simulations_belong_to_their_tasks_and_starts():
    episodes = make_episodes()
    spots = episodes.observations[:, :, 0, :2]
    torch.testing.assert_close(spots, torch.from_numpy(DRAWS.start * 2 - 1))
    targets = torch.from_numpy(TARGETS).float()[:, None, None]
    expected = 1 - (episodes.actions.clamp(-1, 1) - targets).square().sum(-1)
    torch.testing.assert_close(episodes.rewards, expected)
    assert episodes.mask.min() == 1.0
    torch.testing.assert_close(episodes.returns, expected.sum(-1))


def test_an_unstable_simulation_is_masked_from_the_step_in_which_it_fails():
    episodes = make_episodes(unstable_at={3: 2, 4: 0})
    assert episodes.mask[1, 1].tolist() == [1, 1, 0, 0, 0]
    assert episodes.mask[2, 0].tolist() == [0, 0, 0, 0, 0]
    assert episodes.mask.sum() == N * E * T - 3 - 5
    blocks = (episodes.observations, episodes.actions, episodes.log_probs, episodes.rewards)
    for tensor in blocks:
        assert torch.isfinite(tensor).all()


def test_steps_after_the_end_are_masked_and_success_is_that_of_the_last_step_that_counts():
    episodes = make_episodes(terminated_at={0: 1}, unstable_at={5: 4})
    assert episodes.mask[0, 0].tolist() == [1, 1, 0, 0, 0]
    close = 1 - episodes.rewards < 0.1
    assert episodes.success[0, 0] == close[0, 0, 1]
    assert torch.equal(episodes.success[0, 1], close[0, 1, -1])
    assert not episodes.success[2, 1]


def test_the_observation_after_the_last_step_that_counts_is_kept():
    episodes, whole = make_episodes(terminated_at={0: 1}, unstable_at={5: 4}), make_episodes()
    assert torch.equal(episodes.final_observations[0, 0], whole.observations[0, 0, 2])
    assert torch.equal(episodes.final_observations[2, 1], whole.observations[2, 1, 4])
    assert torch.equal(episodes.final_observations[1], whole.final_observations[1])
    assert not torch.equal(whole.final_observations, whole.observations[:, :, -1])


def test_starts_must_fill_the_environment():
    with pytest.raises(ValueError, match="start holds 3 x 2 episodes, but the environment has 4"):
        collect(FakeEnv(4), POLICY, PARAMS, noise=None, start=DRAWS.start)


def test_what_has_ended_is_not_stepped_again():
    env = FakeEnv(N * E, T, terminated_at={0: 1}, unstable_at={3: 2})
    env.set_tasks(Tasks({"x": TARGETS[:, 0], "y": TARGETS[:, 1]}))
    collect(env, POLICY, PARAMS, noise=DRAWS.noise, start=DRAWS.start)
    assert env.num_steps.tolist() == [2, T, T, 3, T, T]
    assert env.autoreset_mode is AutoresetMode.NEXT_STEP  # as before


@pytest.mark.parametrize("side_by_side", [1, 2, 3, 5, 7])
def test_rounds_of_any_size_collect_the_same_episodes(side_by_side):
    """Whether the simulations divide the episodes or not; those that are not needed stay still."""
    num_episodes = 5
    shape = (num_episodes, T, 2, 2)
    draws = draw_episodes(1, 0, Phase.PRE_UPDATE, tasks=range(N), episode_shape=shape)

    def episodes_of(env):
        env.set_tasks(Tasks({"x": TARGETS[:, 0], "y": TARGETS[:, 1]}))
        return collect(env, POLICY, PARAMS, noise=draws.noise, start=draws.start)

    env = FakeEnv(N * side_by_side, T)
    found, expected = episodes_of(env), episodes_of(FakeEnv(N * num_episodes, T))
    assert env.num_steps.sum() == N * num_episodes * T
    for field in fields(Episodes):
        torch.testing.assert_close(getattr(found, field.name), getattr(expected, field.name))


def test_a_policy_that_has_diverged_on_one_task_does_not_stop_the_others():
    env = make_env("metarobot/PointNavigation-v0", N * E, horizon=T, num_threads=1)
    env.set_tasks(env.distribution.sample(np.random.default_rng(0), N))
    policy = GaussianMLP([-1.0] * 2, [1.0] * 2, 2, (8,))
    tree = policy.initial_params(torch.Generator().manual_seed(0))
    params = {name: torch.stack([leaf] * N) for name, leaf in tree.items()}
    healthy = collect(env, policy, params, noise=DRAWS.noise, start=DRAWS.start)
    params = {name: leaf.clone() for name, leaf in params.items()}
    for leaf in params.values():
        leaf[1] = torch.nan
    sick = collect(env, policy, params, noise=DRAWS.noise, start=DRAWS.start)
    assert sick.actions[1].isnan().all()
    assert sick.rewards.isfinite().all()
    for task in (0, 2):
        assert torch.equal(sick.rewards[task], healthy.rewards[task])
