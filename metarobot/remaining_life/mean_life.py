"""The least that anybody knows: how long the fleet's parts of this age have lasted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS
from metarobot.remaining_life.lives import Lives
from metarobot.remaining_life.predictions import Checks, Predictions


class MeanLife(NamedTuple):
    """Predicts the mean over the fleet's parts that grew older; reads no indicator."""

    life_cycles: np.ndarray
    """Lives of the fleet's parts, (L,)."""

    def predict(self, lives: Lives, checks: Checks) -> Predictions:
        """Predict remaining life at R checks."""
        moments = np.array([self._of_age(check * CYCLES_BETWEEN_CHECKS) for check in checks.check])
        return Predictions(moments[:, 0], moments[:, 1], moments[:, 2])

    def _of_age(self, age: int) -> tuple[float, float, float]:
        """Return mean and spread of the logarithm, and mean, of what was left."""
        left = self.life_cycles[self.life_cycles > age] - age
        if len(left) < 2:  # older than nearly all
            return 0.0, 1.0, 1.0
        return float(np.log(left).mean()), float(np.log(left).std()) + 0.03, float(left.mean())


def fit_mean_life(lives: Lives) -> MeanLife:
    """Learn how long the parts of a fleet last."""
    return MeanLife(lives.life_cycles.ravel())
