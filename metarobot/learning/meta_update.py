"""A meta-update: its data and report, objectives, and their gradient for each task.

Every task has its own copy of θ, so that one reverse pass gives the gradient of every task. The
rows of all processes are gathered, and their mean does not depend on the assignment of tasks.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.func import grad_and_value

from metarobot.learning.chunks import STEPS_AT_ONCE, task_chunks
from metarobot.learning.distributed import Workers
from metarobot.machine import map_on_threads
from metarobot.policies import (
    Distribution,
    Params,
    flatten_params,
    kl_divergence,
    log_prob,
    repeat_params,
)
from metarobot.rollout.episodes import Episodes


@dataclass(frozen=True, kw_only=True)
class MetaBatch:
    """All the data of one meta-update: N tasks before and after adaptation."""

    pre_episodes: tuple[Episodes, ...]
    """K blocks (N, E, T); block k was collected after k adaptation steps."""
    pre_advantages: tuple[Tensor, ...]
    """Their advantages, K times (N, E, T)."""
    post_episodes: Episodes
    """Episodes (N, E, T) of the adapted policies."""
    post_advantages: Tensor
    """Their advantages (N, E, T)."""
    task_codes: Tensor | None = None
    """Task code of the policy in each of them, (N, E, C); None if it has none."""
    spent: float = 1.0
    """Share of the budget of meta-iterations that was spent before it."""

    @property
    def blocks(self) -> tuple[Episodes, ...]:
        """All K + 1 blocks of episodes."""
        return (*self.pre_episodes, self.post_episodes)

    def rows(self, tasks: slice) -> "MetaBatch":
        """Return the data of some tasks, as views."""
        return self._of_each(lambda block: block.rows(tasks), lambda block: block[tasks])

    def first(self, num_episodes: int) -> "MetaBatch":
        """Return the first episodes of every task and block."""
        return self._of_each(lambda b: b.first(num_episodes), lambda b: b[:, :num_episodes])

    def _of_each(
        self, episodes: Callable[[Episodes], Episodes], tensor: Callable[[Tensor], Tensor]
    ) -> "MetaBatch":
        return MetaBatch(
            pre_episodes=tuple(map(episodes, self.pre_episodes)),
            pre_advantages=tuple(map(tensor, self.pre_advantages)),
            post_episodes=episodes(self.post_episodes),
            post_advantages=tensor(self.post_advantages),
            task_codes=None if self.task_codes is None else tensor(self.task_codes),
            spent=self.spent,
        )


class UpdateReport(NamedTuple):
    """Result of a meta-update."""

    surrogate_before: float
    surrogate_after: float
    kl: float
    """Mean KL divergence between adapted policies, before and after the update."""
    line_search_steps: int
    """Step lengths tried; 0 where there is no line search."""
    accepted: bool
    rejected_tasks: tuple[int, ...] = ()
    """Tasks of the meta-batch with a non-finite loss or gradient: one stops the update."""
    encoder_loss: float | None = None
    """Loss of a task encoder before its part of the update; None without an encoder."""

    @classmethod
    def rejection(cls, rejected_tasks: tuple[int, ...]) -> "UpdateReport":
        """Report an update that was rejected because of these tasks."""
        return cls(math.nan, math.nan, 0.0, 0, False, rejected_tasks)


STEPS_KEPT = 2 * STEPS_AT_ONCE
"""Greatest number of control steps with graphs kept between Fisher products."""


def chunks_of_batch(batch: MetaBatch) -> list[slice]:
    """Share out the tasks of a meta-batch by the control steps in all of its blocks."""
    steps = sum(block.num_episodes * block.horizon for block in batch.blocks)
    return task_chunks(batch.post_episodes.num_tasks, steps)


def num_kept(batch: MetaBatch) -> int:
    """Return the number of chunks of a meta-batch that keep their graphs, at least one."""
    chunks = chunks_of_batch(batch)
    steps = sum(block.rewards.numel() for block in batch.blocks)
    return max(1, len(chunks) * STEPS_KEPT // steps)


def join_distributions(parts: Sequence[Distribution]) -> Distribution:
    """Join the distributions of chunks: mean (N, ..., A) and log_std (N, A)."""
    if len(parts) == 1:
        return parts[0]
    means, log_stds = zip(*parts, strict=True)
    return Distribution(torch.cat(means), torch.cat(log_stds))


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

    def metric_map(self, params: Params, batch: MetaBatch) -> Callable[[Params], Distribution]:
        """Return θ_n -> π_{θ'_n} near θ, whose Jacobian at θ makes the metric of TRPO."""
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

    def metric_map(self, params: Params, batch: MetaBatch) -> Callable[[Params], Distribution]:
        """Return θ_n -> π_{θ'_n} near θ, whose Jacobian at θ makes the metric of TRPO."""
        del params
        return lambda theta: self.adapted_distribution(theta, batch)

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> loss of every task (N,), to be minimised, and π_{θ'_n}."""
        distribution = self.adapted_distribution(params, batch)
        return surrogates(distribution, batch.post_episodes, batch.post_advantages), distribution

    def of_tasks(self, tasks: slice) -> Self:
        """Return the objective of some tasks: itself, as it holds no data of tasks."""
        del tasks
        return self


def per_task_gradients(
    objective: MetaObjective, params: Params, batch: MetaBatch, workers: Workers
) -> tuple[Tensor, Distribution]:
    """Return loss and gradient of every task of all processes (N, 1 + D), and π_{θ'} held here."""
    parts = map_on_threads(
        lambda tasks: _gradients_of_chunk(objective.of_tasks(tasks), params, batch.rows(tasks)),
        chunks_of_batch(batch),
    )
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
    """Measure a candidate θ, each leaf in its own shape, on the tasks that are held here.

    Returns:
        Loss, and KL divergence from the old to the new adapted policy, of every task: (n, 2).
    """

    def measure(tasks: slice) -> Tensor:
        part = batch.rows(tasks)
        theta = repeat_params(params, part.post_episodes.num_tasks)
        losses, new = objective.of_tasks(tasks).losses(theta, part)
        before = Distribution(old.mean[tasks], old.log_std[tasks])
        divergences = kl_divergences(before, new, part.post_episodes)
        return torch.stack([losses, divergences], dim=1)

    return torch.cat(map_on_threads(measure, chunks_of_batch(batch)))


def rejected_rows(rows: Tensor) -> tuple[int, ...]:
    """Return the tasks with a number that is not finite in their rows (N, ...)."""
    return tuple((~rows.isfinite().all(dim=1)).nonzero().flatten().tolist())
