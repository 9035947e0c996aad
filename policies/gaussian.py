"""Diagonal Gaussians by mean and log standard deviation; results are summed over the A actions.

Means have shape (..., A), log standard deviations any shape that broadcasts with it, such as (A,).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


class Distribution(NamedTuple):
    """What every task's policy does on that task's observations."""

    mean: Tensor  # (N, ..., A)
    log_std: Tensor  # (N, A)


def log_prob(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    """Log-density: log N(a; μ, σ²) = -½ Σ_a [((a - μ) / σ)² + 2 log σ + log 2π], shape (...)."""
    z = (actions - mean) * torch.exp(-log_std)
    return -0.5 * (z.square() + (2 * log_std + _LOG_2PI)).sum(-1)


def kl_divergence(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ_a [log σ_q / σ_p + (σ_p² + (μ_p - μ_q)²) / (2 σ_q²) - ½], shape (...)."""
    variance_ratio = torch.exp(2 * (log_std_p - log_std_q))
    scaled_shift = (mean_p - mean_q) * torch.exp(-log_std_q)
    per_action = log_std_q - log_std_p + 0.5 * (variance_ratio + scaled_shift.square() - 1)
    return per_action.sum(-1)


def entropy(log_std: Tensor) -> Tensor:
    """H = Σ_a [log σ + ½ (1 + log 2π)], shape (...) for log_std (..., A)."""
    return (log_std + 0.5 * (1 + _LOG_2PI)).sum(-1)
