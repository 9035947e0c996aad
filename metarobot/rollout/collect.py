"""Collects episodes: one loop over T, in which every policy acts in all simulations of its task."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as functional
from gymnasium.vector import AutoresetMode

from metarobot.policies import Params, Policy, PolicyState, log_prob
from metarobot.policies.params import TASK_CODE
from metarobot.rollout.episodes import Episodes


class RolloutEnv(Protocol):
    """M simulations, or robots, in which episodes are collected.

    `TaskBatch` is one; `metarobot.adaptation.RobotEnv` makes one of any environment that
    follows Gymnasium's rules.
    """

    num_envs: int
    """M, number of simulations; with N tasks, a multiple of N, those of a task in a row."""

    @property
    def horizon(self) -> int:
        """T, control steps of an episode at most."""
        ...

    @property
    def start_size(self) -> int:
        """S, uniforms in [0, 1) that place the start of an episode; 0 where it cannot be placed."""
        ...

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """Behaviour of a step after an episode has ended; `collect` sets DISABLED while it runs."""
        ...

    @autoreset_mode.setter
    def autoreset_mode(self, mode: AutoresetMode) -> None: ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every simulation, or in some.

        Args:
            seed: Never given by `collect`.
            options: ``start``, uniforms in [0, 1) (R, S), one row for each episode that begins;
                ``reset_mask``, (M,) bool, the R simulations in which one does: all M without it.

        Returns:
            Observations (M, O) float32, and an info that is not read.
        """
        ...

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one control step in every simulation with a running episode.

        With the autoreset mode DISABLED, one that has ended is held until it is reset: it is
        neither commanded nor moved, and its return values are not read.

        Args:
            actions: (M, A) float32, in half action ranges; the environment clips them to [-1, 1].

        Returns:
            Observations (M, O) float32; rewards (M,); whether the episode has terminated, (M,)
            bool, and been truncated, (M,) bool; and an info that holds ``is_success``, whether the
            task is solved now, and ``sim_unstable``, whether the step does not count since the
            simulation failed, both (M,) bool.
        """
        ...


@torch.no_grad()
def collect(
    env: RolloutEnv,
    policy: Policy,
    params: Params,
    *,
    noise: np.ndarray | None,
    start: np.ndarray,
    rewards_hidden: bool = False,
    on_ended: Callable[[Episodes], bool | None] | None = None,
) -> Episodes:
    """Run E episodes on every task: a_t = μ(o_t) + σ · noise_t.

    With M / N simulations for each task, that many episodes run side by side, in rounds; the memory
    of the policy passes from one round to the next.  A simulation is held if its episode has
    ended or the last round does not need it: it is neither commanded nor simulated.

    A step counts until its episode ends or its simulation becomes unstable; success is that of the
    last step that counts, and an unstable episode never succeeds.

    Args:
        env: M simulations; with E of them for each task, simulation n · E + e holds task n.
        policy: The policy's functional module.
        params: One policy per task, each leaf (N, ...); task codes of each episode, (N, E, C).
        noise: Standard normals (N, E, T, A), or None for deterministic episodes.
        start: Uniforms in [0, 1) that place each episode's start, (N, E, S).
        rewards_hidden: Whether the policy sees NaN for its rewards, which it must accept.
        on_ended: Called with the episodes of every round, as soon as they have ended; if it returns
            True, this was the last round.

    Raises:
        ValueError: The N tasks cannot share the simulations equally.
    """
    N, E = start.shape[:2]
    if env.num_envs % N:
        raise ValueError(
            f"start holds {N} x {E} episodes, but the environment has {env.num_envs} simulations, "
            f"which {N} tasks cannot share"
        )
    side_by_side = env.num_envs // N
    state, rounds = policy.start(params), []
    codes = None if side_by_side == E else params.get(TASK_CODE)
    mode, env.autoreset_mode = env.autoreset_mode, AutoresetMode.DISABLED
    try:
        for first in range(0, E, side_by_side):
            chosen = slice(first, first + side_by_side)
            if codes is not None and codes.shape[1] == E:  # such a policy has no memory
                some = functional.pad(codes[:, chosen], (0, 0, 0, max(0, chosen.stop - E)))
                state = policy.start({**params, TASK_CODE: some})
            noises = None if noise is None else noise[:, chosen]
            rounds.append(_run_side_by_side(env, state, noises, start[:, chosen], rewards_hidden))
            if on_ended and on_ended(rounds[-1]):
                break
    finally:
        env.autoreset_mode = mode
    return rounds[0] if len(rounds) == 1 else Episodes.join(rounds)


def _run_side_by_side(
    env: RolloutEnv,
    state: PolicyState,
    noise: np.ndarray | None,
    start: np.ndarray,
    rewards_hidden: bool,
) -> Episodes:
    """Run one episode in the first E simulations of each task; arguments as of `collect`."""
    N, E = start.shape[:2]
    M = env.num_envs // N
    noises = None if noise is None else torch.from_numpy(_fill(noise, M)).unbind(2)
    observation, alive = _begin(env, start)
    shown = alive
    observations, distributions, actions, rewards, masks = [], [], [], [], []
    success, failed = np.zeros((2, N * M), bool)

    state.begin()
    for t in range(env.horizon):
        seen = _seen(observation, shown).view(N, M, -1)
        distribution = mean, log_std = state.act(seen)
        action = mean if noises is None else mean + log_std.exp().unsqueeze(1) * noises[t]
        observations.append(seen)
        distributions.append(distribution)
        actions.append(action)
        observation, reward, terminated, truncated, infos = env.step(
            without_nan(action.flatten(0, 1).numpy())
        )

        unstable = infos["sim_unstable"]
        failed |= alive & unstable
        shown = counts = alive & ~unstable
        masks.append(counts)
        rewards.append(np.where(counts, reward, 0.0).astype(np.float32))
        earned, counted = torch.from_numpy(rewards[-1]), torch.from_numpy(counts)
        earned = torch.full_like(earned, torch.nan) if rewards_hidden else earned
        state.observe(action, earned.view(N, M), counted.view(N, M))
        success = np.where(alive, infos["is_success"] & counts, success)
        alive = counts & ~(terminated | truncated)

    means = torch.stack([distribution.mean for distribution in distributions], dim=2)
    log_std = distributions[-1].log_std[:, None, None]  # depends on the parameters only
    taken, mask = torch.stack(actions, dim=2), _block(masks, N)
    seen = torch.stack(observations, dim=2)
    episodes = Episodes(
        observations=seen,
        final_observations=_final(seen, _seen(observation, shown).view(N, M, -1), mask),
        actions=taken,
        log_probs=log_prob(means, log_std, taken),
        rewards=_block(rewards, N),
        mask=mask,
        success=torch.from_numpy(success).view(N, M),
        unstable=torch.from_numpy(failed).view(N, M),
        start=torch.from_numpy(_fill(start, M)),
    )
    return episodes if M == E else episodes.first(E)


def _seen(observation: np.ndarray, shown: np.ndarray) -> torch.Tensor:
    """Return observations (M, O), with 0 for held simulations: NaN would pass through any mask."""
    if not shown.all():
        observation = np.where(shown[:, None], observation, np.float32(0.0))
    return torch.from_numpy(observation)


def _final(seen: torch.Tensor, last: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the observation after the last step that counts, (N, M, O).

    Of observations before each step (N, M, T, O), which include that after an early end, those
    after the T-th step (N, M, O), and the mask (N, M, T).
    """
    horizon, length = mask.shape[-1], mask.sum(-1).long()[..., None]  # (N, M, 1)
    if bool((length == horizon).all()):
        return last
    early = seen.take_along_dim(length.clamp(max=horizon - 1)[..., None], dim=2).squeeze(2)
    return torch.where(length < horizon, early, last)


@torch.no_grad()
def replay(state: PolicyState, episodes: Episodes) -> None:
    """Feed recorded episodes (N, E, T) to a policy in sequence, as if it had acted."""
    seen = torch.cat([episodes.observations[:, :, :1], episodes.next_observations], dim=2)
    for episode in range(episodes.num_episodes):
        lasts = int(episodes.mask[:, episode].sum(-1).max())
        state.begin()
        for t in range(min(lasts + 1, episodes.horizon)):  # the outcome of a last step shows later
            step = slice(None), slice(episode, episode + 1), t
            state.act(seen[step])
            state.observe(episodes.actions[step], episodes.rewards[step], episodes.mask[step] > 0)


def without_nan(actions: np.ndarray) -> np.ndarray:
    """Return actions with 0 for NaN: divergence on one task must not stop the others."""
    lost = np.isnan(actions)
    return np.where(lost, actions.dtype.type(0.0), actions) if lost.any() else actions


def _begin(env: RolloutEnv, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Begin an episode in the first E simulations of each task; return (M, O), and a mask (M,)."""
    N, E = start.shape[:2]
    runs = np.arange(env.num_envs) % (env.num_envs // N) < E
    options: dict[str, np.ndarray] = {"start": start.reshape(N * E, -1)}
    if not runs.all():
        options["reset_mask"] = runs
    return env.reset(options=options)[0], runs


def _fill(block: np.ndarray, num_simulations: int) -> np.ndarray:
    """Return draws (N, E, ...) for all simulations of each task, (N, M / N, ...): 0 for others."""
    missing = num_simulations - block.shape[1]
    return np.pad(block, [(0, 0), (0, missing), *[(0, 0)] * (block.ndim - 2)]) if missing else block


def _block(steps: list[np.ndarray], num_tasks: int) -> torch.Tensor:
    """Return numbers of every control step, (N E,) each, as one block (N, E, T)."""
    return torch.from_numpy(np.stack(steps, axis=1).astype(np.float32)).unflatten(
        0, (num_tasks, -1)
    )


def hide_rewards(episodes: Episodes) -> Episodes:
    """Return episodes (N, E, T) with NaN as rewards."""
    return replace(episodes, rewards=torch.full_like(episodes.rewards, torch.nan))
