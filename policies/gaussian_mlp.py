"""A diagonal Gaussian policy called with parameters from outside: every task can have its own."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from metarobot.policies.gaussian import Distribution
from metarobot.policies.gaussian_policy import LAST_LAYER_GAIN, GaussianPolicy
from metarobot.policies.params import Params
from metarobot.policies.policy import ReactivePolicy


class GaussianMLP(ReactivePolicy, GaussianPolicy):
    """π_θ(a | o) = N(mean_θ(o), diag(std_θ)²) with a multilayer perceptron as the mean."""

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
        super().__init__(observation_low, observation_high, action_size, initial_std)
        sizes = (len(observation_low), *hidden_sizes, action_size)
        self.layers = nn.ModuleList(
            nn.Linear(size_in, size_out, device="meta") for size_in, size_out in pairwise(sizes)
        )

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """What the first layer sees, (N, M, I) for observations (N, M, O); no N for one policy."""
        del params
        return self.scale_observations(observations)

    def distribution(self, params: Params, observations: Tensor) -> Distribution:
        """Evaluate every task's policy on that task's observations.

        Args:
            params: One policy per task, each leaf (N, ...).
            observations: (N, ..., O), with at least one dimension between.

        Returns:
            mean (N, ..., A) and log_std (N, A).
        """
        mean = self.mean(self.inputs(observations.flatten(1, -2), params), params)
        return Distribution(mean.unflatten(1, observations.shape[1:-1]), self.log_std_of(params))

    def mean(self, inputs: Tensor, params: Params) -> Tensor:
        """Return the means of the actions (N, M, A) for what the first layer sees, (N, M, I)."""
        hidden, last = inputs, len(self.layers) - 1
        for index in range(last + 1):
            weight, bias = params[f"layers.{index}.weight"], params[f"layers.{index}.bias"]
            hidden = bias.unsqueeze(1) + hidden @ weight.mT
            if index < last:
                hidden = torch.tanh(hidden)
        return hidden

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters: Xavier weights, zero biases, `log_std` = log(initial_std)."""
        params = self._blank_params()
        last = len(self.layers) - 1
        for index in range(len(self.layers)):
            gain = LAST_LAYER_GAIN if index == last else 1.0
            weight = params[f"layers.{index}.weight"]
            nn.init.xavier_uniform_(weight, gain=gain, generator=generator)
        return params
