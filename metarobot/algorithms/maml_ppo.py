"""MAML whose meta-update is PPO's: several epochs of Adam on a clipped surrogate."""

from torch import Tensor

from metarobot.algorithms.by_adam import ByAdam
from metarobot.algorithms.maml import Maml
from metarobot.meta_batch import MetaBatch
from metarobot.policies import Distribution, GaussianMLP, Params
from metarobot.surrogates import clipped_surrogates


class MamlPpo(ByAdam[GaussianMLP], Maml):
    """MAML-PPO, differentiated through the adaptation to second order.

    Source: Schulman et al. 2017, arXiv:1707.06347, for the surrogate.
    """

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> the clipped surrogate of every task (N,), and π_{θ'_n}."""
        distribution = self.adapted_distribution(params, batch)
        return self.clipped(distribution, batch), distribution

    def clipped(self, distribution: Distribution, batch: MetaBatch) -> Tensor:
        """π_{θ'_n} -> the clipped surrogate of every task, (N,)."""
        return clipped_surrogates(
            distribution, batch.post_episodes, batch.post_advantages, self.config.clip_ratio
        )
