"""Episodes as a task model reads them."""

import torch
from torch import Tensor

from metarobot.policies import LatentPolicy, Params, ShownSteps
from metarobot.policies.episode_encoder import shift
from metarobot.policies.latent import when
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
