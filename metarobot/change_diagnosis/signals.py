"""What a network sees of a trial episode: observations and actions, never rewards."""

from __future__ import annotations

import torch
from torch import Tensor

from metarobot.adaptation.interface import Interface
from metarobot.policies.episode_encoder import (
    transition_feature_size,
    transition_features,
)
from metarobot.rollout.episodes import Episodes

_STILL = 1e-6
"""Change of an observation, in half ranges, below which it is the same number again."""


def episode_signals(episodes: Episodes, interface: Interface) -> Tensor:
    """Describe every step of every episode, (N, E, T, F); zeros where a step does not count.

    These are the features of transitions that prototypes learn from, with zeros for rewards, and
    whether the observation stays the very same: a lost one is seen again, a noisy one never is.
    """
    low, high = (torch.tensor(b) for b in (interface.observation_low, interface.observation_high))
    scaled, following = (
        2 * (each - low) / (high - low) - 1
        for each in (episodes.observations, episodes.next_observations)
    )
    none = torch.zeros_like(episodes.mask)
    features = transition_features(scaled, following, episodes.actions, none, episodes.mask)
    same = ((following - scaled).abs() < _STILL).float().mean(-1, keepdim=True)
    return torch.cat([features, same], dim=-1) * episodes.mask[..., None]


def signal_size(interface: Interface) -> int:
    """Return F, the numbers of a step."""
    return 1 + transition_feature_size(len(interface.observation_low), interface.action_size)


def summary_features(signals: Tensor) -> Tensor:
    """Return mean, spread and greatest size of every signal over time, (R, 3 F), from (R, T, F)."""
    return torch.cat([signals.mean(1), signals.std(1), signals.abs().amax(1)], dim=1)
