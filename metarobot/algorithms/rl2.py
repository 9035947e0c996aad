"""RL²: a policy that learns to learn within its memory."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.config import MOST_EPISODES
from metarobot.learning.advantages import discounted_returns, gae
from metarobot.learning.distributed import mean_over_tasks
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.meta_gradient import SurrogateObjective
from metarobot.learning.task_chunks import chunks_of_steps, params_of
from metarobot.learning.trpo import TrustRegion, trpo_update
from metarobot.options import AlgorithmOptions, fixed, integer, number
from metarobot.policies import (
    Distribution,
    Params,
    RecurrentPolicy,
    Unroll,
    solve_ridge,
    value_features,
)
from metarobot.policies.gaussian_policy import MIN_STD
from metarobot.rollout.episodes import Episodes


@dataclass(frozen=True, kw_only=True)
class Rl2Options(AlgorithmOptions, TrustRegion):
    """What RL² reads."""

    num_adaptation_steps: int = fixed(0)
    """K, blocks of episodes before the trial: none, since it adapts from episode to episode."""
    trial_episodes: int = integer(5, 1, MOST_EPISODES)
    """Episodes of a trial, at most episodes_per_task. Meta-batches are that much smaller than those
    of other algorithms: within the same budget it improves more often."""
    min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise, in half action ranges."""

    def num_episodes(self, episodes_per_task: int) -> int:
        """Return the episodes of a trial."""
        return min(episodes_per_task, self.trial_episodes)


class Rl2(SurrogateObjective, Algorithm[RecurrentPolicy]):
    """RL²: TRPO on whole trials, whose episodes follow each other and share one memory.

    Adapting changes no weight: the policy is unrolled through the adaptation episodes, and goes on
    with what it remembers.

    Source: Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763.
    """

    title = "RL²"
    options_class = Rl2Options
    policy_class = RecurrentPolicy

    @property
    def options(self) -> Rl2Options:
        """What this algorithm reads."""
        return cast(Rl2Options, self.config.options)

    @classmethod
    def num_simulations(cls, num_tasks: int, num_episodes: int) -> int:
        """Return one simulation for each task, in which its episodes follow each other."""
        del num_episodes
        return num_tasks

    def adaptation_advantages(self, episodes: Episodes) -> Tensor:
        """Return zeros (N, E, T): remembering needs no advantages."""
        return torch.zeros_like(episodes.rewards)

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Remember a block of trial episodes."""
        del advantages
        memories = self._memories(params, episodes)
        num_steps = episodes.mask.sum((1, 2)).long()
        return {**params, "memory": memories[torch.arange(len(memories)), num_steps]}

    @torch.no_grad()
    def outer_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) over whole trials, from a value baseline fitted to all of them."""
        order = _unroll_order(episodes)
        rewards, mask = _pack(episodes.rewards, order), _pack(episodes.mask, order)
        discount, gae_lambda = self.config.discount, self.config.gae_lambda
        returns = discounted_returns(rewards, mask, discount)
        values = self._fit_values(params, episodes, returns, mask)
        advantages = gae(rewards, values, mask, discount=discount, gae_lambda=gae_lambda)
        return self.scale_outer(_unpack(advantages, order, episodes), episodes.mask)

    def first_and_last(self, batch: MetaBatch) -> tuple[Episodes, Episodes]:
        """Return the first episode of every trial, and its second half."""
        trial = batch.post_episodes
        return trial.first(1), trial.last((trial.num_episodes + 1) // 2)

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> what the policy does in its trial: mean (N, E, T, A) and log_std (N, A)."""
        trial = batch.post_episodes
        mean = _unpack(self._unroll(params, trial).mean, _unroll_order(trial), trial)
        return Distribution(mean, self.policy.log_std_of(params))

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step within the trust region."""
        return trpo_update(self, params, batch, self.options, self.workers)

    def _unroll(self, params: Params, episodes: Episodes) -> Unroll:
        """Unroll the policy through trials; steps that count come first."""
        order = _unroll_order(episodes)
        first = torch.zeros_like(episodes.rewards)
        first[..., 0] = 1.0
        blocks = (episodes.observations, episodes.actions, episodes.rewards, first)
        return self.policy.unroll(params, *(_pack(block, order) for block in blocks))

    def _memories(self, params: Params, episodes: Episodes) -> Tensor:
        """Return the memory before each step of a trial and after the last, (N, L + 1, .)."""
        parts = [
            self._unroll(params_of(params, tasks), episodes.rows(tasks)).memories
            for tasks in chunks_of_steps(episodes.rewards)
        ]
        return torch.cat(parts)

    def _fit_values(
        self, params: Params, episodes: Episodes, returns: Tensor, mask: Tensor
    ) -> Tensor:
        """Fit values (N, L) to the returns of the trials of all processes, by ridge regression.

        A task with a number that is not finite is left out of the fit.
        """
        memories = self._memories(params, episodes)
        chunks = chunks_of_steps(episodes.rewards)

        def features(tasks: slice) -> Tensor:
            return (
                self._value_features(memories[tasks], episodes.rows(tasks)) * mask[tasks, :, None]
            )

        sums = torch.cat([_sums(features(t), returns[t] * mask[t]) for t in chunks])
        rows = self.workers.gather(sums)
        mean = torch.from_numpy(mean_over_tasks(rows[rows.isfinite().all((1, 2))]))
        coefficients = solve_ridge(mean[None, :, :-1], mean[None, :, -1:])
        values = [
            (counted := features(t)) @ coefficients.expand(len(counted), -1, -1) for t in chunks
        ]
        return torch.cat(values)[..., 0].to(returns.dtype)

    def _value_features(self, memories: Tensor, episodes: Episodes) -> Tensor:
        """Return what values are linear in, (N, L, F) in float64: what is seen, known, and when."""
        order = _unroll_order(episodes)
        seen = value_features(self.policy.scale_observations(episodes.observations))
        known = memories[:, :-1].double()
        t = torch.linspace(0.0, 1.0, order.shape[1], dtype=torch.float64)
        when = torch.stack([t, t**2, t**3], dim=-1).expand(*order.shape, 3)
        return torch.cat([_pack(seen, order), known, when], dim=-1)


def _sums(features: Tensor, returns: Tensor) -> Tensor:
    """Return XᵀX and Xᵀ R of every task side by side, (N, F, F + 1) in float64."""
    targets = returns[..., None].double()
    return torch.cat([features.mT @ features, features.mT @ targets], dim=-1)


def _unroll_order(episodes: Episodes) -> Tensor:
    """Return in which order the memory meets the steps of a trial, (N, L) with L = E T.

    Steps that do not count leave no trace in it: they come last.
    """
    return episodes.mask.flatten(1).argsort(dim=1, descending=True, stable=True)


def _pack(block: Tensor, order: Tensor) -> Tensor:
    """Put steps (N, E, T, ...) into the order of the unroll, (N, L, ...)."""
    steps = block.flatten(1, 2)
    return steps.take_along_dim(order.reshape(*order.shape, *[1] * (steps.ndim - 2)), dim=1)


def _unpack(steps: Tensor, order: Tensor, like: Episodes) -> Tensor:
    """Undo `_pack`: (N, L, ...) becomes (N, E, T, ...)."""
    inverse = order.argsort(dim=1)
    inverse = inverse.reshape(*order.shape, *[1] * (steps.ndim - 2))
    return steps.take_along_dim(inverse, dim=1).unflatten(1, like.rewards.shape[1:])
