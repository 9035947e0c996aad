"""What meta-training knows about values, for tasks that have few episodes to fit them to.

A value baseline fits a task's own few episodes too well, and then says little about which actions
were better than expected: the steps climbed are noise.  So the fit of each task counts what meta-
training has seen, the mean over all its tasks, as some episodes more.  As how many is decided on
each task, by how well its episodes are predicted that were left out of the fit: where tasks differ
much in their values, what is true of the others says little.

Source: Stone 1974, "Cross-validatory choice and assessment of statistical predictions".
"""

import torch
from torch import Tensor

from metarobot.learning.advantages import discounted_returns
from metarobot.learning.task_chunks import chunks_of_steps
from metarobot.policies import GaussianPolicy, normal_equations, solve_ridge, value_features
from metarobot.rollout.episodes import Episodes

STRENGTHS = (0.03, 0.3, 3.0, 30.0)
"""Episodes that the prior may count as."""

STRENGTH_OF_ONE = 3.0
"""What it counts as where there is no other episode to predict."""

LEARNING_RATE = 0.3
"""Weight of a new meta-batch in the prior: with its hundreds of episodes, θ may be followed
closely."""


def episode_moments(policy: GaussianPolicy, episodes: Episodes, discount: float) -> Tensor:
    """Return XᵀX and XᵀR of the baseline's fit, the mean over the episodes of each task.

    Args:
        policy: Knows how observations are scaled.
        episodes: (N, E, T).
        discount: γ.

    Returns:
        Side by side, (N, F, F + 1) in float64.
    """
    returns = discounted_returns(episodes.rewards, episodes.mask, discount)
    parts = []
    for tasks in chunks_of_steps(episodes.rewards):
        block = episodes.rows(tasks)
        features = value_features(policy.scale_observations(block.observations))
        parts.append(normal_equations(features, returns[tasks], block.mask))
    return torch.cat(parts) / episodes.num_episodes


def weighed_prior(
    policy: GaussianPolicy, episodes: Episodes, discount: float, prior: Tensor
) -> Tensor:
    """Return the prior as often as it counts in the fit of each task.

    Args:
        policy: Knows how observations are scaled.
        episodes: (N, E, T).
        discount: γ.
        prior: XᵀX and XᵀR of one episode, (N, F, F + 1).

    Returns:
        (N, F, F + 1) in float64, as `fit_values` takes it.
    """
    returns = discounted_returns(episodes.rewards, episodes.mask, discount)
    prior, parts = prior.double(), []
    for tasks in chunks_of_steps(episodes.rewards):
        block = episodes.rows(tasks)
        features = value_features(policy.scale_observations(block.observations))
        parts.append(_strengths(features, returns[tasks], block.mask, prior[tasks]))
    return torch.cat(parts)[:, None, None] * prior


def _strengths(features: Tensor, returns: Tensor, mask: Tensor, prior: Tensor) -> Tensor:
    """Return as how many episodes the prior counts on each task, (N,)."""
    shape = mask.shape[:2]
    each = normal_equations(features.flatten(0, 1), returns.flatten(0, 1), mask.flatten(0, 1))
    others = each.unflatten(0, shape)
    others = others.sum(1, keepdim=True) - others  # (N, E, F, F + 1)
    errors = []
    for strength in STRENGTHS:
        moments = (others + strength * prior[:, None]).flatten(0, 1)
        coefficients = solve_ridge(moments[..., :-1], moments[..., -1:]).unflatten(0, shape)
        missed = ((features @ coefficients)[..., 0] - returns) * mask
        errors.append(missed.square().sum((1, 2)))
    best = torch.stack(errors).argmin(0)
    several = (mask.sum(-1) > 0).sum(1) > 1
    return torch.where(several, torch.tensor(STRENGTHS, dtype=prior.dtype)[best], STRENGTH_OF_ONE)
