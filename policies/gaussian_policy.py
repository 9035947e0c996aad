"""What policies have in common: scaled observations, a free log standard deviation."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from metarobot.policies.params import Params
from metarobot.policies.policy import PolicyState

MIN_STD = 0.02
"""Floor of the action noise in half action ranges, so that probability ratios stay finite."""

LAST_LAYER_GAIN = 0.1
"""Small, so that an untrained policy explores around the middle of the action range."""


class GaussianPolicy(nn.Module, ABC):
    """π_θ(a | ·) = N(mean_θ(·), diag(std_θ)²).

    The module is functional: it is called with parameters from outside, and its own have names and
    shapes, but no memory. `log_std` is one free vector, learned and adapted like the weights.
    """

    observation_centre: Tensor  # (O,)
    observation_half_range: Tensor  # (O,)

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        initial_std: float = 0.5,
    ) -> None:
        """Lay out what does not depend on the network.

        Args:
            observation_low: Lower bound of every observation element, (O,).
            observation_high: Upper bound of every observation element, (O,).
            action_size: A, number of action elements.
            initial_std: Standard deviation of the initial action noise, in half action ranges.

        Raises:
            ValueError: Bounds are not finite or not ordered, or initial_std is below the floor.
        """
        super().__init__()
        low = torch.as_tensor(observation_low, dtype=torch.float32)
        high = torch.as_tensor(observation_high, dtype=torch.float32)
        if not bool(
            torch.isfinite(low).all() and torch.isfinite(high).all() and (low < high).all()
        ):
            raise ValueError(
                f"observation bounds must be finite with low < high, got {low}, {high}"
            )
        if not initial_std >= MIN_STD:
            raise ValueError(f"initial_std must be at least {MIN_STD}, got {initial_std}")
        self.action_size = action_size
        self.initial_std = initial_std
        self.min_log_std = math.log(MIN_STD)
        self.register_buffer("observation_centre", (low + high) / 2, persistent=False)
        self.register_buffer("observation_half_range", (high - low) / 2, persistent=False)
        self.log_std = nn.Parameter(torch.empty(action_size, device="meta"))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, by name."""
        return {name: tuple(leaf.shape) for name, leaf in self.named_parameters()}

    def with_min_std(self, min_std: float) -> Self:
        """Return the same policy with another floor of its action noise; all else is shared."""
        twin = copy.copy(self)
        twin.min_log_std = math.log(min_std)
        return twin

    def scale_observations(self, observations: Tensor) -> Tensor:
        """Map observations (..., O) from their bounds to [-1, 1]."""
        return (observations - self.observation_centre) / self.observation_half_range

    def log_std_of(self, params: Params) -> Tensor:
        """Return the log standard deviations of every task, (N, A)."""
        return params["log_std"].clamp(min=self.min_log_std)

    @abstractmethod
    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters."""

    @abstractmethod
    def start(self, params: Params) -> PolicyState:
        """Begin to act with one policy per task, each leaf (N, ...)."""

    def _blank_params(self) -> Params:
        """Return parameters that are 0, but for `log_std` = log(initial_std)."""
        params = {
            name: torch.zeros_like(leaf, device="cpu", requires_grad=False)
            for name, leaf in self.named_parameters()
        }
        params["log_std"].fill_(self.initial_std).log_()
        return params


def products(a: Tensor, b: Tensor) -> Tensor:
    """Multiply every element of (..., I) with every one of (..., J): (..., I J).

    Some of what a policy does is linear in such products, and hard to make of sums.
    """
    return (a[..., :, None] * b[..., None, :]).flatten(-2)
