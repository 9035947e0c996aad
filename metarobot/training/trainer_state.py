"""What a training run depends on besides its configuration, and what it reports."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

Metrics = dict[str, float]
"""Numbers of one meta-iteration, by name."""


class TrainerState(NamedTuple):
    """All that a training run depends on besides its configuration: no generator has a state."""

    tensors: dict[str, Tensor]
    counters: dict[str, int]
