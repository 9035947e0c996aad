"""torch's default dtype, which a program that uses the package may have chosen for itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Make new tensors float32; afterwards the caller's own default holds again.

    For the doors of the package: parameters are float32, and torch multiplies no two dtypes.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
