"""Remaining life as few-shot tasks: a task is a part of a machine, seen up to one of its checks.

What a learner may adapt from is what is known at that check:

* checks of the part before this one, with their remaining life, if the machine has worn one out;
* the part's own checks so far, with the health index of the check after each.

What it is judged by is the remaining life at this check and at later ones.  That of the training
machines is known, as all of their parts have been replaced.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from metarobot.few_shot import Examples, FewShotTasks
from metarobot.remaining_life.lives import Lives

EARLIER, OWN = 8, 8
"""Support examples of the part before, and of the part itself."""
SUPPORT = EARLIER + OWN
SCALE_CYCLES = 50.0
"""Networks predict the logarithm of remaining cycles over so many."""

_NEXT_INDEX, _KNOWN_LIFE, _LIFE = 0.0, 1.0, 2.0  # kinds of examples
_LOWEST_SCALE, _HIGHEST_SCALE = 0.03, 1.5


def life_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each example, (S,).

    Args:
        outputs: Health index of the next check, and mean and raw scale of the logarithm of the
            remaining life, (S, 3).
        targets: Weight, kind and value of each example, (S, 3).
    """
    weight, kind, value = targets.unbind(-1)
    index_error = (outputs[:, 0] - value).square()
    error = outputs[:, 1] - value
    scale = scale_of(outputs)
    likelihood = 0.5 * (error / scale).square() + torch.log(scale)
    loss = torch.where(kind == _NEXT_INDEX, index_error, likelihood)
    return weight * torch.where(kind == _KNOWN_LIFE, error.square(), loss)


def scale_of(outputs: Tensor) -> Tensor:
    """Return the standard deviation of the logarithm of remaining life, from outputs (..., 3)."""
    share = torch.sigmoid(outputs[..., 2])
    return _LOWEST_SCALE + (_HIGHEST_SCALE - _LOWEST_SCALE) * share


def sample_tasks(
    generator: np.random.Generator, lives: Lives, inputs: np.ndarray, num_tasks: int
) -> FewShotTasks:
    """Draw tasks: parts of machines, each seen up to some check.

    Every check of the fleet is as likely as every other, and so are the next ones as queries.
    Shares of lives instead would take checks of one age from short lives more often: whoever
    learns from those predicts too little.

    Args:
        generator: All of the chance.
        lives: Of training machines.
        inputs: What a network reads at every check, (M, P, K, D).
        num_tasks: N.
    """
    checked = np.arange(lives.index.shape[2]) < lives.num_checks[:, :, None]
    machine, part, check = np.nonzero(checked)
    drawn = generator.integers(len(machine), size=num_tasks)
    machine, part, check = machine[drawn], part[drawn], check[drawn]
    later = check[:, None] + np.arange(SUPPORT)
    last = lives.num_checks[machine, part][:, None] - 1
    query = _life_examples(lives, inputs, machine, part, np.minimum(later, last), _LIFE)
    query.targets[:, :, 0] = torch.from_numpy(later <= last)
    return FewShotTasks(support_at(lives, inputs, machine, part, check), query)


def support_at(
    lives: Lives, inputs: np.ndarray, machine: np.ndarray, part: np.ndarray, check: np.ndarray
) -> Examples:
    """Return what is known at a check of a part, (N, SUPPORT, ...), from their numbers (N,)."""
    before = np.maximum(part - 1, 0)
    span = (lives.num_checks[machine, before] - 1)[:, None]
    spaced = np.round(np.linspace(0.0, 1.0, EARLIER) * span).astype(int)
    earlier = _life_examples(lives, inputs, machine, before, spaced, _KNOWN_LIFE)
    earlier.targets[:, :, 0] = torch.from_numpy(part > 0)[:, None]
    own = check[:, None] - OWN + np.arange(OWN)  # each with a next check, which is known
    rows = machine[:, None], part[:, None], np.maximum(own, 0)
    following = lives.index.sum(axis=3)[rows[0], rows[1], rows[2] + 1 * (own >= 0)]
    columns = np.stack([own >= 0, np.full(own.shape, _NEXT_INDEX), following], axis=2)
    examples = Examples(_tensor(inputs[rows]), _tensor(columns))
    return Examples(
        torch.cat([earlier.inputs, examples.inputs], dim=1),
        torch.cat([earlier.targets, examples.targets], dim=1),
    )


def _life_examples(
    lives: Lives,
    inputs: np.ndarray,
    machine: np.ndarray,
    part: np.ndarray,
    check: np.ndarray,
    kind: float,
) -> Examples:
    """Return inputs and remaining lives at checks (N, Q) of parts (N,)."""
    rows = machine[:, None], part[:, None], check
    value = np.log(lives.remaining_cycles[rows] / SCALE_CYCLES)
    columns = np.stack([np.ones_like(value), np.full(value.shape, kind), value], axis=2)
    return Examples(_tensor(inputs[rows]), _tensor(columns))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
