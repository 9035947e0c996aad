"""MAML-PPO and ProMP: meta-updates by several epochs of Adam on a clipped surrogate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from metarobot.algorithms.maml import GradientLearner, GradientOptions
from metarobot.config import TrainConfig, fixed, number
from metarobot.learning.adam import AdamOptions, AdamState, adam_update
from metarobot.learning.distributed import ALONE, Workers
from metarobot.learning.inner_loop import InnerObjective
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.meta_gradient import clipped_surrogates, kl_estimates
from metarobot.policies import Distribution, GaussianMLP, Params


@dataclass(frozen=True, kw_only=True)
class MamlPpoOptions(GradientOptions, AdamOptions):
    """What MAML-PPO reads: its adaptation steps, and the epochs of its meta-update."""

    clip_ratio: float = number(0.2, 0.01, 1.0)
    """How far probability ratios may move from 1 before PPO's gradient ends."""


class MamlPpo(GradientLearner):
    """MAML-PPO, differentiated through the adaptation to second order.

    Source: Schulman et al. 2017, arXiv:1707.06347, for the surrogate.
    """

    title = "MAML-PPO"
    options_class = MamlPpoOptions

    def __init__(self, config: TrainConfig, policy: GaussianMLP, workers: Workers = ALONE) -> None:
        super().__init__(config, policy, workers)
        self._moments = AdamState.fresh(dict(policy.named_parameters()))

    @property
    def options(self) -> MamlPpoOptions:
        """What this algorithm reads."""
        return cast(MamlPpoOptions, self.config.options)

    @property
    def first_order(self) -> bool:
        """Whether the gradient of an adaptation step is taken for a constant."""
        return self.options.first_order

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
        params, report, self._moments = adam_update(
            self, params, batch, self._moments, self.options, self.workers
        )
        return params, report

    def state(self) -> dict[str, Tensor]:
        """Return Adam's moments."""
        return self._moments.to_tensors()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take Adam's moments from a checkpoint."""
        self._moments = AdamState.from_tensors(state, self.policy.shapes)


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
