"""What a student sees: the last H moves of the present episode, before each of its steps."""

import torch
from torch import Tensor

from metarobot.policies.episode_encoder import CHANGE_UNIT, shift, symlog

WINDOW = 10
"""H, moves that are looked back on."""


def move_size(observation_size: int, action_size: int) -> int:
    """Return F, the number of features of a move."""
    return 2 * (observation_size + action_size)


def moves(observations: Tensor, actions: Tensor) -> Tensor:
    """Describe the moves from each of T steps to the next: where, what came of it, what was done.

    Args:
        observations: Scaled to [-1, 1], (..., T, O).
        actions: In half action ranges, clipped here as the environment clips them, (..., T, A).

    Returns:
        Features (..., T - 1, F): [o_t, log(o_{t+1} - o_t), a_t, a_{t-1}], with the logarithm of
        `transition_features`.
    """
    clipped = actions.clamp(-1.0, 1.0)
    changes = symlog((observations[..., 1:, :] - observations[..., :-1, :]) / CHANGE_UNIT)
    before = shift(clipped, 1)
    return torch.cat(
        [observations[..., :-1, :], changes, clipped[..., :-1, :], before[..., :-1, :]], dim=-1
    )


def windows(made: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is seen before each of T steps.

    Args:
        made: Moves (..., T - 1, F).

    Returns:
        The last H moves (..., T, H, F), and 1.0 where there is one, (..., T, H).
    """
    there = torch.ones_like(made[..., :1])
    rows = torch.cat([made, there], dim=-1)
    empty = rows.new_zeros(*rows.shape[:-2], WINDOW, rows.shape[-1])
    padded = torch.cat([empty, rows], dim=-2)
    seen = padded.unfold(-2, WINDOW, 1).transpose(-1, -2)
    return seen[..., :-1], seen[..., -1]
