"""E-MAML: adaptation episodes are credited with what adaptation makes of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from metarobot.algorithms.maml import Maml
from metarobot.learning.distributed import Workers
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.surrogates import likelihood_ratios, surrogates
from metarobot.learning.trpo import trpo_update
from metarobot.policies import Distribution, Params


class EMaml(Maml):
    """MAML with the term of the meta-gradient that comes from θ choosing the episodes.

    Source: Stadie et al. 2018, arXiv:1803.01118, equation 4; Al-Shedivat et al. 2018,
    arXiv:1710.03641.
    """

    title = "E-MAML"

    def improve(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on surrogate and credit."""
        objective = CreditedExploration(self, exploration_credits(batch, self.workers))
        return trpo_update(objective, params, batch, self.options, self.workers)


class CreditedExploration(NamedTuple):
    """What E-MAML improves: the post-update surrogate, and the odds of episodes that led far."""

    maml: Maml
    credits: Tensor
    """What the adaptation episodes of each task led to, (N,)."""

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_{θ'_n}."""
        return self.maml.adapted_distribution(params, batch)

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> surrogate of every task minus the credit of its episodes (N,), and π_{θ'_n}."""
        chain = self.maml.adaptations(params, batch)
        distribution = self.maml.post_distribution(chain[-1], batch)
        losses = surrogates(distribution, batch.post_episodes, batch.post_advantages)
        for theta, episodes in zip(chain, batch.pre_episodes, strict=False):
            exploring = self.maml.exploring_policy.distribution(theta, episodes.observations)
            ratios = likelihood_ratios(exploring, episodes)
            losses = losses - self.credits * (ratios * episodes.step_weights).sum((1, 2))
        return losses, distribution

    def of_tasks(self, tasks: slice) -> "CreditedExploration":
        """Return the objective of some tasks, with their credits."""
        return self._replace(credits=self.credits[tasks])


def exploration_credits(batch: MetaBatch, workers: Workers) -> Tensor:
    """Mean post-update return of each task held here, normalised over the meta-batch; (N,)."""
    returns = batch.post_episodes.returns.double().mean(1)
    everyone = workers.gather(returns)
    everyone = everyone[everyone.isfinite()]
    spread = everyone.std(correction=0) if len(everyone) else torch.ones(())
    credits = (returns - everyone.mean()) / (spread + 1e-8)
    return credits.to(batch.post_advantages.dtype)
