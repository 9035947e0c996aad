"""Hide rewards: a policy acts, and episodes are learned from, as where nobody measures them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metarobot.policies import Distribution, Params, Policy, PolicyState
from metarobot.rollout.episodes import Episodes


def hide_rewards(episodes: Episodes) -> Episodes:
    """Return episodes (N, E, T) whose rewards are NaN."""
    return replace(episodes, rewards=torch.full_like(episodes.rewards, torch.nan))


@dataclass(frozen=True)
class RewardBlindPolicy:
    """A policy that is never told its rewards, whatever the environment pays."""

    policy: Policy
    """Who acts; it must accept rewards of NaN."""

    def start(self, params: Params) -> PolicyState:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        return _RewardBlindState(self.policy.start(params))


class _RewardBlindState(PolicyState):
    """The policy at work."""

    def __init__(self, state: PolicyState) -> None:
        super().__init__()
        self._state = state

    def begin(self, begins: Tensor | None = None) -> None:
        """Begin episodes."""
        self._state.begin(begins)

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        return self._state.act(observations)

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Pass on actions (N, M, A) and what counts (N, M), and NaN for the rewards (N, M)."""
        self._state.observe(actions, torch.full_like(rewards, torch.nan), counts)
