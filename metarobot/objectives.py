"""Objectives of the inner loop: what one adaptation step climbs, per step of an episode.

Both multiply an advantage by a ratio whose value is 1 and whose gradient is ∇ log π_θ where the
parameters are those that collected the episodes. There, value, gradient and Hessian of the two
agree, and the Hessian is the unbiased one, ∇ log π ∇ log πᵀ + ∇² log π; differentiating log π · A
twice would lose its first term. They part elsewhere, as in a line search over θ:

- `likelihood_ratio` divides by the stored probability: its gradient is weighted by importance, and
  its derivatives remain those of the function it computes, so that a small enough step along a
  descent direction always passes a line search.
- `lvc` (low-variance curvature) divides by the present probability, held constant: its gradient is
  the score function without importance weights, at any θ. It is meant for fresh episodes; a line
  search then follows another function than the one differentiated, and may fail near θ.

Source: Rothfuss et al. 2019, ProMP, arXiv:1810.06784, sections 5 and 6.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

InnerObjective = Literal["lvc", "likelihood_ratio"]
INNER_OBJECTIVES: tuple[InnerObjective, ...] = get_args(InnerObjective)


def likelihood_ratio(log_probs: Tensor, behaviour_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """π_θ(a|o) / π_behaviour(a|o) · A.

    Args:
        log_probs: log π_θ(a|o), any shape.
        behaviour_log_probs: Log-probabilities stored with the episodes.
        advantages: A.

    Returns:
        The objective of each step, to be maximised.
    """
    return torch.exp(log_probs - behaviour_log_probs) * advantages


def lvc(log_probs: Tensor, behaviour_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """π_θ(a|o) / ⊥(π_θ(a|o)) · A, where ⊥ stops the gradient; takes the stored values unused."""
    del behaviour_log_probs
    return torch.exp(log_probs - log_probs.detach()) * advantages


OBJECTIVES: dict[InnerObjective, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "lvc": lvc,
    "likelihood_ratio": likelihood_ratio,
}
