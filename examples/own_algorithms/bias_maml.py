"""A gradient learner of your own: MAML that adapts the biases alone."""

from dataclasses import dataclass

from metarobot.algorithms.maml import Maml, MamlOptions
from metarobot.config import number
from metarobot.policies import Params


@dataclass(frozen=True, kw_only=True)
class BiasMamlOptions(MamlOptions):
    """The options of MAML, and one more."""

    bias_factor: float = number(3.0, 0.0, 100.0)
    """Step size of the biases, as a multiple of inner_lr."""


class BiasMaml(Maml):
    """MAML whose adaptation step changes the biases of all layers, and nothing else."""

    title = "bias MAML"
    options_class = BiasMamlOptions

    def step_sizes(self, params: Params) -> dict[str, float]:
        """Return the step size of every leaf that adapts."""
        size = self.options.bias_factor * self.options.inner_lr
        return {name: size for name in params if name.endswith(".bias")}
