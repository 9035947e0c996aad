"""A policy that is told the task at the end of its observation, as the oracle is."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from metarobot.policies.controller import Array, Controller, Layer, MlpController
from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.params import Params, to_array
from metarobot.policies.products import products


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

    def controller(self, params: Params) -> Controller:
        """Set one policy to work on robots, without action noise; each leaf in its own shape."""
        if not self.task_products:
            return super().controller(params)
        layers: list[Layer] = [
            (to_array(params[f"layers.{i}.weight"]).T, to_array(params[f"layers.{i}.bias"]))
            for i in range(len(self.layers))
        ]
        return TaskController(layers, *self._scaling(), self.task_size)


class TaskController(MlpController):
    """A tanh network that sees the products of observation and task.

    Args:
        layers: All layers; the first takes scaled observations and their products.
        centre: Centre of the observation bounds, (O,).
        half_range: Half of their width, (O,).
        task_size: C.
    """

    def __init__(
        self, layers: Sequence[Layer], centre: Array, half_range: Array, task_size: int
    ) -> None:
        super().__init__(layers)
        self.centre, self.half_range, self.task_size = centre, half_range, task_size

    def act(self, observations: Array) -> Array:
        """Return the means of the actions (..., A) for observations (..., O)."""
        scaled = (observations - self.centre) / self.half_range
        seen, told = scaled[..., : -self.task_size], scaled[..., -self.task_size :]
        crossed = (seen[..., :, None] * told[..., None, :]).reshape(*scaled.shape[:-1], -1)
        return super().act(np.concatenate([scaled, crossed], axis=-1))
