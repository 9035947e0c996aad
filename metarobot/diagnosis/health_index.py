"""Health index: how close a unit is to its end, from its sensors so far; needs no fault labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import eigh
from scipy.stats import CensoredData, lognorm
from sklearn.covariance import shrunk_covariance
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict

from metarobot.diagnosis.life_table import LifeTable

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
    """Standardised inputs of networks, (R, F); index and age among them."""
    left: np.ndarray
    """Time to the unit's last row, (R,)."""
    failed: np.ndarray
    """Whether the unit failed there, (R,) bool; else ``left`` is a bound."""
    remaining: np.ndarray
    """Remaining life, (R,): ``left``, or what was drawn for a unit that still runs."""

    def __len__(self) -> int:
        return len(self.age)

    def rows(self, index: np.ndarray) -> Rows:
        """Return some rows, by mask or places."""
        return Rows(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class HealthIndex:
    """Linear map of sensors, less what operating conditions explain; every field is saved."""

    typical_life: np.ndarray
    """Median life, in the table's unit of time, ()."""
    window: np.ndarray
    """Rows of a trailing mean, ()."""
    condition_range: np.ndarray
    """Lowest value and span of each operating condition, (2, C)."""
    condition_effect: np.ndarray
    """Of the terms of the conditions, see `_terms`, on each sensor, (T, S)."""
    sensor_gain: np.ndarray
    """Inverse standard deviations of what is left; 0 of a constant sensor, (S,)."""
    weights: np.ndarray
    """Of the index, (2 S + 1,), the last one its offset."""
    directions: np.ndarray
    """Maps of the deviation from the first rows to where lives end, (S, D)."""
    constant: np.ndarray
    """Places of sensors that do not change within a unit, (K,)."""
    feature_scale: np.ndarray
    """Mean and standard deviation, (2, F)."""

    def rows(self, table: LifeTable) -> Rows:
        """Return the rows of units."""
        inputs = self.inputs(table)
        index = inputs @ self.weights[:-1] + self.weights[-1]
        return self._rows(table, inputs, index, table.end)

    def inputs(self, table: LifeTable) -> np.ndarray:
        """Return trailing means of sensors, and their change since the first rows, (R, 2 S)."""
        expected = _terms(table.conditions, self.condition_range) @ self.condition_effect
        z = np.nan_to_num((table.sensors - expected) * self.sensor_gain)
        z = np.clip(z, -_CLIP, _CLIP)
        window = int(self.window)
        recent = _trailing_mean(z, table.unit, window)
        place = _place_in_unit(table.unit)
        first = np.arange(len(z)) - place + np.minimum(place, window - 1)
        return np.concatenate([recent, recent - recent[first]], axis=1)

    def _rows(
        self, table: LifeTable, inputs: np.ndarray, index: np.ndarray, life: np.ndarray
    ) -> Rows:
        age = table.time / self.typical_life
        mean, scale = self.feature_scale
        return Rows(
            unit=table.unit,
            age=age,
            index=index,
            features=(self._features(table.unit, age, index, inputs) - mean) / scale,
            left=table.end[table.unit] / self.typical_life - age,
            failed=table.failed[table.unit],
            remaining=life[table.unit] / self.typical_life - age,
        )

    def _features(
        self, unit: np.ndarray, age: np.ndarray, index: np.ndarray, inputs: np.ndarray
    ) -> np.ndarray:
        """Return the features of rows before they are standardised, (R, F)."""
        place, size = _place_in_unit(unit), len(self.directions)
        columns = [age, np.log(age + 0.05), index]
        for span in (3, 8):
            back = np.arange(len(unit)) - np.minimum(place, span * int(self.window))
            columns += [
                _trailing_mean(index, unit, span),
                (index - index[back]) / (age - age[back] + 0.05),
            ]
        change = inputs[:, size:] @ self.directions
        recent = _trailing_mean(change, unit, 3)
        length = np.log1p(np.linalg.norm(recent, axis=1))
        constant = inputs[:, self.constant.astype(int)]
        return np.column_stack([*columns, length, change, recent, constant])


def fit_health_index(table: LifeTable, seed: int = 0) -> tuple[HealthIndex, Rows]:
    """Fit the health index to units; return it with their rows before the ends of their lives.

    The index of a training row comes from a fit without its unit, so that learners read one that is
    as inexact as that of a new unit.  Ridge regression maps sensors to the logarithm of the
    remaining life; that of a unit which still runs is drawn, see `impute_lives`.
    """
    life = impute_lives(table, seed)
    size = table.sensors.shape[1]
    condition_range = np.stack([table.conditions.min(axis=0), np.ptp(table.conditions, axis=0)])
    terms = _terms(table.conditions, condition_range)
    sensors = pd.DataFrame(table.sensors)
    sensors = sensors.fillna(sensors.mean()).fillna(0.0).to_numpy()
    effect = np.linalg.lstsq(terms, sensors)[0]
    scale = (sensors - terms @ effect).std(axis=0)
    varies = scale > 1e-9 * np.abs(sensors).max(axis=0)
    unfitted = HealthIndex(
        typical_life=np.array(np.median(life[life > 0])),
        window=np.array(np.clip(np.median(np.bincount(table.unit)) // 12, 1.0, 20.0)),
        condition_range=condition_range,
        condition_effect=effect,
        sensor_gain=np.where(varies, 1 / np.where(varies, scale, 1.0), 0.0),
        weights=np.zeros(2 * size + 1),
        directions=np.zeros((size, 0)),
        constant=_constant_sensors(table),
        feature_scale=np.array([[0.0], [1.0]]),
    )
    inputs = unfitted.inputs(table)
    age = table.time / unfitted.typical_life
    remaining = life[table.unit] / unfitted.typical_life - age
    target = -np.log(np.maximum(remaining, 0.0) + _CLOSE)
    folds = list(GroupKFold(min(_FOLDS, len(table))).split(inputs, groups=table.unit))
    ridge: Any = RidgeCV(_PENALTIES, cv=folds).fit(inputs, target)
    index: Any = cross_val_predict(Ridge(ridge.alpha_), inputs, target, cv=folds)
    fitted = replace(
        unfitted,
        weights=np.append(ridge.coef_, ridge.intercept_),
        directions=_end_directions(inputs[:, size:], table),
    )
    features = fitted._features(table.unit, age, index, inputs)
    scale = features.std(axis=0)
    scale[scale < 1e-9] = 1.0
    fitted = replace(fitted, feature_scale=np.stack([features.mean(axis=0), scale]))
    rows = fitted._rows(table, inputs, index, life)
    return fitted, rows.rows(rows.left > 0)


def impute_lives(table: LifeTable, seed: int) -> np.ndarray:
    """Return the life of every unit, (U,): of one still running, drawn given that it ran so long.

    Lives are log-normal, fitted by censored maximum likelihood.
    """
    end = np.maximum(table.end, 1e-6)
    data = CensoredData(uncensored=end[table.failed], right=end[~table.failed])
    shape, _, scale = lognorm.fit(data, floc=0)
    draws = np.random.default_rng(seed).uniform(1e-6, 1.0, size=len(table))
    drawn = outlasting(lognorm(shape, scale=scale), table.end, draws)
    return np.where(table.failed, table.end, drawn)


def outlasting(lives: Any, age: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the lives that a share of the units with these ages will outlast."""
    lasted = np.maximum(lives.sf(age), 1e-12)
    return np.maximum(lives.isf(lasted * share), age)


def _place_in_unit(unit: np.ndarray) -> np.ndarray:
    """Return the number of each row in its unit, (R,)."""
    return np.arange(len(unit)) - np.searchsorted(unit, unit)


def _trailing_mean(values: np.ndarray, unit: np.ndarray, window: int) -> np.ndarray:
    """Return means over the last rows of the unit, as many as there are, (R, ...)."""
    rolling = pd.DataFrame(values).groupby(unit).rolling(window, min_periods=1)
    return rolling.mean().to_numpy().reshape(values.shape)


def _constant_sensors(table: LifeTable) -> np.ndarray:
    """Return the places of sensors that differ between units and not within one, (K,)."""
    frame = pd.DataFrame(table.sensors)
    within = frame.groupby(table.unit).std(ddof=0).mean().to_numpy()
    total = frame.std(ddof=0).to_numpy()
    constant = (total > 0) & (within < 1e-3 * total)
    return np.flatnonzero(constant)[:_MOST_CONSTANT].astype(np.float64)


def _end_directions(change: np.ndarray, table: LifeTable) -> np.ndarray:
    """Return the directions in which ends have changed most, over the noise of early life, (S, D).

    These are generalised eigenvectors: of a variance at the ends, over a shrunk one before.
    """
    early = change[table.time < 0.25 * table.end[table.unit]]
    noise = shrunk_covariance(early.T @ early / max(len(early), 1), 0.1)
    ends = change[table.last[table.failed]]
    _, vectors = eigh(ends.T @ ends, noise + 1e-9 * np.eye(len(noise)))
    return vectors[:, ::-1][:, :_NUM_DIRECTIONS].copy()  # torch reads no reversed array


def _terms(conditions: np.ndarray, condition_range: np.ndarray) -> np.ndarray:
    """Return 1, the conditions in their range from -1 to 1, and their products, (R, T)."""
    low, span = condition_range
    scaled = np.clip(2 * (conditions - low) / np.where(span > 0, span, 1.0) - 1, -1.0, 1.0)
    scaled = np.column_stack([np.ones(len(scaled)), scaled])
    first, second = np.triu_indices(scaled.shape[1])
    return scaled[:, first] * scaled[:, second]
