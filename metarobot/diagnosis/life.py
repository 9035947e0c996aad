"""Remaining life of units: training that chooses the learner, prediction, and the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import torch

from metarobot.diagnosis.health_index import HealthIndex, fit_health_index
from metarobot.diagnosis.life_learners import LEARNERS, LEVELS, Learner
from metarobot.diagnosis.life_scores import ALL_CHECKS, calibrate, fixed_ages, score, with_interval
from metarobot.diagnosis.life_table import Columns, LifeError, LifeTable, read_life_table
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

Progress = Callable[[str, float], None]
"""Called with a text and the share of the work that is done."""

CONFIG_FILE, ARRAYS_FILE = "config.json", "life.safetensors"
MIN_FAILED = 5
_FOLDS = 5
_MAX_CONFIG_BYTES = 2**20
_LEAST_HALF = 0.02
"""Least half of an interval before it is calibrated, in typical lives."""


class LifeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts of a run: its table, its learner and the figures of all learners."""

    learner: str
    columns: Columns
    sensors: tuple[str, ...]
    num_units: int
    num_failed: int
    seed: int
    interval_factors: tuple[float, float]
    """What the halves of the learner's 90 % intervals are multiplied by."""
    scores: tuple[dict[str, Any], ...] = ()
    """Rows of `life_scores.score`, on held-out units."""


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
        """Return the same at the last row of every unit that is still running.

        Raises:
            LifeError: There is none.
        """
        if table.failed.all():
            raise LifeError(f"all {len(table)} units have failed: none is still running")
        rows = self.predict_rows(table).iloc[table.last[~table.failed]]
        return rows.reset_index(drop=True)


def predict_with(health_index: HealthIndex, learner: Learner, table: LifeTable) -> pd.DataFrame:
    """Return the first columns of the table of predictions in `life_scores`."""
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
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Predict every unit by learners that are trained on the others, in five folds of units.

    The intervals of each fold are calibrated on the others.

    Returns:
        The table of predictions that `life_scores` describes.

    Raises:
        LifeError: Too few units have failed.
    """
    fold = _folds(table, seed)
    parts = []
    for place in range(_FOLDS):
        own = table.units(np.flatnonzero(fold == place))
        health_index, rows = fit_health_index(table.units(np.flatnonzero(fold != place)), seed)
        for number, name in enumerate(names):
            if progress is not None:
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
    order = np.lexsort((np.random.default_rng(seed).random(count), ~table.failed))
    fold[order] = np.arange(count) % _FOLDS
    return fold


def train(
    table: LifeTable,
    *,
    learner: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[LifeRun, pd.DataFrame]:
    """Choose a learner by cross-validation over units, and train it on all of them.

    The chosen one has the least mean absolute error at all checks.

    Args:
        table: Units, some of which may still be running.
        learner: Name of the one to take; None for the best.
        seed: Seed of folds, parameters and draws.
        progress: Shows how far it is.

    Returns:
        The run, and the predictions for held-out units, see `cross_validate`.

    Raises:
        LifeError: Too few units have failed, or there is no such learner.
    """
    names = tuple(LEARNERS) if learner is None else (_known(learner),)
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
        for part in ("health_index", "learner")
        for value in (getattr(run, part),)
        for field in fields(value)
    }
    folder.write_together(
        {
            ARRAYS_FILE: seal_tensors(tensors, {}),
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
        _try(run)
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
        text = printable(str(error).partition("\n")[0])
        raise LifeError(text if str(path) in text else f"{path}: {text}") from error
    return run


def _restored(config: LifeConfig, folder: Folder) -> LifeRun:
    """Read the arrays of a run; their names must be those of its dataclasses."""
    where = folder.path / ARRAYS_FILE
    data = folder.read(ARRAYS_FILE, most_bytes())
    shapes, _ = open_tensors(where, data)
    tensors, _ = parse_tensors(where, data, shapes, dict.fromkeys(shapes, torch.float64))
    require_finite(where, tensors)
    parts: dict[str, dict[str, np.ndarray]] = {"health_index": {}, "learner": {}}
    for name, leaf in tensors.items():
        part, _, field = name.partition(".")
        parts.get(part, {})[field] = leaf.numpy()
    learner: Any = LEARNERS[_known(config.learner)]
    return LifeRun(config, HealthIndex(**parts["health_index"]), learner(**parts["learner"]))


def _try(run: LifeRun) -> None:
    """Predict a made-up unit: arrays that do not fit together fail here, not later."""
    columns, sensors = run.config.columns, run.config.sensors
    sizes = len(columns.conditions), len(sensors)
    if (run.health_index.condition_range.shape[1], len(run.health_index.sensor_gain)) != sizes:
        raise LifeError(f"{ARRAYS_FILE} has other sensors or conditions than {CONFIG_FILE}")
    names = [columns.unit, columns.time, *columns.conditions, *sensors]
    frame = pd.DataFrame(0.0, index=range(2), columns=names).assign(**{columns.time: [0.0, 1.0]})
    table = read_life_table(frame, columns, sensors=sensors, fails=False)
    if not np.isfinite(run.predict(table)[["median", "low", "high"]]).all(axis=None):
        raise LifeError(f"{ARRAYS_FILE} is damaged: it predicts no number")
