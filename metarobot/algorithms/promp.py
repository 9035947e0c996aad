"""ProMP: proximal meta-policy search."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from metarobot.algorithms.maml_ppo import MamlPpo, MamlPpoOptions
from metarobot.learning.meta_batch import MetaBatch
from metarobot.learning.objectives import InnerObjective
from metarobot.learning.surrogates import kl_estimates
from metarobot.options import fixed, number
from metarobot.policies import Distribution, Params


@dataclass(frozen=True, kw_only=True)
class ProMPOptions(MamlPpoOptions):
    """What ProMP reads."""

    inner_objective: InnerObjective = fixed("lvc")
    """What an adaptation step climbs."""
    inner_kl_penalty: float = number(5.0, 0.0, 100.0)
    """Weight of the KL divergence of the policies that adaptation starts from, in units of the
    advantages' standard deviation per nat."""


class ProMP(MamlPpo):
    """A low-variance inner gradient, a clipped surrogate, and policies that stay near the data.

    The adaptation episodes of a meta-batch come from the θ at its start. With every epoch they say
    less about the θ of now, so a penalty keeps the policies that took them near.

    Source: Rothfuss et al. 2019, arXiv:1810.06784, algorithm 1.
    """

    title = "ProMP"
    options_class = ProMPOptions

    @property
    def options(self) -> ProMPOptions:
        """What this algorithm reads."""
        return cast(ProMPOptions, self.config.options)

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> clipped surrogate and penalty of every task (N,), and π_{θ'_n}."""
        chain = self.adaptations(params, batch)
        distribution = self.post_distribution(chain[-1], batch)
        losses = self.clipped(distribution, batch)
        for theta, episodes in zip(chain, batch.pre_episodes, strict=False):
            exploring = self.exploring_policy.distribution(theta, episodes.observations)
            losses = losses + self.options.inner_kl_penalty * kl_estimates(exploring, episodes)
        return losses, distribution
