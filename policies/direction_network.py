"""In which direction the mean of an action should have been different, as learned."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metarobot.policies.params import Params, xavier_params


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
