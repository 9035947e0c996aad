"""Adam on an initialisation: a meta-update of several epochs over one meta-batch.

Source: Kingma and Ba 2015, arXiv:1412.6980.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value
from torch.optim.adam import adam

from metarobot.config import AdamOptions
from metarobot.learning.distributed import ALONE, Workers, mean_over_tasks
from metarobot.learning.meta_update import (
    MetaBatch,
    MetaObjective,
    UpdateReport,
    kl_divergences,
    per_task_gradients,
    rejected_rows,
)
from metarobot.policies import Params, flatten_params, repeat_params, unflatten_params
from metarobot.policies.params import under_prefix, with_prefix


class AdamState(NamedTuple):
    """Running moments of the gradient; steps replace them, and change none in place."""

    first: Params
    """Running mean of the gradient."""
    second: Params
    """Running mean of its square."""
    num_steps: Tensor
    """Steps taken, a scalar."""

    @classmethod
    def fresh(cls, params: Mapping[str, Tensor]) -> "AdamState":
        """Return the state before the first step on parameters like these, on any device."""
        first = {name: torch.zeros_like(leaf, device="cpu") for name, leaf in params.items()}
        second = {name: torch.zeros_like(leaf, device="cpu") for name, leaf in params.items()}
        return cls(first, second, torch.zeros((), dtype=torch.float32))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors, as a checkpoint keeps them."""
        moments = with_prefix("first.", self.first) | with_prefix("second.", self.second)
        return {**moments, "num_steps": self.num_steps}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "AdamState":
        """Rebuild the state from its named tensors."""
        first, second = (under_prefix(part, tensors) for part in ("first.", "second."))
        return cls(first, second, tensors["num_steps"])


def adam_step(
    params: Params, gradient: Params, state: AdamState, learning_rate: float
) -> tuple[Params, AdamState]:
    """Take one step from θ, each leaf in its own shape; return the new θ and moments.

    The learning rate is about the change of every element.  All arguments stay as they are.
    """
    trees = (params, state.first, state.second)
    new, first, second = ({name: tree[name].clone() for name in params} for tree in trees)
    counts = [state.num_steps.clone() for _ in new]
    adam(
        list(new.values()),
        [gradient[name] for name in new],
        list(first.values()),
        list(second.values()),
        [],
        counts,
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=learning_rate,
        weight_decay=0.0,
        eps=1e-8,
        maximize=False,
    )
    return new, AdamState(first, second, state.num_steps + 1)


class Descent(NamedTuple):
    """Result of some steps of Adam."""

    params: Params
    """Each leaf in its own shape."""
    moments: AdamState
    """Moments of Adam."""
    losses: list[float]
    """Mean loss over the tasks before each step."""


def loss_rows(losses: Callable[[Params], Tensor], params: Params, num_tasks: int) -> Tensor:
    """Return loss and gradient of every task, (N, 1 + P), of parameters in their own shapes.

    Every task has its own copy of the parameters, so that one reverse pass gives all gradients:
    `losses` maps leaves (N, ...) to a loss of every task, (N,).
    """

    def total(theta: Params) -> tuple[Tensor, Tensor]:
        each = losses(theta)
        return each.sum(), each

    theta = repeat_params(params, num_tasks)
    gradients, (_, each) = grad_and_value(total, has_aux=True)(theta)
    return torch.cat([each[:, None], flatten_params(gradients)], dim=1)


def descend(
    per_task_gradients: Callable[[Params, int], Tensor],
    params: Params,
    moments: AdamState,
    num_steps: int,
    learning_rate: Callable[[AdamState], float],
) -> Descent | None:
    """Take steps of Adam on the mean of per-task losses; None where a number is not finite.

    Args:
        per_task_gradients: Maps parameters and the number of a step to loss and gradient of every
            task of all processes, (N, 1 + P).
        params: Each leaf in its own shape.
        moments: Moments of Adam so far.
        num_steps: Number of steps.
        learning_rate: Maps the moments before a step to its learning rate.
    """
    losses = []
    for step in range(num_steps):
        rows = per_task_gradients(params, step)
        if rejected_rows(rows):
            return None
        mean = mean_over_tasks(rows)
        losses.append(float(mean[0]))
        gradient = unflatten_params(torch.from_numpy(mean[1:]), params)
        params, moments = adam_step(params, gradient, moments, learning_rate(moments))
    return Descent(params, moments, losses)


def adam_update(
    objective: MetaObjective,
    params: Params,
    batch: MetaBatch,
    state: AdamState,
    options: AdamOptions,
    workers: Workers = ALONE,
) -> tuple[Params, UpdateReport, AdamState]:
    """Improve the initialisation θ by `outer_epochs` steps on the same meta-batch, at most.

    A step that would move farther than `outer_max_kl` from the policies that collected the data is
    not taken, and later steps are half as long: clipping ends the gradient of an action, but
    bounds no policy.  As `trpo_update`; it returns the new moments too.
    """
    rows, old = per_task_gradients(objective, params, batch, workers)
    if rejected := rejected_rows(rows):
        return params, UpdateReport.rejection(rejected), state
    mean = mean_over_tasks(rows)
    before = after = float(mean[0])
    new_params, moments, reached, accepted = params, state, 0.0, False
    learning_rate = options.outer_lr
    for _ in range(options.outer_epochs):
        gradient = unflatten_params(torch.from_numpy(mean[1:]), params)
        proposal, new_moments = adam_step(new_params, gradient, moments, learning_rate)
        rows, distribution = per_task_gradients(objective, proposal, batch, workers)
        divergences = workers.gather(kl_divergences(old, distribution, batch.post_episodes))
        if rejected := rejected_rows(torch.cat([rows, divergences[:, None]], dim=1)):
            return params, UpdateReport(before, math.nan, 0.0, 0, False, rejected), state
        kl = float(mean_over_tasks(divergences))
        if kl > options.outer_max_kl:
            learning_rate /= 2
            continue
        mean = mean_over_tasks(rows)
        new_params, moments, accepted = proposal, new_moments, True
        after, reached = float(mean[0]), kl
    return new_params, UpdateReport(before, after, reached, 0, accepted), moments
