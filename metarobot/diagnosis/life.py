"""Remaining life of units: training that chooses the learner, prediction, and the run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd
import torch
from scipy.stats import norm, t
from sklearn.model_selection import KFold

from metarobot.diagnosis import life_learners as learners
from metarobot.diagnosis.life_features import HealthIndex, fit_health_index
from metarobot.diagnosis.life_learners import LEVELS, Learner
from metarobot.diagnosis.life_networks import Maml, Network
from metarobot.diagnosis.life_scores import LifeScore, Margin, Outcome, fixed_ages, margin, score
from metarobot.diagnosis.life_table import Columns, LifeError, LifeTable
from metarobot.io import (
    Folder,
    json_bytes,
    most_bytes,
    open_tensors,
    parse_json,
    parse_tensors,
    require_finite,
    seal_tensors,
)
from metarobot.printable import printable

LEARNERS: Mapping[str, type[Learner]] = {
    "Weibull": learners.Weibull,
    "log-normal": learners.LogNormal,
    "fleet curve": learners.FleetCurve,
    "Bayesian curve": learners.BayesianCurve,
    "network": Network,
    "MAML": Maml,
}
"""By their names in tables."""
Progress = Callable[[str, float], None]
"""Called with a text and the share of the work that is done."""

CONFIG_FILE, ARRAYS_FILE = "config.json", "life.safetensors"
MIN_FAILED = 5
_FOLDS = 5
_MAX_CONFIG_BYTES = 2**20
_MEDIAN, _LOW, _HIGH = (int(np.argmin(abs(LEVELS - level))) for level in (0.5, 0.05, 0.95))
_LEAST_WIDTH = 0.02
"""Least width of an interval's half before calibration, in median lives."""
_UNITS_OF_GROUP, _MOST_GROUPS = 40, 6


@dataclass(frozen=True, eq=False)
class Calibration:
    """Factors of the halves of 90 % intervals, by groups of ages; split conformal over units."""

    ages: np.ndarray
    """Age from which each further group holds, (G - 1,)."""
    factors: np.ndarray
    """Below and above the median, (2, G)."""
    least_width: np.ndarray
    """Least width of a half before it is multiplied, ()."""

    def interval(self, age: np.ndarray, quantiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both ends, (R,) each, from ages (R,) and quantiles (R, Q)."""
        below, above = _halves(quantiles, float(self.least_width))
        factors = self.factors[:, np.searchsorted(self.ages, age, side="right")]
        median = quantiles[:, _MEDIAN]
        return np.maximum(median - factors[0] * below, 0.0), median + factors[1] * above


def calibrate(outcome: Outcome, least_width: float) -> Calibration:
    """Choose factors by which 90 % of the intervals of held-out units hold the truth.

    Units that still run are censored: the distribution of errors is that of Kaplan and Meier.

    Args:
        outcome: Predictions for units that the learner was not trained on.
        least_width: Least width of a half before it is multiplied.
    """
    groups = int(np.clip(len(np.unique(outcome.unit)) // _UNITS_OF_GROUP, 1, _MOST_GROUPS))
    ages = np.unique(np.quantile(outcome.age, np.arange(1, groups) / groups))
    group = np.searchsorted(ages, outcome.age, side="right")
    error = outcome.left - outcome.quantiles[:, _MEDIAN]
    below, above = _halves(outcome.quantiles, least_width)
    signed = np.where(error < 0, error / below, error / above)
    factors = np.zeros((2, len(ages) + 1))
    for place in range(len(ages) + 1):
        own = group == place
        low, high = _ends(signed[own], outcome.failed[own], len(np.unique(outcome.unit[own])))
        factors[:, place] = max(-low, 0.0), max(high, 0.0)
    return Calibration(ages, factors, np.array(least_width))


def _halves(quantiles: np.ndarray, least_width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the widths of the uncalibrated interval below and above the median, (R,) each."""
    below = quantiles[:, _MEDIAN] - quantiles[:, _LOW]
    above = quantiles[:, _HIGH] - quantiles[:, _MEDIAN]
    return np.maximum(below, least_width), np.maximum(above, least_width)


def _ends(values: np.ndarray, failed: np.ndarray, num_units: int) -> tuple[float, float]:
    """Return the 5 % and 95 % quantile of right-censored values.

    The fewer units, the wider: as the prediction interval of a normal distribution is, whose
    deviation is estimated from so many.
    """
    order = np.lexsort((~failed, values))
    values, failed = values[order], failed[order]
    at_risk = np.arange(len(values), 0, -1)
    below = 1 - np.cumprod(np.where(failed, 1 - 1 / at_risk, 1.0))
    level = 0.05 * (num_units - 1) / (num_units + 1)
    low, high = np.searchsorted(below, (level, 1 - level)).clip(max=len(values) - 1)
    wider = t.ppf(0.95, max(num_units - 1, 1)) / norm.ppf(0.95) * np.sqrt(1 + 1 / num_units)
    return float(wider * values[low]), float(wider * values[high])


def prediction_frame(
    table: LifeTable, quantiles: np.ndarray, ends: tuple[np.ndarray, np.ndarray]
) -> pd.DataFrame:
    """Return a row of ``unit``, time, ``median``, ``mean``, ``low``, ``high`` for each of a table.

    Args:
        table: R rows.
        quantiles: Of the remaining life in the table's unit of time, (R, Q).
        ends: Of the 90 % intervals, (R,) each.
    """
    return pd.DataFrame(
        {
            "unit": np.array(table.names)[table.unit],
            table.columns.time: table.time,
            "median": quantiles[:, _MEDIAN],
            "mean": quantiles.mean(axis=1),
            "low": ends[0],
            "high": ends[1],
        }
    )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions for each unit of a table by learners that were trained without it."""

    table: LifeTable
    fold: np.ndarray
    """Of each unit, (U,)."""
    quantiles: dict[str, np.ndarray]
    """By learner, (R, Q), in the table's unit of time."""

    def outcome(self, learner: str) -> Outcome:
        """Return predictions and truth where a life was not over."""
        return outcome_of(self.table, self.quantiles[learner])

    def calibration(self, learner: str, without: int | None = None) -> Calibration:
        """Calibrate a learner on all units, or on those of all folds but one."""
        outcome = self.outcome(learner)
        others = outcome.rows(self.fold[outcome.unit] != (-1 if without is None else without))
        return calibrate(others, _LEAST_WIDTH * float(np.median(self.table.end)))

    def predictions(self, learner: str) -> pd.DataFrame:
        """Return `prediction_frame` with ``remaining``, NaN where it is not known.

        The intervals of each fold are calibrated on the others.
        """
        table, quantiles = self.table, self.quantiles[learner]
        ends = np.empty((2, len(table.unit)))
        for fold in range(int(self.fold.max()) + 1):
            own = self.fold[table.unit] == fold
            calibration = self.calibration(learner, without=fold)
            ends[:, own] = calibration.interval(table.time[own], quantiles[own])
        life = np.where(table.failed, table.end, np.nan)
        frame = prediction_frame(table, quantiles, (ends[0], ends[1]))
        return frame.assign(remaining=life[table.unit] - table.time)

    def scores(self, learner: str, ages: tuple[float, ...], seed: int) -> tuple[LifeScore, ...]:
        """Return the figures of a learner at all checks and at fixed ages."""
        outcome, frame = self.outcome(learner), self.predictions(learner)
        held = frame["remaining"].between(frame["low"], frame["high"]).to_numpy()
        return score(learner, outcome, held[outcome.row], ages, seed)


def outcome_of(table: LifeTable, quantiles: np.ndarray) -> Outcome:
    """Return predictions at all rows before a unit's last one, beside the truth."""
    left = table.end[table.unit] - table.time
    row = np.flatnonzero(left > 0)
    unit = table.unit[row]
    return Outcome(row, unit, table.time[row], left[row], table.failed[unit], quantiles[row])


def cross_validate(
    table: LifeTable,
    names: tuple[str, ...] = tuple(LEARNERS),
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> HeldOut:
    """Predict every unit by learners that are trained on the others, in five folds of units.

    Raises:
        LifeError: Too few units have failed.
    """
    fold = _folds(table, seed)
    quantiles = {name: np.empty((len(table.unit), len(LEVELS))) for name in names}
    for place in range(_FOLDS):
        own = fold == place
        health_index, rows = fit_health_index(table.units(np.flatnonzero(~own)), seed)
        held_out = health_index.rows(table.units(np.flatnonzero(own)))
        for number, name in enumerate(names):
            if progress is not None:
                done = (place + number / len(names)) / _FOLDS
                progress(f"cross-validation, part {place + 1} of {_FOLDS}: {name}", done)
            found = LEARNERS[name].fit(rows.rows(rows.remaining > 0), seed).predict(held_out)
            quantiles[name][own[table.unit]] = found * float(health_index.typical_life)
    return HeldOut(table, fold, quantiles)


def _folds(table: LifeTable, seed: int) -> np.ndarray:
    """Return the fold of each unit, (U,); each has units that failed."""
    count = len(table)
    num_whole = int((table.failed & (np.bincount(table.unit) > 1)).sum())
    if num_whole < MIN_FAILED:
        raise LifeError(
            f"{num_whole} of {count} units failed and have several rows, at least {MIN_FAILED} "
            f"must: add units of known life, or correct column {table.columns.event!r}"
        )
    fold = np.empty(count, int)
    splits = KFold(_FOLDS, shuffle=True, random_state=seed).split(np.flatnonzero(table.failed))
    for place, (_, own) in enumerate(splits):
        fold[np.flatnonzero(table.failed)[own]] = place
    running = np.random.default_rng(seed).permutation(np.flatnonzero(~table.failed))
    fold[running] = np.arange(len(running)) % _FOLDS
    return fold


class LifeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts of a run: its table, its learner and the figures of all learners."""

    kind: Literal["remaining life"] = "remaining life"
    learner: str
    columns: Columns
    sensors: tuple[str, ...]
    num_units: int
    num_failed: int
    seed: int
    margin: Margin | None = None
    """By how much the learner is ahead of the next one; None where only one was trained."""
    scores: tuple[LifeScore, ...] = ()
    """On held-out units, by cross-validation."""


@dataclass(frozen=True, eq=False)
class LifeRun:
    """A trained learner."""

    config: LifeConfig
    health_index: HealthIndex
    learner: Learner
    calibration: Calibration

    def predict_rows(self, table: LifeTable) -> pd.DataFrame:
        """Return `prediction_frame` at every row of a table, from the unit's rows so far."""
        quantiles = self.learner.predict(self.health_index.rows(table))
        quantiles = quantiles * float(self.health_index.typical_life)
        ends = self.calibration.interval(table.time, quantiles)
        return prediction_frame(table, quantiles, ends)

    def predict(self, table: LifeTable) -> pd.DataFrame:
        """Return the same at the last row of every unit that is still running.

        Raises:
            LifeError: There is none.
        """
        if table.failed.all():
            raise LifeError(f"all {len(table)} units have failed: none is still running")
        rows = self.predict_rows(table).iloc[table.last[~table.failed]]
        return rows.reset_index(drop=True)


def train(
    table: LifeTable,
    *,
    learner: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[LifeRun, HeldOut]:
    """Choose a learner by cross-validation over units, and train it on all of them.

    The chosen one has the least mean absolute error, averaged over all checks and fixed ages.

    Args:
        table: Units, some of which may still be running.
        learner: Name of the one to take; None for the best.
        seed: Seed of folds, parameters and draws.
        progress: Shows how far it is.

    Returns:
        The run, and the predictions for held-out units.

    Raises:
        LifeError: Too few units have failed, or there is no such learner.
    """
    names = tuple(LEARNERS) if learner is None else (_known(learner),)
    held_out = cross_validate(table, names, seed=seed, progress=progress)
    ages = fixed_ages(table.end[table.failed])
    found = margin({name: held_out.outcome(name) for name in names}, ages, seed)
    chosen = names[0] if found is None else found.learner
    health_index, rows = fit_health_index(table, seed)
    fitted = LEARNERS[chosen].fit(rows.rows(rows.remaining > 0), seed)
    config = LifeConfig(
        learner=chosen,
        columns=table.columns,
        sensors=table.sensor_names,
        num_units=len(table),
        num_failed=int(table.failed.sum()),
        seed=seed,
        margin=found,
        scores=tuple(row for name in names for row in held_out.scores(name, ages, seed)),
    )
    return LifeRun(config, health_index, fitted, held_out.calibration(chosen)), held_out


def _known(learner: str) -> str:
    if learner not in LEARNERS:
        raise LifeError(f"no learner {learner!r}, allowed: {', '.join(LEARNERS)}")
    return learner


def require_new_life_run(path: Path) -> None:
    """Make sure, before long work, that a run can be written.

    Raises:
        LifeError: Something is in the folder.
    """
    if Folder(path).names():
        raise LifeError(f"{path} is not empty: name another folder")


def save_life_run(run: LifeRun, path: Path) -> None:
    """Write a run folder: config.json, which appears last, and one sealed file of arrays.

    Raises:
        LifeError: Something is in the folder.
        OSError: It cannot be written to.
    """
    require_new_life_run(path)
    folder = Folder(path)
    folder.make()
    tensors = {
        f"{part}.{field.name}": torch.tensor(getattr(value, field.name), dtype=torch.float64)
        for part in ("health_index", "learner", "calibration")
        for value in (getattr(run, part),)
        for field in fields(value)
    }
    folder.write_together(
        {
            ARRAYS_FILE: seal_tensors(tensors, {"learner": run.config.learner}),
            CONFIG_FILE: json_bytes(msgspec.to_builtins(run.config)),
        }
    )


def load_life_run(path: Path) -> LifeRun:
    """Read a run folder.

    Raises:
        LifeError: It is none, or damaged.
        OSError: It cannot be read.
    """
    folder = Folder.named(path)
    if not folder.exists() or not folder.has(CONFIG_FILE):
        raise LifeError(
            f"{path} holds no {CONFIG_FILE}: `metarobot diagnose life train TABLE --out {path}` "
            "makes a run"
        )
    try:
        values = parse_json(folder.read(CONFIG_FILE, _MAX_CONFIG_BYTES), folder.path / CONFIG_FILE)
        run = _restored(msgspec.convert(values, LifeConfig), folder)
        _require_predictions(run)
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        text = printable(str(error).partition("\n")[0])
        raise LifeError(text if str(path) in text else f"{path}: {text}") from error
    return run


def _restored(config: LifeConfig, folder: Folder) -> LifeRun:
    """Read the arrays of a run; their names must be those of its dataclasses."""
    where = folder.path / ARRAYS_FILE
    data = folder.read(ARRAYS_FILE, most_bytes())
    found, facts = open_tensors(where, data)
    if facts != {"learner": config.learner}:
        raise LifeError(f"{where} is of another learner: {facts}, not {config.learner}")
    kinds: dict[str, Any] = {
        "health_index": HealthIndex,
        "learner": LEARNERS[_known(config.learner)],
        "calibration": Calibration,
    }
    names = [f"{part}.{field.name}" for part, kind in kinds.items() for field in fields(kind)]
    shapes = {name: found.get(name, ()) for name in names}
    tensors, _ = parse_tensors(where, data, shapes, dict.fromkeys(names, torch.float64))
    require_finite(where, tensors)
    arrays = {name: leaf.numpy() for name, leaf in tensors.items()}
    parts = {
        part: kind(**{f.name: arrays[f"{part}.{f.name}"] for f in fields(kind)})
        for part, kind in kinds.items()
    }
    return LifeRun(config, **parts)


def _require_predictions(run: LifeRun) -> None:
    """Predict a table of two rows: arrays whose shapes do not fit are an error."""
    config = run.config
    sizes = len(config.columns.conditions), len(config.sensors)
    if (run.health_index.regimes.shape[1], run.health_index.sensor_scale.shape[2]) != sizes:
        raise LifeError(f"{ARRAYS_FILE} has other sensors or conditions than {CONFIG_FILE}")
    rows, one_unit = np.arange(2.0), np.zeros(1, bool)
    sensors, conditions = np.zeros((2, sizes[1])), np.zeros((2, sizes[0]))
    unit, columns = np.zeros(2, int), config.columns
    table = LifeTable(("0",), unit, rows, sensors, conditions, one_unit, config.sensors, columns)
    if not np.isfinite(run.predict(table)["median"]).all():
        raise LifeError(f"{ARRAYS_FILE} is damaged: it predicts no number")
