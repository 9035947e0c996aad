"""Trust-region policy optimisation of an initialisation, exact to second order.

θ ← θ + step along the natural gradient of the post-update surrogate, at most `max_kl` away, where
distance is the KL divergence between ADAPTED policies and everything is differentiated through the
adaptation. Without adaptation this is plain TRPO.

Source: Schulman et al. 2015, arXiv:1502.05477, appendix C; Finn et al. 2017, arXiv:1703.03400.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch.func import vjp

from metarobot.config import TrustRegion
from metarobot.learning.chunks import join_params, params_of
from metarobot.learning.distributed import ALONE, Workers, mean_over_tasks
from metarobot.learning.meta_update import (
    MetaBatch,
    MetaObjective,
    UpdateReport,
    chunks_of_batch,
    losses_and_divergences,
    num_kept,
    per_task_gradients,
    rejected_rows,
)
from metarobot.machine import map_on_threads
from metarobot.policies import (
    Distribution,
    Params,
    flatten_params,
    repeat_params,
    unflatten_params,
)

_CG_TOLERANCE = 1e-5
"""Relative residual at which conjugate gradients stop: below it float32 products are noise."""

_MARGIN = 0.95
"""Share of the step whose divergence would be `max_kl`, if that were exactly quadratic."""


def fisher_product(
    objective: MetaObjective, params: Params, batch: MetaBatch
) -> Callable[[Params], Params]:
    """Return v_n -> F_n v_n, where F_n is the Hessian of task n's KL divergence at θ.

    F_n = Jᵀ M J, with J the Jacobian of the objective's `metric_map` and M the metric of a
    Gaussian: 1/σ² for a mean, 2 for a log standard deviation. J is the transpose of the transpose:
    Jᵀ u is linear in u, so its own reverse pass gives J v. A forward-mode J v would cost four times
    as much. The graphs of both are built once for as many tasks as `STEPS_KEPT` allows; those of
    the others are built anew for every product.

    Args:
        objective: Maps θ to the adapted policies.
        params: θ, once for every task, each leaf (N, ...).
        batch: Data, usually a subsample of the meta-batch.
    """
    chunks = chunks_of_batch(batch)

    def build(tasks: slice) -> Callable[[Params], Params]:
        part = params_of(params, tasks)
        return _fisher_product_of_chunk(objective.of_tasks(tasks), part, batch.rows(tasks))

    first = chunks[: num_kept(batch)]
    kept = {
        tasks.start: of_chunk
        for tasks, of_chunk in zip(first, map_on_threads(build, first), strict=True)
    }

    def product(v: Params) -> Params:
        def product_of(tasks: slice) -> Params:
            of_chunk = kept.get(tasks.start) or build(tasks)
            return of_chunk(params_of(v, tasks))

        return join_params(map_on_threads(product_of, chunks))

    return product


def _fisher_product_of_chunk(
    objective: MetaObjective, params: Params, batch: MetaBatch
) -> Callable[[Params], Params]:
    """Return `fisher_product` of one chunk, which keeps its graphs."""
    distribution = objective.metric_map(params, batch)
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
        objective: Objective to improve.
        params: θ, each leaf in its own shape.
        batch: Data of this process' tasks, collected with θ and with the policies adapted from it.
        options: The trust region, and its search.
        workers: The processes that hold the other tasks.

    Returns:
        The new θ and a report. Where a number is not finite or no step length is accepted, θ is
        returned as it came.
    """
    rows, old = per_task_gradients(objective, params, batch, workers)
    if rejected := rejected_rows(rows):
        return params, UpdateReport.rejection(rejected)
    mean = mean_over_tasks(rows)
    before, gradient = float(mean[0]), mean[1:]
    search = _Search(objective, params, batch, options, workers)
    step = search.natural_step(gradient)
    if step is None:
        return params, UpdateReport(before, before, 0.0, 0, False)
    return search.along(step, old, before)


class _Search(NamedTuple):
    """The search for a better θ in the trust region around the present one."""

    objective: MetaObjective
    params: Params
    batch: MetaBatch
    options: TrustRegion
    workers: Workers

    def natural_step(self, gradient: np.ndarray) -> np.ndarray | None:
        """Solve (F + damping I) s = -g, scaled to the edge of the trust region, or None."""
        if not gradient.any():
            return None
        batch, options = self.batch.first(self.options.fisher_episodes), self.options
        num_tasks = batch.post_episodes.num_tasks
        product = fisher_product(self.objective, repeat_params(self.params, num_tasks), batch)

        def damped_product(v: np.ndarray) -> np.ndarray:
            tree = unflatten_params(torch.from_numpy(v).expand(num_tasks, -1), self.params)
            return self.workers.mean(flatten_params(product(tree))) + options.cg_damping * v

        s = conjugate_gradients(damped_product, -gradient, options.cg_iterations)
        # Every iterate of conjugate gradients from 0 fulfils sᵀ (F + damping I) s = -sᵀ g.
        curvature = -_dot(s, gradient)
        if not np.isfinite(s).all() or not curvature > 0.0:
            return None
        return s * np.sqrt(2 * options.max_kl / curvature)

    @torch.no_grad()
    def along(
        self, step: np.ndarray, old: Distribution, before: float
    ) -> tuple[Params, UpdateReport]:
        """Shorten the step until the loss improves and the KL divergence stays within max_kl.

        The divergence grows with the square of the step, which says how much shorter is enough.
        """
        options, scale = self.options, 1.0
        direction = unflatten_params(torch.from_numpy(step), self.params)
        for attempt in range(1, options.line_search_steps + 1):
            candidate = {name: leaf + scale * direction[name] for name, leaf in self.params.items()}
            measured = losses_and_divergences(self.objective, candidate, self.batch, old)
            after, kl = self.workers.mean(measured)
            # A comparison with NaN is false, so that such a candidate is rejected.
            if after < before and kl <= options.max_kl:
                return candidate, UpdateReport(before, float(after), float(kl), attempt, True)
            too_far = kl > options.max_kl
            scale *= (
                _MARGIN * np.sqrt(options.max_kl / kl) if too_far else options.line_search_decay
            )
        return self.params, UpdateReport(before, before, 0.0, options.line_search_steps, False)


def conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray], b: np.ndarray, iterations: int
) -> np.ndarray:
    """Solve A x = b from x = 0, for a positive definite A, with a limited number of products.

    scipy's solver takes its inner products from BLAS, where sums depend on the number of threads;
    these do not, so the parameters are the same on every machine of a kind.

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
