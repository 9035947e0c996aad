"""Perceptron policies, called with parameters from outside: every task can have its own."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metarobot.policies.gaussian import (
    LAST_LAYER_GAIN,
    Distribution,
    GaussianPolicy,
    ReactivePolicy,
    products,
)
from metarobot.policies.params import TASK_CODE, Params, linear, under_prefix, with_prefix


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
        """Lay out the network, as `GaussianPolicy`; `hidden_sizes` are widths of tanh layers."""
        super().__init__(observation_low, observation_high, action_size, initial_std)
        sizes = (len(observation_low), *hidden_sizes, action_size)
        self.num_inputs, self._first_width = sizes[:2]
        self.layers = nn.ModuleList(nn.Linear(*pair, device="meta") for pair in pairwise(sizes))

    def widen(self, num_inputs: int) -> None:
        """Let the first layer see further inputs, as `inputs` of a subclass returns them."""
        self.num_inputs += num_inputs
        self.layers[0] = nn.Linear(self.num_inputs, self._first_width, device="meta")

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """Return the inputs of the first layer, (N, M, I), for observations (N, M, O)."""
        del params
        return self.scale_observations(observations)

    def distribution(self, params: Params, observations: Tensor) -> Distribution:
        """Return mean (N, ..., A) and log_std (N, A); as of `ReactivePolicy`."""
        mean = self.mean(self.inputs(observations.flatten(1, -2), params), params)
        return Distribution(mean.unflatten(1, observations.shape[1:-1]), self.log_std_of(params))

    def mean(self, inputs: Tensor, params: Params) -> Tensor:
        """Return the means of the actions (N, M, A) for inputs of the first layer, (N, M, I)."""
        hidden, last = inputs, len(self.layers) - 1
        for index in range(last + 1):
            hidden = linear(params, f"layers.{index}", hidden)
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


class ConditionedMLP(GaussianMLP):
    """π_θ(a | o, c): a `GaussianMLP` with the first-layer inputs [o, c, o ⊗ c] for a context c.

    With the products, effects of a task on the meaning of an observation, such as a rotation of the
    command frame, are linear in the inputs, and so they extend to tasks that were never trained on.

    A second network estimates the context; it is not trained with the policy.
    """

    network: ClassVar[str]
    """Prefix of the names of the second network's parameters."""
    measured: ClassVar[tuple[str, ...]] = ()
    """Leaves that are set from data, and never trained."""

    def __init__(self, *layout: Any, context_size: int, **options: Any) -> None:
        """Lay out the network for contexts of Z = `context_size` elements; see `GaussianMLP`."""
        super().__init__(*layout, **options)
        self.widen(context_size * (1 + self.num_inputs))

    @classmethod
    def network_params(cls, params: Params) -> Params:
        """Return the second network's parameters, by the names that it gives them."""
        return under_prefix(cls.network, params)

    @classmethod
    def with_network(cls, params: Params, network: Params) -> Params:
        """Return the parameters with other ones of the second network."""
        return {**params, **with_prefix(cls.network, network)}

    @classmethod
    def acting_params(cls, params: Params) -> Params:
        """Return the parameters that decide how the policy acts, given a context."""
        return {
            name: leaf
            for name, leaf in params.items()
            if not name.startswith(cls.network) and name not in (*cls.measured, TASK_CODE)
        }


def conditioned(scaled: Tensor, context: Tensor) -> Tensor:
    """Return [o, c, o ⊗ c], (..., O + Z + O Z), for scaled observations and contexts (..., Z)."""
    return torch.cat([scaled, context, products(scaled, context)], dim=-1)


def repeated(context: Tensor, observations: Tensor) -> Tensor:
    """Repeat contexts (N, Z) for each of a task's observations (N, ..., O): (N, ..., Z)."""
    ones = [1] * (observations.ndim - context.ndim)
    context = context.reshape(*context.shape[:-1], *ones, -1)
    return context.expand(*observations.shape[:-1], -1)


class LearnedStepsMLP(GaussianMLP):
    """A `GaussianMLP` with a step size for every element of every parameter, which does not act."""

    def __init__(self, *layout: Any, initial_step_size: float = 0.1, **options: Any) -> None:
        """Lay out the network; see `GaussianMLP`."""
        super().__init__(*layout, **options)
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
        keys = {name: f"step_sizes.{_key(name)}" for name in params}
        return {name: params[key] for name, key in keys.items() if key in params}


def _key(name: str) -> str:
    """Return a parameter's name without dots, which separate the names of modules."""
    return name.replace(".", "_")


class TaskMLP(GaussianMLP):
    """π_θ(a | o, z): a `GaussianMLP` that observes the task z, the last elements of [o, z].

    The first layer sees [o, z, o ⊗ z], or [o, z] without products; see `ConditionedMLP`.
    """

    def __init__(
        self, *layout: Any, task_size: int, task_products: bool = True, **options: Any
    ) -> None:
        """Lay out the network for tasks of C = `task_size` elements; see `GaussianMLP`."""
        super().__init__(*layout, **options)
        self.task_size, self.task_products = task_size, task_products
        if task_products:
            self.widen((self.num_inputs - task_size) * task_size)

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters; the task has no effect yet."""
        params = super().initial_params(generator)
        params["layers.0.weight"][:, self.observation_centre.numel() - self.task_size :] = 0.0
        return params

    def hide_task(self, observations: Tensor) -> Tensor:
        """Return observations (..., O) with the middle of all tasks as the task."""
        seen = observations[..., : -self.task_size]
        middle = self.observation_centre[-self.task_size :].expand(*seen.shape[:-1], -1)
        return torch.cat([seen, middle], dim=-1)

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """Return the inputs of the first layer for observations (..., O), the task among them."""
        scaled = super().inputs(observations, params)
        if not self.task_products:
            return scaled
        return conditioned(scaled[..., : -self.task_size], scaled[..., -self.task_size :])
