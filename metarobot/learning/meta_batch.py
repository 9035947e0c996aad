"""What a meta-update is made from, and what it did."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from metarobot.rollout.episodes import Episodes


@dataclass(frozen=True, kw_only=True)
class MetaBatch:
    """All the data of one meta-update: N tasks before and after adaptation."""

    pre_episodes: tuple[Episodes, ...]
    """K blocks (N, E, T); block k was collected after k adaptation steps."""
    pre_advantages: tuple[Tensor, ...]
    """Their advantages, K times (N, E, T)."""
    post_episodes: Episodes
    """Episodes (N, E, T) of the adapted policies."""
    post_advantages: Tensor
    """Their advantages (N, E, T)."""
    told: Tensor | None = None
    """What the policy was told of the task in each of them, (N, E, C); None if it never is."""

    @property
    def blocks(self) -> tuple[Episodes, ...]:
        """All K + 1 blocks of episodes."""
        return (*self.pre_episodes, self.post_episodes)

    def rows(self, tasks: slice) -> "MetaBatch":
        """Return the data of some tasks, as views."""
        return MetaBatch(
            pre_episodes=tuple(block.rows(tasks) for block in self.pre_episodes),
            pre_advantages=tuple(block[tasks] for block in self.pre_advantages),
            post_episodes=self.post_episodes.rows(tasks),
            post_advantages=self.post_advantages[tasks],
            told=None if self.told is None else self.told[tasks],
        )

    def first(self, num_episodes: int) -> "MetaBatch":
        """Return the first episodes of every task and block."""
        return MetaBatch(
            pre_episodes=tuple(block.first(num_episodes) for block in self.pre_episodes),
            pre_advantages=tuple(block[:, :num_episodes] for block in self.pre_advantages),
            post_episodes=self.post_episodes.first(num_episodes),
            post_advantages=self.post_advantages[:, :num_episodes],
            told=None if self.told is None else self.told[:, :num_episodes],
        )


class UpdateReport(NamedTuple):
    """What a meta-update did."""

    surrogate_before: float
    surrogate_after: float
    kl: float
    """Mean KL divergence between adapted policies, before and after the update."""
    line_search_steps: int
    """Step lengths tried; 0 where there is no line search."""
    accepted: bool
    rejected_tasks: tuple[int, ...] = ()
    """Tasks of the meta-batch whose loss or gradient is not finite: one stops the update."""
    encoder_loss: float | None = None
    """Of a task encoder, before its part of the update; None where there is none to learn."""

    @classmethod
    def rejection(cls, rejected_tasks: tuple[int, ...]) -> "UpdateReport":
        """Report an update that these tasks have stopped before it began."""
        return cls(math.nan, math.nan, 0.0, 0, False, rejected_tasks)
