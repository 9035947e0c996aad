"""Fits a task model to the episodes of a trained policy: Adam on per-task losses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value

from metarobot.config import Checked, integer, number
from metarobot.learning.adam import AdamState, descend
from metarobot.learning.distributed import Workers, mean_over_tasks
from metarobot.learning.meta_batch import chunks_of_steps
from metarobot.policies import (
    LatentPolicy,
    Params,
    ShownSteps,
    flatten_params,
    repeat_params,
)
from metarobot.policies.episode_encoder import shift
from metarobot.policies.latent import CONSTANT, UNITS, when
from metarobot.rollout.episodes import Episodes


def show_episodes(
    policy: LatentPolicy, params: Params, episodes: Episodes, told: Tensor
) -> ShownSteps:
    """Return episodes as the model reads them, the same as `LatentState` shows it step by step.

    Args:
        policy: Knows how observations are scaled.
        params: The units of outcomes, each leaf (N, D) or (1, D).
        episodes: (N, E, T); rewards are NaN where nobody measured them.
        told: What the policy was told in each, (N, E, C).
    """
    mask, rewards = episodes.mask, episodes.rewards
    seen, done = policy.scale_observations(episodes.observations), episodes.actions.clamp(-1.0, 1.0)
    changes = policy.scale_observations(episodes.next_observations) - seen
    raw = torch.cat([rewards[..., None], changes], dim=-1)
    outcomes, varies = policy.in_units(params, raw.nan_to_num())
    counts = ~raw.isnan() * mask[..., None] * varies
    outcomes = outcomes * counts
    step = torch.arange(mask.shape[-1], dtype=mask.dtype).expand_as(mask)
    before = shift(outcomes[..., 1:], 1), shift(done, 1)
    return ShownSteps(
        inputs=torch.cat([seen, done, *before, when(step)], dim=-1),
        told=told[:, :, None].expand(*mask.shape, -1),
        outcomes=outcomes,
        counts=counts,
    )


_NOT_FITTED = (
    "the model of latent cannot be fitted: numbers of all tasks are not finite; lower model_lr, or "
    "look at the episodes in the folder rejected/"
)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Checked):
    """How a task model is fitted."""

    model_lr: float = number(5e-3, 1e-8, 1.0)
    """Learning rate of Adam at the beginning; it falls to nothing."""
    model_epochs: int = integer(16, 1, 10_000)
    """How often Adam sees each episode, on average."""
    model_batch: int = integer(4, 1, 10_000)
    """Episodes of each task in one step of Adam."""


class ModelBatch(NamedTuple):
    """What a model is fitted to: a meta-batch of a policy that was told something."""

    episodes: Episodes
    """(N, E, T)."""
    told: Tensor
    """What the policy was told in each, (N, E, C)."""
    anchors: Tensor
    """What the model of steps believes that it was told, (N, E, C)."""
    codes: Tensor
    """The tasks, (N, C)."""


class _Shown(NamedTuple):
    """B meta-batches as the model reads them; of what a step of Adam sees, there is no B."""

    steps: ShownSteps
    """(B, N, E, T, .) each."""
    told: Tensor
    """(B, N, E, C)."""
    codes: Tensor
    """(B, N, C)."""
    returns: Tensor
    """In their unit, (B, N, E)."""

    def of_one_batch_each(self, batches: Tensor, episodes: Tensor) -> "_Shown":
        """Return some episodes of the first task of one meta-batch, the second of one, and so on.

        Args:
            batches: Whose meta-batch it is, of each task, (N,).
            episodes: The numbers of the episodes, (e,).
        """
        tasks = batches[:, None], torch.arange(len(batches))[:, None]
        return _Shown(
            steps=ShownSteps(*(block[(*tasks, episodes)] for block in self.steps)),
            told=self.told[(*tasks, episodes)],
            codes=self.codes[tasks][:, 0],
            returns=self.returns[(*tasks, episodes)],
        )


def find_units(policy: LatentPolicy, batches: Sequence[ModelBatch], workers: Workers) -> Params:
    """Return the units of outcomes and returns: mean and standard deviation over all tasks."""
    size = policy.model.outcome_size
    rows = torch.cat([workers.gather(_sums(policy, batch)) for batch in batches])
    means = mean_over_tasks(_finite(rows)).reshape(3, size + 1)
    count, total, squares = torch.from_numpy(means)
    mean = total / count.clamp(min=1e-12)
    std = (squares / count.clamp(min=1e-12) - mean.square()).clamp(min=0.0).sqrt()
    found = [mean[:size], std[:size], mean[size:], std[size:]]
    return {name: unit.float() for name, unit in zip(UNITS, found, strict=True)}


def _sums(policy: LatentPolicy, batch: ModelBatch) -> Tensor:
    """Return count, sum and sum of squares of each outcome and return of a task, (N, 3 (D + 1))."""
    size = policy.model.outcome_size
    plain = {"outcome_mean": torch.zeros(1, size), "outcome_std": torch.ones(1, size)}
    shown = show_episodes(policy, plain, batch.episodes, batch.told)
    counts, outcomes = shown.counts.double(), shown.outcomes.double()
    returns = batch.episodes.returns.double()[..., None, None]
    pairs = (outcomes, counts), (returns, torch.ones_like(returns))
    sums = [
        torch.stack([each.sum((1, 2)) for each in (n, values * n, values.square() * n)], dim=1)
        for values, n in pairs
    ]
    return torch.cat(sums, dim=2).flatten(1)


def _finite(rows: Tensor) -> Tensor:
    """Return the rows of tasks whose numbers are all finite; all rows if there is none."""
    finite = rows.isfinite().all(1)
    return rows[finite] if finite.any() else rows


def fit_model(
    policy: LatentPolicy,
    params: Params,
    batches: Sequence[ModelBatch],
    options: ModelOptions,
    generator: torch.Generator,
    workers: Workers,
    watch: Callable[[float], None],
) -> Params:
    """Fit the model to B meta-batches.

    A step of Adam sees as many tasks as a meta-batch has: the first one of any of the meta-batches,
    the second one of any, and so on, and some episodes of each.  Tasks whose numbers are not finite
    are left out.

    Args:
        policy: The functional module.
        params: Each leaf in its own shape, with the units.
        batches: Data of this process' tasks.
        options: Learning rate and epochs.
        generator: Draws which tasks and episodes a step sees, in all processes alike.
        workers: The processes that hold the other tasks.
        watch: Takes the share that is done, before every step.

    Returns:
        The parameters with the model fitted.

    Raises:
        ValueError: Of no task of a step the numbers are finite.
    """
    shown = _show(policy, params, batches)
    num_batches, num_held, num_episodes = shown.returns.shape
    num_steps = options.model_epochs * num_batches * -(-num_episodes // options.model_batch)

    def gradients(model: Params, step: int) -> Tensor:
        watch(step / num_steps)
        drawn = torch.randint(num_batches, (workers.count * num_held,), generator=generator)
        episodes = torch.randperm(num_episodes, generator=generator)[: options.model_batch]
        held = drawn[workers.rank * num_held :][:num_held]
        part = shown.of_one_batch_each(held, episodes)
        return _finite(workers.gather(_per_task_gradients(policy, model, part)))

    def rate(moments: AdamState) -> float:
        return options.model_lr * (1.0 - float(moments.num_steps) / num_steps)

    model = policy.model_params(params)
    found = descend(gradients, model, AdamState.fresh(model), num_steps, rate)
    if found is None:
        raise ValueError(_NOT_FITTED)
    return policy.with_model_params(params, found.params)


def _show(policy: LatentPolicy, params: Params, batches: Sequence[ModelBatch]) -> _Shown:
    units = {name: params[name][None] for name in UNITS}
    std = units["return_std"].clamp(min=CONSTANT)
    shown = [show_episodes(policy, units, batch.episodes, batch.anchors) for batch in batches]
    returns = [(batch.episodes.returns - units["return_mean"]) / std for batch in batches]
    return _Shown(
        steps=ShownSteps(*(torch.stack(blocks) for blocks in zip(*shown, strict=True))),
        told=torch.stack([batch.told for batch in batches]),
        codes=torch.stack([batch.codes for batch in batches]),
        returns=torch.stack(returns),
    )


def _per_task_gradients(policy: LatentPolicy, model: Params, shown: _Shown) -> Tensor:
    """Return loss and gradient of every task held here, (n, 1 + P), in chunks of tasks."""
    rows, (steps, told, codes, returns) = [], shown

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
