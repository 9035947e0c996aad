"""`LifeTable`: sensors of units over their lives, read from CSV, Parquet or a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from metarobot.adaptation.file_reader import FileReader
from metarobot.diagnosis.tables import (
    Kind,
    TableError,
    errors_as,
    read_frame,
    read_table,
    refuse,
    require_bounded,
)
from metarobot.io import Folder, followed

MOST_ROWS = 2_000_000
_MOST_TIME, _MOST_SENSOR = 1e12, 1e30
_EVENTS = {"1": True, "true": True, "failed": True, "0": False, "false": False, "running": False}
_SHOWN = 12
"""Names of columns that an error lists."""


class LifeError(ValueError):
    """A table or a run of remaining life is not valid; the message is one line."""


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of the columns of a table; all other columns with numbers are sensors."""

    unit: str = "unit"
    """Name of the unit: a machine, or one life of its part."""
    time: str = "time"
    """Age of the unit: cycles, hours or days since it was new."""
    event: str = "event"
    """1 (failed, true) or 0 (running, false) in the last row of a unit; may be absent."""
    conditions: tuple[str, ...] = ()
    """Operating conditions, which change the sensors and are no sign of wear."""
    ignore: tuple[str, ...] = ()
    """Columns that are not read."""

    @property
    def reserved(self) -> set[str]:
        """Columns that hold no sensor."""
        return {self.unit, self.time, self.event, *self.conditions, *self.ignore}


@dataclass(frozen=True, eq=False)
class LifeTable:
    """R rows of U units, unit by unit, each in the order of time."""

    names: tuple[str, ...]
    """Of the units, U."""
    unit: np.ndarray
    """Place of each row's unit among the names, (R,) int."""
    time: np.ndarray
    """Age of the unit, in the table's own unit of time, (R,)."""
    sensors: np.ndarray
    """(R, S); NaN before the first measurement of a sensor."""
    conditions: np.ndarray
    """(R, C)."""
    failed: np.ndarray
    """Whether each unit failed at its last row, (U,) bool; else it was still running."""
    sensor_names: tuple[str, ...]
    columns: Columns

    def __len__(self) -> int:
        return len(self.names)

    @property
    def last(self) -> np.ndarray:
        """Last row of each unit, (U,)."""
        return np.searchsorted(self.unit, np.arange(len(self)), side="right") - 1

    @property
    def end(self) -> np.ndarray:
        """Time of the last row of each unit, (U,): its life where it failed."""
        return self.time[self.last]

    def units(self, index: np.ndarray) -> LifeTable:
        """Return some units, given by their places (K,) in rising order, each once."""
        rows = np.isin(self.unit, index)
        arrays = {name: getattr(self, name)[rows] for name in ("time", "sensors", "conditions")}
        return replace(
            self,
            names=tuple(self.names[place] for place in index),
            unit=np.searchsorted(index, self.unit[rows]),
            failed=self.failed[index],
            **arrays,
        )


def read_life_table(
    source: Path | pd.DataFrame,
    columns: Columns | None = None,
    *,
    sensors: tuple[str, ...] | None = None,
    fails: bool = True,
) -> LifeTable:
    """Read and check a table of units.

    Args:
        source: A DataFrame, or a file: .parquet, or text as `read_table` reads it.
        columns: Names of the columns; in a file without a header they are numbers from 1.
        sensors: Required sensors, others are ignored; None for all numeric columns.
        fails: Whether units failed at their last row, where the table has no column of events.

    Raises:
        LifeError: It is not valid; one line that names the place, the value and the way out.
    """
    columns = columns or Columns()

    def choose(names: Sequence[str]) -> dict[str, Kind]:
        """Choose the columns that are read."""
        options = {columns.time: " with --time", columns.unit: " with --unit"}
        for name in (columns.unit, columns.time, *columns.conditions, *(sensors or ())):
            if name not in names:
                more = ", ..." if len(names) > _SHOWN else ""
                raise TableError(
                    f"no column {name!r}: name it{options.get(name, '')}; it has "
                    f"{', '.join(names[:_SHOWN])}{more}"
                )
        used = {columns.time, *columns.conditions, *(sensors or {*names} - columns.reserved - {""})}
        kinds: dict[str, Kind] = {columns.unit: "text", columns.event: "text"}
        return {name: kinds.get(name, "number") for name in names if name in used | {*kinds}}

    way_out = (
        "correct it, or leave the column out with --ignore; of dates, give the time since the start"
    )
    if isinstance(source, pd.DataFrame):
        with errors_as(LifeError, "the table"):
            return _checked(read_frame(source, choose, way_out), columns, sensors, fails)
    with errors_as(LifeError, source), FileReader() as reader:
        path = followed(source)
        frame = read_table(reader, Folder.named(path.parent), path.name, choose, way_out)
        return _checked(frame, columns, sensors, fails)


def _checked(
    table: Any, columns: Columns, sensors: tuple[str, ...] | None, fails: bool
) -> LifeTable:
    """Return the rows of a table in their order."""
    if not 0 < len(table) <= MOST_ROWS:
        raise TableError(f"it has {len(table):,} rows, must have 1 to {MOST_ROWS:,}: keep fewer")
    if sensors is None:
        some = table.columns[table.notna().any()]
        sensors = tuple(name for name in some if name not in columns.reserved)
    if not sensors:
        raise TableError("no sensor: a column of numbers besides unit, time, event and conditions")
    names, missing = _names(table[columns.unit]), "fill it, or drop the row"
    refuse(table, names == "", columns.unit, missing)
    require_bounded(table[[columns.time]], _MOST_TIME, missing)
    require_bounded(table[[*columns.conditions]], _MOST_SENSOR, missing)
    require_bounded(table[[*sensors]], _MOST_SENSOR, None)
    refuse(table, table[columns.time] < 0, columns.time, "an age is at least 0")
    unit, names = pd.factorize(names)
    order = np.lexsort((table[columns.time], unit))
    table, unit = table.iloc[order], unit[order]
    time = table[columns.time].to_numpy()
    for row in np.flatnonzero((np.diff(unit) == 0) & (np.diff(time) == 0)):
        raise TableError(
            f"unit {names[unit[row]]!r} has two rows at {columns.time} {time[row]:g}: keep one; if "
            "they are of two lives, give each its own unit"
        )
    failed = np.full(len(names), fails)
    if columns.event in table:
        last = table.iloc[np.append(np.flatnonzero(np.diff(unit)), len(unit) - 1)]
        events = _names(last[columns.event]).str.lower().map(_EVENTS)
        way_out = "give 1 (it failed) or 0 (it was still running) in the last row of a unit"
        refuse(last, events.isna(), columns.event, way_out)
        failed = events.to_numpy(bool)
    return LifeTable(
        names=tuple(names),
        unit=unit,
        time=time,
        sensors=table[[*sensors]].groupby(unit).ffill().to_numpy(),
        conditions=table[[*columns.conditions]].to_numpy(),
        failed=failed,
        sensor_names=sensors,
        columns=columns,
    )


def _names(cells: Any) -> Any:
    """Return cells as text: 3.0 is the unit 3."""
    numbers: Any = pd.to_numeric(cells.str.replace(",", "."), errors="coerce")
    whole = (numbers % 1 == 0) & (abs(numbers) < 2**53)
    return cells.mask(whole, numbers.where(whole, 0).astype(np.int64).astype(str))
