"""Features of a unit at each row, from its rows so far; among them a health index.

The health index is a ridge regression on sensors.  It needs no labels of faults: its target is how
close a unit of the training table was to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy.stats import CensoredData, lognorm
from sklearn.cluster import KMeans
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict

from metarobot.diagnosis.life_table import LifeTable

_MOST_REGIMES = 10
_EXPLAINED = 0.99
"""Share of the variance of the operating conditions that regimes must explain."""
_CLIP = 10.0
"""Standard deviations beyond which a sensor counts no further."""
_PENALTIES = np.geomspace(1.0, 1e5, 11)
_FOLDS = 5
_NUM_DIRECTIONS = 6
_MOST_CONSTANT = 10
INDEX_FEATURE = 2
"""Column of the features that is the health index."""
_CLOSE = 0.05
"""Added to the remaining life before its logarithm, in typical lives."""


@dataclass(frozen=True, eq=False)
class Rows:
    """R rows of units as learners read them; times are in typical lives of the fleet."""

    unit: np.ndarray
    """Place of the unit, rising, (R,) int."""
    age: np.ndarray
    """(R,)."""
    index: np.ndarray
    """Health index: the higher, the closer to the end, (R,)."""
    features: np.ndarray
    """Standardised inputs of networks and trees, (R, F); index and age among them."""
    end: np.ndarray
    """Age at the unit's last row, (R,)."""
    failed: np.ndarray
    """Whether the unit failed there, (R,) bool."""
    life: np.ndarray
    """Its life; where the unit was still running, drawn from those that lasted so long, (R,)."""

    def __len__(self) -> int:
        return len(self.age)

    def rows(self, index: np.ndarray) -> Rows:
        """Return some rows, by mask or places."""
        return Rows(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    @property
    def remaining(self) -> np.ndarray:
        """Remaining life, see `life`, (R,)."""
        return np.maximum(self.life - self.age, 0.0)


@dataclass(frozen=True, eq=False)
class HealthIndex:
    """Linear maps of sensors, normalised by operating condition; every field is saved."""

    typical_life: np.ndarray
    """Median life, in the table's unit of time, ()."""
    window: np.ndarray
    """Rows of a trailing mean, ()."""
    condition_scale: np.ndarray
    """(2, C): mean and standard deviation."""
    regimes: np.ndarray
    """Centres of the operating regimes, in standard deviations, (K, C)."""
    sensor_scale: np.ndarray
    """Mean and inverse standard deviation of each sensor in each regime, (2, K, S)."""
    weights: np.ndarray
    """Of the index, (2 S + 1,), the last one its offset."""
    directions: np.ndarray
    """Maps of the deviation from the first rows to where lives end, (S, D)."""
    constant: np.ndarray
    """Places of sensors that do not change within a unit, (K,)."""
    feature_scale: np.ndarray
    """Mean and standard deviation, (2, F)."""

    def rows(self, table: LifeTable) -> Rows:
        """Return the rows of units; those that are still running have an unknown life, NaN."""
        inputs = self.inputs(table)
        index = inputs @ self.weights[:-1] + self.weights[-1]
        return self._rows(table, inputs, index, np.where(table.failed, table.end, np.nan))

    def inputs(self, table: LifeTable) -> np.ndarray:
        """Return trailing means of sensors, and their deviation from the first rows, (R, 2 S)."""
        regime = _nearest(_standardised(table.conditions, self.condition_scale), self.regimes)
        mean, gain = self.sensor_scale[:, regime]
        z = np.clip(np.nan_to_num((table.sensors - mean) * gain), -_CLIP, _CLIP)
        window = int(self.window)
        place = _place_in_unit(table.unit)
        first = pd.DataFrame(np.where((place < window)[:, None], z, np.nan))
        base = first.groupby(table.unit).expanding().mean().to_numpy()
        recent = _trailing_mean(z, table.unit, window)
        return np.concatenate([recent, recent - base], axis=1)

    def features(
        self, unit: np.ndarray, age: np.ndarray, index: np.ndarray, inputs: np.ndarray
    ) -> np.ndarray:
        """Return the features of rows before they are standardised, (R, F)."""
        place, size = _place_in_unit(unit), len(self.directions)
        columns = [age, np.log(age + 0.05), index]
        for span in (3, 8):
            smooth = _trailing_mean(index[:, None], unit, span)[:, 0]
            back = np.arange(len(unit)) - np.minimum(place, span * int(self.window))
            columns += [smooth, (index - index[back]) / (age - age[back] + 0.05)]
        deviation = inputs[:, size:] @ self.directions
        recent = _trailing_mean(deviation, unit, 3)
        length = np.log1p(np.linalg.norm(recent, axis=1))
        constant = inputs[:, self.constant.astype(int)]
        return np.column_stack([*columns, length, deviation, recent, constant])

    def _rows(
        self, table: LifeTable, inputs: np.ndarray, index: np.ndarray, life: np.ndarray
    ) -> Rows:
        age = table.time / self.typical_life
        features = self.features(table.unit, age, index, inputs)
        return Rows(
            unit=table.unit,
            age=age,
            index=index,
            features=_standardised(features, self.feature_scale),
            end=table.end[table.unit] / self.typical_life,
            failed=table.failed[table.unit],
            life=life[table.unit] / self.typical_life,
        )


def fit_health_index(table: LifeTable, seed: int = 0) -> tuple[HealthIndex, Rows]:
    """Fit the health index to units; return it with their rows.

    The index of a training row comes from a fit without its unit, so that learners read one that is
    as inexact as that of a new unit.
    """
    life = impute_lives(table, seed)
    count = np.median(np.bincount(table.unit))
    condition_scale = _mean_and_scale(table.conditions)
    conditions = _standardised(table.conditions, condition_scale)
    regimes = _fit_regimes(conditions, seed)
    size = table.sensors.shape[1]
    sensor_scale = _scale_by_regime(table.sensors, _nearest(conditions, regimes), len(regimes))
    size = table.sensors.shape[1]
    unfitted = HealthIndex(
        typical_life=np.array(np.median(life[life > 0])),
        window=np.array(float(np.clip(count // 12, 1, 20))),
        condition_scale=condition_scale,
        regimes=regimes,
        sensor_scale=sensor_scale,
        weights=np.zeros(2 * size + 1),
        directions=np.zeros((size, 0)),
        constant=_constant_sensors(table),
        feature_scale=np.stack([np.zeros(1), np.ones(1)]),
    )
    inputs = unfitted.inputs(table)
    age = table.time / unfitted.typical_life
    remaining = life[table.unit] / unfitted.typical_life - age
    target = -np.log(np.maximum(remaining, 0.0) + _CLOSE)
    folds = list(GroupKFold(min(_FOLDS, len(table))).split(inputs, groups=table.unit))
    ridge: Any = RidgeCV(_PENALTIES, cv=folds).fit(inputs, target)
    index: Any = cross_val_predict(Ridge(ridge.alpha_), inputs, target, cv=folds)
    weights = np.append(ridge.coef_, ridge.intercept_)
    directions = _end_directions(inputs[:, size:], table)
    fitted = replace(unfitted, weights=weights, directions=directions)
    features = fitted.features(table.unit, age, index, inputs)
    fitted = replace(fitted, feature_scale=_mean_and_scale(features))
    return fitted, fitted._rows(table, inputs, index, life)


def impute_lives(table: LifeTable, seed: int) -> np.ndarray:
    """Return the life of every unit, (U,): of one still running, drawn given that it ran so long.

    Lives are log-normal, fitted by censored maximum likelihood.
    """
    shape, _, scale = lognorm.fit(censored(table.end, table.failed), floc=0)
    lasted = lognorm.cdf(table.end, shape, scale=scale)
    draws = np.random.default_rng(seed).uniform(size=len(table))
    level = np.clip(lasted + (1 - lasted) * draws, 0, 1 - 1e-6)
    drawn = lognorm.ppf(level, shape, scale=scale)
    return np.where(table.failed, table.end, np.maximum(drawn, table.end))


def censored(end: np.ndarray, failed: np.ndarray) -> CensoredData:
    """Return lives (U,), of which those still running are at least so long, for scipy."""
    end = np.maximum(end, 1e-6)
    return CensoredData(uncensored=end[failed], right=end[~failed])


def _place_in_unit(unit: np.ndarray) -> np.ndarray:
    """Return the number of each row in its unit, (R,)."""
    return np.arange(len(unit)) - np.searchsorted(unit, unit)


def _trailing_mean(values: np.ndarray, unit: np.ndarray, window: int) -> np.ndarray:
    """Return means over the last rows of the unit, as many as there are, (R, ...)."""
    if window == 1:
        return values
    frame = pd.DataFrame(values)
    return frame.groupby(unit).rolling(window, min_periods=1).mean().to_numpy()


def _constant_sensors(table: LifeTable) -> np.ndarray:
    """Return the places of sensors that differ between units and not within one, (K,)."""
    frame = pd.DataFrame(table.sensors)
    within = frame.groupby(table.unit).std(ddof=0).mean().to_numpy()
    total = frame.std(ddof=0).to_numpy()
    constant = (total > 0) & (within < 1e-3 * total)
    return np.flatnonzero(constant)[:_MOST_CONSTANT].astype(np.float64)


def _end_directions(deviation: np.ndarray, table: LifeTable) -> np.ndarray:
    """Return the directions in which ends deviate most, over the noise of early life, (S, D)."""
    early = table.time < 0.25 * table.end[table.unit]
    noise = deviation[early]
    size = deviation.shape[1]
    covariance = noise.T @ noise / max(len(noise), 1)
    floor = np.trace(covariance) / size + 1e-9
    values, vectors = np.linalg.eigh(0.9 * covariance + 0.1 * floor * np.eye(size))
    whiten = vectors / np.sqrt(values)
    ends = deviation[table.last[table.failed]] @ whiten
    _, _, axes = np.linalg.svd(ends, full_matrices=False)
    return whiten @ axes[:_NUM_DIRECTIONS].T


def _mean_and_scale(values: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation of columns, (2, D)."""
    scale = values.std(axis=0)
    return np.stack([values.mean(axis=0), np.where(scale > 1e-9, scale, 1.0)])


def _standardised(values: np.ndarray, mean_and_scale: np.ndarray) -> np.ndarray:
    mean, scale = mean_and_scale
    return (values - mean) / scale


def _nearest(conditions: np.ndarray, regimes: np.ndarray) -> np.ndarray:
    """Return the nearest regime of each row, (R,)."""
    distances = [((conditions - centre) ** 2).sum(axis=1) for centre in regimes]
    return np.argmin(distances, axis=0)


def _fit_regimes(conditions: np.ndarray, seed: int) -> np.ndarray:
    """Return the fewest centres that explain the conditions, (K, C); one if no few do."""
    total = (conditions**2).sum()
    for count in range(2, min(_MOST_REGIMES, len(np.unique(conditions, axis=0))) + 1):
        if not total:
            break
        found: Any = KMeans(count, n_init=cast("Any", 4), random_state=seed).fit(conditions)
        if found.inertia_ <= (1 - _EXPLAINED) * total:
            return found.cluster_centers_
    return np.zeros((1, conditions.shape[1]))


def _scale_by_regime(sensors: np.ndarray, regime: np.ndarray, count: int) -> np.ndarray:
    """Return mean and inverse standard deviation by regime, (2, K, S); 0 of a constant sensor."""
    scales = np.empty((2, count, sensors.shape[1]))
    for place in range(count):
        frame = pd.DataFrame(sensors[regime == place])
        mean = frame.mean().fillna(0.0).to_numpy()
        scale = frame.std(ddof=0).fillna(0.0).to_numpy()
        varies = scale > 1e-9 * np.abs(mean)
        scales[:, place] = mean, np.where(varies, 1 / np.where(varies, scale, 1.0), 0.0)
    return scales
