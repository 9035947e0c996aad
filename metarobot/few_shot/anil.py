"""ANIL: almost no inner loop."""

from typing import Any

from torch import nn

from metarobot.few_shot.maml import Maml, MamlOptions
from metarobot.few_shot.module_loss import ExampleLoss
from metarobot.options import require_known
from metarobot.policies import Params


class Anil(Maml):
    """MAML that adapts the head only; the features stay.

    Args:
        module: As for all learners.
        loss: As for all learners.
        options: Those of MAML.
        head: Name of the submodule that adapts, such as "4" in an `nn.Sequential`.

    Source: Raghu et al. 2020, arXiv:1909.09157.
    """

    title = "ANIL"

    def __init__(
        self, module: nn.Module, loss: ExampleLoss, options: MamlOptions, head: str
    ) -> None:
        super().__init__(module, loss, options)
        parts = [name.rpartition(".")[0] for name in self.params]
        require_known([head], [name for name in parts if name], "submodule with parameters")
        self.head = head

    def step_sizes(self, params: Params) -> dict[str, float]:
        """Return α of each leaf of the head."""
        names = [name for name in params if name.startswith(f"{self.head}.")]
        return dict.fromkeys(names, self.options.inner_lr)

    def facts(self) -> dict[str, Any]:
        """Return what a saved state belongs to, the head included."""
        return {**super().facts(), "head": self.head}
