"""The inner loop: one gradient step on every task, all tasks in one vectorised call."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metarobot.advantages import estimate_advantages, normalise_per_task
from metarobot.config import TrainConfig
from metarobot.episodes import Episodes
from metarobot.objectives import OBJECTIVES, InnerObjective
from metarobot.policies import GaussianMLP, Params, log_prob


def adapt(
    policy: nn.Module,
    params: Params,
    episodes: Episodes,
    advantages: Tensor,
    inner_lr: float,
    objective: InnerObjective = "lvc",
    first_order: bool = False,
) -> Params:
    """Take one adaptation step on every task: θ'_n = θ_n - α ∇ L_n(θ_n; episodes_n).

    Args:
        policy: Policy skeleton.
        params: Parameters, each leaf (N, ...); stay attached to the graph.
        episodes: Pre-update episodes (N, E, T), collected with params.
        advantages: Advantages of the episodes (N, E, T).
        inner_lr: Step size α, dimensionless.
        objective: What L_n is the negative mean of.
        first_order: Treat the gradient as a constant, so that dθ'/dθ = 1.

    Returns:
        Adapted parameters, same keys and shapes as params; those of a task whose mask selects no
        step are as they came.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 3.
    """
    per_step = OBJECTIVES[objective]

    def task_loss(
        task_params: Params, observations: Tensor, actions: Tensor, constants: tuple[Tensor, ...]
    ) -> Tensor:
        behaviour_log_probs, task_advantages, weights = constants
        mean, log_std = functional_call(policy, task_params, (observations,))
        log_probs = log_prob(mean, log_std, actions)
        return -(weights * per_step(log_probs, behaviour_log_probs, task_advantages)).sum()

    constants = (episodes.log_probs, advantages, episodes.step_weights)
    gradient = vmap(grad(task_loss))(params, episodes.observations, episodes.actions, constants)
    if first_order:
        gradient = {name: leaf.detach() for name, leaf in gradient.items()}
    return {name: leaf - inner_lr * gradient[name] for name, leaf in params.items()}


def adapt_through(
    policy: nn.Module,
    params: Params,
    episodes: Sequence[Episodes],
    advantages: Sequence[Tensor],
    inner_lr: float,
    objective: InnerObjective = "lvc",
    first_order: bool = False,
) -> Params:
    """Take one adaptation step for each block of pre-update episodes, in order.

    Args:
        policy: Policy skeleton.
        params: Parameters before the first step, each leaf (N, ...).
        episodes: K blocks; block k was collected after k adaptation steps.
        advantages: K tensors (N, E, T).
        inner_lr: Step size α.
        objective: Inner objective.
        first_order: Treat every gradient as a constant.

    Returns:
        Parameters after K steps, each leaf (N, ...); params itself when K = 0.
    """
    for block, block_advantages in zip(episodes, advantages, strict=True):
        params = adapt(policy, params, block, block_advantages, inner_lr, objective, first_order)
    return params


def trial_policy(policy: GaussianMLP, config: TrainConfig) -> GaussianMLP:
    """Return the policy as it explores in trial episodes: with the floor of their action noise."""
    return policy.with_min_std(config.trial_min_std)


def inner_advantages(policy: GaussianMLP, episodes: Episodes, config: TrainConfig) -> Tensor:
    """Advantages (N, E, T) that an adaptation step climbs, as the configuration says.

    Args:
        policy: Policy skeleton.
        episodes: Trial episodes (N, E, T).
        config: discount, gae_lambda and normalise_inner are used.

    Returns:
        Advantages (N, E, T); where not normalised, a task farther from its optimum has larger ones
        and adapts by a larger step.
    """
    advantages = estimate_advantages(
        policy, episodes, discount=config.discount, gae_lambda=config.gae_lambda
    )
    return normalise_per_task(advantages, episodes.mask) if config.normalise_inner else advantages


def adapt_once(
    policy: GaussianMLP, params: Params, episodes: Episodes, config: TrainConfig
) -> Params:
    """Take one adaptation step on trial episodes, exactly as in training, and keep no graph.

    Args:
        policy: Policy skeleton.
        params: Parameters the episodes were collected with, each leaf (N, ...).
        episodes: Trial episodes (N, E, T), collected with `trial_policy`.
        config: What the policy was trained with.

    Returns:
        Adapted parameters, each leaf (N, ...).
    """
    advantages = inner_advantages(policy, episodes, config)
    return adapt_as_trained(policy, params, episodes, advantages, config)


def adapt_as_trained(
    policy: GaussianMLP, params: Params, episodes: Episodes, advantages: Tensor, config: TrainConfig
) -> Params:
    """Take one adaptation step with the settings of a configuration, and keep no graph.

    Args:
        policy: Policy skeleton.
        params: Parameters the episodes were collected with, each leaf (N, ...).
        episodes: Trial episodes (N, E, T), collected with `trial_policy`.
        advantages: Their advantages (N, E, T), from `inner_advantages`.
        config: inner_lr, inner_objective and first_order are used.

    Returns:
        Adapted parameters, each leaf (N, ...).
    """
    with torch.no_grad():
        return adapt(
            trial_policy(policy, config),
            params,
            episodes,
            advantages,
            config.inner_lr,
            config.inner_objective,
            config.first_order,
        )
