"""Prototypes: a task as the mean of what its episodes are embedded as.

Source: Snell et al. 2017, prototypical networks, arXiv:1703.05175.
"""

import torch
from torch import Tensor
from torch.func import grad_and_value, vjp

from metarobot.learning.distributed import Workers
from metarobot.policies import EpisodeEncoder, Params, embed, flatten_params, repeat_params

TEMPERATURE = 0.1
"""Squared distance that makes a prototype e times less likely."""

_NEVER = -1e9
"""Log-odds of a task without a prototype; finite, for the sake of the gradient."""


def prototypes(embeddings: Tensor, counts: Tensor) -> Tensor:
    """Return the mean embedding of every task.

    Args:
        embeddings: (N, E, D).
        counts: 1.0 where an episode counts (N, E).

    Returns:
        Prototypes (N, D), 0 for a task of which no episode counts.
    """
    total = (embeddings * counts[..., None]).sum(1)
    return total / counts.sum(1, keepdim=True).clamp(min=1.0)


def prototypical_losses(embeddings: Tensor, counts: Tensor) -> Tensor:
    """-log p(n | z) of every task's queries, with p(m | z) ∝ exp(-‖z - c_m‖² / temperature).

    Every other episode supports its task's prototype c_n, the rest are queries.

    Args:
        embeddings: z of all tasks that are told apart (N, E, D).
        counts: 1.0 where an episode counts (N, E).

    Returns:
        The mean over the queries of every task (N,), to be minimised; 0 for a task without queries
        or without support, which is no candidate for the queries of the others either.
    """
    support, queries = embeddings[:, 0::2], embeddings[:, 1::2]
    known = counts[:, 0::2].any(1)
    centres = prototypes(support, counts[:, 0::2])
    squared = (queries[:, :, None] - centres).square().sum(-1)  # (N, Q, N)
    log_odds = (-squared / TEMPERATURE).masked_fill(~known, _NEVER)
    own = torch.log_softmax(log_odds, dim=-1).diagonal(dim1=0, dim2=2).T  # (N, Q)
    weights = counts[:, 1::2] * known[:, None]
    return -(own * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def proximity_losses(embeddings: Tensor, anchors: Tensor) -> Tensor:
    """Mean of ‖z - anchor‖² / temperature over the episodes of every task, (N,).

    Distances between embeddings say nothing of where all of them lie, so that they would wander,
    and whoever reads them could not follow.
    """
    return (embeddings - anchors).square().sum(-1).mean(1) / TEMPERATURE


def encoder_gradient_rows(
    encoder: EpisodeEncoder,
    params: Params,
    steps: tuple[Tensor, Tensor],
    anchors: Tensor,
    workers: Workers,
) -> Tensor:
    """Return loss and gradient of every task of all processes (N, 1 + P).

    The loss couples tasks by their prototypes. So embeddings are gathered, every process takes the
    derivative with respect to all of them, and carries it back through those of its own tasks.

    Args:
        encoder: The skeleton.
        params: Its parameters, each leaf in its own shape.
        steps: Features (n, E, T, F) and mask (n, E, T) of this process' tasks.
        anchors: Where their embeddings should stay near (n, E, D).
        workers: The processes that hold the other tasks.
    """
    features, mask = steps
    theta = repeat_params(params, len(mask))
    embeddings, pull_back, *_ = vjp(lambda theta: embed(encoder, theta, features, mask), theta)
    everyone, anchors = workers.gather(embeddings), workers.gather(anchors)
    counts = workers.gather(episode_counts(mask))

    def total(embeddings: Tensor) -> tuple[Tensor, Tensor]:
        losses = prototypical_losses(embeddings, counts) + proximity_losses(embeddings, anchors)
        return losses.sum(), losses

    gradient, (_, losses) = grad_and_value(total, has_aux=True)(everyone)
    own = workers.share(len(everyone))
    rows = flatten_params(pull_back(gradient[own.start : own.stop])[0])
    return torch.cat([losses[:, None], workers.gather(rows)], dim=1)


def episode_counts(mask: Tensor) -> Tensor:
    """Return 1.0 for every episode with a step that counts, from masks (..., T)."""
    return mask.any(-1).to(mask.dtype)
