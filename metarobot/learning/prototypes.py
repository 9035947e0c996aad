"""Prototypes: a task as the mean embedding of its episodes.

Source: Snell et al. 2017, prototypical networks, arXiv:1703.05175.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value, vjp

from metarobot.learning.chunks import chunks_of_steps
from metarobot.learning.distributed import Workers
from metarobot.machine import map_on_threads
from metarobot.policies import GaussianPolicy, Params, flatten_params, repeat_params
from metarobot.policies.episode_encoder import embed, transition_features
from metarobot.rollout.episodes import Episodes

TEMPERATURE = 0.1
"""Squared distance at which a prototype is e times less likely."""

NEVER = -1e9
"""Log-odds of a task without a prototype; finite, for the sake of the gradient."""


def prototypes(embeddings: Tensor, counts: Tensor) -> Tensor:
    """Return the mean (..., D) of embeddings (..., E, D) that count (..., E); 0 without any."""
    total = (embeddings * counts[..., None]).sum(-2)
    return total / counts.sum(-1, keepdim=True).clamp(min=1.0)


class EmbeddingMoments(NamedTuple):
    """Moments of the embeddings of every task."""

    centres: Tensor
    """Prototypes (N, D)."""
    noise: Tensor
    """Variance of an embedding about that of its task, summed over D, without bias (N,)."""
    spread: Tensor
    """Samples with the variance of tasks about their mean as their unbiased mean, (N,)."""


def embedding_moments(embeddings: Tensor, counts: Tensor) -> EmbeddingMoments:
    """Measure how embeddings (N, E, D) spread within tasks, and tasks among each other.

    Tasks with fewer than two counted episodes are left out.
    """
    several = counts.sum(1) > 1.0
    embeddings, counts = embeddings[several], counts[several]
    centres, number = prototypes(embeddings, counts), counts.sum(1)
    deviations = (embeddings - centres[:, None]).square().sum(-1)
    noise = (deviations * counts).sum(1) / (number - 1.0)
    squared = (centres - centres.mean(0)).square().sum(-1)
    num_tasks = number.new_tensor(len(centres))
    # A single task has no spread between tasks: 0 / 0.
    spread = squared * num_tasks / (num_tasks - 1.0) - noise / number
    return EmbeddingMoments(centres, noise, spread)


def prototypical_losses(embeddings: Tensor, counts: Tensor) -> Tensor:
    """-log p(n | z) of every task's queries, with p(m | z) ∝ exp(-‖z - c_m‖² / temperature).

    Every other episode supports its task's prototype c_n, the rest are queries.  Of embeddings
    (N, E, D), which count (N, E): the mean over a task's queries, (N,).  It is 0 for a task without
    queries or support, which is no candidate for the queries of the others either.
    """
    support, queries = embeddings[:, 0::2], embeddings[:, 1::2]
    known = counts[:, 0::2].any(1)
    centres = prototypes(support, counts[:, 0::2])
    squared = (queries[:, :, None] - centres).square().sum(-1)  # (N, Q, N)
    log_odds = (-squared / TEMPERATURE).masked_fill(~known, NEVER)
    own = torch.log_softmax(log_odds, dim=-1).diagonal(dim1=0, dim2=2).T  # (N, Q)
    weights = counts[:, 1::2] * known[:, None]
    return -(own * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def proximity_losses(embeddings: Tensor, anchors: Tensor) -> Tensor:
    """Mean of ‖z - anchor‖² / temperature over the episodes of every task, (N,).

    Distances between embeddings leave their common position free: it would drift, and the policy
    could not follow.
    """
    return (embeddings - anchors).square().sum(-1).mean(1) / TEMPERATURE


def per_task_encoder_gradients(
    params: Params,
    steps: tuple[Tensor, Tensor],
    anchors: Tensor,
    workers: Workers,
) -> Tensor:
    """Return loss and gradient of every task of all processes (N, 1 + P).

    The loss couples tasks by their prototypes. So embeddings are gathered, every process takes the
    derivative with respect to all of them, and carries it back through those of its own tasks: in
    chunks, which are embedded once more unless there is only one.

    Args:
        params: Those of an `EpisodeEncoder`, each leaf in its own shape.
        steps: Features (n, E, T, F) and mask (n, E, T) of this process' tasks.
        anchors: Points near which their embeddings should stay, (n, E, D).
        workers: The processes that hold the other tasks.
    """
    mask = steps[1]
    chunks = chunks_of_steps(mask)
    only = _embed_chunk(params, steps, chunks[0]) if len(chunks) == 1 else None
    embeddings = only[0] if only else embed_all(params, steps)
    everyone, anchors = workers.gather(embeddings), workers.gather(anchors)
    counts = workers.gather(episode_counts(mask))

    def total(embeddings: Tensor) -> tuple[Tensor, Tensor]:
        losses = prototypical_losses(embeddings, counts) + proximity_losses(embeddings, anchors)
        return losses.sum(), losses

    gradient, (_, losses) = grad_and_value(total, has_aux=True)(everyone)
    share = workers.share(len(everyone))
    own = gradient[share.start : share.stop]

    def pull_back_chunk(tasks: slice) -> Tensor:
        _, pull_back = only or _embed_chunk(params, steps, tasks)
        return flatten_params(pull_back(own[tasks])[0])

    rows = torch.cat(map_on_threads(pull_back_chunk, chunks))
    return torch.cat([losses[:, None], workers.gather(rows)], dim=1)


def step_features(policy: GaussianPolicy, episodes: Episodes, rewards: Tensor) -> Tensor:
    """Return the `transition_features` of the steps of episodes, (N, E, T, F)."""
    observations, following = (
        policy.scale_observations(each)
        for each in (episodes.observations, episodes.next_observations)
    )
    return transition_features(observations, following, episodes.actions, rewards, episodes.mask)


@torch.no_grad()
def embed_all(params: Params, steps: tuple[Tensor, Tensor]) -> Tensor:
    """Embed the episodes of all tasks by the same parameters, in chunks; no graph is kept.

    Steps are features (N, E, T, F) and mask (N, E, T), embeddings (N, E, D).
    """
    features, mask = steps
    parts = map_on_threads(
        lambda tasks: embed(repeat_params(params, len(mask[tasks])), features[tasks], mask[tasks]),
        chunks_of_steps(mask),
    )
    return torch.cat(parts)


def _embed_chunk(
    params: Params, steps: tuple[Tensor, Tensor], tasks: slice
) -> tuple[Tensor, Callable[[Tensor], tuple[Params]]]:
    """Embed the episodes of some tasks: embeddings (n, E, D), and the way back to parameters."""
    features, mask = steps[0][tasks], steps[1][tasks]
    theta = repeat_params(params, len(mask))
    embeddings, pull_back, *_ = vjp(lambda theta: embed(theta, features, mask), theta)
    return embeddings, pull_back


def episode_counts(mask: Tensor) -> Tensor:
    """Return 1.0 for every episode with a step that counts, from masks (..., T)."""
    return mask.any(-1).to(mask.dtype)
