"""Errors and intervals of predicted remaining lives, from one table of predictions.

It has a row for each learner and row of a unit before its last: ``learner``, ``unit``, ``age``,
``left`` (time to the unit's last row), ``failed`` (whether it failed there, else ``left`` is a
bound), ``median``, ``mean``, ``below`` and ``above`` (what the learner takes for the halves of a
90 % interval), and ``low`` and ``high``, the interval after `calibrate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import CensoredData, bootstrap, ecdf, norm, t

ALL_CHECKS = "all checks"
_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Fixed ages over the median life."""


def fixed_ages(lives: np.ndarray) -> tuple[float, ...]:
    """Return ages of 25 to 100 % of the median life, to two digits."""
    return tuple(dict.fromkeys(float(f"{share * np.median(lives):.2g}") for share in _SHARES))


def calibrate(predictions: pd.DataFrame) -> tuple[float, float]:
    """Return factors of ``below`` and ``above`` by which 90 % of the intervals hold the truth.

    Split conformal: quantiles of the errors in units of these halves, on units that the learner was
    not trained on.  Those that still run are censored: the quantiles are of Kaplan and Meier.  The
    fewer units, the wider: as the prediction interval of a normal distribution is, whose deviation
    is estimated from so many.
    """
    error = predictions["left"] - predictions["median"]
    halves = error / predictions["above"].where(error > 0, predictions["below"])
    failed = predictions["failed"]
    found = ecdf(CensoredData(uncensored=halves[failed], right=halves[~failed])).cdf
    places = np.searchsorted(found.probabilities, (0.05, 0.95))
    low, high = found.quantiles[places.clip(max=len(found.quantiles) - 1)]
    count = predictions["unit"].nunique()
    wider = t.ppf(0.95, max(count - 1, 1)) / norm.ppf(0.95) * np.sqrt(1 + 1 / count)
    return float(max(-low * wider, 0.0)), float(max(high * wider, 0.0))


def with_interval(predictions: pd.DataFrame, factors: tuple[float, float]) -> pd.DataFrame:
    """Return predictions with ``low`` and ``high``, the ends of the 90 % intervals."""
    low = predictions["median"] - factors[0] * predictions["below"]
    high = predictions["median"] + factors[1] * predictions["above"]
    return predictions.assign(low=low.clip(lower=0.0), high=high)


def score(
    predictions: pd.DataFrame, ages: tuple[float, ...], *, best: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return figures of each learner at all checks and at each age, of units that outlive it.

    Both can be repeated on units that are still running: never at a share of a life, which nobody
    knows before its end.  At an age, what counts is the unit's last row up to there.

    Args:
        predictions: As at the top of this file; a learner may lack ``low`` and ``high``.
        ages: In the unit of the table's time.
        best: Learner that others are compared with; None for that with the least error.
        seed: Of the bootstrap.

    Returns:
        A row for each learner and age: ``learner``, ``ages``, ``units``, ``mae`` (mean absolute
        error of the median), ``rmse`` (root mean square error of the mean), ``coverage`` (share of
        the 90 % intervals that hold the truth, of units that failed), and ``mae_ci``, ``rmse_ci``,
        ``mae_above_best`` and ``rmse_above_best``: 95 % bootstrap intervals over units, the latter
        of the difference.
    """
    errors: Any = predictions.assign(
        mae=_error(predictions, "median").abs(),
        rmse=_error(predictions, "mean") ** 2,
        rows=1.0,
        held=predictions["left"]
        .between(predictions["low"], predictions["high"])
        .astype(float)
        .where(predictions["failed"] & predictions["low"].notna()),
    )
    best = errors.groupby("learner")["mae"].mean().idxmin() if best is None else best
    rows = []
    for age in (None, *ages):
        own = errors
        if age is not None:
            alive = (errors["age"] <= age) & (errors["age"] + errors["left"] > age)
            own = errors[alive].groupby(["learner", "unit"], sort=False).tail(1)
        if own["unit"].nunique() < 2:
            continue
        coverage = own.groupby("learner")["held"].mean()
        sums = own.groupby(["learner", "unit"])[["mae", "rmse", "rows"]].sum()
        for name in own["learner"].unique():
            row = {"learner": name, "ages": ALL_CHECKS if age is None else f"{age:g}"}
            row |= {"units": len(sums.loc[name]), "coverage": coverage[name]}
            for figure, power in (("mae", 1.0), ("rmse", 0.5)):
                row |= _figures(figure, power, sums.loc[name], sums.loc[best], seed)
            rows.append(row)
    return pd.DataFrame(rows)


def _error(predictions: pd.DataFrame, figure: str) -> Any:
    """Return predicted less true; of a running unit, only what is less than its bound."""
    error = predictions[figure] - predictions["left"]
    return error.where(predictions["failed"], error.clip(upper=0.0))


def _figures(figure: str, power: float, own: Any, best: Any, seed: int) -> dict[str, Any]:
    """Return a figure from sums of units (U,), its interval, and that of its lag behind the best.

    Intervals are of 95 %, by a bootstrap over units.
    """

    def mean(total: np.ndarray, number: np.ndarray) -> np.ndarray:
        return (total / number) ** power

    def lag(total: np.ndarray, best_total: np.ndarray, number: np.ndarray) -> np.ndarray:
        return mean(total, number) - mean(best_total, number)

    def interval(statistic: Callable[..., np.ndarray], *sums: np.ndarray) -> tuple[float, float]:
        found: Any = bootstrap(
            sums,
            lambda *each, axis: statistic(*(part.sum(axis=axis) for part in each)),
            paired=True,
            vectorized=True,
            n_resamples=2000,
            batch=max(1, 4_000_000 // len(own)),
            method="percentile",
            rng=seed,
        )
        return float(found.confidence_interval.low), float(found.confidence_interval.high)

    total, number, best_total = (
        each.to_numpy() for each in (own[figure], own["rows"], best[figure])
    )
    return {
        figure: float(mean(total.sum(), number.sum())),
        f"{figure}_ci": interval(mean, total, number),
        f"{figure}_above_best": interval(lag, total, best_total, number),
    }
