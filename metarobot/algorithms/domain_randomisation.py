"""Domain randomisation: one policy for all tasks, which never adapts."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from metarobot.algorithms.algorithm import Algorithm
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.meta_gradient import SurrogateObjective
from metarobot.learning.trpo import TrustRegion, trpo_update
from metarobot.options import AlgorithmOptions, fixed
from metarobot.policies import Distribution, GaussianMLP, Params
from metarobot.policies.gaussian_policy import MIN_STD
from metarobot.rollout.episodes import Episodes


@dataclass(frozen=True, kw_only=True)
class ReferenceOptions(AlgorithmOptions, TrustRegion):
    """What the references read that never adapt."""

    num_adaptation_steps: int = fixed(0)
    """K, adaptation steps before the post-update episodes."""
    min_std: float = fixed(MIN_STD)
    """Floor of the action noise, in half action ranges: the lowest, since the policy may become as
    certain as it likes."""


class DomainRandomisation(SurrogateObjective, Algorithm[GaussianMLP]):
    """TRPO on the episodes of all tasks.

    Source: Schulman et al. 2015, arXiv:1502.05477; Tobin et al. 2017, arXiv:1703.06907.
    """

    title = "domain randomisation"
    adapts = False
    options_class = ReferenceOptions

    @property
    def options(self) -> ReferenceOptions:
        """What this algorithm reads."""
        return cast(ReferenceOptions, self.config.options)

    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Return the parameters as they came: nothing adapts."""
        del episodes, advantages
        return params

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_θ on the episodes' observations: mean (N, E, T, A) and log_std (N, A)."""
        return self.policy.distribution(params, batch.post_episodes.observations)

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step within the trust region."""
        return trpo_update(self, params, batch, self.options, self.workers)
