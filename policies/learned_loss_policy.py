"""A policy with a small point that adapts, and the network that says where the point should go."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from metarobot.policies.controller import Array
from metarobot.policies.direction_network import DirectionNetwork
from metarobot.policies.episode_encoder import transition_feature_size
from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.params import Params, to_array, under_prefix, with_prefix
from metarobot.policies.products import products

CONTEXT = "context"
"""Leaf (Z,): the point that adapts."""
_DIRECTION = "direction."


class LearnedLossPolicy(GaussianMLP):
    """π_θ(a | o, z): a `GaussianMLP` that also sees the point z, a leaf of its parameters.

    The first layer sees [o, z, o ⊗ z].  With the products, what a task does to the meaning of an
    observation, such as turning the frame of commands, is linear in what is seen.

    Its parameters hold those of the `DirectionNetwork` as well.  It acts as if they were not there.

    Source: Zintgraf et al. 2019, CAVIA, arXiv:1810.03642, for a point that adapts alone.
    """

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        context_size: int = 8,
    ) -> None:
        """Lay out the networks; all arguments but the last are those of `GaussianMLP`."""
        super().__init__(observation_low, observation_high, action_size, hidden_sizes, initial_std)
        size, width = len(observation_low), (*hidden_sizes, action_size)[0]
        num_inputs = size + context_size + size * context_size
        self.layers[0] = nn.Linear(num_inputs, width, device="meta")
        self.context = nn.Parameter(torch.empty(context_size, device="meta"))
        feature_size = transition_feature_size(size, action_size)
        self.direction = DirectionNetwork(feature_size, action_size)

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """What the first layer sees of observations (N, M, O), and of the point."""
        scaled = super().inputs(observations, params)
        context = params[CONTEXT]
        context = context.reshape(*context.shape[:-1], *[1] * (scaled.ndim - context.ndim), -1)
        context = context.expand(*scaled.shape[:-1], -1)
        return torch.cat([scaled, context, products(scaled, context)], dim=-1)

    def _first_layer(self, params: Params) -> tuple[Array, Array]:
        """Fold the point: W_o + W_x z on observations, b + W_z z."""
        weight, bias = super()._first_layer(params)
        context, size = to_array(params[CONTEXT]), len(self.observation_centre)
        of_seen, of_context, of_products = np.split(weight, [size, size + len(context)], axis=1)
        crossed = of_products.reshape(-1, size, len(context)) @ context
        return of_seen + crossed, bias + of_context @ context

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters; the point begins at 0."""
        params = super().initial_params(generator)
        return {**params, **with_prefix(_DIRECTION, self.direction.initial_params(generator))}

    @staticmethod
    def direction_params(params: Params) -> Params:
        """Return the parameters of the direction network, by the names that it gives them."""
        return under_prefix(_DIRECTION, params)
