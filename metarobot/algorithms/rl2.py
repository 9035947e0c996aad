"""RL²: a recurrent policy that adapts within its memory, and the TRPO that trains such policies."""

from typing import Any, cast

import torch
from torch import Tensor

from metarobot.algorithms.base import TrpoLearner
from metarobot.algorithms.options import Rl2Options
from metarobot.config import TrainConfig
from metarobot.learning.advantages import discounted_returns, gae
from metarobot.learning.chunks import chunks_of_steps, params_of
from metarobot.learning.distributed import mean_over_tasks
from metarobot.learning.meta_update import MetaBatch
from metarobot.machine import map_on_threads
from metarobot.policies import Distribution, Params
from metarobot.policies.recurrent import RecurrentPolicy, Unroll
from metarobot.policies.value_baseline import normal_equations, solve_ridge, value_features
from metarobot.rollout.episodes import Episodes


def one_after_the_other(episodes: Episodes) -> Tensor:
    """Return the order of steps in a trial, episode after episode, (N, E T).

    Steps that do not count leave no trace in the memory: they come last.
    """
    return episodes.mask.flatten(1).argsort(dim=1, descending=True, stable=True)


def side_by_side(episodes: Episodes) -> Tensor:
    """Return the order of E episodes that each begin anew, all of them in each step, (N, E T)."""
    num_tasks, num_episodes, horizon = episodes.rewards.shape
    order = torch.arange(num_episodes * horizon).view(num_episodes, horizon).T.flatten()
    return order.expand(num_tasks, -1)


def pack(block: Tensor, order: Tensor) -> Tensor:
    """Put steps (N, E, T, ...) into an order, (N, E T, ...)."""
    steps = block.flatten(1, 2)
    return steps.take_along_dim(order.reshape(*order.shape, *[1] * (steps.ndim - 2)), dim=1)


def unpack(steps: Tensor, order: Tensor, like: Tensor) -> Tensor:
    """Undo `pack`: (N, E T, ...) becomes (N, E, T, ...), as of a block (N, E, T)."""
    inverse = order.argsort(dim=1)
    inverse = inverse.reshape(*order.shape, *[1] * (steps.ndim - 2))
    return steps.take_along_dim(inverse, dim=1).unflatten(1, like.shape[1:])


class RecurrentLearner(TrpoLearner[RecurrentPolicy]):
    """TRPO on a recurrent policy, with one value baseline for the steps of all tasks.

    With `in_sequence` the episodes of a task are one trial, and share memory and returns. Without,
    each episode is a sequence of its own.
    """

    policy_class = RecurrentPolicy

    def unroll_order(self, episodes: Episodes) -> Tensor:
        """Return the order in which the memory reads the steps of a block, (N, E T)."""
        return one_after_the_other(episodes) if self.in_sequence else side_by_side(episodes)

    def num_sequences(self, episodes: Episodes) -> int:
        """Return the number of a task's sequences, which begin with the same memory."""
        return 1 if self.in_sequence else episodes.num_episodes

    def _join(self, block: Tensor, order: Tensor) -> Tensor:
        """Return steps (N, E, T) in rows over which rewards are added up: trials or episodes."""
        return pack(block, order) if self.in_sequence else block

    def _part(self, steps: Tensor, order: Tensor, episodes: Episodes) -> Tensor:
        """Undo `_join`: return steps (N, E, T)."""
        return unpack(steps, order, episodes.rewards) if self.in_sequence else steps

    @torch.no_grad()
    def outer_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T) from a value baseline that is fitted to the steps of all tasks."""
        order, discount = self.unroll_order(episodes), self.config.discount
        rewards, mask = (self._join(x, order) for x in (episodes.rewards, episodes.mask))
        returns = self._part(discounted_returns(rewards, mask, discount), order, episodes)
        values = self._join(self._fit_values(params, episodes, returns), order)
        gae_lambda = self.config.gae_lambda
        advantages = gae(rewards, values, mask, discount=discount, gae_lambda=gae_lambda)
        return self.scale_outer(self._part(advantages, order, episodes), episodes.mask)

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_{θ_n} in its block: mean (N, E, T, A) and log_std (N, A)."""
        block = batch.post_episodes
        mean = unpack(self._unroll(params, block).mean, self.unroll_order(block), block.rewards)
        return Distribution(mean, self.policy.log_std_of(params))

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
        parts = map_on_threads(
            lambda tasks: self._unroll(params_of(params, tasks), episodes.rows(tasks)).memories,
            chunks_of_steps(episodes.rewards),
        )
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
        """Return the features of values, (N, E T, F) in float64: observation and memory."""
        order = self.unroll_order(episodes)
        seen = value_features(self.policy.scale_observations(episodes.observations))
        known = memories[:, : -self.num_sequences(episodes)].double()
        return torch.cat([pack(seen, order), known], dim=-1)


class Rl2(RecurrentLearner):
    """RL²: TRPO on whole trials, sequences of episodes with one memory.

    Adapting changes no weight: the policy is unrolled through the adaptation episodes, and keeps
    its hidden state.

    Source: Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763.
    """

    title = "RL²"
    options_class = Rl2Options
    in_sequence = True
    reads_advantages = False

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return whether the policy observes changes of the reward."""
        return {"reward_products": cast(Rl2Options, config.options).reward_products}

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Remember a block of trial episodes."""
        del advantages
        memories = self.memories(params, episodes)
        num_steps = episodes.mask.sum((1, 2)).long()
        return {**params, "memory": memories[torch.arange(len(memories)), num_steps]}

    def first_and_last(self, batch: MetaBatch) -> tuple[Episodes, Episodes]:
        """Return the first episode of every trial, and its second half."""
        trial = batch.post_episodes
        return trial.first(1), trial.last((trial.num_episodes + 1) // 2)

    def value_features(self, memories: Tensor, episodes: Episodes) -> Tensor:
        """Return the features of values, (N, E T, F): observation, memory and time."""
        features = super().value_features(memories, episodes)
        t = torch.linspace(0.0, 1.0, features.shape[1], dtype=torch.float64)
        when = torch.stack([t, t**2, t**3], dim=-1).expand(*features.shape[:2], 3)
        return torch.cat([features, when], dim=-1)
