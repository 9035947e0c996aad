"""Reptile: move towards where several adaptation steps lead."""

import torch
from torch import Tensor

from metarobot.algorithms.maml import Maml
from metarobot.config import TrainConfig
from metarobot.learning.distributed import Workers, mean_over_tasks
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.meta_gradient import losses_and_divergences, refused_rows
from metarobot.learning.surrogates import surrogates
from metarobot.learning.task_chunks import chunks_of_batch, join_distributions
from metarobot.policies import (
    Distribution,
    Params,
    flatten_params,
    repeat_params,
    unflatten_params,
)

MOST_RATES = 10
"""After as many, each half as large as the one before, what is left of a move is worth nothing."""


class Reptile(Maml):
    """θ ← θ + β mean_n(φ_n - θ), with φ_n the end of `reptile_steps` adaptation steps on task n.

    All of them on fresh episodes; the last on those of the post-update block. No derivative is
    taken through any. The move is halved until adapted policies stay within `outer_max_kl`: they
    move farther the more has been learned.

    Source: Nichol et al. 2018, arXiv:1803.02999, algorithm 2.
    """

    title = "Reptile"

    @classmethod
    def min_std(cls, config: TrainConfig) -> float:
        """Return the floor of trials, everywhere.

        The gradient grows as the noise shrinks, and no trust region bounds where it leads.
        """
        return max(config.min_std, config.trial_min_std)

    @torch.no_grad()
    def update(
        self, params: Params, batch: MetaBatch, workers: Workers
    ) -> tuple[Params, UpdateReport]:
        """Move θ towards the mean end."""
        parts = [self._moves(params, batch.rows(tasks)) for tasks in chunks_of_batch(batch)]
        moves, distributions = zip(*parts, strict=True)
        rows = workers.gather(torch.cat(moves))
        if refused := refused_rows(rows):
            return params, UpdateReport.refusal(refused)
        whole = unflatten_params(torch.from_numpy(mean_over_tasks(rows)), params)
        old = join_distributions(distributions)
        losses = surrogates(old, batch.post_episodes, batch.post_advantages)
        (before,) = workers.mean(losses[:, None]).tolist()
        for halvings in range(MOST_RATES):
            rate = self.config.reptile_rate / 2**halvings
            moved = {name: leaf + rate * whole[name] for name, leaf in params.items()}
            after, kl = workers.mean(losses_and_divergences(self, moved, batch, old)).tolist()
            if kl <= self.config.outer_max_kl:
                return moved, UpdateReport(before, after, kl, halvings + 1, True)
        return params, UpdateReport(before, before, 0.0, MOST_RATES, False)

    def _moves(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """Return φ_n - θ of every task of a batch (n, D), and the policies of its last block."""
        theta = repeat_params(params, batch.post_episodes.num_tasks)
        last = self.adaptations(theta, batch)[-1]
        advantages = self.trial_advantages(batch.post_episodes)
        ends = self.adapt(last, batch.post_episodes, advantages)
        return flatten_params(ends) - flatten_params(theta), self.post_distribution(last, batch)
