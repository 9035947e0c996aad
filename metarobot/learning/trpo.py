"""Trust-region policy optimisation of an initialisation, exact to second order.

θ ← θ + step along the natural gradient of the post-update surrogate, at most `max_kl` away, where
distance is the KL divergence between ADAPTED policies and everything is differentiated through the
adaptation. Without adaptation this is plain TRPO.

Source: Schulman et al. 2015, arXiv:1502.05477, appendix C; Finn et al. 2017, arXiv:1703.03400.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.func import vjp

from metarobot.learning.distributed import ALONE, Workers, mean_over_tasks
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.meta_gradient import MetaObjective, loss_and_gradient_rows, refused_rows
from metarobot.learning.surrogates import kl_divergences
from metarobot.options import Checked, integer, number
from metarobot.policies import (
    Distribution,
    Params,
    flatten_params,
    repeat_params,
    unflatten_params,
)

_CG_TOLERANCE = 1e-5
"""Relative residual at which conjugate gradients stop: below it float32 products are noise."""


@dataclass(frozen=True, kw_only=True)
class TrustRegion(Checked):
    """How far a meta-update goes, and how it is found."""

    max_kl: float = number(0.01, 1e-8, 10.0)
    """Bound on the mean KL divergence of a meta-update between adapted policies, in nats."""
    cg_iterations: int = integer(10, 1, 1000)
    """Fisher products per meta-update."""
    cg_damping: float = number(1e-2, 0.0, 10.0)
    """Multiple of the identity added to the Fisher matrix."""
    line_search_steps: int = integer(15, 1, 1000)
    """Step lengths tried before the meta-update is given up."""
    line_search_decay: float = number(0.8, 0.01, 0.99)
    """Ratio of one step length to the one tried before."""
    fisher_episodes: int = integer(5, 1, 10_000)
    """Episodes per task, at most, from which Fisher products are estimated."""


def fisher_product(
    objective: MetaObjective, params: Params, batch: MetaBatch
) -> Callable[[Params], Params]:
    """Return v_n -> F_n v_n, where F_n is the Hessian of task n's KL divergence at θ.

    F_n = Jᵀ M J, with J the Jacobian of `adapted_distribution` and M the metric of a Gaussian: 1/σ²
    for a mean, 2 for a log standard deviation. J is the transpose of the transpose: Jᵀ u is linear
    in u, so its own reverse pass gives J v. Both graphs are built once; a forward-mode J v would
    cost four times as much.

    Args:
        objective: Maps θ to the adapted policies.
        params: θ, once for every task, each leaf (N, ...).
        batch: Data, usually a subsample of the meta-batch.

    Returns:
        A function from a tree like params to a tree like params.
    """

    def distribution(theta: Params) -> Distribution:
        return objective.adapted_distribution(theta, batch)

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


def trpo_update(
    objective: MetaObjective,
    params: Params,
    batch: MetaBatch,
    options: TrustRegion,
    workers: Workers = ALONE,
) -> tuple[Params, UpdateReport]:
    """Improve the initialisation θ within the trust region.

    Args:
        objective: What is improved.
        params: θ, each leaf in its own shape.
        batch: Data of this process' tasks, collected with θ and with the policies adapted from it.
        options: The trust region, and how a step within it is found.
        workers: The processes that hold the other tasks.

    Returns:
        The new θ and a report. Where a number is not finite or no step length is accepted, θ is
        returned as it came.
    """
    rows, old = loss_and_gradient_rows(objective, params, batch, workers)
    if refused := refused_rows(rows):
        return params, UpdateReport.refusal(refused)
    mean = mean_over_tasks(rows)
    before, gradient = float(mean[0]), mean[1:]
    subsample = batch.first(options.fisher_episodes)
    step = _natural_step(objective, params, subsample, gradient, options, workers)
    if step is None:
        return params, UpdateReport(before, before, 0.0, 0, False)
    return _line_search(objective, params, batch, step, old, before, options, workers)


def _natural_step(
    objective: MetaObjective,
    params: Params,
    batch: MetaBatch,
    gradient: np.ndarray,
    options: TrustRegion,
    workers: Workers,
) -> np.ndarray | None:
    """Solve (F + damping I) s = -g, scaled to the trust region's edge; None where that fails."""
    if not gradient.any():
        return None
    num_tasks = batch.post_episodes.num_tasks
    product = fisher_product(objective, repeat_params(params, num_tasks), batch)

    def damped_product(v: np.ndarray) -> np.ndarray:
        tree = unflatten_params(torch.from_numpy(v).expand(num_tasks, -1), params)
        return workers.mean(flatten_params(product(tree))) + options.cg_damping * v

    s = conjugate_gradients(damped_product, -gradient, options.cg_iterations)
    # Every iterate of conjugate gradients from 0 fulfils sᵀ (F + damping I) s = -sᵀ g.
    curvature = -_dot(s, gradient)
    if not np.isfinite(s).all() or not curvature > 0.0:
        return None
    return s * np.sqrt(2 * options.max_kl / curvature)


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
    objective: MetaObjective,
    params: Params,
    batch: MetaBatch,
    step: np.ndarray,
    old: Distribution,
    before: float,
    options: TrustRegion,
    workers: Workers,
) -> tuple[Params, UpdateReport]:
    """Shorten the step until the loss improves and the KL divergence stays within max_kl."""
    num_tasks = batch.post_episodes.num_tasks
    direction = unflatten_params(torch.from_numpy(step), params)
    scale = 1.0
    for trial in range(1, options.line_search_steps + 1):
        candidate = {name: leaf + scale * direction[name] for name, leaf in params.items()}
        losses, new = objective.losses(repeat_params(candidate, num_tasks), batch)
        divergences = kl_divergences(old, new, batch.post_episodes)
        after, kl = workers.mean(torch.stack([losses, divergences], dim=1))
        # A comparison with NaN is false, so that such a candidate is refused.
        if after < before and kl <= options.max_kl:
            return candidate, UpdateReport(before, float(after), float(kl), trial, True)
        scale *= options.line_search_decay
    return params, UpdateReport(before, before, 0.0, options.line_search_steps, False)
