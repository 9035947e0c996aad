"""What all algorithms share whose policy has a memory: they unroll it, and improve it by TRPO."""

from abc import abstractmethod
from typing import cast

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.learning.advantages import discounted_returns, gae
from metarobot.learning.distributed import mean_over_tasks
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.meta_gradient import SurrogateObjective
from metarobot.learning.task_chunks import chunks_of_steps, params_of
from metarobot.learning.trpo import TrustRegion, trpo_update
from metarobot.learning.unroll_order import pack, unpack
from metarobot.policies import (
    Distribution,
    Params,
    RecurrentPolicy,
    Unroll,
    normal_equations,
    solve_ridge,
    value_features,
)
from metarobot.rollout.episodes import Episodes


class RecurrentLearner(SurrogateObjective, Algorithm[RecurrentPolicy]):
    """TRPO on a recurrent policy, with one value baseline for the steps of all tasks.

    A subclass says in which order the memory meets the steps of a block.
    """

    policy_class = RecurrentPolicy

    @abstractmethod
    def unroll_order(self, episodes: Episodes) -> Tensor:
        """Return in which order the memory meets the steps of a block, (N, E T)."""

    def num_sequences(self, episodes: Episodes) -> int:
        """Return into how many sequences the memory parts a block, which begin alike: one."""
        del episodes
        return 1

    def join(self, block: Tensor, episodes: Episodes) -> Tensor:
        """Return steps (N, E, T) with those in a row over which rewards are added up."""
        del episodes
        return block

    def part(self, steps: Tensor, episodes: Episodes) -> Tensor:
        """Undo `join`: return steps (N, E, T)."""
        del episodes
        return steps

    @torch.no_grad()
    def outer_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) from a value baseline that is fitted to the steps of all tasks."""
        rewards, mask = (self.join(x, episodes) for x in (episodes.rewards, episodes.mask))
        discount, gae_lambda = self.config.discount, self.config.gae_lambda
        returns = self.part(discounted_returns(rewards, mask, discount), episodes)
        values = self.join(self._fit_values(params, episodes, returns), episodes)
        advantages = gae(rewards, values, mask, discount=discount, gae_lambda=gae_lambda)
        return self.scale_outer(self.part(advantages, episodes), episodes.mask)

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> what the policy does in its block: mean (N, E, T, A) and log_std (N, A)."""
        block = batch.post_episodes
        mean = unpack(self._unroll(params, block).mean, self.unroll_order(block), block.rewards)
        return Distribution(mean, self.policy.log_std_of(params))

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step within the trust region."""
        options = cast(TrustRegion, self.config.options)
        return trpo_update(self, params, batch, options, self.workers)

    def _unroll(self, params: Params, episodes: Episodes) -> Unroll:
        """Unroll the policy through a block."""
        order = self.unroll_order(episodes)
        first = torch.zeros_like(episodes.rewards)
        first[..., 0] = 1.0
        blocks = (episodes.observations, episodes.actions, episodes.rewards, first)
        packed = (pack(block, order) for block in blocks)
        return self.policy.unroll(params, *packed, num_sequences=self.num_sequences(episodes))

    def memories(self, params: Params, episodes: Episodes) -> Tensor:
        """Return the memory before each step of M sequences and after the last, (N, E T + M, .)."""
        parts = [
            self._unroll(params_of(params, tasks), episodes.rows(tasks)).memories
            for tasks in chunks_of_steps(episodes.rewards)
        ]
        return torch.cat(parts)

    def _fit_values(self, params: Params, episodes: Episodes, returns: Tensor) -> Tensor:
        """Fit values (N, E, T) to the returns of the blocks of all processes, by ridge regression.

        A task with a number that is not finite is left out of the fit.
        """
        memories, order = self.memories(params, episodes), self.unroll_order(episodes)
        mask, returns = pack(episodes.mask, order), pack(returns, order)
        chunks = chunks_of_steps(episodes.rewards)

        def features(tasks: slice) -> Tensor:
            return self.value_features(memories[tasks], episodes.rows(tasks)) * mask[tasks, :, None]

        sums = torch.cat([normal_equations(features(t), returns[t], mask[t]) for t in chunks])
        rows = self.workers.gather(sums)
        mean = torch.from_numpy(mean_over_tasks(rows[rows.isfinite().all((1, 2))]))
        coefficients = solve_ridge(mean[None, :, :-1], mean[None, :, -1:])
        values = [
            (counted := features(t)) @ coefficients.expand(len(counted), -1, -1) for t in chunks
        ]
        return unpack(torch.cat(values)[..., 0].to(returns.dtype), order, episodes.rewards)

    def value_features(self, memories: Tensor, episodes: Episodes) -> Tensor:
        """Return what values are linear in, (N, E T, F) in float64: what is seen and known."""
        order = self.unroll_order(episodes)
        seen = value_features(self.policy.scale_observations(episodes.observations))
        known = memories[:, : -self.num_sequences(episodes)].double()
        return torch.cat([pack(seen, order), known], dim=-1)
