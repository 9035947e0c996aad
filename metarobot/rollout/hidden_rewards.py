"""Hide rewards: a policy acts, and episodes are learned from, as where nobody measures them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metarobot.policies import Actor, Distribution, Params, Policy
from metarobot.rollout.episodes import Episodes


def hide_rewards(episodes: Episodes) -> Episodes:
    """Return episodes (N, E, T) whose rewards are NaN."""
    return replace(episodes, rewards=torch.full_like(episodes.rewards, torch.nan))


@dataclass(frozen=True)
class RewardBlindPolicy:
    """A policy that is never told its rewards, whatever the environment pays."""

    policy: Policy
    """Who acts; it must accept rewards of NaN."""

    def actor(self, params: Params) -> Actor:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        return _RewardBlindActor(self.policy.actor(params))


@dataclass(frozen=True)
class _RewardBlindActor:
    """The policy at work."""

    actor: Actor

    def begin(self) -> None:
        """Begin episodes."""
        self.actor.begin()

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        return self.actor.act(observations)

    def learn(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Pass on actions (N, M, A) and what counts (N, M), and NaN for the rewards (N, M)."""
        self.actor.learn(actions, torch.full_like(rewards, torch.nan), counts)
