"""Adapting to tasks: collect adaptation episodes, learn from them, and again."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.envs.checked_numbers import show
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
        _, advantages, adapted = adapt_once(algorithm, params, episodes)
        if step > 0 and later_step_length != 1.0:
            adapted = _part_of_the_way(params, adapted, later_step_length)
        params = adapted
        yield AdaptationStep(episodes, advantages, params)


def adapt_once(algorithm: Algorithm[Any], params: Params, episodes: Episodes) -> AdaptationStep:
    """Learn from one block of adaptation episodes.

    Args:
        algorithm: How it is learned from.
        params: Parameters the episodes were collected with, each leaf (N, ...).
        episodes: Adaptation episodes (N, E, T).

    Raises:
        ValueError: The algorithm returns other names or shapes than those of the parameters.
    """
    advantages = algorithm.adaptation_advantages(params, episodes)
    adapted = algorithm.adapt(params, episodes, advantages)
    if wrong := _what_is_wrong(params, adapted):
        raise ValueError(f"{algorithm.config.algorithm}.adapt {wrong}")
    return AdaptationStep(episodes, advantages, adapted)


def _what_is_wrong(params: Params, adapted: Any) -> str | None:
    """Say in which name or shape adapted parameters differ from those before; None for nothing."""
    if not isinstance(adapted, Mapping):
        return f"must return the adapted parameters as a dict, got a {type(adapted).__name__}"
    if lacking := [name for name in params if name not in adapted]:
        return f"must return every leaf of the parameters, but {lacking[0]} is missing"
    if unknown := [name for name in adapted if name not in params]:
        return f"must return the leaves of the parameters alone, got {show(unknown[0])} as well"
    for name, leaf in params.items():
        found = getattr(adapted[name], "shape", None)
        if found != leaf.shape:
            got = type(adapted[name]).__name__ if found is None else tuple(found)
            return f"must return {name} as a tensor of shape {tuple(leaf.shape)}, got {got}"
    return None


def _part_of_the_way(start: Params, end: Params, part: float) -> Params:
    """Return the parameters at a part of the way from start to end."""
    return {name: torch.lerp(leaf, end[name], part) for name, leaf in start.items()}
