"""Returns, advantages and the prior of value baselines: pure functions of (N, E, T) tensors.

Masks are 1 on the first steps of an episode and 0 afterwards: nothing counts, or is bootstrapped
from, once the mask is 0.

A value baseline overfits the few episodes of a task, and then its advantages are uninformative. So
the fit of each task counts the mean over all tasks of meta-training as additional episodes; their
number is the one that best predicts episodes of the task that are left out of the fit.

Source of the prior: Stone 1974, "Cross-validatory choice and assessment of statistical
predictions".
"""

import math

import torch
from torch import Tensor

from metarobot.learning.chunks import chunks_of_steps
from metarobot.learning.distributed import ALONE, Workers
from metarobot.machine import map_on_threads
from metarobot.policies import GaussianPolicy
from metarobot.policies.value_baseline import (
    fit_values,
    normal_equations,
    solve_ridge,
    value_features,
)
from metarobot.rollout.episodes import Episodes

_TINY = 1e-8  # keeps a task with equal advantages finite


def discounted_returns(r_t: Tensor, mask_t: Tensor, discount: float) -> Tensor:
    """Discounted return to go: R_t = m_t (r_t + γ R_{t+1}), with R_T = 0; all (..., T)."""
    return _backward_sum(r_t * mask_t, mask_t, discount)


def gae(r_t: Tensor, v_t: Tensor, mask_t: Tensor, *, discount: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates, (..., T) as rewards, values and mask.

    δ_t = m_t (r_t + γ m_{t+1} v_{t+1} - v_t)
    A_t = δ_t + γ λ m_t A_{t+1}, with m_T = A_T = 0: an episode ends at its horizon, without value.

    Source: Schulman et al. 2016, arXiv:1506.02438, equation 16.
    """
    v_counted = v_t * mask_t
    v_next = torch.cat([v_counted[..., 1:], torch.zeros_like(v_t[..., :1])], dim=-1)
    delta_t = mask_t * (r_t + discount * v_next - v_t)
    return _backward_sum(delta_t, mask_t, discount * gae_lambda)


def estimate_advantages(
    policy: GaussianPolicy,
    episodes: Episodes,
    *,
    discount: float,
    gae_lambda: float,
    value_prior: Tensor | None = None,
) -> Tensor:
    """Advantages (N, E, T) in the unit of the return, from a value baseline fitted per task.

    Args:
        policy: Scales the observations.
        episodes: (N, E, T).
        discount: γ.
        gae_lambda: λ.
        value_prior: XᵀX and XᵀR that count in the fit, (N, F, F + 1): see `fit_values`.
    """
    rewards, mask = episodes.rewards, episodes.mask
    returns = discounted_returns(rewards, mask, discount)
    values = map_on_threads(
        lambda tasks: fit_values(
            policy.scale_observations(episodes.observations[tasks]),
            returns[tasks],
            mask[tasks],
            None if value_prior is None else value_prior[tasks],
        ),
        chunks_of_steps(rewards),
    )
    return gae(rewards, torch.cat(values), mask, discount=discount, gae_lambda=gae_lambda)


def normalise_per_task(a_t: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale the advantages (N, E, T) of each task to mean 0 and standard deviation 1."""
    count = mask.sum(dim=(1, 2), keepdim=True).clamp(min=1.0)
    centred = (a_t - (a_t * mask).sum(dim=(1, 2), keepdim=True) / count) * mask
    variance = centred.square().sum(dim=(1, 2), keepdim=True) / count
    return centred / variance.sqrt().clamp(min=_TINY)


def scale_over_tasks(a_t: Tensor, mask: Tensor, workers: Workers = ALONE) -> Tensor:
    """Divide all advantages (N, E, T) by their root mean square over the whole meta-batch.

    The meta-objective is the mean return over tasks, so a meta-update must keep the proportions
    between tasks: a scale for each would weight tasks with small and with large differences of the
    return alike, and train another objective than the one reported.  A task with a number
    that is not finite stays so, and does not spoil the scale of the others.
    """
    sums = torch.stack([a_t.square().sum((1, 2)), mask.sum((1, 2))], dim=1)
    sums = workers.gather(sums).double()  # (all tasks, 2)
    square_sum, count = sums[sums.isfinite().all(dim=1)].numpy().sum(axis=0)
    return a_t / max(math.sqrt(square_sum / max(count, 1.0)), _TINY)


def _backward_sum(x_t: Tensor, mask_t: Tensor, decay: float) -> Tensor:
    """y_t = x_t + decay m_t y_{t+1}, with y_T = 0."""
    y_t = torch.empty_like(x_t)
    tail = torch.zeros_like(x_t[..., 0])
    for t in reversed(range(x_t.shape[-1])):
        tail = x_t[..., t] + decay * mask_t[..., t] * tail
        y_t[..., t] = tail
    return y_t


STRENGTHS = (0.03, 0.3, 3.0, 30.0)
"""Candidate numbers of episodes that the prior counts as."""

STRENGTH_OF_ONE = 3.0
"""Number of episodes that it counts as for a task with a single episode."""

LEARNING_RATE = 0.3
"""Weight of a new meta-batch in the prior; hundreds of episodes allow a high one, which follows θ
closely."""


def episode_moments(policy: GaussianPolicy, episodes: Episodes, discount: float) -> Tensor:
    """Return XᵀX and XᵀR of the baseline's fit, the mean over the episodes of each task.

    Side by side, (N, F, F + 1) in float64.
    """
    returns = discounted_returns(episodes.rewards, episodes.mask, discount)

    def moments(tasks: slice) -> Tensor:
        features = value_features(policy.scale_observations(episodes.observations[tasks]))
        return normal_equations(features, returns[tasks], episodes.mask[tasks])

    return torch.cat(map_on_threads(moments, chunks_of_steps(returns))) / episodes.num_episodes


def weighted_prior(
    policy: GaussianPolicy, episodes: Episodes, discount: float, prior: Tensor
) -> Tensor:
    """Return the prior of one episode times its strength on each task, (N, F, F + 1)."""
    returns = discounted_returns(episodes.rewards, episodes.mask, discount)
    prior = prior.double()

    def strengths(tasks: slice) -> Tensor:
        features = value_features(policy.scale_observations(episodes.observations[tasks]))
        return _strengths(features, returns[tasks], episodes.mask[tasks], prior[tasks])

    return torch.cat(map_on_threads(strengths, chunks_of_steps(returns)))[:, None, None] * prior


def _strengths(features: Tensor, returns: Tensor, mask: Tensor, prior: Tensor) -> Tensor:
    """Return the number of episodes that the prior counts as on each task, (N,)."""
    shape = mask.shape[:2]
    each = normal_equations(features.flatten(0, 1), returns.flatten(0, 1), mask.flatten(0, 1))
    others = each.unflatten(0, shape)
    others = others.sum(1, keepdim=True) - others  # (N, E, F, F + 1)
    errors = []
    for strength in STRENGTHS:
        moments = (others + strength * prior[:, None]).flatten(0, 1)
        coefficients = solve_ridge(moments[..., :-1], moments[..., -1:]).unflatten(0, shape)
        missed = ((features @ coefficients)[..., 0] - returns) * mask
        errors.append(missed.square().sum((1, 2)))
    best = torch.stack(errors).argmin(0)
    several = (mask.sum(-1) > 0).sum(1) > 1
    return torch.where(several, torch.tensor(STRENGTHS, dtype=prior.dtype)[best], STRENGTH_OF_ONE)
