"""Adapting to tasks: collect adaptation episodes, learn from them, and again."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.policies import GaussianPolicy, Params
from metarobot.rollout.episodes import Episodes


class Collect(Protocol):
    """Collects a block of adaptation episodes, wherever they come from."""

    def __call__(self, step: int, policy: GaussianPolicy, params: Params, /) -> Episodes:
        """Return episodes (N, E, T).

        Args:
            step: Adaptation steps taken before.
            policy: The policy that explores.
            params: Its parameters, each leaf (N, ...).
        """
        ...


class AdaptationStep(NamedTuple):
    """What one adaptation step learned from, and what it led to."""

    episodes: Episodes
    """Adaptation episodes (N, E, T)."""
    advantages: Tensor
    """Their advantages (N, E, T)."""
    params: Params
    """Adapted parameters, each leaf (N, ...)."""


def adapt_in_steps(
    algorithm: Algorithm[Any],
    params: Params,
    num_steps: int,
    collect: Collect,
    later_step_length: float = 1.0,
) -> Iterator[AdaptationStep]:
    """Collect adaptation episodes and adapt to them, again and again.

    Args:
        algorithm: How a block of episodes is learned from.
        params: Parameters to begin with, each leaf (N, ...).
        num_steps: K, adaptation steps.
        collect: Collects the episodes of a step.
        later_step_length: How far every step after the first goes, as a part of the whole step.

    Yields:
        Every adaptation step, as soon as it is taken.
    """
    for step in range(num_steps):
        episodes = collect(step, algorithm.exploring_policy, params)
        advantages = algorithm.adaptation_advantages(params, episodes)
        adapted = algorithm.adapt(params, episodes, advantages)
        if step > 0 and later_step_length != 1.0:
            adapted = _part_of_the_way(params, adapted, later_step_length)
        params = adapted
        yield AdaptationStep(episodes, advantages, params)


def _part_of_the_way(start: Params, end: Params, part: float) -> Params:
    """Return the parameters at a part of the way from start to end."""
    return {name: torch.lerp(leaf, end[name], part) for name, leaf in start.items()}
