"""Model-agnostic meta-learning: an initialisation from which a gradient step goes far."""

from dataclasses import dataclass

from metarobot.few_shot.gradient_learner import GradientLearner, GradientOptions
from metarobot.options import switch


@dataclass(frozen=True, kw_only=True)
class MamlOptions(GradientOptions):
    """What MAML reads."""

    first_order: bool = switch(False)
    """Drop the second derivatives of the adaptation from the meta-gradient."""


class Maml(GradientLearner[MamlOptions]):
    """Lowers the loss after adapting, differentiated through the adaptation.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 2; section 5.2 for the first order.
    """

    title = "MAML"

    @property
    def first_order(self) -> bool:
        """Whether the gradient of an adaptation step is taken for a constant."""
        return self.options.first_order
