"""Intervals of remaining life, calibrated on machines that no learner was trained on.

A learner says how unsure it takes itself to be.  How many of its own standard deviations an
interval needs is read off the calibration machines, by how much of the life it takes to be over,
and by whether the machine has worn out a part before: what is known when it predicts.  For
exchangeable machines such intervals cover what they promise.

Source: split conformal prediction with normalised residuals, within groups; Angelopoulos and Bates
2021, arXiv:2107.07511, sections 2.3 and 4.1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS
from metarobot.remaining_life.predictions import Checks, Predictions

COVERAGE = 0.9
GROUP_EDGES = (0.2, 0.4, 0.6, 0.8)
"""Share of the life that is taken to be over, between the groups."""


NUM_GROUPS = 2 * (len(GROUP_EDGES) + 1)
"""For first and later parts."""
_NORMAL = 1.645
"""Standard deviations of a normal distribution on each side that hold 90 % of it."""


class Calibration(NamedTuple):
    """How many standard deviations an interval has, by group, (G,)."""

    factors: np.ndarray

    def interval(self, predictions: Predictions, checks: Checks) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest remaining cycles, (R,) each."""
        half = self.factors[_group(predictions, checks)] * predictions.spread_log
        return np.exp(predictions.mean_log - half), np.exp(predictions.mean_log + half)


def calibrate(
    predictions: Predictions, checks: Checks, remaining_cycles: np.ndarray
) -> Calibration:
    """Read the factors off predictions at R checks of calibration machines.

    Raises:
        ValueError: A learner says that it is not unsure at all, so that no factor widens its
            interval.
    """
    sure = ~(predictions.spread_log > 0)
    if sure.any():
        row = int(sure.argmax())
        raise ValueError(
            f"spread_log of all predictions must be above 0 to be calibrated, that of row {row} is "
            f"{predictions.spread_log[row]:g}: let the learner say how unsure it is, such as 0.03"
        )
    surprise = np.abs(np.log(remaining_cycles) - predictions.mean_log) / predictions.spread_log
    group = _group(predictions, checks)
    everywhere = _quantile(surprise)
    factors = []
    for number in range(NUM_GROUPS):
        own = surprise[group == number]
        factors.append(_quantile(own) if len(own) >= 20 else everywhere)
    return Calibration(np.array(factors))


def uncalibrated() -> Calibration:
    """Return the factors for whoever is as unsure as it says."""
    return Calibration(np.full(NUM_GROUPS, _NORMAL))


def _quantile(surprise: np.ndarray) -> float:
    """Return the k-th smallest of n, k = ceil((n + 1) 0.9), or the greatest."""
    order = int(np.ceil((len(surprise) + 1) * COVERAGE))
    return float(np.sort(surprise)[min(order, len(surprise)) - 1])


def _group(predictions: Predictions, checks: Checks) -> np.ndarray:
    age_cycles = checks.check * CYCLES_BETWEEN_CHECKS
    share = age_cycles / (age_cycles + np.exp(predictions.mean_log))
    later_part = np.minimum(checks.part, 1)
    return np.digitize(share, GROUP_EDGES) + (len(GROUP_EDGES) + 1) * later_part
