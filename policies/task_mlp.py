"""Policies that are told the task: at the end of the observation, or what is believed of it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.gaussian_policy import products
from metarobot.policies.params import TOLD, Params


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
