"""The oracle's policy in other hands: told what is believed of the task, not what is true."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metarobot.policies.controller import Array, Controller
from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.params import TOLD, Params, to_array
from metarobot.policies.task_mlp import TaskMLP


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

    def controller(self, params: Params) -> Controller:
        """Set one policy to work on robots, without action noise; each leaf in its own shape."""
        return GaussianMLP.controller(self, params)

    def _scaling(self) -> tuple[Array, Array]:
        """Return the centre and the half range of what is observed, (O,) each."""
        centre, half_range = super()._scaling()
        return centre[: -self.task_size], half_range[: -self.task_size]

    def _first_layer(self, params: Params) -> tuple[Array, Array]:
        """Fold what is told: W_o + W_x z on observations, b + W_z z."""
        weight, bias = super()._first_layer(params)
        centre, half_range = (side[-self.task_size :] for side in super()._scaling())
        told = (to_array(params[TOLD]) - centre) / half_range
        size = len(self.observation_centre) - self.task_size
        of_seen, of_task, of_products = np.split(weight, [size, size + self.task_size], axis=1)
        if self.task_products:
            of_seen = of_seen + of_products.reshape(-1, size, self.task_size) @ told
        return of_seen, bias + of_task @ told
