"""ANIL: almost no inner loop."""

from typing import Any

from torch import Tensor, nn

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
        head: Name of the submodule that adapts, with all parameters below it, such as "4" in an
            `nn.Sequential`.

    Raises:
        ValueError: There is no such submodule, nothing in it can adapt, or it shares a parameter
            with the rest of the module.

    Source: Raghu et al. 2020, arXiv:1909.09157.
    """

    title = "ANIL"

    def __init__(
        self, module: nn.Module, loss: ExampleLoss, options: MamlOptions, head: str
    ) -> None:
        super().__init__(module, loss, options)
        names = [name.split(".") for name in self.params]
        parts = {".".join(name[:length]): None for name in names for length in range(1, len(name))}
        require_known([head], parts, "submodule with parameters")
        self.head = head
        if not self.step_sizes(self.params):
            raise ValueError(
                f"all parameters of the head {head!r} are frozen: free one by requires_grad_(True)"
            )
        _require_own_parameters(module, head)

    def step_sizes(self, params: Params) -> dict[str, float | Tensor]:
        """Return α of each leaf of the head."""
        sizes = super().step_sizes(params)
        return {name: size for name, size in sizes.items() if _is_below(self.head, name)}

    def facts(self) -> dict[str, Any]:
        """Return what a saved state belongs to, the head included."""
        return {**super().facts(), "head": self.head}


def _is_below(head: str, name: str) -> bool:
    """Whether a parameter belongs to the head."""
    return name.startswith(f"{head}.")


def _require_own_parameters(module: nn.Module, head: str) -> None:
    """Refuse a head that shares a parameter with the body, which would adapt with it.

    Raises:
        ValueError: It does; the message names the parameter.
    """
    names = list(module.named_parameters(remove_duplicate=False))
    body = {id(leaf): name for name, leaf in names if not _is_below(head, name)}
    for name, leaf in names:
        if _is_below(head, name) and id(leaf) in body:
            raise ValueError(
                f"the head {head!r} shares {name} with {body[id(leaf)]}, which must not adapt: "
                "take another head, or MAML, which adapts all parameters"
            )
