"""Episodes that were recorded elsewhere, as an algorithm can learn from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from metarobot.adaptation.interface import Interface
from metarobot.algorithms import Algorithm
from metarobot.rollout.episodes import Episodes


def fit_episodes(episodes: Episodes, interface: Interface, algorithm: Algorithm[Any]) -> Episodes:
    """Check episodes (1, E, .) and return them with T steps, as the family reports them.

    Raises:
        ValueError: They are of several tasks, do not fit the family, or lack what the algorithm
            reads.
    """
    name = algorithm.config.algorithm
    if episodes.num_tasks != 1:
        raise ValueError(f"episodes must be of one task, got {episodes.num_tasks}")
    interface.require_sizes(episodes.horizon, episodes.actions.shape[-1])
    missing = (episodes.rewards.isnan() & (episodes.mask > 0)).nonzero()
    if algorithm.needs_rewards and len(missing):
        _, episode, step = missing[0].tolist()
        raise ValueError(
            f"{name} needs the rewards of the logged episodes, but that of step {step} in episode "
            f"{episode} is missing: pass it, or adapt a policy of latent, which can do without"
        )
    if algorithm.needs_log_probs and bool(episodes.log_probs.isnan().any()):
        raise ValueError(
            f"{name} needs the log-probabilities of the logged actions: pass log_probs, or "
            "train it with --inner-objective lvc"
        )
    seen = interface.observe(episodes.observations.numpy(), "observations")
    final = episodes.final_observations
    known = interface.observe(final.nan_to_num().numpy(), "observations")
    return replace(
        episodes,
        observations=torch.from_numpy(seen),
        final_observations=torch.where(final.isnan(), final, torch.from_numpy(known)),
    ).pad(interface.horizon)
