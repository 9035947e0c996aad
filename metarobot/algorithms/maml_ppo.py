"""MAML-PPO and ProMP: meta-updates by several epochs of Adam on a clipped surrogate."""

from torch import Tensor

from metarobot.algorithms.maml import GradientLearner
from metarobot.algorithms.options import MamlPpoOptions, ProMPOptions
from metarobot.config import TrainConfig
from metarobot.learning.adam import AdamState, adam_update
from metarobot.learning.distributed import ALONE, Workers
from metarobot.learning.meta_update import MetaBatch, UpdateReport, clipped_surrogates, kl_estimates
from metarobot.policies import Distribution, GaussianMLP, Params


class MamlPpo(GradientLearner):
    """MAML-PPO, differentiated through the adaptation to second order.

    Source: Schulman et al. 2017, arXiv:1707.06347, for the surrogate.
    """

    title = "MAML-PPO"
    options_class = MamlPpoOptions

    def __init__(self, config: TrainConfig, policy: GaussianMLP, workers: Workers = ALONE) -> None:
        super().__init__(config, policy, workers)
        self.moments = AdamState.fresh(dict(policy.named_parameters()))

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> the clipped surrogate of every task (N,), and π_{θ'_n}."""
        distribution = self.adapted_distribution(params, batch)
        return self.clipped(distribution, batch), distribution

    def clipped(self, distribution: Distribution, batch: MetaBatch) -> Tensor:
        """π_{θ'_n} -> the clipped surrogate of every task, (N,)."""
        return clipped_surrogates(
            distribution, batch.post_episodes, batch.post_advantages, self.options.clip_ratio
        )

    def improve(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take the epochs of one meta-batch."""
        params, report, self.moments = adam_update(
            self, params, batch, self.moments, self.options, self.workers
        )
        return params, report


class ProMP(MamlPpo):
    """A low-variance inner gradient, a clipped surrogate, and policies that stay near the data.

    The adaptation episodes of a meta-batch come from the θ at its start. With every epoch they fit
    the current θ less, so a penalty keeps it near the policies that collected them.

    Source: Rothfuss et al. 2019, arXiv:1810.06784, algorithm 1.
    """

    title = "ProMP"
    options_class = ProMPOptions

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> clipped surrogate and penalty of every task (N,), and π_{θ'_n}."""
        chain = self.adaptations(params, batch)
        distribution = self.post_distribution(chain[-1], batch)
        losses = self.clipped(distribution, batch)
        for theta, episodes in zip(chain, batch.pre_episodes, strict=False):
            exploring = self.exploring_policy.distribution(theta, episodes.observations)
            losses = losses + self.options.inner_kl_penalty * kl_estimates(exploring, episodes)
        return losses, distribution
