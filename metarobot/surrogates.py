"""What a meta-update improves on the post-update episodes, and how far policies move apart."""

import torch
from torch import Tensor

from metarobot.episodes import Episodes
from metarobot.policies import Distribution, kl_divergence, log_prob


def likelihood_ratios(distribution: Distribution, episodes: Episodes) -> Tensor:
    """π_θ(a_t|o_t) / π_behaviour(a_t|o_t) of every step, (N, E, T)."""
    mean, log_std = distribution
    log_probs = log_prob(mean, log_std[:, None, None], episodes.actions)
    return torch.exp(log_probs - episodes.log_probs)


def surrogates(distribution: Distribution, episodes: Episodes, advantages: Tensor) -> Tensor:
    """L_n = -E_t[π_θ(a_t|o_t) / π_behaviour(a_t|o_t) A_t], to be minimised; (N,)."""
    ratios = likelihood_ratios(distribution, episodes)
    return -(ratios * advantages * episodes.step_weights).sum((1, 2))


def kl_divergences(old: Distribution, new: Distribution, episodes: Episodes) -> Tensor:
    """E_t[KL(π_old,n ‖ π_new,n)] on the episodes' observations; (N,)."""
    old_log_std, new_log_std = old.log_std[:, None, None], new.log_std[:, None, None]
    per_step = kl_divergence(old.mean, old_log_std, new.mean, new_log_std)
    return (per_step * episodes.step_weights).sum((1, 2))
