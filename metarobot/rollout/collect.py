"""Collect episodes: one loop over T, in which every policy acts in all simulations of its task."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from metarobot.policies import Actor, Params, Policy, log_prob
from metarobot.rollout.episodes import Episodes

if TYPE_CHECKING:
    from metarobot.envs import TaskVectorEnv


@torch.no_grad()
def collect(
    env: "TaskVectorEnv",
    policy: Policy,
    params: Params,
    *,
    noise: np.ndarray | None,
    start: np.ndarray,
) -> Episodes:
    """Run E episodes on every task: a_t = μ(o_t) + σ · noise_t.

    Where the environment has a simulation for each, they run side by side; where it has one for
    each task, one after the other, and what the policy remembers passes from one to the next.

    A step counts until its episode ends or its simulation becomes unstable; success is that of the
    last step that counts, and an unstable episode never succeeds.

    Args:
        env: N · E simulations, simulation n · E + e holding task n; or N, one for each task.
        policy: Policy skeleton.
        params: One policy per task, each leaf (N, ...).
        noise: Standard normals (N, E, T, A), or None for deterministic episodes.
        start: Uniforms in [0, 1) that place each episode's start, (N, E, S).

    Returns:
        N tasks, E episodes each, T = env.horizon steps.

    Raises:
        ValueError: start holds rows neither for N · E simulations nor for N.
    """
    N, E = start.shape[:2]
    if env.num_envs not in (N * E, N):
        raise ValueError(f"start holds {N} x {E} episodes, but the environment has {env.num_envs}")
    actor = policy.actor(params)
    if env.num_envs == N * E:
        return _run_side_by_side(env, actor, noise, start)
    rounds = [
        _run_side_by_side(env, actor, None if noise is None else noise[:, [e]], start[:, [e]])
        for e in range(E)
    ]
    return Episodes.join(rounds)


def _run_side_by_side(
    env: "TaskVectorEnv", actor: Actor, noise: np.ndarray | None, start: np.ndarray
) -> Episodes:
    """Run one episode in every simulation; the arguments are those of `collect`."""
    N, E = start.shape[:2]
    noises = None if noise is None else torch.from_numpy(noise).unbind(2)
    observation, _ = env.reset(options={"start": start.reshape(N * E, -1)})
    observations, distributions, actions, rewards, masks = [], [], [], [], []
    alive, success, failed = np.ones(N * E, bool), *np.zeros((2, N * E), bool)

    actor.begin()
    for t in range(env.horizon):
        if not alive.all():
            # What a dead simulation shows may be anything, and NaN would pass through any mask.
            observation = np.where(alive[:, None], observation, np.float32(0.0))
        seen = torch.from_numpy(observation).view(N, E, -1)
        distribution = mean, log_std = actor.act(seen)
        action = mean if noises is None else mean + log_std.exp().unsqueeze(1) * noises[t]
        observations.append(seen)
        distributions.append(distribution)
        actions.append(action)
        observation, reward, terminated, truncated, infos = env.step(
            action.numpy().reshape(N * E, -1)
        )

        unstable = infos["sim_unstable"]
        failed |= alive & unstable
        counts = alive & ~unstable
        masks.append(counts)
        rewards.append(np.where(counts, reward, 0.0).astype(np.float32))
        earned, counted = torch.from_numpy(rewards[-1]), torch.from_numpy(counts)
        actor.learn(action, earned.view(N, E), counted.view(N, E))
        success = np.where(alive, infos["is_success"] & counts, success)
        alive = counts & ~(terminated | truncated)

    means = torch.stack([distribution.mean for distribution in distributions], dim=2)
    log_std = distributions[-1].log_std[:, None, None]  # of the parameters alone, so never another
    taken = torch.stack(actions, dim=2)
    return Episodes(
        observations=torch.stack(observations, dim=2),
        actions=taken,
        log_probs=log_prob(means, log_std, taken),
        rewards=_block(rewards, N),
        mask=_block(masks, N),
        success=torch.from_numpy(success).view(N, E),
        unstable=torch.from_numpy(failed).view(N, E),
        start=torch.from_numpy(start),
    )


def _block(steps: list[np.ndarray], num_tasks: int) -> torch.Tensor:
    """Return what was noted in every control step, (N E,) each, as one block (N, E, T)."""
    return torch.from_numpy(np.stack(steps, axis=1).astype(np.float32)).unflatten(
        0, (num_tasks, -1)
    )
