"""What a meta-update improves on the post-update episodes, and how far policies move apart."""

import torch
from torch import Tensor

from metarobot.policies import Distribution, kl_divergence, log_prob
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
