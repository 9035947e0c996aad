"""A policy with a small context that adapts, and the network that says in which direction."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metarobot.policies.episode_encoder import transition_feature_size
from metarobot.policies.mlp import ConditionedMLP, conditioned, repeated
from metarobot.policies.params import Params, xavier_params

CONTEXT = "context"
"""Leaf (Z,): the context that adapts."""


class DirectionNetwork(nn.Module):
    """d = C tanh(B [(U x + u) ∘ (V x + v), x] + b) + c, for every step x of an episode.

    What tells tasks apart is how that which was done goes with that which came of it; the products
    are a sketch of that.  Like `GaussianMLP`, the module is functional: it is called with
    parameters from outside.
    """

    def __init__(self, feature_size: int, action_size: int, hidden_size: int = 64) -> None:
        """Lay out the network.

        Args:
            feature_size: F, features of a step.
            action_size: A, elements of a direction.
            hidden_size: Number of products, and width of the tanh layer behind them.
        """
        super().__init__()
        self.left = nn.Linear(feature_size, hidden_size, device="meta")
        self.right = nn.Linear(feature_size, hidden_size, device="meta")
        self.hidden = nn.Linear(hidden_size + feature_size, hidden_size, device="meta")
        self.last = nn.Linear(hidden_size, action_size, device="meta")

    def forward(self, features: Tensor) -> Tensor:
        """Return directions (..., A) for features (..., F)."""
        products = self.left(features) * self.right(features)
        return self.last(torch.tanh(self.hidden(torch.cat([products, features], dim=-1))))


def directions(network: DirectionNetwork, params: Params, features: Tensor) -> Tensor:
    """Return the directions of every task's steps by that task's parameters.

    Args:
        network: Its functional module.
        params: Each leaf (N, ...).
        features: (N, ..., F).

    Returns:
        (N, ..., A).
    """

    def of_one_task(task_params: Params, task_features: Tensor) -> Tensor:
        return functional_call(network, task_params, (task_features,))

    return vmap(of_one_task)(params, features)


class LearnedLossPolicy(ConditionedMLP):
    """π_θ(a | o, z): a `ConditionedMLP` whose context z is a leaf of its parameters, and adapts.

    Its parameters hold those of the `DirectionNetwork` as well.  It acts as if they were not there.

    Source: Zintgraf et al. 2019, CAVIA, arXiv:1810.03642, for a context that adapts alone.
    """

    network = "direction."

    def __init__(self, *layout: Any, context_size: int = 8, **options: Any) -> None:
        """Lay out the networks; all arguments are those of `ConditionedMLP`."""
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

        The first directions mean nothing, but they differ from task to task: with small ones the
        policy learns to do without them first.
        """
        params = super().initial_params(generator)
        return self.with_network(params, xavier_params(self.direction, generator))
