"""Scores of predicted remaining life."""

from __future__ import annotations

import numpy as np

EARLY_CYCLES, LATE_CYCLES = 13.0, 10.0


def root_mean_square(error_cycles: np.ndarray) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean(error_cycles**2)))


def phm_score(error_cycles: np.ndarray) -> np.ndarray:
    """Return the score of each prediction; 0 is best, and too late is worse than too early.

        e^(-d / 13) - 1 where d < 0,  e^(d / 10) - 1 else,  d = predicted - true remaining cycles

    Source: Saxena et al. 2008, "Damage propagation modeling for aircraft engine run-to-failure
    simulation", the challenge of PHM 2008; there the sum over the engines.
    """
    late = error_cycles >= 0
    return np.expm1(np.where(late, error_cycles / LATE_CYCLES, -error_cycles / EARLY_CYCLES))
