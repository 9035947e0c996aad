"""Objectives of a meta-update, and their gradient for each task.

Every task has its own copy of θ, so that one reverse pass gives the gradient of every task. The
rows of all processes are gathered, and their mean does not depend on who held which task. Tasks
are computed in chunks, which bounds the memory and changes no number.
"""

from abc import ABC, abstractmethod
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.func import grad_and_value

from metarobot.learning.distributed import Workers
from metarobot.learning.meta_batch import (
    MetaBatch,
    chunks_of_batch,
    distribution_of,
    join_distributions,
)
from metarobot.policies import (
    Distribution,
    Params,
    flatten_params,
    kl_divergence,
    log_prob,
    repeat_params,
)
from metarobot.rollout.episodes import Episodes


def likelihood_ratios(distribution: Distribution, episodes: Episodes) -> Tensor:
    """π_θ(a_t|o_t) / π_behaviour(a_t|o_t) of every step, (N, E, T)."""
    mean, log_std = distribution
    log_probs = log_prob(mean, log_std[:, None, None], episodes.actions)
    return torch.exp(log_probs - episodes.log_probs)


def surrogates(distribution: Distribution, episodes: Episodes, advantages: Tensor) -> Tensor:
    """L_n = -E_t[π_θ(a_t|o_t) / π_behaviour(a_t|o_t) A_t], to be minimised; (N,)."""
    ratios = likelihood_ratios(distribution, episodes)
    return -(ratios * advantages * episodes.step_weights).sum((1, 2))


def clipped_surrogates(
    distribution: Distribution, episodes: Episodes, advantages: Tensor, clip_ratio: float
) -> Tensor:
    """L_n = -E_t[min(r_t A_t, clip(r_t, 1 ± clip_ratio) A_t)], to be minimised; (N,).

    Source: Schulman et al. 2017, arXiv:1707.06347, equation 7.
    """
    ratios = likelihood_ratios(distribution, episodes)
    clipped = ratios.clamp(1 - clip_ratio, 1 + clip_ratio)
    lower = torch.minimum(ratios * advantages, clipped * advantages)
    return -(lower * episodes.step_weights).sum((1, 2))


def kl_estimates(distribution: Distribution, episodes: Episodes) -> Tensor:
    """E_t[r_t - 1 - log r_t], which estimates KL(π_behaviour,n ‖ π_θ,n) from actions taken; (N,).

    Without bias, as E_t[r_t] = 1, and never negative; value and gradient are 0 where nothing has
    changed.
    """
    mean, log_std = distribution
    log_probs = log_prob(mean, log_std[:, None, None], episodes.actions)
    log_ratios = log_probs - episodes.log_probs
    return ((torch.expm1(log_ratios) - log_ratios) * episodes.step_weights).sum((1, 2))


def kl_divergences(old: Distribution, new: Distribution, episodes: Episodes) -> Tensor:
    """E_t[KL(π_old,n ‖ π_new,n)] on the episodes' observations; (N,)."""
    old_log_std, new_log_std = old.log_std[:, None, None], new.log_std[:, None, None]
    per_step = kl_divergence(old.mean, old_log_std, new.mean, new_log_std)
    return (per_step * episodes.step_weights).sum((1, 2))


class MetaObjective(Protocol):
    """Objective of a meta-update as a function of θ, once for every task."""

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_{θ'_n} on the post-update observations."""
        ...

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> loss of every task (N,), to be minimised, and π_{θ'_n}."""
        ...

    def of_tasks(self, tasks: slice) -> Self:
        """Return the objective of some tasks, for parameters and a batch that hold them alone."""
        ...


class SurrogateObjective(ABC):
    """An algorithm that improves the surrogate of its adapted policies: its own objective."""

    @abstractmethod
    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_{θ'_n} on the post-update observations: mean (N, E, T, A), log_std (N, A)."""

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> what the meta-update lowers, for every task (N,), and π_{θ'_n}."""
        distribution = self.adapted_distribution(params, batch)
        return surrogates(distribution, batch.post_episodes, batch.post_advantages), distribution

    def of_tasks(self, tasks: slice) -> Self:
        """Return the objective of some tasks: the same, as it holds nothing of any."""
        del tasks
        return self


def per_task_gradients(
    objective: MetaObjective, params: Params, batch: MetaBatch, workers: Workers
) -> tuple[Tensor, Distribution]:
    """Return loss and gradient of every task of all processes (N, 1 + D), and π_{θ'} held here."""
    parts = [
        _gradients_of_chunk(objective.of_tasks(tasks), params, batch.rows(tasks))
        for tasks in chunks_of_batch(batch)
    ]
    rows, distributions = zip(*parts, strict=True)
    return workers.gather(torch.cat(rows)), join_distributions(distributions)


def _gradients_of_chunk(
    objective: MetaObjective, params: Params, batch: MetaBatch
) -> tuple[Tensor, Distribution]:
    """Return loss and gradient of every task of a batch (n, 1 + D), and π_{θ'}."""

    def total(theta: Params) -> tuple[Tensor, tuple[Tensor, Distribution]]:
        losses, distribution = objective.losses(theta, batch)
        return losses.sum(), (losses, distribution)

    theta = repeat_params(params, batch.post_episodes.num_tasks)
    gradients, (_, (losses, distribution)) = grad_and_value(total, has_aux=True)(theta)
    return torch.cat([losses[:, None], flatten_params(gradients)], dim=1), distribution


@torch.no_grad()
def losses_and_divergences(
    objective: MetaObjective, params: Params, batch: MetaBatch, old: Distribution
) -> Tensor:
    """Measure a candidate θ on the tasks that are held here.

    Args:
        objective: What a meta-update improves.
        params: θ, each leaf in its own shape.
        batch: Data of these tasks.
        old: π_{θ'} before the update, mean (n, E, T, A) and log_std (n, A).

    Returns:
        Loss, and KL divergence from the old to the new adapted policy, of every task: (n, 2).
    """
    rows = []
    for tasks in chunks_of_batch(batch):
        part = batch.rows(tasks)
        theta = repeat_params(params, part.post_episodes.num_tasks)
        losses, new = objective.of_tasks(tasks).losses(theta, part)
        divergences = kl_divergences(distribution_of(old, tasks), new, part.post_episodes)
        rows.append(torch.stack([losses, divergences], dim=1))
    return torch.cat(rows)


def rejected_rows(rows: Tensor) -> tuple[int, ...]:
    """Return the tasks whose rows (N, ...) hold a number that is not finite."""
    return tuple((~rows.isfinite().all(dim=1)).nonzero().flatten().tolist())
