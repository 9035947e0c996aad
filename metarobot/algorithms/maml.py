"""Model-agnostic meta-learning: an initialisation from which a gradient step goes far."""

from dataclasses import dataclass
from typing import cast

from metarobot.algorithms.gradient_learner import GradientLearner, GradientOptions
from metarobot.learning.meta_batch import MetaBatch, UpdateReport
from metarobot.learning.trpo import TrustRegion, trpo_update
from metarobot.policies import Params


@dataclass(frozen=True, kw_only=True)
class MamlOptions(GradientOptions, TrustRegion):
    """What MAML reads: its adaptation steps, and the trust region of its meta-update."""


class Maml(GradientLearner):
    """MAML with TRPO as its meta-update, exact to second order.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 3.
    """

    title = "MAML-TRPO"
    options_class = MamlOptions

    @property
    def options(self) -> MamlOptions:
        """What this algorithm reads."""
        return cast(MamlOptions, self.config.options)

    @property
    def first_order(self) -> bool:
        """Whether the gradient of an adaptation step is taken for a constant."""
        return self.options.first_order

    def improve(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step within the trust region."""
        return trpo_update(self, params, batch, self.options, self.workers)
