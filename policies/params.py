"""Policy parameters as a tree: one policy, or one for every task."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Params = dict[str, Tensor]
"""Policy parameters by name; leaves are (N, ...) where every task has its own policy."""


TASK_CODE = "task_code"
"""The leaf that holds the task code of a policy, (C,); in training (N, E, C)."""


def with_prefix(prefix: str, params: Params) -> Params:
    """Add a prefix to all names of a tree, as a part of a larger tree."""
    return {prefix + name: leaf for name, leaf in params.items()}


def under_prefix(prefix: str, params: Mapping[str, Tensor]) -> Params:
    """Return the leaves with a prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): leaf for name, leaf in params.items() if name.startswith(prefix)
    }


def xavier_params(module: nn.Module, generator: torch.Generator) -> Params:
    """Draw fresh parameters of linear layers without storage: Xavier weights, zero biases."""
    params = {
        name: torch.zeros_like(leaf, device="cpu").detach()
        for name, leaf in module.named_parameters()
    }
    for name, leaf in params.items():
        if name.endswith(".weight"):
            nn.init.xavier_uniform_(leaf, generator=generator)
    return params


def repeat_params(params: Params, num_tasks: int) -> Params:
    """Give every task the same parameters: each leaf becomes a view of shape (N, ...)."""
    return {name: leaf.expand(num_tasks, *leaf.shape) for name, leaf in params.items()}


def flatten_params(params: Params) -> Tensor:
    """Join the leaves (N, ...) of every task into one row: (N, D)."""
    return torch.cat([leaf.flatten(start_dim=1) for leaf in params.values()], dim=1)


def unflatten_params(vector: Tensor, like: Params) -> Params:
    """Split vectors (..., D) into leaves (..., shape), like those of a bare tree."""
    pieces = vector.split([leaf.numel() for leaf in like.values()], dim=-1)
    return {
        name: piece.to(leaf.dtype).reshape(*vector.shape[:-1], *leaf.shape)
        for (name, leaf), piece in zip(like.items(), pieces, strict=True)
    }


def linear(params: Params, name: str, inputs: Tensor) -> Tensor:
    """Apply a layer of each task, weights (N, J, I) and biases (N, J), to inputs (N, ..., I)."""
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    outputs = torch.baddbmm(bias[:, None], inputs.flatten(1, -2), weight.mT)
    return outputs.unflatten(1, inputs.shape[1:-1])
