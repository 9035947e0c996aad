"""Iterative learning control: corrections of a repeated motion, learned from its errors.

After an episode with actions u(k) and errors e(k), the corrections of the next one are

    u(k) <- Q [u(k) + GAIN e(k + lead) / error_of_action],

bounded to [-1, 1]; behind the end of the episode the last error counts.  Q takes a tenth of both
neighbours in time: without it, fast wiggles that the robot answers in another phase grow after
some twenty episodes.

Source: Arimoto, Kawamura and Miyazaki 1984, doi:10.1002/rob.4620010203; Bristow, Tharayil and
Alleyne 2006, doi:10.1109/MCS.2006.1636313.
"""

from typing import Protocol

import torch
from torch import Tensor

GAIN = 0.5
"""Part of an error that one episode corrects: 1 would double noise, and overshoot where a robot
answers more than the motion states."""
_NEIGHBOURS = 0.2
"""Part of a correction that Q takes from the steps before and after."""


class Motion(Protocol):
    """A motion that every episode repeats; see `metarobot.envs.RepeatedMotion`."""

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Observation elements that hold an error, each with the action element against it."""
        ...

    @property
    def error_of_action(self) -> float:
        """Error that an action of 1 corrects."""
        ...

    @property
    def lead_steps(self) -> int:
        """Control steps after which an action shows in its error."""
        ...


def corrected(motion: Motion, actions: Tensor, observations: Tensor) -> Tensor:
    """Return the actions (N, T, A) of the next episode, given those of one, and what it showed.

    Args:
        motion: The motion that episodes repeat.
        actions: (N, T, A); those that correct no error stay as they are.
        observations: Before each step, (N, T, O); T may be smaller.
    """
    length, found = observations.shape[1], actions.clone()
    ahead = (torch.arange(length) + motion.lead_steps).clamp(max=length - 1)
    errors, elements = map(list, zip(*motion.pairs, strict=True))
    raw = found[..., elements]
    raw[:, :length] += GAIN * observations[:, ahead][..., errors] / motion.error_of_action
    before = torch.cat([raw[:, :1], raw[:, :-1]], dim=1)
    after = torch.cat([raw[:, 1:], raw[:, -1:]], dim=1)
    found[..., elements] = (1 - _NEIGHBOURS) * raw + _NEIGHBOURS / 2 * (before + after)
    return found.clamp(-1.0, 1.0)


def mean_square_error(motion: Motion, observations: Tensor, mask: Tensor) -> Tensor:
    """Return the mean square of the errors of episodes in units of the action, (N,).

    Of observations (N, T, O); the mask (N, T) has 1.0 for steps that count.
    """
    errors = observations[..., [error for error, _ in motion.pairs]] / motion.error_of_action
    return (errors.square().mean(-1) * mask).sum(1) / mask.sum(1).clamp(min=1.0)
