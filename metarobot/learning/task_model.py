"""Fits a task model to meta-batches: Adam on the mean of the per-task losses."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value

from metarobot.learning.adam import AdamState, Descent, descend
from metarobot.learning.distributed import Workers, mean_over_tasks
from metarobot.learning.shown_steps import show_episodes
from metarobot.learning.task_chunks import chunks_of_steps
from metarobot.options import Checked, integer, number
from metarobot.policies import (
    LatentPolicy,
    Params,
    ShownSteps,
    flatten_params,
    repeat_params,
)
from metarobot.policies.latent_networks import CONSTANT, UNITS
from metarobot.rollout.episodes import Episodes

SLOWER = 2000
"""Steps of Adam after which its learning rate is a quarter of what it was. It must not depend on
the budget, which can be extended."""
LEAST_RATE = 0.04
"""Part of the learning rate that stays: the policy goes on changing what the model must foresee."""
_LEAST_SHARE = 0.02
"""Of a meta-batch in the running units, however many came before it."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Checked):
    """How a task model is fitted."""

    model_lr: float = number(5e-3, 1e-8, 1.0)
    """Learning rate of Adam at the beginning; it falls with the steps taken."""
    model_epochs: int = integer(10, 1, 10_000)
    """Passes over each meta-batch."""
    model_batch: int = integer(4, 1, 10_000)
    """Episodes of each task in one step of Adam."""


class ModelBatch(NamedTuple):
    """What a model is fitted to."""

    episodes: Episodes
    """(N, E, T)."""
    told: Tensor
    """What the policy was told in each, (N, E, C)."""
    anchors: Tensor
    """What the model of steps believes that it was told, (N, E, C)."""
    codes: Tensor
    """The tasks, (N, C)."""


def follow_units(
    policy: LatentPolicy, params: Params, batch: ModelBatch, moments: AdamState, workers: Workers
) -> Params:
    """Return the units of outcomes and returns: running means over the meta-batches so far.

    A task with a number that is not finite is left out.
    """
    size = policy.model.outcome_size
    plain = {"outcome_mean": torch.zeros(1, size), "outcome_std": torch.ones(1, size)}
    shown = show_episodes(policy, plain, batch.episodes, batch.told)
    counts, outcomes = shown.counts.double(), shown.outcomes.double()
    returns = batch.episodes.returns.double()[..., None, None]
    sums = [_sums(outcomes, counts), _sums(returns, torch.ones_like(returns))]
    rows = workers.gather(torch.cat(sums, dim=2).flatten(1))
    means = mean_over_tasks(rows[rows.isfinite().all(1)]).reshape(3, size + 1)
    count, total, squares = torch.from_numpy(means)
    mean = total / count.clamp(min=1e-12)
    std = (squares / count.clamp(min=1e-12) - mean.square()).clamp(min=0.0).sqrt()
    found = [mean[:size], std[:size], mean[size:], std[size:]]
    known = 0.0 if moments.num_steps == 0 else 1.0 - _LEAST_SHARE
    return {
        name: torch.lerp(new.float(), params[name], known)
        for name, new in zip(UNITS, found, strict=True)
    }


def _sums(values: Tensor, counts: Tensor) -> Tensor:
    """Return count, sum and sum of squares of each element of every task, (N, 3, D)."""
    return torch.stack(
        [each.sum((1, 2)) for each in (counts, values * counts, values.square() * counts)], dim=1
    )


def fit_model(
    policy: LatentPolicy,
    params: Params,
    batch: ModelBatch,
    moments: AdamState,
    options: ModelOptions,
    workers: Workers,
) -> Descent | None:
    """Take the epochs of one meta-batch; every step of Adam sees some episodes of all tasks.

    Args:
        policy: The functional module.
        params: Each leaf in its own shape.
        batch: Data of this process' tasks.
        moments: Those of Adam so far.
        options: Learning rate and epochs.
        workers: The processes that hold the other tasks.

    Returns:
        None where a number is not finite.
    """
    units = {name: params[name][None] for name in UNITS}
    shown = show_episodes(policy, units, batch.episodes, batch.anchors)
    std = units["return_std"].clamp(min=CONSTANT)
    returns = (batch.episodes.returns - units["return_mean"]) / std
    stride = -(-batch.episodes.num_episodes // options.model_batch)

    def gradients(model: Params, step: int) -> Tensor:
        chosen = slice(step % stride, None, stride)
        part = shown.episodes(chosen), batch.told[:, chosen], batch.codes, returns[:, chosen]
        return workers.gather(_per_task_gradients(policy, model, *part))

    def rate(moments: AdamState) -> float:
        return learning_rate(options.model_lr, float(moments.num_steps))

    model, num_steps = policy.model_params(params), options.model_epochs * stride
    return descend(gradients, model, moments, num_steps, rate)


def learning_rate(first: float, num_steps: float) -> float:
    """Return the learning rate after steps of Adam, given the first one."""
    return max(first / (1.0 + num_steps / SLOWER) ** 2, LEAST_RATE * first)


def _per_task_gradients(
    policy: LatentPolicy,
    model: Params,
    steps: ShownSteps,
    told: Tensor,
    codes: Tensor,
    returns: Tensor,
) -> Tensor:
    """Return loss and gradient of every task held here, (n, 1 + P), in chunks of tasks."""
    rows = []

    def total(theta: Params, tasks: slice) -> tuple[Tensor, Tensor]:
        part = ShownSteps(*(block[tasks] for block in steps))
        of_returns = policy.model.return_losses(theta, told[tasks], codes[tasks], returns[tasks])
        losses = policy.model.losses(theta, part, codes[tasks]) + of_returns
        return losses.sum(), losses

    for tasks in chunks_of_steps(steps.counts[..., 0]):
        theta = repeat_params(model, len(codes[tasks]))
        gradients, (_, losses) = grad_and_value(total, has_aux=True)(theta, tasks)
        rows.append(torch.cat([losses[:, None], flatten_params(gradients)], dim=1))
    return torch.cat(rows)
