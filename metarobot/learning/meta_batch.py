"""Data and report of a meta-update, and tasks in chunks.

Chunks bound the memory of a meta-update. The numbers of a task depend on no other task, and not on
how many tasks are computed together, as long as there are two: a batch of one matrix takes another
path through the libraries. So no chunk holds a single task, unless there is only one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from metarobot.policies import Distribution, Params
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
    """Task code of the policy in each of them, (N, E, C); None if it has none."""

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
    """Result of a meta-update."""

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


STEPS_AT_ONCE = 32_768
"""Control steps of a chunk, in all blocks of its tasks, if two tasks do not hold more.

Second derivatives keep about 4 KB of each step for a policy of two layers of 64 units.
"""

STEPS_KEPT = 2 * STEPS_AT_ONCE
"""Control steps whose graphs are kept from one Fisher product to the next."""


def task_chunks(num_tasks: int, steps_per_task: int) -> list[slice]:
    """Share tasks out into chunks of nearly equal size.

    Args:
        num_tasks: N.
        steps_per_task: Control steps of each task, in all of its blocks.

    Returns:
        Slices that cover 0 .. N - 1 in order. Each holds two tasks or more, unless N is 1.
    """
    wanted = -(-num_tasks * steps_per_task // STEPS_AT_ONCE)
    count = max(1, min(wanted, num_tasks // 2))
    edges = [num_tasks * index // count for index in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def chunks_of_batch(batch: MetaBatch) -> list[slice]:
    """Share out the tasks of a meta-batch by the control steps in all of its blocks."""
    steps = sum(block.num_episodes * block.horizon for block in batch.blocks)
    return task_chunks(batch.post_episodes.num_tasks, steps)


def num_kept(batch: MetaBatch) -> int:
    """Return how many chunks of a meta-batch keep their graphs, the first one always."""
    chunks = chunks_of_batch(batch)
    steps = sum(block.rewards.numel() for block in batch.blocks)
    return max(1, len(chunks) * STEPS_KEPT // steps)


def chunks_of_steps(block: Tensor) -> list[slice]:
    """Share out the tasks of one block (N, E, T)."""
    return task_chunks(block.shape[0], block.shape[1] * block.shape[2])


def params_of(params: Params, tasks: slice) -> Params:
    """Return the leaves (n, ...) of some tasks, from leaves (N, ...); the same ones if of all."""
    return {
        name: leaf if tasks == slice(0, len(leaf)) else leaf[tasks] for name, leaf in params.items()
    }


def join_params(parts: Sequence[Params]) -> Params:
    """Join the leaves of chunks, in the order of the tasks: (N, ...)."""
    if len(parts) == 1:
        return parts[0]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def join_distributions(parts: Sequence[Distribution]) -> Distribution:
    """Join the distributions of chunks: mean (N, ..., A) and log_std (N, A)."""
    if len(parts) == 1:
        return parts[0]
    means, log_stds = zip(*parts, strict=True)
    return Distribution(torch.cat(means), torch.cat(log_stds))


def distribution_of(distribution: Distribution, tasks: slice) -> Distribution:
    """Return the distributions of some tasks."""
    return Distribution(distribution.mean[tasks], distribution.log_std[tasks])
