"""Products of what a policy is told: some things are linear in them, and hard to make of sums."""

from torch import Tensor


def products(a: Tensor, b: Tensor) -> Tensor:
    """Multiply every element of (..., I) with every one of (..., J): (..., I J)."""
    return (a[..., :, None] * b[..., None, :]).flatten(-2)
