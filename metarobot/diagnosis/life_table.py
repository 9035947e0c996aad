"""`LifeTable`: sensors of units over their lives, read from CSV, Parquet or a DataFrame."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pandas as pd

from metarobot.io import read_file
from metarobot.printable import printable

MAX_FILE_BYTES = 256 * 2**20
MAX_ROWS, MAX_COLUMNS = 2_000_000, 1_000
MAX_NUMBERS = 2**25
MAX_TIME = 1e12
MAX_SENSOR = 1e30
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
    """(R, S); NaN where nothing was ever measured before."""
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
        return LifeTable(
            names=tuple(self.names[place] for place in index),
            unit=np.searchsorted(index, self.unit[rows]),
            time=self.time[rows],
            sensors=self.sensors[rows],
            conditions=self.conditions[rows],
            failed=self.failed[index],
            sensor_names=self.sensor_names,
            columns=self.columns,
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
        source: A DataFrame, or a file: .parquet, or text with a header or without.  Columns without
            a header are named by their number from 1.  Commas, semicolons (then with decimal
            commas), tabs or spaces part them.
        columns: Names of the columns.
        sensors: Sensors that there must be, others are ignored; None for all numeric columns.
        fails: Whether units failed at their last row, where the table has no column of events.

    Raises:
        LifeError: It is not valid; one line that names the place, the value and the way out.
    """
    columns = Columns() if columns is None else columns
    where = "the table" if isinstance(source, pd.DataFrame) else str(source)
    try:
        is_frame = isinstance(source, pd.DataFrame)
        frame = source.reset_index(drop=True) if is_frame else _read_frame(source)
        return _checked(frame.rename(columns=str), columns, sensors, fails)
    except LifeError as error:
        raise LifeError(printable(f"{where}: {error}")) from None


def _read_frame(path: Path) -> pd.DataFrame:
    try:
        data = read_file(path, MAX_FILE_BYTES)
        return _parquet(data) if path.suffix == ".parquet" else _text(data.decode("utf-8-sig"))
    except LifeError:
        raise
    except OSError as error:
        raise LifeError(error.strerror or str(error)) from None
    except ImportError:
        raise LifeError("Parquet needs pyarrow: pip install 'metarobot[parquet]'") from None
    except Exception as error:  # parsers raise many kinds
        first = str(error).strip().partition("\n")[0][:200]
        raise LifeError(f"cannot be read as a table: {first}") from None


def _parquet(data: bytes) -> pd.DataFrame:
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(io.BytesIO(data))
    _require_size(file.metadata.num_rows, file.metadata.num_columns)
    return file.read().to_pandas(ignore_metadata=True)


def _text(text: str) -> pd.DataFrame:
    """Parse text; its first line that is not a comment shows separator and header."""
    lines = (line.strip() for line in io.StringIO(text))
    rows = (line for line in lines if line and not line.startswith("#"))
    first, second = next(rows, ""), next(rows, "")
    separator = next((mark for mark in ";,\t" if mark in first), None)
    decimal = "," if separator == ";" and "," in second else "."
    cells = pd.Series(first.split(separator)).str.strip().str.replace(decimal, ".")
    numbers = cast("pd.Series", pd.to_numeric(cells.replace("", "0"), errors="coerce"))
    has_header = bool(numbers.isna().any())
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row that is too long
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator or r"\s+",
            decimal=decimal,
            header=0 if has_header else None,
            comment="#",
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
        )
    if has_header:
        return frame
    frame.columns = [str(number + 1) for number in range(frame.shape[1])]
    return frame.dropna(axis=1, how="all")


def _require_size(rows: int, columns: int) -> None:
    if not rows:
        raise LifeError("it has no rows")
    if rows > MAX_ROWS or columns > MAX_COLUMNS or rows * columns > MAX_NUMBERS:
        raise LifeError(
            f"{rows:,} rows and {columns:,} columns are too many: at most {MAX_ROWS:,} rows, "
            f"{MAX_COLUMNS:,} columns and {MAX_NUMBERS:,} numbers; keep fewer rows or units"
        )


def _checked(
    frame: pd.DataFrame, columns: Columns, sensors: tuple[str, ...] | None, fails: bool
) -> LifeTable:
    _require_size(*frame.shape)
    if twice := sorted(set(frame.columns[frame.columns.duplicated()])):
        raise LifeError(f"column {twice[0]!r} is there twice: rename one")
    _require_columns(frame, columns, sensors or ())
    if sensors is None:
        sensors = tuple(name for name in frame.columns if name not in columns.reserved)
    if not sensors:
        raise LifeError("no sensor: a column of numbers besides unit, time, event and conditions")
    unit, names = pd.factorize(_unit_names(frame, columns.unit))
    time = _numbers(frame, (columns.time,), MAX_TIME)[:, 0]
    values = _numbers(frame, sensors, MAX_SENSOR, gaps=True)
    order = np.lexsort((time, unit))
    frame, unit, time = frame.iloc[order], unit[order], time[order]
    _require_ages(time, unit, names, columns)
    return LifeTable(
        names=tuple(map(str, names)),
        unit=unit,
        time=time,
        sensors=pd.DataFrame(values[order]).groupby(unit).ffill().to_numpy(),
        conditions=_numbers(frame, columns.conditions, MAX_SENSOR),
        failed=_events(frame, unit, names, columns, fails),
        sensor_names=sensors,
        columns=columns,
    )


def _require_columns(frame: pd.DataFrame, columns: Columns, sensors: tuple[str, ...]) -> None:
    options = {columns.time: " with --time", columns.unit: " with --unit"}
    for name in (columns.unit, columns.time, *columns.conditions, *sensors):
        if name not in frame.columns:
            more = ", ..." if frame.shape[1] > _SHOWN else ""
            shown = ", ".join(frame.columns[:_SHOWN]) + more
            raise LifeError(f"no column {name!r}: name it{options.get(name, '')}; it has {shown}")


def _unit_names(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return names of units as text; 3.0 is the unit 3."""
    column = frame[name]
    empty = column.isna().to_numpy(bool)
    if empty.any():
        raise LifeError(f"column {name!r} is empty in row {int(empty.argmax()) + 1}: fill it")
    if pd.api.types.is_float_dtype(column) and bool((column % 1 == 0).all()):
        column = column.astype(np.int64)
    return column.astype(str).str.strip()


def _numbers(
    frame: pd.DataFrame, names: tuple[str, ...], most: float, *, gaps: bool = False
) -> np.ndarray:
    """Return columns as numbers within bounds, (R, len(names))."""
    values = np.empty((len(frame), len(names)))
    for place, name in enumerate(names):
        column = frame[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            raise LifeError(f"column {name!r} holds dates: give hours or days since the start")
        numbers = cast("pd.Series", pd.to_numeric(column, errors="coerce"))
        values[:, place] = numbers.to_numpy(np.float64, na_value=np.nan)
        bad = ~(np.abs(values[:, place]) <= most)
        if gaps:
            bad &= ~column.isna().to_numpy(bool)
        if bad.any():
            row = int(bad.argmax())
            value = "empty" if column.isna().iloc[row] else repr(str(column.iloc[row])[:40])
            raise LifeError(
                f"column {name!r} is {value} in row {frame.index[row] + 1}, numbers up to {most:g} "
                "are allowed: correct it, or leave the column out with --ignore"
            )
    return values


def _require_ages(time: np.ndarray, unit: np.ndarray, names: Any, columns: Columns) -> None:
    if time.min() < 0:
        raise LifeError(f"column {columns.time!r} holds {time.min():g}: an age is at least 0")
    same = (np.diff(unit) == 0) & (np.diff(time) == 0)
    if same.any():
        row = int(same.argmax())
        raise LifeError(
            f"unit {names[unit[row]]!r} has two rows at {columns.time} {time[row]:g}: keep one; if "
            "they are of two lives, give each its own unit"
        )


def _events(
    frame: pd.DataFrame, unit: np.ndarray, names: Any, columns: Columns, fails: bool
) -> np.ndarray:
    """Return whether each unit failed at its last row, (U,)."""
    if columns.event not in frame.columns:
        return np.full(len(names), fails)
    last = np.append(np.flatnonzero(np.diff(unit)), len(unit) - 1)
    texts = frame[columns.event].iloc[last].astype(str).str.strip().str.lower()
    found = [_EVENTS.get(text.removesuffix(".0")) for text in texts]
    if None in found:
        place = found.index(None)
        raise LifeError(
            f"unit {names[place]!r} has event {texts.iloc[place][:40]!r} in its last row: give 1 "
            "(it failed) or 0 (it was still running)"
        )
    return np.array(found)
