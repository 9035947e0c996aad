"""Objectives of the inner loop: what one adaptation step climbs, per step of an episode.

The gradient of all is ∇ log π_θ · A where the parameters are those that collected the episodes.
They part in their Hessians, of which ∇² log π · A alone would be a biased one, and elsewhere, as in
a line search over θ:

- `likelihood_ratio` divides by the stored probability: its gradient is weighted by importance, and
  its derivatives remain those of the function it computes, so that a small enough step along a
  descent direction always passes a line search.
- `lvc` (low-variance curvature) divides by the present probability, held constant: its gradient is
  the score function without importance weights, at any θ. It is meant for fresh episodes; a line
  search then follows another function than the one differentiated, and may fail near θ.
- `dice` takes lvc's gradient, and a Hessian that counts how an action changes the odds of what
  follows: without bias over whole episodes, where the first two, which agree in theirs, leave out
  the products of different steps; at the price of more variance.

Source: Rothfuss et al. 2019, ProMP, arXiv:1810.06784, sections 5 and 6; Foerster et al. 2018, DiCE,
arXiv:1802.05098, with advantages as in Farquhar et al. 2019, Loaded DiCE, arXiv:1909.10549.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

InnerObjective = Literal["lvc", "likelihood_ratio", "dice"]
"""What an adaptation step climbs."""
INNER_OBJECTIVES: tuple[InnerObjective, ...] = get_args(InnerObjective)


def likelihood_ratio(log_probs: Tensor, behaviour_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """π_θ(a|o) / π_behaviour(a|o) · A.

    Args:
        log_probs: log π_θ(a|o), (..., T).
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


def dice(log_probs: Tensor, behaviour_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """(☐_t - ☐_{t-1}) A_t with ☐_t = exp(Σ_{i ≤ t} (log π_i - ⊥ log π_i)), whose value is 1."""
    del behaviour_log_probs
    change = log_probs - log_probs.detach()  # 0, but its derivatives are not
    until_now = change.cumsum(-1)
    return (torch.exp(until_now) - torch.exp(until_now - change)) * advantages


OBJECTIVES: dict[InnerObjective, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "lvc": lvc,
    "likelihood_ratio": likelihood_ratio,
    "dice": dice,
}
