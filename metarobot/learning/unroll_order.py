"""In which order a memory meets the steps of a block of episodes."""

import torch
from torch import Tensor

from metarobot.rollout.episodes import Episodes


def one_after_the_other(episodes: Episodes) -> Tensor:
    """Return the order of a trial, whose episodes follow each other, (N, E T).

    Steps that do not count leave no trace in the memory: they come last.
    """
    return episodes.mask.flatten(1).argsort(dim=1, descending=True, stable=True)


def side_by_side(episodes: Episodes) -> Tensor:
    """Return the order of E episodes that each begin anew, all of them in each step, (N, E T)."""
    num_tasks, num_episodes, horizon = episodes.rewards.shape
    order = torch.arange(num_episodes * horizon).view(num_episodes, horizon).T.flatten()
    return order.expand(num_tasks, -1)


def pack(block: Tensor, order: Tensor) -> Tensor:
    """Put steps (N, E, T, ...) into an order, (N, E T, ...)."""
    steps = block.flatten(1, 2)
    return steps.take_along_dim(order.reshape(*order.shape, *[1] * (steps.ndim - 2)), dim=1)


def unpack(steps: Tensor, order: Tensor, like: Tensor) -> Tensor:
    """Undo `pack`: (N, E T, ...) becomes (N, E, T, ...), as of a block (N, E, T)."""
    inverse = order.argsort(dim=1)
    inverse = inverse.reshape(*order.shape, *[1] * (steps.ndim - 2))
    return steps.take_along_dim(inverse, dim=1).unflatten(1, like.shape[1:])
