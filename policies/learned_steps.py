"""A policy whose parameters include how far each of the others moves when it adapts."""

from collections.abc import Sequence

import torch
from torch import nn

from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.params import Params

_PREFIX = "step_sizes."


class LearnedStepsMLP(GaussianMLP):
    """A `GaussianMLP` with a step size for every element of every parameter.

    It acts as if they were not there.
    """

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        initial_step_size: float = 0.1,
    ) -> None:
        """Lay out the network; all arguments but the last are those of `GaussianMLP`."""
        super().__init__(observation_low, observation_high, action_size, hidden_sizes, initial_std)
        self.initial_step_size = initial_step_size
        steps = {_key(name): torch.empty_like(leaf) for name, leaf in self.named_parameters()}
        self.step_sizes = nn.ParameterDict(steps)

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters; all step sizes are alike."""
        params = super().initial_params(generator)
        for leaf in self.step_sizes_of(params).values():
            leaf.fill_(self.initial_step_size)
        return params

    @staticmethod
    def step_sizes_of(params: Params) -> Params:
        """Return the step size of every parameter that has one, by the parameter's name."""
        keys = {name: _PREFIX + _key(name) for name in params}
        return {name: params[key] for name, key in keys.items() if key in params}


def _key(name: str) -> str:
    """Return a parameter's name without dots, which part the names of modules."""
    return name.replace(".", "_")
