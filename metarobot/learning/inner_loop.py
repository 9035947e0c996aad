"""The inner loop: one gradient step on every task, all tasks in one vectorised call.

It asks of a loss only its gradient. `policy_loss` is that of a policy on its episodes; the few-shot
learners have that of any module on examples.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from metarobot.learning.shrinkage import StepMoments
from metarobot.policies import MEASURED, STEP_SIGNAL, STEP_VARIANCE, STEPS_TAKEN, Params

StepSizes = float | Mapping[str, float | Tensor]
"""α, dimensionless: one number, or one for each leaf that adapts, which broadcasts with it."""


class InnerLoss(Protocol):
    """L_n(θ_n) of every task, what an adaptation step lowers."""

    def gradient(self, params: Params, adapting: Sequence[str]) -> Params:
        """Return ∇ L_n of every task, for those leaves (N, ...) that adapt.

        Args:
            params: θ_n, each leaf (N, ...).
            adapting: Names of leaves.
        """
        ...


class EpisodicLoss(InnerLoss, Protocol):
    """A loss that is a sum over E episodes, whose spread tells the noise of a step."""

    @property
    def mask(self) -> Tensor:
        """1.0 where a step of an episode counts, (N, E, T)."""
        ...

    def gradients_of_episodes(self, params: Params, adapting: Sequence[str]) -> Params:
        """Return the part of every episode in ∇ L_n: leaves (N, E, ...), whose sums it is."""
        ...


def adapt(
    loss: InnerLoss, params: Params, step_sizes: StepSizes, *, first_order: bool = False
) -> Params:
    """Take one adaptation step on every task: θ'_n = θ_n - α ∇ L_n(θ_n).

    Args:
        loss: L_n.
        params: Parameters, each leaf (N, ...); stay attached to the graph.
        step_sizes: α; leaves without one stay.
        first_order: Treat the step as a constant, so that dθ'/dθ = 1.

    Returns:
        Adapted parameters, same keys and shapes as params.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithms 1 and 3.
    """
    sizes = _size_of_each(params, step_sizes)
    gradient = loss.gradient(params, [*sizes])
    steps = {name: size * gradient[name] for name, size in sizes.items()}
    return _moved(params, steps, first_order)


def adapt_shrunk(
    loss: EpisodicLoss, params: Params, step_sizes: StepSizes, *, first_order: bool = False
) -> Params:
    """Take one shrunk step on every task: θ'_n = θ_n - s_n α ∇ L_n(θ_n).

    s_n is the part of the step that its noise leaves, and that the steps before leave, see
    `shrinkage`. What meta-training knows of steps are the leaves `STEP_VARIANCE` and `STEP_SIGNAL`,
    the steps taken are `STEPS_TAKEN`, if there are such leaves.

    Args:
        loss: L_n.
        params: As for `adapt`.
        step_sizes: As for `adapt`.
        first_order: As for `adapt`.

    Returns:
        Adapted parameters, same keys and shapes as params; those of a task whose mask selects no
        step are as they came.
    """
    steps, counted = _shrunk_steps(loss, params, step_sizes)
    return {**_moved(params, steps, first_order), **counted}


def _moved(params: Params, steps: Params, first_order: bool) -> Params:
    """Return θ_n - step, each leaf (N, ...); leaves without a step stay."""
    if first_order:
        steps = {name: leaf.detach() for name, leaf in steps.items()}
    return {**params, **{name: params[name] - step for name, step in steps.items()}}


def _shrunk_steps(
    loss: EpisodicLoss, params: Params, step_sizes: StepSizes
) -> tuple[Params, Params]:
    """Return s α ∇ L_n of every task, leaves (N, ...), and the leaf that counts the steps taken."""
    steps, moments = measured_steps(loss, params, step_sizes)
    lengths = factors = moments.factors(params.get(STEP_VARIANCE), params.get(STEP_SIGNAL))
    counted: Params = {}
    if STEPS_TAKEN in params:
        # The derivative of relu at 0 is 0: meta-training, which begins there, never moves it.
        taken = torch.relu(params[STEPS_TAKEN].squeeze(1))
        lengths = factors / (1.0 + taken)
        counted = {STEPS_TAKEN: (taken + factors)[:, None]}
    return {name: _like(lengths, leaf) * leaf for name, leaf in steps.items()}, counted


def measured_steps(
    loss: EpisodicLoss, params: Params, step_sizes: StepSizes
) -> tuple[Params, StepMoments]:
    """Return α ∇ L_n of every task, leaves (N, ...), and what its episodes say about its noise.

    Lengths are those of steps, not of gradients: where leaves have different α, what counts is how
    far they move.
    """
    sizes = _size_of_each(params, step_sizes)
    gradients = loss.gradients_of_episodes(params, [*sizes])
    parts = {
        name: _of_episodes(size, params[name]) * gradients[name] for name, size in sizes.items()
    }
    steps = {name: leaf.sum(1) for name, leaf in parts.items()}
    return steps, StepMoments.of(parts, steps, loss.mask)


def _size_of_each(params: Params, step_sizes: StepSizes) -> Mapping[str, float | Tensor]:
    """Return α by leaf, of those that adapt."""
    if isinstance(step_sizes, Mapping):
        return step_sizes
    return {name: step_sizes for name in params if name not in MEASURED}


def _of_episodes(size: float | Tensor, leaf: Tensor) -> float | Tensor:
    """Give a step size that broadcasts with a leaf (N, ...) the dimension of its episodes."""
    return size.expand_as(leaf)[:, None] if isinstance(size, Tensor) else size


def _like(rows: Tensor, leaf: Tensor) -> Tensor:
    """Give numbers (N,) the dimensions of a leaf (N, ...)."""
    return rows.reshape(-1, *[1] * (leaf.ndim - 1))
