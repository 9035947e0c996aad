"""Hidden rewards: whatever is paid, the policy does the same, and the episodes tell what it was."""

import numpy as np
import torch
from fakes import FakeEnv

from metarobot.envs import Tasks
from metarobot.policies import Distribution
from metarobot.rollout.collect import RewardBlindPolicy, collect

N, E, T = 2, 3, 4
START = np.full((N, E, 2), 0.5)


class Greedy:
    """Does what it has earned: 0 where it was not told."""

    def start(self, params):
        self.told = [torch.zeros(N, E)]
        return self

    def begin(self, begins=None):
        self.steps = 0

    def act(self, observations):
        actions = self.told[-1].nan_to_num()[..., None].expand(N, E, 2)
        return Distribution(actions, torch.zeros(N, 2))

    def observe(self, actions, rewards, counts):
        self.told.append(rewards)


def run(policy):
    env = FakeEnv(N * E, T)
    env.set_tasks(Tasks({"x": np.array([0.1, 0.7]), "y": np.array([0.2, -0.7])}))
    return collect(env, policy, {}, noise=None, start=START)


def test_a_blind_policy_is_told_nan_in_every_step():
    policy = Greedy()
    episodes = run(RewardBlindPolicy(policy))
    assert len(policy.told) == T + 1
    assert torch.stack(policy.told[1:]).isnan().all()
    assert not episodes.actions.any()
    assert run(Greedy()).actions.any()


def test_the_episodes_of_a_blind_policy_hold_what_it_earned():
    episodes = run(RewardBlindPolicy(Greedy()))
    target = torch.tensor([[0.1, 0.2], [0.7, -0.7]])
    expected = (1 - target.square().sum(-1))[:, None, None].expand(N, E, T)
    torch.testing.assert_close(episodes.rewards, expected)
