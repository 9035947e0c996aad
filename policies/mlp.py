"""Perceptron policies, called with parameters from outside: every task can have its own."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from metarobot.policies.gaussian import (
    LAST_LAYER_GAIN,
    Distribution,
    GaussianPolicy,
    ReactivePolicy,
    products,
)
from metarobot.policies.params import TOLD, Params


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


class TaskMLP(GaussianMLP):
    """π_θ(a | o, z): a `GaussianMLP` that is told the task z.

    The first layer sees [o, z, o ⊗ z], or [o, z] without products.  With them, what a task does to
    the meaning of an observation, such as turning the frame of commands, is linear in what is seen,
    and so it holds for tasks that were never trained on.
    """

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        *,
        task_size: int,
        task_products: bool = True,
    ) -> None:
        """Lay out the network.

        Args:
            observation_low: As of `GaussianMLP`, as all but the last two.
            observation_high: (O,).
            action_size: A.
            hidden_sizes: Width of each tanh layer.
            initial_std: In half action ranges.
            task_size: C, how many of the observation's last elements are the task z.
            task_products: Whether the first layer sees the products of observation and task.
        """
        super().__init__(observation_low, observation_high, action_size, hidden_sizes, initial_std)
        self.task_size, self.task_products = task_size, task_products
        if task_products:
            size, width = len(observation_low), (*hidden_sizes, action_size)[0]
            num_inputs = size + (size - task_size) * task_size
            self.layers[0] = nn.Linear(num_inputs, width, device="meta")

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """What the first layer sees of observations (..., O), the task among them."""
        scaled = super().inputs(observations, params)
        if not self.task_products:
            return scaled
        seen, told = scaled[..., : -self.task_size], scaled[..., -self.task_size :]
        return torch.cat([scaled, products(seen, told)], dim=-1)


class ToldPolicy(TaskMLP):
    """π_θ(a | o, z) whose observation is o, and whose z is the leaf `told` (C,).

    Its other parameters are those of a `TaskMLP`, which observes [o, z].
    """

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        **task: Any,
    ) -> None:
        """Lay out the network; all arguments are those of `TaskMLP`, with the task's bounds."""
        super().__init__(
            observation_low, observation_high, action_size, hidden_sizes, initial_std, **task
        )
        self.told = nn.Parameter(torch.empty(self.task_size, device="meta"))

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """What the first layer sees of observations (N, M, O), and of what is told."""
        told = params[TOLD]
        told = told.reshape(*told.shape[:-1], *[1] * (observations.ndim - told.ndim), -1)
        told = told.expand(*observations.shape[:-1], -1)
        return super().inputs(torch.cat([observations, told], dim=-1), params)
