"""What has been seen, held against each of many tasks."""

from typing import NamedTuple, Self

import torch
from torch import Tensor


class Evidence(NamedTuple):
    """Sums over what has been seen, for each of K tasks.

    Outcomes count by how much they tell the tasks apart: what all tasks predict alike says nothing
    of any, and nothing of whether the predictions are any good.
    """

    squares: Tensor
    """Squared errors in predicted standard deviations, (..., K)."""
    log_variances: Tensor
    """Logarithms of predicted variances, (..., K)."""
    num_outcomes: Tensor
    """Outcomes, (..., 1)."""

    @classmethod
    def none(cls, *shape: int) -> Self:
        """Return that of having seen nothing; the shape ends in K."""
        return cls(torch.zeros(shape), torch.zeros(shape), torch.zeros(*shape[:-1], 1))

    def plus(self, other: "Evidence") -> "Evidence":
        """Return both together."""
        return Evidence(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: Tensor) -> "Evidence":
        """Return the evidence, so many times over."""
        return Evidence(*(part * factor for part in self))

    def reshaped(self, *shape: int) -> "Evidence":
        """Return the evidence with other dimensions before the last."""
        return Evidence(*(part.reshape(*shape, part.shape[-1]) for part in self))

    def log_weights(self, power: float) -> Tensor:
        """Return the logarithm of the weight of each task, but for a constant, (..., K).

        Where no task explains what was seen, the model is wrong, or the tasks lie too far apart.
        Then errors count as if the best task's were as large as expected: else the least bad of all
        tasks would seem certain.

        Args:
            power: Of the likelihood; below 1, since the model errs alike in one step and the next.
        """
        best = self.squares.amin(dim=-1, keepdim=True)
        scale = (best / self.num_outcomes.clamp(min=1.0)).clamp(min=1.0)
        return -0.5 * power * (self.squares / scale + self.log_variances)
