"""Remaining life of units: learners are compared, one is trained, predicts and is kept.

A table of predictions has a row for each learner and row of a unit before its last: ``learner``,
``unit``, ``age``, ``left`` (time to the unit's last row), ``failed`` (whether it failed there, else
``left`` is a bound), ``median``, ``mean``, ``below`` and ``above`` (the learner's halves of a 90 %
interval), and ``low`` and ``high``, the interval after `calibrate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import torch
from scipy.stats import CensoredData, bootstrap, ecdf, norm, t

from metarobot.diagnosis.life_learners import (
    LEARNERS,
    LEVELS,
    HealthIndex,
    Learner,
    fit_health_index,
)
from metarobot.diagnosis.life_table import Columns, LifeError, LifeTable, read_life_table
from metarobot.diagnosis.run_folder import CONFIG_FILE, read_run, write_run
from metarobot.io import Folder

ALL_CHECKS = "all checks"
ARRAYS_FILE = "life.safetensors"
MIN_FAILED = 5
_FOLDS = 5
_LEAST_HALF = 0.02
"""Least half of an interval before it is calibrated, in typical lives."""
Progress = Callable[[str, float], None]
"""Called with a text and the share of the work that is done."""


class LifeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts of a run: its table, its learner and the figures of all learners."""

    learner: str
    columns: Columns
    sensors: tuple[str, ...]
    num_units: int
    num_failed: int
    seed: int
    interval_factors: tuple[float, float]
    """Factors on the halves of the learner's 90 % intervals."""
    scores: tuple[dict[str, Any], ...] = ()
    """Rows of `score`, on held-out units."""


@dataclass(frozen=True, eq=False)
class LifeRun:
    """A trained learner."""

    config: LifeConfig
    health_index: HealthIndex
    learner: Learner

    def predict_rows(self, table: LifeTable) -> pd.DataFrame:
        """Return the remaining life at every row of a table, from the unit's rows so far.

        Columns are ``unit``, time, ``median``, ``mean``, ``low`` and ``high``: 90 % intervals.
        """
        found: Any = predict_with(self.health_index, self.learner, table)
        found = with_interval(found, self.config.interval_factors)
        found = found[["unit", "age", "median", "mean", "low", "high"]]
        return found.rename(columns={"age": table.columns.time})

    def predict(self, table: LifeTable) -> pd.DataFrame:
        """Return the remaining life at the last row of every unit that is still running.

        Raises:
            LifeError: No unit is still running.
        """
        if table.failed.all():
            raise LifeError(f"all {len(table)} units have failed: none is still running")
        rows = self.predict_rows(table).iloc[table.last[~table.failed]]
        return rows.reset_index(drop=True)


def predict_with(health_index: HealthIndex, learner: Learner, table: LifeTable) -> pd.DataFrame:
    """Return the columns of a table of predictions up to ``above``, without the learner."""
    scale = float(health_index.typical_life)
    quantiles = scale * learner.predict(health_index.rows(table))
    low, median, high = (quantiles[:, np.abs(LEVELS - at).argmin()] for at in (0.05, 0.5, 0.95))
    return pd.DataFrame(
        {
            "unit": np.array(table.names)[table.unit],
            "age": table.time,
            "left": table.end[table.unit] - table.time,
            "failed": table.failed[table.unit],
            "median": median,
            "mean": quantiles.mean(axis=1),
            "below": np.maximum(median - low, _LEAST_HALF * scale),
            "above": np.maximum(high - median, _LEAST_HALF * scale),
        }
    )


def cross_validate(
    table: LifeTable,
    names: tuple[str, ...] = tuple(LEARNERS),
    *,
    seed: int = 0,
    progress: Progress = lambda text, share: None,
) -> pd.DataFrame:
    """Predict every unit by learners that are trained on the others, in five folds of units.

    The intervals of each fold are calibrated on the others.

    Raises:
        LifeError: Too few units have failed.
    """
    num_whole = int((table.failed & (np.bincount(table.unit) > 1)).sum())
    if num_whole < MIN_FAILED:
        raise LifeError(
            f"{num_whole} of {len(table)} units failed and have several rows, at least "
            f"{MIN_FAILED} must: add units of known life, or correct column {table.columns.event!r}"
        )
    order = np.lexsort((np.random.default_rng(seed).random(len(table)), ~table.failed))
    fold = np.empty(len(table), int)
    fold[order] = np.arange(len(table)) % _FOLDS  # each has units that failed
    parts = []
    for place in range(_FOLDS):
        own = table.units(np.flatnonzero(fold == place))
        health_index, rows = fit_health_index(table.units(np.flatnonzero(fold != place)), seed)
        for number, name in enumerate(names):
            done = (place + number / len(names)) / _FOLDS
            progress(f"cross-validation, part {place + 1} of {_FOLDS}: {name}", done)
            found = predict_with(health_index, LEARNERS[name].fit(rows, seed), own)
            parts.append(found.assign(learner=name, fold=place))
    found: Any = pd.concat(parts)
    calibrated = []
    for _, own in found[found["left"] > 0].groupby("learner", sort=False):
        for place in range(_FOLDS):
            is_held_out = own["fold"] == place
            calibrated.append(with_interval(own[is_held_out], calibrate(own[~is_held_out])))
    return pd.concat(calibrated, ignore_index=True)


def train(
    table: LifeTable,
    *,
    learner: str | None = None,
    seed: int = 0,
    progress: Progress = lambda text, share: None,
) -> tuple[LifeRun, pd.DataFrame]:
    """Choose a learner by cross-validation over units, and train it on all of them.

    The chosen one has the least mean absolute error at all checks.

    Args:
        table: Units, some of which may still be running.
        learner: Name of the one to take; None for the best.
        seed: Seed of folds, parameters and draws.
        progress: Called with the share of the work that is done.

    Returns:
        The run, and the predictions for held-out units, see `cross_validate`.

    Raises:
        LifeError: Too few units have failed, or there is no such learner.
    """
    names = tuple(LEARNERS) if learner is None else (learner,)
    _require_known(names[0])
    predictions = cross_validate(table, names, seed=seed, progress=progress)
    scores = score(predictions, fixed_ages(table.end[table.failed]), seed=seed).to_dict("records")
    errors = {row["learner"]: row["mae"] for row in scores if row["ages"] == ALL_CHECKS}
    chosen = min(errors, key=lambda name: errors[name])
    health_index, rows = fit_health_index(table, seed)
    config = LifeConfig(
        learner=chosen,
        columns=table.columns,
        sensors=table.sensor_names,
        num_units=len(table),
        num_failed=int(table.failed.sum()),
        seed=seed,
        interval_factors=calibrate(predictions.query("learner == @chosen")),
        scores=tuple(scores),
    )
    return LifeRun(config, health_index, LEARNERS[chosen].fit(rows, seed)), predictions


def _require_known(learner: str) -> None:
    if learner not in LEARNERS:
        raise LifeError(f"no learner {learner!r}, allowed: {', '.join(LEARNERS)}")


def save_life_run(run: LifeRun, path: Path) -> None:
    """Write a run folder: config.json, which appears last, and one sealed file of arrays.

    Raises:
        OSError: It cannot be written to.
    """
    parts = {"health_index": vars(run.health_index), "learner": vars(run.learner)}
    write_run(path, run.config, ARRAYS_FILE, parts, torch.float64)


def load_life_run(path: Path) -> LifeRun:
    """Read a run folder.

    Raises:
        LifeError: It is no run of remaining life, or damaged.
        OSError: It cannot be read.
    """
    folder = Folder.named(path)
    if not folder.exists() or not folder.has(CONFIG_FILE):
        raise LifeError(
            f"{path} holds no {CONFIG_FILE}: `metarobot diagnose life train TABLE --out {path}` "
            "makes a run"
        )
    try:
        return read_run(path, LifeConfig, ARRAYS_FILE, _restored, torch.float64)
    except ValueError as error:
        raise LifeError(f"{path} is no run of remaining life, or damaged: {error}") from error


def _restored(config: LifeConfig, parts: dict[str, dict[str, np.ndarray]]) -> LifeRun:
    """Build a run of its arrays, and test on a synthetic unit that they fit."""
    health_index = HealthIndex(**parts["health_index"])
    sizes = len(config.columns.conditions), len(config.sensors)
    if (health_index.condition_range.shape[1], len(health_index.sensor_gain)) != sizes:
        raise LifeError(f"{ARRAYS_FILE} has other sensors or conditions than {CONFIG_FILE}")
    _require_known(config.learner)
    learner: Any = LEARNERS[config.learner]
    run = LifeRun(config, health_index, learner(**parts["learner"]))
    columns, sensors = config.columns, config.sensors
    names = [columns.unit, columns.time, *columns.conditions, *sensors]
    frame = pd.DataFrame(0.0, index=range(2), columns=names).assign(**{columns.time: [0.0, 1.0]})
    table = read_life_table(frame, columns, sensors=sensors, fails=False)
    if not np.isfinite(run.predict(table)[["median", "low", "high"]]).all(axis=None):
        raise LifeError(f"{ARRAYS_FILE} is damaged: it predicts no number")
    return run


def fixed_ages(lives: np.ndarray) -> tuple[float, ...]:
    """Return ages of 25 to 100 % of the median life, to two digits."""
    shares = (0.25, 0.5, 0.75, 1.0)
    return tuple(dict.fromkeys(float(f"{share * np.median(lives):.2g}") for share in shares))


def calibrate(predictions: pd.DataFrame) -> tuple[float, float]:
    """Return factors of ``below`` and ``above`` by which 90 % of the intervals hold the truth.

    Split conformal: quantiles of the errors in units of these halves, on units that the learner was
    not trained on.  Those that still run are censored: the quantiles are of Kaplan and Meier.  The
    fewer units, the wider: as a normal prediction interval with an estimated deviation.
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

    Ages are fixed, not shares of a life, since the life of a running unit is unknown.  At an age,
    the unit's last row up to there counts.  The error on a running unit is the shortfall from its
    bound.

    Args:
        predictions: A table of predictions; a learner may lack ``low`` and ``high``.
        ages: Ages in the unit of the table's time.
        best: Learner that others are compared with; None for that with the least error.
        seed: Seed of the bootstrap.

    Returns:
        A row for each learner and age: ``learner``, ``ages``, ``units``, ``mae`` (mean absolute
        error of the median), ``rmse`` (root mean square error of the mean), ``coverage`` (share of
        the 90 % intervals that hold the truth, of units that failed), and 95 % bootstrap intervals
        over units: ``mae_ci``, ``rmse_ci`` and ``mae_above_best``, of the difference.
    """
    left, failed = predictions["left"], predictions["failed"]
    error: Any = predictions[["median", "mean"]].sub(left, axis=0)
    error = error.where(failed, error.clip(upper=0.0))
    held = left.between(predictions["low"], predictions["high"]).astype(float)
    held = held.where(failed & predictions["low"].notna())
    errors: Any = predictions.assign(mae=error["median"].abs(), rmse=error["mean"] ** 2, held=held)
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
        units = own.assign(rows=1.0).groupby(["learner", "unit"])[["mae", "rmse", "rows"]].sum()
        for name in own["learner"].unique():
            mae, rmse, number = units.loc[name].to_numpy().T
            row = {"learner": name, "ages": ALL_CHECKS if age is None else f"{age:g}"}
            row |= {"units": len(number), "coverage": coverage[name]}
            row["mae"], row["mae_ci"] = _bootstrapped(lambda e, n: e / n, (mae, number), seed)
            row["rmse"], row["rmse_ci"] = _bootstrapped(
                lambda squares, n: (squares / n) ** 0.5, (rmse, number), seed
            )
            sums = (mae, units.loc[best]["mae"].to_numpy(), number)
            _, row["mae_above_best"] = _bootstrapped(lambda e, b, n: e / n - b / n, sums, seed)
            rows.append(row)
    return pd.DataFrame(rows)


def _bootstrapped(
    statistic: Callable[..., np.ndarray], sums: tuple[np.ndarray, ...], seed: int
) -> tuple[float, tuple[float, float]]:
    """Return a statistic of sums over units (U,), and its 95 % bootstrap interval."""
    found: Any = bootstrap(
        sums,
        lambda *each, axis: statistic(*(part.sum(axis=axis) for part in each)),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        batch=max(1, 4_000_000 // len(sums[0])),
        method="percentile",
        rng=seed,
    )
    interval = found.confidence_interval
    value = float(statistic(*(part.sum() for part in sums)))
    return value, (float(interval.low), float(interval.high))
