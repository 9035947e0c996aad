"""The meta-update: exact second-order MAML-TRPO.

θ ← θ + step along the natural gradient of the post-update surrogate, at most `max_kl` away, where
distance is the KL divergence between ADAPTED policies and everything is differentiated through the
adaptation. Without pre-update episodes this is plain TRPO.

Source: Schulman et al. 2015, arXiv:1502.05477, appendix C; Finn et al. 2017, arXiv:1703.03400.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor
from torch.func import grad_and_value, vjp

from metarobot.adapt import adapt_through, require_steps, trial_policy
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


def adapted_distribution(
    policy: GaussianMLP, params: Params, batch: MetaBatch, config: TrainConfig
) -> Distribution:
    """θ -> π_{θ'_n} on the post-update observations: the map that every derivative here is of.

    Args:
        policy: Policy skeleton.
        params: θ, without the N dimension.
        batch: Data of the meta-update.
        config: inner_lr, inner_objective and first_order are used.

    Returns:
        Mean (N, E, T, A) and log_std (N, A).
    """
    adapted = adapt_through(
        trial_policy(policy, config),
        repeat_params(params, batch.post_episodes.num_tasks),
        batch.pre_episodes,
        batch.pre_advantages,
        config.inner_lr,
        config.inner_objective,
        config.first_order,
    )
    observations = batch.post_episodes.observations
    return Distribution(*policy_distribution(policy, adapted, observations))


def surrogate(distribution: Distribution, batch: MetaBatch) -> Tensor:
    """L = -1/N Σ_n E_t[π_{θ'_n}(a_t|o_t) / π_behaviour(a_t|o_t) A_t], to be minimised; scalar."""
    episodes = batch.post_episodes
    mean, log_std = distribution
    log_probs = log_prob(mean, log_std[:, None, None], episodes.actions)
    ratio = torch.exp(log_probs - episodes.log_probs)
    per_step = ratio * batch.post_advantages * episodes.step_weights
    return -per_step.sum() / episodes.num_tasks


def mean_kl(old: Distribution, new: Distribution, episodes: Episodes) -> Tensor:
    """1/N Σ_n E_t[KL(π_old,n ‖ π_new,n)] on the episodes' observations; scalar."""
    old_log_std, new_log_std = old.log_std[:, None, None], new.log_std[:, None, None]
    per_step = kl_divergence(old.mean, old_log_std, new.mean, new_log_std)
    return (per_step * episodes.step_weights).sum() / episodes.num_tasks


def fisher_product(
    policy: GaussianMLP, params: Params, batch: MetaBatch, config: TrainConfig
) -> Callable[[Params], Params]:
    """Return v -> F v, where F is the Hessian of `mean_kl` at θ.

    F = Jᵀ M J, with J the Jacobian of `adapted_distribution` and M the metric of a Gaussian: 1/σ²
    for a mean, 2 for a log standard deviation. J is the transpose of the transpose: Jᵀ u is linear
    in u, so its own reverse pass gives J v. Both graphs are built once; a forward-mode J v would
    cost four times as much.

    Args:
        policy: Policy skeleton.
        params: θ, without the N dimension.
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

    num_tasks = batch.post_episodes.num_tasks
    step_weights = batch.post_episodes.step_weights[..., None] / num_tasks  # (N, E, T, 1)
    mean_metric = step_weights * torch.exp(-2 * log_std)[:, None, None]  # (N, E, T, A)

    def product(v: Params) -> Params:
        change = jacobian(v)[0]
        weighted = Distribution(mean_metric * change.mean, change.log_std * (2.0 / num_tasks))
        return transposed_jacobian(weighted)[0]

    return product


def meta_update(
    policy: GaussianMLP, params: Params, batch: MetaBatch, config: TrainConfig
) -> tuple[Params, TrpoReport]:
    """Improve the initialisation θ within the trust region.

    Args:
        policy: Policy skeleton.
        params: θ, without the N dimension.
        batch: Data collected with θ and with the policies adapted from it.
        config: Adaptation and trust region.

    Returns:
        The new θ and a report. Where a number is not finite or no step length is accepted, θ is
        returned as it came.

    Raises:
        EmptyEpisodesError: A task's mask selects no step.
    """
    for episodes in (*batch.pre_episodes, batch.post_episodes):
        require_steps(episodes)

    def loss(theta: Params) -> tuple[Tensor, Distribution]:
        distribution = adapted_distribution(policy, theta, batch, config)
        return surrogate(distribution, batch), distribution

    gradient, (surrogate_before, old) = grad_and_value(loss, has_aux=True)(params)
    before = float(surrogate_before)
    step = _natural_step(policy, params, batch.first(config.fisher_episodes), gradient, config)
    if step is None:
        return params, TrpoReport(before, before, 0.0, 0, False)
    return _line_search(policy, params, batch, step, old, before, config)


def _natural_step(
    policy: GaussianMLP, params: Params, batch: MetaBatch, gradient: Params, config: TrainConfig
) -> Params | None:
    """Solve (F + damping I) s = -g, scaled to the trust region's edge; None where that fails."""
    g = flatten(gradient).double().numpy()
    if not np.isfinite(g).all() or not g.any():
        return None
    product = fisher_product(policy, params, batch, config)

    def damped_product(v: np.ndarray) -> np.ndarray:
        tree = unflatten(torch.from_numpy(v), params)
        return flatten(product(tree)).double().numpy() + config.cg_damping * v

    matrix = LinearOperator(
        shape=(g.size, g.size),
        matvec=damped_product,  # pyright: ignore[reportCallIssue]  scipy: __new__ takes it
        dtype=np.float64,
    )
    s, _ = cg(matrix, -g, rtol=_CG_TOLERANCE, maxiter=config.cg_iterations)
    # Every iterate of conjugate gradients from 0 fulfils sᵀ (F + damping I) s = -sᵀ g.
    curvature = float(-s @ g)
    if not np.isfinite(s).all() or not curvature > 0.0:
        return None
    return unflatten(torch.from_numpy(s * np.sqrt(2 * config.max_kl / curvature)), params)


@torch.no_grad()
def _line_search(
    policy: GaussianMLP,
    params: Params,
    batch: MetaBatch,
    step: Params,
    old: Distribution,
    before: float,
    config: TrainConfig,
) -> tuple[Params, TrpoReport]:
    """Shorten the step until the surrogate improves and the KL divergence stays within max_kl."""
    scale = 1.0
    for trial in range(1, config.line_search_steps + 1):
        candidate = {name: leaf + scale * step[name] for name, leaf in params.items()}
        new = adapted_distribution(policy, candidate, batch, config)
        after = float(surrogate(new, batch))
        kl = float(mean_kl(old, new, batch.post_episodes))
        # A comparison with NaN is false, so that such a candidate is refused.
        if after < before and kl <= config.max_kl:
            return candidate, TrpoReport(before, after, kl, trial, True)
        scale *= config.line_search_decay
    return params, TrpoReport(before, before, 0.0, config.line_search_steps, False)


def flatten(params: Params) -> Tensor:
    """Join all leaves into one vector."""
    return torch.cat([leaf.reshape(-1) for leaf in params.values()])


def unflatten(vector: Tensor, like: Params) -> Params:
    """Split a vector into leaves of the shapes and types of another tree."""
    pieces = vector.split([leaf.numel() for leaf in like.values()])
    return {
        name: piece.to(leaf.dtype).reshape(leaf.shape)
        for (name, leaf), piece in zip(like.items(), pieces, strict=True)
    }
