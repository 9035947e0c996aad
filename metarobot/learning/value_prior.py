"""What meta-training knows about values, for tasks that have few episodes to fit them to.

A value baseline fits a task's own few episodes too well, and then says little about which actions
were better than expected: the steps climbed are noise.  So the fit of each task counts what meta-
training has seen, the mean over all its tasks, as much as `PRIOR_EPISODES` episodes more.
"""

import torch
from torch import Tensor

from metarobot.learning.advantages import discounted_returns
from metarobot.learning.distributed import mean_over_tasks
from metarobot.learning.task_chunks import chunks_of_steps
from metarobot.policies import GaussianPolicy, normal_equations, value_features
from metarobot.rollout.episodes import Episodes

PRIOR_EPISODES = 3.0
"""Episodes that the prior counts as much as."""

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


def learn_value_prior(known: Tensor, samples: Tensor) -> Tensor:
    """Return the prior after one more meta-batch, (F, F + 1): a running mean.

    Args:
        known: The prior so far (F, F + 1), 0 while it is unknown.
        samples: `episode_moments` of every task, (N, F, F + 1); tasks with a number that is not
            finite are left out.
    """
    samples = samples[samples.isfinite().all(dim=(1, 2))]
    if len(samples) == 0:
        return known
    mean = torch.from_numpy(mean_over_tasks(samples)).to(known.dtype)
    return torch.lerp(known, mean, LEARNING_RATE) if bool(known.any()) else mean
