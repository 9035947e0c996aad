"""The inner loop: one gradient step on every task, all tasks in one vectorised call."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad

from metarobot.learning.objectives import OBJECTIVES, InnerObjective
from metarobot.learning.shrinkage import StepMoments
from metarobot.policies import (
    MEASURED,
    STEP_SIGNAL,
    STEP_VARIANCE,
    STEPS_TAKEN,
    Params,
    ReactivePolicy,
    log_prob,
)
from metarobot.rollout.episodes import Episodes

StepSizes = float | Mapping[str, float | Tensor]
"""α, dimensionless: one number, or one for each leaf that adapts, which broadcasts with it."""


class InnerLoss(NamedTuple):
    """L_n(θ_n), what an adaptation step lowers: the negative mean of an objective over a task."""

    policy: ReactivePolicy
    """The policy's functional module."""
    episodes: Episodes
    """Adaptation episodes (N, E, T)."""
    advantages: Tensor
    """Their advantages (N, E, T)."""
    weights: Tensor
    """What each step counts in the mean, (N, E, T)."""
    objective: InnerObjective = "lvc"
    """What the mean is of."""

    def gradient(self, params: Params, adapting: Sequence[str]) -> Params:
        """Return ∇ L_n of every task, for the leaves (N, ...) that adapt.

        It is that of Σ_n L_n, as L_n depends on the row n alone.
        """
        per_step, episodes = OBJECTIVES[self.objective], self.episodes

        def total_loss(leaves: Params) -> Tensor:
            mean, log_std = self.policy.distribution({**params, **leaves}, episodes.observations)
            log_probs = log_prob(mean, log_std[:, None, None], episodes.actions)
            objective = per_step(log_probs, episodes.log_probs, self.advantages)
            return -(self.weights * objective).sum()

        return grad(total_loss)({name: params[name] for name in adapting})

    def gradients_of_episodes(self, params: Params, adapting: Sequence[str]) -> Params:
        """Return the part of every episode in ∇ L_n: leaves (N, E, ...), whose sums it is.

        Every episode gets its own copy of the parameters, so one reverse pass gives all parts.
        """
        shape = N, E = self.episodes.num_tasks, self.episodes.num_episodes
        copies = {
            name: leaf[:, None].expand(N, E, *leaf.shape[1:]).flatten(0, 1)
            for name, leaf in params.items()
            if name not in MEASURED
        }
        alone = self._replace(
            episodes=self.episodes.each_alone(),
            advantages=self.advantages.flatten(0, 1)[:, None],
            weights=self.weights.flatten(0, 1)[:, None],
        )
        gradients = alone.gradient(copies, adapting)
        return {name: leaf.unflatten(0, shape) for name, leaf in gradients.items()}


def adapt(
    policy: ReactivePolicy,
    params: Params,
    episodes: Episodes,
    advantages: Tensor,
    step_sizes: StepSizes,
    objective: InnerObjective = "lvc",
    *,
    first_order: bool = False,
    shrink: bool = False,
) -> Params:
    """Take one adaptation step on every task: θ'_n = θ_n - s_n α ∇ L_n(θ_n; episodes_n).

    Args:
        policy: The policy's functional module.
        params: Parameters, each leaf (N, ...); stay attached to the graph.
        episodes: Pre-update episodes (N, E, T), collected with params.
        advantages: Advantages of the episodes (N, E, T).
        step_sizes: α; leaves without one stay.
        objective: What L_n is the negative mean of.
        first_order: Treat the step as a constant, so that dθ'/dθ = 1.
        shrink: Whether s_n is the part of the step that its noise leaves, and that the steps before
            leave, see `shrinkage`; else it is 1. What meta-training knows of steps are the leaves
            `STEP_VARIANCE` and `STEP_SIGNAL`, the steps taken are `STEPS_TAKEN`, if there are such
            leaves.

    Returns:
        Adapted parameters, same keys and shapes as params; those of a task whose mask selects no
        step are as they came.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 3.
    """
    loss = InnerLoss(policy, episodes, advantages, episodes.step_weights, objective)
    counted: Params = {}
    if shrink:
        steps, counted = _shrunk_steps(loss, params, step_sizes)
    else:
        sizes = _size_of_each(params, step_sizes)
        gradient = loss.gradient(params, [*sizes])
        steps = {name: size * gradient[name] for name, size in sizes.items()}
    if first_order:
        steps = {name: leaf.detach() for name, leaf in steps.items()}
    moved = {name: params[name] - step for name, step in steps.items()}
    return {**params, **moved, **counted}


def _shrunk_steps(loss: InnerLoss, params: Params, step_sizes: StepSizes) -> tuple[Params, Params]:
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
    loss: InnerLoss, params: Params, step_sizes: StepSizes
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
    return steps, StepMoments.of(parts, steps, loss.episodes.mask)


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
