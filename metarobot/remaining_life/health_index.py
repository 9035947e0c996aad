"""The health index: indicators of all joints as one number a fault, 0 when new, 1 at the end.

Only what a workshop knows trains it: the first checks of a part, which is new; the last one, after
which it was replaced; and which fault was found then.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarobot.diagnosis.channels import NUM_JOINTS
from metarobot.remaining_life.fleet import Fleet
from metarobot.remaining_life.indicators import INDICATORS
from metarobot.remaining_life.wear import WEARING_FAULTS

_RIDGE = 3e-3
"""Of standardised inputs, for each training check."""
_NEW_CHECKS = 2
_LOGARITHMS = [name.find("(log") > 0 for name in INDICATORS]


class HealthIndex(NamedTuple):
    """A linear map of indicators less those of the machine's first check."""

    scale: np.ndarray
    """Standard deviation of each input over the training checks, (D,)."""
    weights: np.ndarray
    """(D, F): a column for each of `WEARING_FAULTS`."""
    offset: np.ndarray
    """(F,)."""

    def of(self, fleet: Fleet) -> np.ndarray:
        """Return the index of every check, (M, P, K, F); zeros after the last check of a part."""
        index = _inputs(fleet) / self.scale @ self.weights + self.offset
        return np.where(_checked(fleet)[..., None], index, 0.0)


def fit_health_index(fleet: Fleet) -> HealthIndex:
    """Fit the index to machines whose parts have all been replaced."""
    inputs, count = _inputs(fleet), fleet.num_checks
    check = np.arange(inputs.shape[2])
    new = check < np.minimum(_NEW_CHECKS, count[:, :, None] - 1)
    last = check == count[:, :, None] - 1
    found = np.array(WEARING_FAULTS) == fleet.fault[:, None]  # (M, F)
    wanted = (last[..., None] & found[:, None, None]).astype(np.float64)
    rows, targets = inputs[new | last], wanted[new | last]
    scale, offset = rows.std(axis=0) + 1e-9, targets.mean(axis=0)
    scaled = rows / scale
    middle = scaled.mean(axis=0)
    scaled -= middle
    normal = scaled.T @ scaled + _RIDGE * len(rows) * np.eye(len(scale))
    weights = np.linalg.solve(normal, scaled.T @ (targets - offset))
    return HealthIndex(scale, weights, offset - middle @ weights)


def _inputs(fleet: Fleet) -> np.ndarray:
    """Return indicators, logarithms of amounts also as amounts, less the first check's."""
    found = fleet.indicators
    amounts = np.exp(found[..., np.tile(_LOGARITHMS, NUM_JOINTS)])
    both = np.concatenate([found, amounts], axis=3)
    return both - both[:, :1, :1]


def _checked(fleet: Fleet) -> np.ndarray:
    return np.arange(fleet.indicators.shape[2]) < fleet.num_checks[:, :, None]
