"""RL²: a policy that learns to learn within its memory."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.config import MOST_EPISODES
from metarobot.learning.advantages import discounted_returns, gae
from metarobot.learning.distributed import Workers, mean_over_tasks
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.surrogates import surrogates
from metarobot.learning.trpo import TrustRegion, trpo_update
from metarobot.options import AlgorithmOptions, fixed, integer, number
from metarobot.policies import (
    Distribution,
    Lived,
    Params,
    RecurrentPolicy,
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


class Rl2(Algorithm[RecurrentPolicy]):
    """RL²: TRPO on whole trials, whose episodes are lived one after the other with one memory.

    Adapting changes no weight: the policy lives through the trial episodes, and goes on with what
    it remembers.

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

    def trial_advantages(self, episodes: Episodes) -> Tensor:
        """Return zeros (N, E, T): remembering needs no advantages."""
        return torch.zeros_like(episodes.rewards)

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Remember a block of trial episodes."""
        del advantages
        memories = self._live(params, episodes).memories
        num_lived = episodes.mask.sum((1, 2)).long()
        return {**params, "memory": memories[torch.arange(len(memories)), num_lived]}

    @torch.no_grad()
    def outer_advantages(self, params: Params, episodes: Episodes, workers: Workers) -> Tensor:
        """Advantages (N, E, T) over whole trials, from a value baseline fitted to all of them."""
        order = _lived_order(episodes)
        rewards, mask = _pack(episodes.rewards, order), _pack(episodes.mask, order)
        discount, gae_lambda = self.config.discount, self.config.gae_lambda
        returns = discounted_returns(rewards, mask, discount)
        values = _fit_values(self._value_features(params, episodes), returns, mask, workers)
        advantages = gae(rewards, values, mask, discount=discount, gae_lambda=gae_lambda)
        return self.scale_outer(_unpack(advantages, order, episodes), episodes.mask, workers)

    def first_and_last(self, batch: MetaBatch) -> tuple[Episodes, Episodes]:
        """Return the first episode of every trial, and its second half."""
        trial = batch.post_episodes
        return trial.first(1), trial.last((trial.num_episodes + 1) // 2)

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> what the policy does in its trial: mean (N, E, T, A) and log_std (N, A)."""
        trial = batch.post_episodes
        mean = _unpack(self._live(params, trial).mean, _lived_order(trial), trial)
        return Distribution(mean, self.policy.log_std_of(params))

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> the surrogate of every trial (N,), and what the policy does in it."""
        distribution = self.adapted_distribution(params, batch)
        return surrogates(distribution, batch.post_episodes, batch.post_advantages), distribution

    def update(
        self, params: Params, batch: MetaBatch, workers: Workers
    ) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step within the trust region."""
        return trpo_update(self, params, batch, self.options, workers)

    def _live(self, params: Params, episodes: Episodes) -> Lived:
        """Live through trials again; steps that count come first."""
        order = _lived_order(episodes)
        first = torch.zeros_like(episodes.rewards)
        first[..., 0] = 1.0
        blocks = (episodes.observations, episodes.actions, episodes.rewards, first)
        return self.policy.live(params, *(_pack(block, order) for block in blocks))

    def _value_features(self, params: Params, episodes: Episodes) -> Tensor:
        """Return what values are linear in, (N, L, F) in float64: what is seen, known, and when."""
        order = _lived_order(episodes)
        seen = value_features(self.policy.scale_observations(episodes.observations))
        known = self._live(params, episodes).memories[:, :-1].double()
        t = torch.linspace(0.0, 1.0, order.shape[1], dtype=torch.float64)
        when = torch.stack([t, t**2, t**3], dim=-1).expand(*order.shape, 3)
        return torch.cat([_pack(seen, order), known, when], dim=-1)


def _fit_values(features: Tensor, returns: Tensor, mask: Tensor, workers: Workers) -> Tensor:
    """Fit values (N, L) to the returns of the trials of all processes, by ridge regression.

    A task with a number that is not finite is left out of the fit.
    """
    counted, targets = features * mask[..., None], (returns * mask)[..., None].double()
    sums = torch.cat([counted.mT @ counted, counted.mT @ targets], dim=-1)  # (N, F, F + 1)
    rows = workers.gather(sums)
    mean = torch.from_numpy(mean_over_tasks(rows[rows.isfinite().all((1, 2))]))
    coefficients = solve_ridge(mean[None, :, :-1], mean[None, :, -1:])
    values = counted @ coefficients.expand(len(counted), -1, -1)
    return values[..., 0].to(returns.dtype)


def _lived_order(episodes: Episodes) -> Tensor:
    """Return in which order the memory meets the steps of a trial, (N, L) with L = E T.

    Steps that do not count leave no trace in it: they come last.
    """
    return episodes.mask.flatten(1).argsort(dim=1, descending=True, stable=True)


def _pack(block: Tensor, order: Tensor) -> Tensor:
    """Put steps (N, E, T, ...) into the order in which they were lived, (N, L, ...)."""
    steps = block.flatten(1, 2)
    return steps.take_along_dim(order.reshape(*order.shape, *[1] * (steps.ndim - 2)), dim=1)


def _unpack(steps: Tensor, order: Tensor, like: Episodes) -> Tensor:
    """Undo `_pack`: (N, L, ...) becomes (N, E, T, ...)."""
    inverse = order.argsort(dim=1)
    inverse = inverse.reshape(*order.shape, *[1] * (steps.ndim - 2))
    return steps.take_along_dim(inverse, dim=1).unflatten(1, like.rewards.shape[1:])
