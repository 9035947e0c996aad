"""Few-shot tasks as tensors: examples to adapt from, and examples to be judged by."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """Inputs and targets of N tasks, S examples each."""

    inputs: Tensor
    """What a module maps to outputs, (N, S, ...)."""
    targets: Tensor
    """What a loss compares the outputs with, (N, S, ...): numbers, or classes (N, S)."""

    def __post_init__(self) -> None:
        """Check that there is a target for every input.

        Raises:
            ValueError: Tasks or examples differ in number, or there are none.
        """
        inputs, targets = tuple(self.inputs.shape[:2]), tuple(self.targets.shape[:2])
        if len(inputs) < 2 or inputs != targets or 0 in inputs:
            raise ValueError(
                "inputs and targets must begin with the same (tasks, examples), at least (1, 1): "
                f"got {tuple(self.inputs.shape)} and {tuple(self.targets.shape)}"
            )

    @property
    def num_tasks(self) -> int:
        """N."""
        return len(self.inputs)

    @property
    def num_examples(self) -> int:
        """S, examples of each task."""
        return self.inputs.shape[1]

    def part(self, first: int, last: int) -> "Examples":
        """Return the examples first .. last - 1 of every task."""
        return Examples(self.inputs[:, first:last], self.targets[:, first:last])


@dataclass(frozen=True)
class FewShotTasks:
    """A meta-batch of N tasks."""

    support: Examples
    """What a learner adapts from, (N, S, ...)."""
    query: Examples
    """What the adapted model is judged by, (N, Q, ...)."""

    def __post_init__(self) -> None:
        """Check that both are of the same tasks.

        Raises:
            ValueError: Their numbers differ.
        """
        if self.support.num_tasks != self.query.num_tasks:
            raise ValueError(
                "support and query must be of the same tasks: "
                f"got {self.support.num_tasks} and {self.query.num_tasks}"
            )
