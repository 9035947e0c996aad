"""`NumbersTable`: the numbers of a recording's file, each of them checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from metarobot.diagnosis.own_data.errors import OwnDataError

MOST_ROWS = 5_000_000
"""Rows of one file: 20 minutes at 4 kHz."""
MOST_COLUMNS = 1_001
"""A time and a thousand channels."""
MOST_CELLS = 2**26
"""Numbers in one file, half a GiB of memory."""
_MOST = float(np.finfo(np.float32).max)  # signals are kept in single precision


@dataclass(frozen=True)
class NumbersTable:
    """What a file holds: T rows of finite numbers, a column for each name."""

    path: Path
    """Where it is, for messages."""
    names: tuple[str, ...]
    """The header."""
    values: np.ndarray
    """Its numbers, (T, columns) float64."""
    row_word: str
    """What a row is called: "line" of a text, "row" of a Parquet file."""
    first_row: int
    """Number of the first one."""

    def place(self, row: int) -> str:
        """Return where a row stands, for messages."""
        return f"{self.path}: {self.row_word} {row + self.first_row}"

    def require_finite(self) -> None:
        """Refuse NaN, infinity, and what single precision cannot hold.

        Raises:
            OwnDataError: There is such a number.
        """
        bad = ~(np.abs(self.values) <= _MOST)
        if bad.any():
            row, column = (int(index[0]) for index in np.nonzero(bad))
            value = self.values[row, column]
            if np.isfinite(value):
                raise OwnDataError(
                    f"{self.place(row)}, column {self.names[column]!r}: {value:g} is too large: "
                    f"numbers may be up to {_MOST:.2g}: take a larger unit"
                )
            refuse_cell(self.place(row), self.names[column], f"{value:g}")


def refuse_cell(place: str, column: str, value: str) -> NoReturn:
    """Say that a cell holds no number that can be used.

    Raises:
        OwnDataError: Always.
    """
    raise OwnDataError(
        f"{place}, column {column!r}: {value or 'an empty cell'} is no finite number: fill it by "
        "interpolation, or cut the recording there"
    )


def require_size(path: Path, num_rows: int, num_columns: int) -> None:
    """Refuse a file before its numbers are read.

    Raises:
        OwnDataError: It has no rows, a single one, or too many rows or columns.
    """
    if num_rows < 2:
        raise OwnDataError(
            f"{path} has {num_rows} rows of numbers, must have at least 2: record longer, or leave "
            "it out"
        )
    if num_rows > MOST_ROWS:
        raise OwnDataError(
            f"{path} has {num_rows:,} rows, at most {MOST_ROWS:,} are allowed: cut it into shorter "
            "recordings"
        )
    if num_columns > MOST_COLUMNS:
        raise OwnDataError(
            f"{path} has {num_columns:,} columns, at most {MOST_COLUMNS:,} are allowed: leave out "
            "channels"
        )
    if num_rows * num_columns > MOST_CELLS:
        raise OwnDataError(
            f"{path} holds {num_rows:,} rows x {num_columns} columns, at most {MOST_CELLS:,} "
            "numbers are allowed: cut it into shorter recordings"
        )
