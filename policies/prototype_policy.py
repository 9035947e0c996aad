"""A policy that is told which task it is on by a point, and the encoder that finds the point."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from metarobot.policies.controller import Array
from metarobot.policies.episode_encoder import EpisodeEncoder, transition_feature_size
from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.params import Params, to_array, under_prefix, with_prefix
from metarobot.policies.products import products

_ENCODER = "encoder."
CONTEXT = ("prototype", "num_episodes")
"""Leaves that are set from data, and never trained."""


class PrototypePolicy(GaussianMLP):
    """π_θ(a | o, c): a `GaussianMLP` that also sees the prototype c, and whether there is one.

    The first layer sees [o, c, known, o ⊗ c]. With the products, what a task does to the meaning of
    an observation, such as turning the frame of commands, is linear in what is seen.

    Its parameters hold those of the encoder as well, and what is known of the task: the leaf
    `prototype` (D,), and `num_episodes` (1,), of how many episodes it is the mean.
    """

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        embedding_size: int = 8,
    ) -> None:
        """Lay out the networks; all arguments but the last are those of `GaussianMLP`."""
        super().__init__(observation_low, observation_high, action_size, hidden_sizes, initial_std)
        size, width = len(observation_low), (*hidden_sizes, action_size)[0]
        num_inputs = size + embedding_size + 1 + size * embedding_size
        feature_size = transition_feature_size(size, action_size)
        self.layers[0] = nn.Linear(num_inputs, width, device="meta")
        self.encoder = EpisodeEncoder(feature_size, embedding_size)
        self.prototype = nn.Parameter(torch.empty(embedding_size, device="meta"))
        self.num_episodes = nn.Parameter(torch.empty(1, device="meta"))

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """What the first layer sees of observations, and of what is known of the task."""
        scaled = super().inputs(observations, params)
        known = (params["num_episodes"] > 0).to(scaled.dtype)
        context = torch.cat([params["prototype"], known], dim=-1)
        ones = [1] * (scaled.ndim - context.ndim)
        context = context.reshape(*context.shape[:-1], *ones, -1).expand(*scaled.shape[:-1], -1)
        crossed = products(scaled, context[..., :-1])
        return torch.cat([scaled, context, crossed], dim=-1)

    def _first_layer(self, params: Params) -> tuple[Array, Array]:
        """Fold what is known of the task: W_o + W_x c on observations, b + W_c c + W_k known."""
        weight, bias = super()._first_layer(params)
        prototype = to_array(params["prototype"])
        size, embedding_size = len(self.observation_centre), len(prototype)
        of_seen, of_prototype, of_known, of_products = np.split(
            weight, np.cumsum([size, embedding_size, 1]), axis=1
        )
        crossed = of_products.reshape(-1, size, embedding_size) @ prototype
        known = float(params["num_episodes"] > 0)
        return of_seen + crossed, bias + of_prototype @ prototype + known * of_known[:, 0]

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters; no prototype is known."""
        params = super().initial_params(generator)
        return self.with_encoder_params(params, self.encoder.initial_params(generator))

    @staticmethod
    def with_encoder_params(params: Params, encoder: Params) -> Params:
        """Return the parameters with other ones of the encoder."""
        return {**params, **with_prefix(_ENCODER, encoder)}

    @staticmethod
    def encoder_params(params: Params) -> Params:
        """Return the encoder's parameters, by the names that it gives them."""
        return under_prefix(_ENCODER, params)

    @staticmethod
    def acting_params(params: Params) -> Params:
        """Return the parameters that decide how the policy acts on what it sees."""
        return {
            name: leaf
            for name, leaf in params.items()
            if not name.startswith(_ENCODER) and name not in CONTEXT
        }
