"""First-order MAML."""

from dataclasses import dataclass

from metarobot.algorithms.maml import Maml, MamlOptions
from metarobot.options import fixed


@dataclass(frozen=True, kw_only=True)
class FomamlOptions(MamlOptions):
    """What first-order MAML reads."""

    first_order: bool = fixed(True)
    """Drop the second derivatives of the adaptation from the meta-gradient."""


class FirstOrderMaml(Maml):
    """MAML that takes the gradient of an adaptation step for a constant.

    Source: Finn et al. 2017, arXiv:1703.03400, section 5.2.
    """

    title = "FOMAML"
    options_class = FomamlOptions
