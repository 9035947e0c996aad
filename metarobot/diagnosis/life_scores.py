"""Errors of predicted remaining lives at all checks and at fixed ages.

Both can be repeated on units that are still running: never at a share of a life, which nobody knows
before its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from metarobot.diagnosis.life_learners import LEVELS

_MEDIAN = len(LEVELS) // 2
_RESAMPLES = 2000
_AGES = (0.25, 0.5, 0.75, 1.0)
"""Fixed ages over the median life."""
ALL_CHECKS = "all checks"


@dataclass(frozen=True, eq=False)
class Outcome:
    """R predictions before the ends of units, and the truth."""

    row: np.ndarray
    """Row of the table, (R,)."""
    unit: np.ndarray
    """(R,)."""
    age: np.ndarray
    """(R,)."""
    left: np.ndarray
    """Time to the unit's last row: the remaining life, or a bound where it still ran, (R,)."""
    failed: np.ndarray
    """Whether the unit failed there, (R,)."""
    quantiles: np.ndarray
    """(R, Q)."""

    def rows(self, index: np.ndarray) -> Outcome:
        """Return some, by mask or places."""
        return Outcome(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def errors(self, predicted: np.ndarray) -> np.ndarray:
        """Return predicted less true; of a running unit, only what is less than its bound, (R,)."""
        error = predicted - self.left
        return np.where(self.failed, error, np.minimum(error, 0.0))

    def at(self, age: float | None) -> np.ndarray:
        """Return the places of each unit's last row up to an age that it outlives; all for None."""
        if age is None:
            return np.arange(len(self.row))
        alive = self.age + self.left > age
        places = np.flatnonzero(alive & (self.age <= age))
        last = np.append(np.diff(self.unit[places]) != 0, True)[: len(places)]
        return places[last]


class LifeScore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figures of a learner on held-out units, in the table's unit of time."""

    learner: str
    ages: str
    """``all checks``, or a fixed age."""
    mae: float
    """Mean absolute error of the median."""
    mae_ci: tuple[float, float]
    """95 % bootstrap interval over units."""
    rmse: float
    """Root mean square error of the mean."""
    rmse_ci: tuple[float, float]
    coverage: float
    """Share of the 90 % intervals that hold the truth, of units that failed."""
    units: int


class Margin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mean absolute error of the best learner against that of the next one.

    It is the mean over all checks and the fixed ages.
    """

    learner: str
    mae: float
    next_learner: str
    next_mae: float
    difference_ci: tuple[float, float]
    """95 % paired bootstrap interval over units of next less best."""


class Errors(NamedTuple):
    """Errors of a learner, (1 + B,) each: of all units, then of B resamples of units.

    Resamples are the same for all learners, so that differences are paired.
    """

    mae: np.ndarray
    rmse: np.ndarray


def fixed_ages(lives: np.ndarray) -> tuple[float, ...]:
    """Return ages of 25 to 100 % of the median life, to two digits."""
    return tuple(dict.fromkeys(float(f"{share * np.median(lives):.2g}") for share in _AGES))


def errors_at(outcome: Outcome, ages: tuple[float, ...], seed: int) -> dict[str, Errors]:
    """Return the errors at all checks and at each age that a unit outlives, by `LifeScore.ages`."""
    present = np.unique(outcome.unit)
    size, shares = int(present.max()) + 1, np.full(len(present), 1 / len(present))
    counts = np.zeros((1 + _RESAMPLES, size))
    counts[0] = 1
    counts[1:, present] = np.random.default_rng(seed).multinomial(len(present), shares, _RESAMPLES)
    found = {}
    for age in (None, *ages):
        own = outcome.rows(outcome.at(age))
        if not len(own.row):
            continue
        number = np.maximum(counts @ np.bincount(own.unit, minlength=size), 1e-9)
        absolute = np.abs(own.errors(own.quantiles[:, _MEDIAN]))
        squared = own.errors(own.quantiles.mean(axis=1)) ** 2
        mae, mse = (
            counts @ np.bincount(own.unit, values, minlength=size) / number
            for values in (absolute, squared)
        )
        found[ALL_CHECKS if age is None else f"{age:g}"] = Errors(mae, np.sqrt(mse))
    return found


def score(
    learner: str,
    outcome: Outcome,
    held: np.ndarray,
    ages: tuple[float, ...],
    seed: int,
) -> tuple[LifeScore, ...]:
    """Return the figures of a learner; ``held`` (R,) is whether each interval holds the truth."""
    found = []
    for name, errors in errors_at(outcome, ages, seed).items():
        places = outcome.at(None if name == ALL_CHECKS else float(name))
        own = outcome.rows(places)
        found.append(
            LifeScore(
                learner=learner,
                ages=name,
                mae=float(errors.mae[0]),
                mae_ci=interval(errors.mae),
                rmse=float(errors.rmse[0]),
                rmse_ci=interval(errors.rmse),
                coverage=float(held[places][own.failed].mean()) if own.failed.any() else 1.0,
                units=len(np.unique(own.unit)),
            )
        )
    return tuple(found)


def margin(outcomes: Mapping[str, Outcome], ages: tuple[float, ...], seed: int) -> Margin | None:
    """Compare learners on the same units; None where there is one only."""
    if len(outcomes) < 2:
        return None
    mean = {
        name: np.mean([each.mae for each in errors_at(outcome, ages, seed).values()], axis=0)
        for name, outcome in outcomes.items()
    }
    best, following = sorted(mean, key=lambda name: mean[name][0])[:2]
    return Margin(
        learner=best,
        mae=float(mean[best][0]),
        next_learner=following,
        next_mae=float(mean[following][0]),
        difference_ci=interval(mean[following] - mean[best]),
    )


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of resamples, the first of (1 + B,) left out."""
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return float(low), float(high)
