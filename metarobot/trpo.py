"""The meta-update: exact second-order MAML-TRPO.

θ ← θ + step along the natural gradient of the post-update surrogate, at most `max_kl` away, where
distance is the KL divergence between ADAPTED policies and everything is differentiated through the
adaptation. Without pre-update episodes this is plain TRPO.

Every task has its own copy of θ, so that one reverse pass gives the gradient of every task, one row
each. The mean over rows is `Workers.mean`, whoever holds them.

Source: Schulman et al. 2015, arXiv:1502.05477, appendix C; Finn et al. 2017, arXiv:1703.03400.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import grad_and_value, vjp

from metarobot.adapt import adapt_through, trial_policy
from metarobot.config import TrainConfig
from metarobot.episodes import Episodes
from metarobot.policies import (
    GaussianMLP,
    Params,
    kl_divergence,
    log_prob,
    policy_distribution,
    repeat_params,
)
from metarobot.workers import ALONE, Workers, mean_over_tasks

_CG_TOLERANCE = 1e-5
"""Relative residual at which conjugate gradients stop: below it float32 products are noise."""


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

    @property
    def blocks(self) -> tuple[Episodes, ...]:
        """All K + 1 blocks of episodes."""
        return (*self.pre_episodes, self.post_episodes)

    def first(self, num_episodes: int) -> "MetaBatch":
        """Return the first episodes of every task and block."""
        return MetaBatch(
            pre_episodes=tuple(block.first(num_episodes) for block in self.pre_episodes),
            pre_advantages=tuple(block[:, :num_episodes] for block in self.pre_advantages),
            post_episodes=self.post_episodes.first(num_episodes),
            post_advantages=self.post_advantages[:, :num_episodes],
        )


class Distribution(NamedTuple):
    """What the adapted policies do on the post-update observations."""

    mean: Tensor  # (N, E, T, A)
    log_std: Tensor  # (N, A)


class TrpoReport(NamedTuple):
    """What a meta-update did."""

    surrogate_before: float
    surrogate_after: float
    kl: float
    line_search_steps: int
    accepted: bool
    refused_tasks: tuple[int, ...] = ()
    """Tasks of the meta-batch whose loss or gradient is not finite: one stops the update."""


def adapted_distribution(
    policy: GaussianMLP, params: Params, batch: MetaBatch, config: TrainConfig
) -> Distribution:
    """θ_n -> π_{θ'_n} on the post-update observations: the map that every derivative here is of.

    Args:
        policy: Policy skeleton.
        params: θ, once for every task, each leaf (N, ...).
        batch: Data of the meta-update.
        config: inner_lr, inner_objective and first_order are used.

    Returns:
        Mean (N, E, T, A) and log_std (N, A).
    """
    adapted = adapt_through(
        trial_policy(policy, config),
        params,
        batch.pre_episodes,
        batch.pre_advantages,
        config.inner_lr,
        config.inner_objective,
        config.first_order,
    )
    observations = batch.post_episodes.observations
    return Distribution(*policy_distribution(policy, adapted, observations))


def surrogates(distribution: Distribution, batch: MetaBatch) -> Tensor:
    """L_n = -E_t[π_{θ'_n}(a_t|o_t) / π_behaviour(a_t|o_t) A_t], to be minimised; (N,)."""
    episodes = batch.post_episodes
    mean, log_std = distribution
    log_probs = log_prob(mean, log_std[:, None, None], episodes.actions)
    ratio = torch.exp(log_probs - episodes.log_probs)
    return -(ratio * batch.post_advantages * episodes.step_weights).sum((1, 2))


def kl_divergences(old: Distribution, new: Distribution, episodes: Episodes) -> Tensor:
    """E_t[KL(π_old,n ‖ π_new,n)] on the episodes' observations; (N,)."""
    old_log_std, new_log_std = old.log_std[:, None, None], new.log_std[:, None, None]
    per_step = kl_divergence(old.mean, old_log_std, new.mean, new_log_std)
    return (per_step * episodes.step_weights).sum((1, 2))


def fisher_product(
    policy: GaussianMLP, params: Params, batch: MetaBatch, config: TrainConfig
) -> Callable[[Params], Params]:
    """Return v_n -> F_n v_n, where F_n is the Hessian of task n's KL divergence at θ.

    F_n = Jᵀ M J, with J the Jacobian of `adapted_distribution` and M the metric of a Gaussian: 1/σ²
    for a mean, 2 for a log standard deviation. J is the transpose of the transpose: Jᵀ u is linear
    in u, so its own reverse pass gives J v. Both graphs are built once; a forward-mode J v would
    cost four times as much.

    Args:
        policy: Policy skeleton.
        params: θ, once for every task, each leaf (N, ...).
        batch: Data, usually a subsample of the meta-batch.
        config: Describes the adaptation.

    Returns:
        A function from a tree like params to a tree like params.
    """

    def distribution(theta: Params) -> Distribution:
        return adapted_distribution(policy, theta, batch, config)

    (mean, log_std), transposed_jacobian, *_ = vjp(distribution, params)
    zero = Distribution(torch.zeros_like(mean), torch.zeros_like(log_std))
    _, jacobian, *_ = vjp(lambda u: transposed_jacobian(u)[0], zero)

    step_weights = batch.post_episodes.step_weights[..., None]  # (N, E, T, 1)
    mean_metric = step_weights * torch.exp(-2 * log_std)[:, None, None]  # (N, E, T, A)

    def product(v: Params) -> Params:
        change = jacobian(v)[0]
        weighted = Distribution(mean_metric * change.mean, 2.0 * change.log_std)
        return transposed_jacobian(weighted)[0]

    return product


def meta_update(
    policy: GaussianMLP,
    params: Params,
    batch: MetaBatch,
    config: TrainConfig,
    workers: Workers = ALONE,
) -> tuple[Params, TrpoReport]:
    """Improve the initialisation θ within the trust region.

    Args:
        policy: Policy skeleton.
        params: θ, each leaf in its own shape.
        batch: Data of this process' tasks, collected with θ and with the policies adapted from it.
        config: Adaptation and trust region.
        workers: The processes that hold the other tasks.

    Returns:
        The new θ and a report. Where a number is not finite or no step length is accepted, θ is
        returned as it came.
    """

    def total(theta: Params) -> tuple[Tensor, tuple[Tensor, Distribution]]:
        distribution = adapted_distribution(policy, theta, batch, config)
        losses = surrogates(distribution, batch)
        return losses.sum(), (losses, distribution)

    theta = repeat_params(params, batch.post_episodes.num_tasks)
    gradients, (_, (losses, old)) = grad_and_value(total, has_aux=True)(theta)
    rows = workers.gather(torch.cat([losses[:, None], flatten(gradients)], dim=1))  # (N, 1 + D)
    if refused := (~rows.isfinite().all(dim=1)).nonzero().flatten().tolist():
        return params, TrpoReport(math.nan, math.nan, 0.0, 0, False, tuple(refused))
    mean = mean_over_tasks(rows)
    before, gradient = float(mean[0]), mean[1:]
    subsample = batch.first(config.fisher_episodes)
    step = _natural_step(policy, params, subsample, gradient, config, workers)
    if step is None:
        return params, TrpoReport(before, before, 0.0, 0, False)
    return _line_search(policy, params, batch, step, old, before, config, workers)


def _natural_step(
    policy: GaussianMLP,
    params: Params,
    batch: MetaBatch,
    gradient: np.ndarray,
    config: TrainConfig,
    workers: Workers,
) -> np.ndarray | None:
    """Solve (F + damping I) s = -g, scaled to the trust region's edge; None where that fails."""
    if not gradient.any():
        return None
    num_tasks = batch.post_episodes.num_tasks
    product = fisher_product(policy, repeat_params(params, num_tasks), batch, config)

    def damped_product(v: np.ndarray) -> np.ndarray:
        tree = unflatten(torch.from_numpy(v).expand(num_tasks, -1), params)
        return workers.mean(flatten(product(tree))) + config.cg_damping * v

    s = conjugate_gradients(damped_product, -gradient, config.cg_iterations)
    # Every iterate of conjugate gradients from 0 fulfils sᵀ (F + damping I) s = -sᵀ g.
    curvature = -_dot(s, gradient)
    if not np.isfinite(s).all() or not curvature > 0.0:
        return None
    return s * np.sqrt(2 * config.max_kl / curvature)


def conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray], b: np.ndarray, iterations: int
) -> np.ndarray:
    """Solve A x = b from x = 0, for a positive definite A.

    scipy's solver takes its inner products from BLAS, whose sums depend on the number of threads;
    these do not, and the parameters that come of it are the same on every machine of a kind.

    Args:
        product: x -> A x.
        b: Right-hand side, (D,) float64.
        iterations: Products at most; fewer where the residual has become noise.

    Returns:
        x, (D,).

    Source: Hestenes and Stiefel 1952, doi:10.6028/jres.049.044.
    """
    x, r, p = np.zeros_like(b), b.copy(), b.copy()
    r_squared, enough = _dot(b, b), _CG_TOLERANCE**2 * _dot(b, b)
    for _ in range(iterations):
        if not r_squared > enough:
            break
        q = product(p)
        step = r_squared / _dot(p, q)
        x += step * p
        r -= step * q
        r_squared, previous = _dot(r, r), r_squared
        p = r + (r_squared / previous) * p
    return x


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum())


@torch.no_grad()
def _line_search(
    policy: GaussianMLP,
    params: Params,
    batch: MetaBatch,
    step: np.ndarray,
    old: Distribution,
    before: float,
    config: TrainConfig,
    workers: Workers,
) -> tuple[Params, TrpoReport]:
    """Shorten the step until the surrogate improves and the KL divergence stays within max_kl."""
    num_tasks = batch.post_episodes.num_tasks
    direction = unflatten(torch.from_numpy(step), params)
    scale = 1.0
    for trial in range(1, config.line_search_steps + 1):
        candidate = {name: leaf + scale * direction[name] for name, leaf in params.items()}
        new = adapted_distribution(policy, repeat_params(candidate, num_tasks), batch, config)
        divergences = kl_divergences(old, new, batch.post_episodes)
        after, kl = workers.mean(torch.stack([surrogates(new, batch), divergences], dim=1))
        # A comparison with NaN is false, so that such a candidate is refused.
        if after < before and kl <= config.max_kl:
            return candidate, TrpoReport(before, float(after), float(kl), trial, True)
        scale *= config.line_search_decay
    return params, TrpoReport(before, before, 0.0, config.line_search_steps, False)


def flatten(params: Params) -> Tensor:
    """Join the leaves (N, ...) of every task into one row: (N, D)."""
    return torch.cat([leaf.flatten(start_dim=1) for leaf in params.values()], dim=1)


def unflatten(vector: Tensor, like: Params) -> Params:
    """Split vectors (..., D) into leaves (..., *shape), like those of a bare tree."""
    pieces = vector.split([leaf.numel() for leaf in like.values()], dim=-1)
    return {
        name: piece.to(leaf.dtype).reshape(*vector.shape[:-1], *leaf.shape)
        for (name, leaf), piece in zip(like.items(), pieces, strict=True)
    }
