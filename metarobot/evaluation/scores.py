"""Scores: what policies reached on the tasks of a task set, before anything is averaged over them.

Shape letters: N tasks. Once seeds are joined, every array (N,) is an array (S, N).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metarobot.rollout.episodes import Episodes


class Scores(NamedTuple):
    """What a policy reached on each task, averaged over that task's episodes."""

    returns: np.ndarray  # (N,)
    success: np.ndarray  # (N,)

    @classmethod
    def of(cls, episodes: Episodes) -> Scores:
        """Average over episodes."""
        success = episodes.success.double().mean(dim=1)
        return cls(episodes.returns.double().mean(dim=1).numpy(), success.numpy())

    @classmethod
    def mean(cls, blocks: Sequence[Scores]) -> Scores:
        """Average over blocks of as many episodes each."""
        return cls(*(np.mean(parts, axis=0) for parts in zip(*blocks, strict=True)))


class Stage(NamedTuple):
    """Where a policy stands after some number of adaptation episodes."""

    num_episodes: int
    """Adaptation episodes of each task so far."""
    judged: Scores
    """What the policy is judged by: without action noise unless asked for."""
    adapting: Scores | None
    """What it reached in the adaptation episodes themselves; None before the first."""


class TaskSetScores(NamedTuple):
    """What one policy reached on one task set."""

    by_episodes: list[Stage]
    """Before adapting, and after one block of each number of adaptation episodes that was asked
    for."""
    by_blocks: list[Stage]
    """After 0, 1, .. blocks, one after the other."""
    exploring: list[Scores]
    """Episodes with the action noise of adaptation episodes after 0, 1, .. blocks; with the
    policy's own noise where it never adapts."""


def join_stages(seeds: Sequence[Sequence[Stage]]) -> list[Stage]:
    """Return the stages of several seeds as one, each array (S, N)."""
    joined = []
    for stages in zip(*seeds, strict=True):
        adapting = [stage.adapting for stage in stages if stage.adapting]
        judged = _join([stage.judged for stage in stages])
        joined.append(Stage(stages[0].num_episodes, judged, _join(adapting) if adapting else None))
    return joined


def join_seeds(seeds: Sequence[TaskSetScores]) -> TaskSetScores:
    """Return the scores of several seeds as one, each array (S, N)."""
    return TaskSetScores(
        by_episodes=join_stages([seed.by_episodes for seed in seeds]),
        by_blocks=join_stages([seed.by_blocks for seed in seeds]),
        exploring=[_join(scores) for scores in zip(*(s.exploring for s in seeds), strict=True)],
    )


def _join(seeds: Sequence[Scores]) -> Scores:
    return Scores(*map(np.stack, zip(*seeds, strict=True)))
