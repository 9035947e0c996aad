"""Reptile: move towards the end of several adaptation steps."""

import torch
from torch import Tensor

from metarobot.algorithms.maml import GradientLearner
from metarobot.algorithms.options import ReptileOptions
from metarobot.learning.distributed import mean_over_tasks
from metarobot.learning.inner_loop import MEASURED
from metarobot.learning.meta_update import (
    MetaBatch,
    UpdateReport,
    chunks_of_batch,
    join_distributions,
    losses_and_divergences,
    rejected_rows,
    surrogates,
)
from metarobot.policies import (
    Distribution,
    Params,
    flatten_params,
    repeat_params,
    unflatten_params,
)

MOST_RATES = 10
"""Greatest number of rates tried, each half as large as the one before."""


class Reptile(GradientLearner):
    """θ ← θ + β mean_n(φ_n - θ), with φ_n the end of `reptile_steps` adaptation steps on task n.

    All steps are on fresh episodes, the last on those of the post-update block; no derivative is
    taken through them. The move is halved until adapted policies stay within `outer_max_kl`: the
    same move changes them more as training proceeds.

    Source: Nichol et al. 2018, arXiv:1803.02999, algorithm 2.
    """

    title = "Reptile"
    options_class = ReptileOptions

    @torch.no_grad()
    def improve(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Move θ towards the mean end."""
        parts = [self._moves(params, batch.rows(tasks)) for tasks in chunks_of_batch(batch)]
        moves, distributions = zip(*parts, strict=True)
        rows = self.workers.gather(torch.cat(moves))
        if rejected := rejected_rows(rows):
            return params, UpdateReport.rejection(rejected)
        whole = unflatten_params(torch.from_numpy(mean_over_tasks(rows)), params)
        old = join_distributions(distributions)
        losses = surrogates(old, batch.post_episodes, batch.post_advantages)
        (before,) = self.workers.mean(losses[:, None]).tolist()
        for halvings in range(MOST_RATES):
            rate = self.options.reptile_rate / 2**halvings
            moved = {
                name: leaf if name in MEASURED else leaf + rate * whole[name]
                for name, leaf in params.items()
            }
            after, kl = self.workers.mean(losses_and_divergences(self, moved, batch, old)).tolist()
            if kl <= self.options.outer_max_kl:
                return moved, UpdateReport(before, after, kl, halvings + 1, True)
        return params, UpdateReport(before, before, 0.0, MOST_RATES, False)

    def _moves(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """Return φ_n - θ of every task of a batch (n, D), and the policies of its last block."""
        theta = repeat_params(params, batch.post_episodes.num_tasks)
        last = self.adaptations(theta, batch)[-1]
        advantages = self.adaptation_advantages(last, batch.post_episodes)
        ends = self.adapt(last, batch.post_episodes, advantages)
        return flatten_params(ends) - flatten_params(theta), self.post_distribution(last, batch)
