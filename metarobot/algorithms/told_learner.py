"""What algorithms have in common whose policy is told the task in some episodes of training."""

from abc import abstractmethod
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.meta_gradient import SurrogateObjective
from metarobot.learning.trpo import TrustRegion, trpo_update
from metarobot.policies import Distribution, LatentPolicy, Params, TeacherStudentPolicy
from metarobot.policies.params import TOLD
from metarobot.rollout.episodes import Episodes

ToldT = TypeVar("ToldT", LatentPolicy, TeacherStudentPolicy)


class ToldLearner(SurrogateObjective, Algorithm[ToldT]):
    """Improves its policy by TRPO on those episodes of a task that are told it, which come first.

    The others show something else, from which another part of the parameters learns.
    """

    is_told: ClassVar[bool] = True

    @abstractmethod
    def num_told(self, num_episodes: int) -> int:
        """Return how many episodes of a task are told the task."""

    def outer_advantages(self, params: Params, episodes: Episodes) -> Tensor:
        """Advantages (N, E, T); 0 in episodes that are not told the task."""
        told = episodes.first(self.num_told(episodes.num_episodes))
        advantages = super().outer_advantages(params, told)
        others = torch.zeros_like(episodes.rewards[:, told.num_episodes :])
        return torch.cat([advantages, others], dim=1)

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_θ given what was told: mean (N, E, T, A) and log_std (N, A)."""
        told = {**params, TOLD: told_in(batch)}
        return self.policy.distribution(told, batch.post_episodes.observations)

    def improve_acting(
        self, params: Params, batch: MetaBatch, options: TrustRegion
    ) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on the parameters that decide how the policy acts."""
        told = batch.first(self.num_told(batch.post_episodes.num_episodes))
        acting = self.policy.acting_params(params)
        return trpo_update(self, acting, told, options, self.workers)


def told_in(batch: MetaBatch) -> Tensor:
    """Return what was told in each post-update episode, (N, E, C)."""
    if batch.told is None:
        raise ValueError("the policy must be told the task in training")
    return batch.told
