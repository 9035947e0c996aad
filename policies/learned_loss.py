"""A policy with a small point that adapts, and the network that says where the point should go."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metarobot.policies.episode_encoder import transition_feature_size
from metarobot.policies.gaussian import products
from metarobot.policies.mlp import GaussianMLP
from metarobot.policies.params import Params, under_prefix, with_prefix, xavier_params

CONTEXT = "context"
"""Leaf (Z,): the point that adapts."""
_DIRECTION = "direction."


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

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters: Xavier weights, zero biases.

        So the first directions mean nothing, but they differ from task to task: with small ones the
        policy learns to do without them first.
        """
        return xavier_params(self, generator)


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

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters; the point begins at 0."""
        params = super().initial_params(generator)
        return {**params, **with_prefix(_DIRECTION, self.direction.initial_params(generator))}

    @staticmethod
    def direction_params(params: Params) -> Params:
        """Return the parameters of the direction network, by the names that it gives them."""
        return under_prefix(_DIRECTION, params)
