"""A diagonal Gaussian policy called with parameters from outside: every task can have its own."""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from metarobot.policies.gaussian import Distribution
from metarobot.policies.params import Params

MIN_STD = 0.02
"""Floor of the action noise in half action ranges, so that probability ratios stay finite."""

LAST_LAYER_GAIN = 0.1
"""Small, so that an untrained policy explores around the middle of the action range."""


class GaussianMLP(nn.Module):
    """π_θ(a | o) = N(mean_θ(o), diag(std_θ)²) with a multilayer perceptron as the mean.

    The module is a skeleton: it is called with parameters from outside (`distribution`), and
    its own have names and shapes, but no memory. `log_std` is one free vector, learned and adapted
    like the weights.
    """

    observation_centre: Tensor  # (O,)
    observation_half_range: Tensor  # (O,)

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
    ) -> None:
        """Lay out the network.

        Args:
            observation_low: Lower bound of every observation element, (O,).
            observation_high: Upper bound of every observation element, (O,).
            action_size: A, number of action elements.
            hidden_sizes: Width of each tanh layer.
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
        sizes = (len(low), *hidden_sizes, action_size)
        self.layers = nn.ModuleList(
            nn.Linear(size_in, size_out, device="meta") for size_in, size_out in pairwise(sizes)
        )
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

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """What the first layer sees, (N, M, I) for observations (N, M, O); no N for one policy."""
        del params
        return self.scale_observations(observations)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (..., A) and log standard deviation (A,) for observations (..., O)."""
        hidden = self.inputs(observations, dict(self.named_parameters()))
        *hidden_layers, last_layer = self.layers
        for layer in hidden_layers:
            hidden = torch.tanh(layer(hidden))
        return last_layer(hidden), self.log_std.clamp(min=self.min_log_std)

    def distribution(self, params: Params, observations: Tensor) -> Distribution:
        """Evaluate every task's policy on that task's observations.

        The same numbers as `forward` under ``functional_call`` and ``vmap``, derivatives included,
        for half the time where there is little to compute, as in a control step of a rollout.

        Args:
            params: One policy per task, each leaf (N, ...).
            observations: (N, ..., O), with at least one dimension between.

        Returns:
            mean (N, ..., A) and log_std (N, A).
        """
        hidden = self.inputs(observations.flatten(1, -2), params)  # (N, M, I)
        last = len(self.layers) - 1
        for index in range(last + 1):
            weight, bias = params[f"layers.{index}.weight"], params[f"layers.{index}.bias"]
            hidden = bias.unsqueeze(1) + hidden @ weight.mT
            if index < last:
                hidden = torch.tanh(hidden)
        mean = hidden.unflatten(1, observations.shape[1:-1])
        return Distribution(mean, params["log_std"].clamp(min=self.min_log_std))

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters: Xavier weights, zero biases, `log_std` = log(initial_std)."""
        params = {
            name: torch.zeros_like(leaf, device="cpu") for name, leaf in self.named_parameters()
        }
        last = len(self.layers) - 1
        for index in range(len(self.layers)):
            gain = LAST_LAYER_GAIN if index == last else 1.0
            weight = params[f"layers.{index}.weight"]
            nn.init.xavier_uniform_(weight, gain=gain, generator=generator)
        params["log_std"].fill_(self.initial_std).log_()
        return {name: leaf.detach() for name, leaf in params.items()}
