"""Episodes as a task model reads them."""

import torch
from torch import Tensor

from metarobot.policies import LatentPolicy, Params, ShownSteps
from metarobot.policies.latent_networks import when
from metarobot.rollout.episodes import Episodes


def show_episodes(
    policy: LatentPolicy, params: Params, episodes: Episodes, told: Tensor
) -> ShownSteps:
    """Return episodes as the model reads them, the same as `LatentActor` shows it step by step.

    Args:
        policy: Knows how observations are scaled.
        params: The units of outcomes, each leaf (N, D) or (1, D).
        episodes: (N, E, T); rewards are NaN where nobody measured them.
        told: What the policy was told in each, (N, E, C).
    """
    mask, rewards = episodes.mask, episodes.rewards
    seen, done = policy.scale_observations(episodes.observations), episodes.actions.clamp(-1.0, 1.0)
    changes = _shift(seen, -1) - seen
    raw = torch.cat([rewards.nan_to_num()[..., None], changes], dim=-1)
    outcomes, varies = policy.in_units(params, raw)
    measured = (mask * ~rewards.isnan())[..., None]
    followed = _shift(mask[..., None], -1).expand_as(seen)
    counts = torch.cat([measured, followed], dim=-1) * varies
    outcomes = outcomes * counts
    step = torch.arange(mask.shape[-1], dtype=mask.dtype).expand_as(mask)
    before = _shift(outcomes[..., 1:], 1), _shift(done, 1)
    return ShownSteps(
        inputs=torch.cat([seen, done, *before, when(step)], dim=-1),
        told=told[:, :, None].expand(*mask.shape, -1),
        outcomes=outcomes,
        counts=counts,
    )


def _shift(block: Tensor, steps: int) -> Tensor:
    """Move (N, E, T, X) by one step, later (1) or earlier (-1), with 0 where nothing comes in."""
    empty = torch.zeros_like(block[..., :1, :])
    if steps > 0:
        return torch.cat([empty, block[..., :-1, :]], dim=-2)
    return torch.cat([block[..., 1:, :], empty], dim=-2)
