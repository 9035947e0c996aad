"""ProMP: proximal meta-policy search."""

from dataclasses import replace

from torch import Tensor

from metarobot.algorithms.maml_ppo import MamlPpo
from metarobot.config import TrainConfig
from metarobot.learning.meta_batch import MetaBatch
from metarobot.learning.surrogates import kl_estimates
from metarobot.policies import Distribution, GaussianMLP, Params


class ProMP(MamlPpo):
    """A low-variance inner gradient, a clipped surrogate, and policies that trials stay valid for.

    The trial episodes of a meta-batch come from the θ at its start. With every epoch they say less
    about the θ of now, so a penalty keeps the policies that took them near.

    Source: Rothfuss et al. 2019, arXiv:1810.06784, algorithm 1.
    """

    title = "ProMP"

    def __init__(self, config: TrainConfig, policy: GaussianMLP) -> None:
        super().__init__(replace(config, inner_objective="lvc"), policy)

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> clipped surrogate and penalty of every task (N,), and π_{θ'_n}."""
        chain = self.adaptations(params, batch)
        distribution = self.post_distribution(chain[-1], batch)
        losses = self.clipped(distribution, batch)
        for theta, episodes in zip(chain, batch.pre_episodes, strict=False):
            trial = self.trial_policy.distribution(theta, episodes.observations)
            losses = losses + self.config.inner_kl_penalty * kl_estimates(trial, episodes)
        return losses, distribution
