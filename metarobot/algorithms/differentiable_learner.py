"""What algorithms have in common whose meta-update is differentiated through the adaptation."""

from abc import abstractmethod
from typing import TypeVar

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.learning.meta_batch import MetaBatch
from metarobot.learning.meta_gradient import SurrogateObjective
from metarobot.learning.task_chunks import chunks_of_steps, join_params, params_of
from metarobot.policies import Distribution, GaussianMLP, Params
from metarobot.rollout.episodes import Episodes

PolicyT = TypeVar("PolicyT", bound=GaussianMLP)


class DifferentiableLearner(SurrogateObjective, Algorithm[PolicyT]):
    """Adapts by a step that derivatives can be taken through."""

    @abstractmethod
    def adapt_differentiably(
        self, params: Params, episodes: Episodes, advantages: Tensor
    ) -> Params:
        """Take one adaptation step that stays attached to the graph; as `adapt`."""

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Take one adaptation step on every task."""
        parts = [
            self.adapt_differentiably(
                params_of(params, tasks), episodes.rows(tasks), advantages[tasks]
            )
            for tasks in chunks_of_steps(episodes.rewards)
        ]
        return join_params(parts)

    def adaptations(self, params: Params, batch: MetaBatch) -> list[Params]:
        """Return θ_0 .. θ_K: the parameters before the first adaptation step, and after each."""
        chain = [params]
        for episodes, advantages in zip(batch.pre_episodes, batch.pre_advantages, strict=True):
            chain.append(self.adapt_differentiably(chain[-1], episodes, advantages))
        return chain

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_{θ'_n} on the post-update observations: the map that derivatives are of.

        Args:
            params: θ, once for every task, each leaf (N, ...).
            batch: Data of the meta-update.

        Returns:
            Mean (N, E, T, A) and log_std (N, A).
        """
        return self.post_distribution(self.adaptations(params, batch)[-1], batch)

    def post_distribution(self, adapted: Params, batch: MetaBatch) -> Distribution:
        """θ'_n -> π_{θ'_n} on the post-update observations."""
        return self.policy.distribution(adapted, batch.post_episodes.observations)
