"""Collect episodes: one loop over T, in which every policy acts in all simulations of its task."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from metarobot.episodes import Episodes
from metarobot.policies import Params, log_prob, policy_distribution

if TYPE_CHECKING:
    from metarobot.envs import TaskVectorEnv


def collect(
    env: "TaskVectorEnv",
    policy: nn.Module,
    params: Params,
    *,
    noise: np.ndarray | None,
    start: np.ndarray,
) -> Episodes:
    """Run one episode in every simulation: a_t = μ(o_t) + σ · noise_t.

    A step counts until its episode ends or its simulation becomes unstable; success is that of the
    last step that counts, and an unstable episode never succeeds.

    Args:
        env: N · E simulations, simulation n · E + e holding task n.
        policy: Policy skeleton.
        params: One policy per task, each leaf (N, ...).
        noise: Standard normals (N, E, T, A), or None for deterministic episodes.
        start: Uniforms in [0, 1) that place each episode's start, (N, E, S).

    Returns:
        N tasks, E episodes each, T = env.horizon steps.

    Raises:
        ValueError: start does not hold one row per simulation.
    """
    N, E = start.shape[:2]
    if env.num_envs != N * E:
        raise ValueError(f"start holds {N} x {E} episodes, but the environment has {env.num_envs}")
    T = env.horizon
    observation, _ = env.reset(options={"start": start.reshape(N * E, -1)})
    observations = np.empty((N, E, T, observation.shape[-1]), np.float32)
    rewards, mask = np.zeros((2, N, E, T), np.float32)
    alive, success, failed = np.ones((N, E), bool), *np.zeros((2, N, E), bool)
    means, actions, log_stds = [], [], []

    for t in range(T):
        # What a dead simulation shows may be anything, and NaN would pass through any mask.
        observations[:, :, t] = np.where(alive[..., None], observation.reshape(N, E, -1), 0.0)
        mean, log_std = _distribution(policy, params, observations[:, :, t])
        action = mean if noise is None else mean + log_std.exp() * torch.from_numpy(noise[:, :, t])
        means.append(mean)
        actions.append(action)
        log_stds.append(log_std)
        observation, reward, terminated, truncated, infos = env.step(
            action.numpy().reshape(N * E, -1)
        )

        unstable = infos["sim_unstable"].reshape(N, E)
        failed |= alive & unstable
        counts = alive & ~unstable
        mask[:, :, t] = counts
        rewards[:, :, t] = np.where(counts, reward.reshape(N, E), 0.0)
        success = np.where(alive, infos["is_success"].reshape(N, E) & counts, success)
        alive = counts & ~(terminated | truncated).reshape(N, E)

    taken = torch.stack(actions, dim=2)
    return Episodes(
        observations=torch.from_numpy(observations),
        actions=taken,
        log_probs=log_prob(torch.stack(means, dim=2), torch.stack(log_stds, dim=2), taken),
        rewards=torch.from_numpy(rewards),
        mask=torch.from_numpy(mask),
        success=torch.from_numpy(success),
        unstable=torch.from_numpy(failed),
        start=torch.from_numpy(start),
    )


@torch.no_grad()
def _distribution(
    policy: nn.Module, params: Params, observations: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Return mean (N, E, A) and log_std (N, 1, A) for observations (N, E, O)."""
    mean, log_std = policy_distribution(policy, params, torch.from_numpy(observations))
    return mean, log_std.unsqueeze(1)
