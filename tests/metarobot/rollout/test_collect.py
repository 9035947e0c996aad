from dataclasses import fields

import numpy as np
import pytest
import torch
from fakes import FakeEnv
from gymnasium.vector import AutoresetMode

from metarobot.envs import Tasks, make_env
from metarobot.policies import Distribution, GaussianMLP, log_prob
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, draw_episodes

N, E, T = 3, 2, 5
POLICY = GaussianMLP([-1.0] * 3, [1.0] * 3, 2, (8,))
TREES = [POLICY.initial_params(torch.Generator().manual_seed(seed)) for seed in range(N)]
PARAMS = {name: torch.stack([tree[name] for tree in TREES]) for name in TREES[0]}
TARGETS = np.array([[0.1, 0.2], [-0.5, 0.0], [0.7, -0.7]])
DRAWS = draw_episodes(0, 0, Phase.PRE_UPDATE, tasks=range(N), episode_shape=(E, T, 2, 2))


def make_episodes():
    env = FakeEnv(N * E, T)
    env.set_tasks(Tasks({"x": TARGETS[:, 0], "y": TARGETS[:, 1]}))
    return collect(env, POLICY, PARAMS, noise=DRAWS.noise, start=DRAWS.start)


def test_episodes_are_those_of_their_tasks_starts_and_noise():
    episodes = make_episodes()
    mean, log_std = POLICY.distribution(PARAMS, episodes.observations)
    log_std = log_std[:, None, None]
    expected = mean + log_std.exp() * torch.from_numpy(DRAWS.noise)
    torch.testing.assert_close(episodes.actions, expected)
    torch.testing.assert_close(episodes.log_probs, log_prob(mean, log_std, expected))
    spots = episodes.observations[:, :, 0, :2]
    torch.testing.assert_close(spots, torch.from_numpy(DRAWS.start * 2 - 1))
    targets = torch.from_numpy(TARGETS).float()[:, None, None]
    earned = 1 - (episodes.actions.clamp(-1, 1) - targets).square().sum(-1)
    torch.testing.assert_close(episodes.rewards, earned)
    assert episodes.mask.min() == 1.0
    torch.testing.assert_close(episodes.returns, earned.sum(-1))
    with pytest.raises(ValueError, match="start holds 3 x 2 episodes, but the environment has 4"):
        collect(FakeEnv(4), POLICY, PARAMS, noise=None, start=DRAWS.start)


def test_what_follows_the_end_is_masked_and_never_simulated():
    env = FakeEnv(N * E, T, terminated_at={0: 1}, unstable_at={3: 2, 4: 0, 5: 4})
    env.set_tasks(Tasks({"x": TARGETS[:, 0], "y": TARGETS[:, 1]}))
    episodes = collect(env, POLICY, PARAMS, noise=DRAWS.noise, start=DRAWS.start)
    whole = make_episodes()
    assert env.num_steps.tolist() == [2, T, T, 3, 1, T]
    assert env.autoreset_mode is AutoresetMode.NEXT_STEP  # as before
    # The step that ends an episode counts; one in which the simulation fails does not.
    lengths = [[2, T], [T, 2], [0, 4]]
    assert episodes.mask.sum(-1).tolist() == lengths
    assert (episodes.mask.cumsum(-1) == torch.arange(1, T + 1)).sum(-1).tolist() == lengths
    assert episodes.unstable.tolist() == [[False, False], [False, True], [True, True]]
    for tensor in (episodes.observations, episodes.actions, episodes.log_probs, episodes.rewards):
        assert torch.isfinite(tensor).all()
    close = 1 - episodes.rewards < 0.1
    assert episodes.success[0, 0] == close[0, 0, 1]
    assert torch.equal(episodes.success[0, 1], close[0, 1, -1])
    assert not episodes.success[2, 1]
    # The observation after the last step that counts is kept.
    final = episodes.final_observations
    assert torch.equal(final[0, 0], whole.observations[0, 0, 2])
    assert torch.equal(final[2, 1], whole.observations[2, 1, 4])
    assert torch.equal(final[0, 1], whole.final_observations[0, 1])
    assert not torch.equal(whole.final_observations, whole.observations[:, :, -1])


@pytest.mark.parametrize("side_by_side", [1, 3, 7])
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


class Greedy:
    """Does what it has earned: 0 where it was not told."""

    def start(self, params):
        self.told = [torch.zeros(N, E)]
        return self

    def begin(self, begins=None):
        pass

    def act(self, observations):
        actions = self.told[-1].nan_to_num()[..., None].expand(N, E, 2)
        return Distribution(actions, torch.zeros(N, 2))

    def observe(self, actions, rewards, counts):
        self.told.append(rewards)


def test_a_reward_blind_policy_is_told_nan_and_its_episodes_hold_what_it_earned():
    def run(policy, hidden=True):
        env = FakeEnv(N * E, T)
        env.set_tasks(Tasks({"x": TARGETS[:, 0], "y": TARGETS[:, 1]}))
        return collect(env, policy, {}, noise=None, start=DRAWS.start, rewards_hidden=hidden)

    policy = Greedy()
    episodes = run(policy)
    assert len(policy.told) == T + 1
    assert torch.stack(policy.told[1:]).isnan().all()
    assert not episodes.actions.any()
    assert run(Greedy(), hidden=False).actions.any()
    expected = (1 - torch.tensor(TARGETS).square().sum(-1))[:, None, None].expand(N, E, T)
    torch.testing.assert_close(episodes.rewards, expected.float())
