"""`Predictions`: remaining life at some checks, as a logarithm with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Checks(NamedTuple):
    """R checks, by their numbers."""

    machine: np.ndarray
    """Row of the machine, (R,)."""
    part: np.ndarray
    """0 for the first part of a machine, (R,)."""
    check: np.ndarray
    """0 for the check of the new part, (R,)."""


@dataclass(frozen=True)
class Predictions:
    """What is predicted at R checks."""

    mean_log: np.ndarray
    """Mean of the logarithm of remaining cycles, (R,)."""
    spread_log: np.ndarray
    """Its standard deviation, (R,): how unsure the learner takes itself to be."""
    cycles: np.ndarray
    """The one number that is best in squared error, (R,)."""


def log_normal(mean_log: np.ndarray, spread_log: np.ndarray) -> Predictions:
    """Return predictions whose best number is the mean of a log-normal distribution."""
    return Predictions(mean_log, spread_log, np.exp(mean_log + spread_log**2 / 2))
