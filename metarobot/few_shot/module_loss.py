"""The loss of any module on examples, for every task in one vectorised call."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metarobot.few_shot.examples import Examples
from metarobot.policies import Params

ExampleLoss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs (S, ...) and targets (S, ...) of one task to a loss for each example, (S,)."""


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of each example, the mean over its elements, (S,).

    Raises:
        ValueError: Shapes differ; broadcasting would compare each output with all targets.
    """
    if outputs.shape != targets.shape:
        raise ValueError(
            "outputs and targets must have the same shape: "
            f"got {tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
    return (outputs - targets).square().flatten(1).mean(1)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-log p(target) of each example (S,), from logits (S, C) and classes 0 .. C - 1, (S,)."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def task_outputs(module: nn.Module, params: Params, inputs: Tensor) -> Tensor:
    """Map the inputs of every task by its own parameters.

    Args:
        module: Any module whose forward pass takes one tensor and changes no buffer.
        params: Its parameters, each leaf (N, ...).
        inputs: (N, S, ...).

    Returns:
        Outputs (N, S, ...).
    """
    return vmap(lambda own, rows: functional_call(module, own, (rows,)))(params, inputs)


def mean_losses(loss: ExampleLoss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of every task, (N,), from outputs and targets (N, S, ...).

    Raises:
        ValueError: The loss is not one number for each example.
    """
    losses = vmap(loss)(outputs, targets)
    if losses.shape != targets.shape[:2]:
        raise ValueError(
            f"a loss must return a number for each of {targets.shape[1]} examples, shape "
            f"({targets.shape[1]},): got {tuple(losses.shape[1:])}; take the mean over the "
            "elements of an example only"
        )
    return losses.mean(1)


class ModuleLoss(NamedTuple):
    """L_n(θ_n) of a module: the mean loss over the examples of a task."""

    module: nn.Module
    """It lends its forward pass; its own parameters are not used."""
    loss: ExampleLoss
    """Of each example."""
    examples: Examples
    """(N, S, ...)."""

    def of_tasks(self, params: Params) -> Tensor:
        """Return L_n of every task (N,), given parameters (N, ...)."""
        outputs = task_outputs(self.module, params, self.examples.inputs)
        return mean_losses(self.loss, outputs, self.examples.targets)

    def gradient(self, params: Params, adapting: Sequence[str]) -> Params:
        """Return ∇ L_n of every task, for the leaves (N, ...) that adapt.

        It is that of Σ_n L_n, as L_n depends on the row n alone.
        """

        def total_loss(leaves: Params) -> Tensor:
            return self.of_tasks({**params, **leaves}).sum()

        return grad(total_loss)({name: params[name] for name in adapting})
