"""A policy with a small context that adapts, and the network of the adaptation direction."""

from typing import Any

import torch
from torch import Tensor, nn

from metarobot.policies.episode_encoder import transition_feature_size
from metarobot.policies.mlp import ConditionedMLP, conditioned, repeated
from metarobot.policies.params import Params, xavier_params

CONTEXT = "context"
"""Leaf (Z,): the context that adapts."""


class DirectionNetwork(nn.Module):
    """d = C tanh(B [(U x + u) ∘ (V x + v), x] + b) + c, for every step x of an episode.

    The products are a sketch of the second moments that pair outcomes with actions.  The module
    lays out the parameters; `directions` computes with those of every task.
    """

    def __init__(self, feature_size: int, action_size: int, hidden_size: int = 64) -> None:
        """Lay out the network for F features and A action elements, with `hidden_size` products."""
        super().__init__()
        self.left = nn.Linear(feature_size, hidden_size, device="meta")
        self.right = nn.Linear(feature_size, hidden_size, device="meta")
        self.hidden = nn.Linear(hidden_size + feature_size, hidden_size, device="meta")
        self.last = nn.Linear(hidden_size, action_size, device="meta")


def directions(params: Params, features: Tensor) -> Tensor:
    """Return the directions (N, ..., A) of features (N, ..., F) by every task's leaves (N, ...)."""
    rows = features.flatten(1, -2)

    def layer(name: str, inputs: Tensor) -> Tensor:
        return inputs @ params[f"{name}.weight"].mT + params[f"{name}.bias"][:, None]

    products = layer("left", rows) * layer("right", rows)
    hidden = torch.tanh(layer("hidden", torch.cat([products, rows], dim=-1)))
    return layer("last", hidden).unflatten(1, features.shape[1:-1])


class LearnedLossPolicy(ConditionedMLP):
    """π_θ(a | o, z): a `ConditionedMLP` with the context z as a leaf of its parameters; z adapts.

    Its parameters hold those of the `DirectionNetwork`, which does not act.

    Source: Zintgraf et al. 2019, CAVIA, arXiv:1810.03642, for a context that adapts alone.
    """

    network = "direction."

    def __init__(self, *layout: Any, context_size: int = 8, **options: Any) -> None:
        """Lay out the networks; see `ConditionedMLP`."""
        super().__init__(*layout, context_size=context_size, **options)
        self.context = nn.Parameter(torch.empty(context_size, device="meta"))
        feature_size = transition_feature_size(self.observation_centre.numel(), self.action_size)
        self.direction = DirectionNetwork(feature_size, self.action_size)

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """Return the inputs of the first layer for observations (N, M, O)."""
        scaled = super().inputs(observations, params)
        return conditioned(scaled, repeated(params[CONTEXT], scaled))

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters; the context begins at 0.

        Initial directions are random, but differ between tasks: with small ones the policy would
        first learn to ignore them.
        """
        params = super().initial_params(generator)
        return self.with_network(params, xavier_params(self.direction, generator))
