"""Tables of users: one bounded reader of CSV and Parquet files, and checks of their cells.

Each error is one line that names the place, the value and the way out.  Nothing in a file is
executed.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Self, TextIO

import numpy as np
import pandas as pd

from metarobot.adaptation.file_reader import MOST_NUMBERS, FileReader
from metarobot.console import printable
from metarobot.envs.checks import show
from metarobot.io import Folder

MOST_CSV_BYTES, MOST_PARQUET_BYTES = 2**30, 2**28
MOST_ROWS, MOST_COLUMNS = 10_000_000, 1_001
LONGEST_NAME = 100
"""Characters of a name: of a column, a label, a machine."""
_LONGEST_LINE = 2 * LONGEST_NAME * MOST_COLUMNS
_CHARACTERS_AT_ONCE = 2**20
_NO_TEXT = re.compile("[\0\udc80-\udcff]")
"""Characters that no text has; the latter stand for bytes that are no UTF-8."""
_MISSING = ["", "nan", "NaN", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "None"]
"""Cells without a number."""

Kind = Literal["number", "text", "date"]
Choose = Callable[[Sequence[str]], Mapping[str, Kind]]
"""Returns the columns of a table to read, by name, and their kinds; may raise TableError."""


class TableError(ValueError):
    """A table is not valid; the message does not name the file."""


@contextmanager
def errors_as(kind: type[ValueError], path: Path | str) -> Iterator[None]:
    """Turn errors of reading into one kind, with messages that name a file or a folder."""
    try:
        yield
    except kind:
        raise
    except OSError as error:
        where = error.filename or path
        raise kind(printable(f"{where}: {error.strerror or error}")) from error
    except TableError as error:
        raise kind(printable(f"{path}: {error}")) from error
    except ValueError as error:  # of a folder, which it names, or of memory
        raise kind(printable(str(error))) from error


def read_table(
    reader: FileReader, folder: Folder, name: str, choose: Choose, way_out: str = ""
) -> pd.DataFrame:
    """Read a table.  Its index, called "line" or "row", is the place of rows in the file.

    CSV is UTF-8.  Semicolons, tabulators, commas or else spaces separate cells.  Decimal commas
    are recognised.  Lines that begin with # are comments.  Where the first line holds only
    numbers, columns are named by their number from 1.

    Args:
        reader: Reads Parquet files, as CSV.
        folder: Where it is.
        name: The file; Parquet if it ends in .parquet.
        choose: Chooses the columns.
        way_out: Advice for a cell that is no number.

    Returns:
        The columns: float64, NaN where a cell is empty; text; or dates.

    Raises:
        TableError: It is not valid.
        OSError: It cannot be read.
        FolderError: It is no regular file, or too long.
    """
    if not name.lower().endswith(".parquet"):
        with folder.open(name, MOST_CSV_BYTES) as file:
            return _read(file, "line", choose, way_out)
    folder.open(name, MOST_PARQUET_BYTES).close()
    try:
        path = reader.read("csv", folder.path / name, most_rows=MOST_ROWS)
    except ImportError:
        raise TableError(
            "Parquet files need `pip install 'metarobot[parquet]'`: install it, or write CSV"
        ) from None
    except ValueError as error:
        raise TableError(f"{error}: write it again") from None
    with path.open("rb") as file:
        return _read(file, "row", choose, way_out)


def read_frame(frame: pd.DataFrame, choose: Choose, way_out: str = "") -> pd.DataFrame:
    """Read a DataFrame as its CSV is read; rows count from 1.

    Raises:
        TableError: It is not valid.
    """
    return _read(io.BytesIO(frame.to_csv(index=False).encode()), "row", choose, way_out)


def refuse(table: pd.DataFrame, bad: Any, column: str, way_out: str) -> None:
    """Refuse the first row of a table that is bad.

    Args:
        table: The table.
        bad: Whether each row is, (R,) bool.
        column: Column of its value.
        way_out: Allowed values, and advice.

    Raises:
        TableError: A row is bad.
    """
    if np.any(bad):
        row = int(np.argmax(bad))
        (cell,) = table[column].iloc[[row]].tolist()
        place = f"{table.index.name} {table.index[row]}"
        raise TableError(f"{place}, column {column!r} is {show(cell)}: {way_out}")


def require_bounded(numbers: pd.DataFrame, most: float, missing: str | None) -> None:
    """Refuse numbers that are missing, not finite or too large.

    Args:
        numbers: Columns of a table.
        most: The largest absolute value.
        missing: Advice for a missing number; None if numbers may be missing.

    Raises:
        TableError: A number is refused.
    """
    for name in numbers:
        values = numbers[name].to_numpy()
        if missing is not None:
            refuse(numbers, np.isnan(values), name, missing)
        way_out = f"numbers may be up to {most:.2g}: convert the unit, or cut the table there"
        refuse(numbers, np.abs(values) > most, name, way_out)


def _read(file: BinaryIO, place: str, choose: Choose, way_out: str) -> pd.DataFrame:
    layout, decimals, num_rows = None, ".,", 0
    tables: list[pd.DataFrame] = []
    with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape") as text:
        for lines in _blocks(text, place):
            if layout is None:
                layout = _Layout.of(lines.iloc[0], choose, is_header=place == "row")
                lines = lines.iloc[int(layout.has_header) :]
            num_rows, num_columns = num_rows + len(lines), len(layout.names)
            if num_rows > MOST_ROWS or num_rows * num_columns > MOST_NUMBERS:
                raise TableError(
                    f"it holds {num_rows:,} rows x {num_columns} columns or more, at most "
                    f"{MOST_ROWS:,} rows and {MOST_NUMBERS:,} numbers are allowed: cut it"
                )
            table, decimals = layout.parse(lines, decimals, way_out)
            tables.append(table)
    if layout is None:
        raise TableError("it is empty: its first line must name the columns")
    return pd.concat(tables)


def _blocks(text: TextIO, place: str) -> Iterator[Any]:
    """Yield some lines at a time, by number, without blank lines and comments."""
    first = 1 if place == "line" else 0  # row 0 holds the names
    while lines := text.readlines(_CHARACTERS_AT_ONCE):
        for number, line in enumerate(lines, first):
            if len(line) > _LONGEST_LINE:
                raise TableError(
                    f"{place} {number} has more than {_LONGEST_LINE:,} characters: save the file "
                    "as CSV with a line for each row"
                )
            if _NO_TEXT.search(line):
                raise TableError(
                    f"{place} {number} is no text in UTF-8: save the file as CSV in UTF-8"
                )
        comment = "#" if place == "line" else "\n"
        kept = {k: s for k, s in enumerate(lines, first) if s.strip() and s[0] != comment}
        first += len(lines)
        if kept:
            yield pd.Series(kept, dtype=object).rename_axis(place)


class _Layout(NamedTuple):
    """Columns of a table, by its first line."""

    separator: str
    names: list[str]
    has_header: bool
    """Whether the first line holds names, not numbers."""
    kinds: Mapping[str, Kind]
    """Of the columns that are read, in the order of the file."""

    @classmethod
    def of(cls, line: str, choose: Choose, *, is_header: bool) -> Self:
        """Choose columns."""
        several = (mark for mark in ";\t, " if len(_cells(line, mark, strict=False)) > 1)
        separator = next(several, ",")
        names = _cells(line, separator)
        if len(names) > MOST_COLUMNS:
            raise TableError(
                f"it has {len(names):,} columns, at most {MOST_COLUMNS:,} are allowed: leave some "
                "out"
            )
        cells = pd.Series(names)
        numbers: Any = pd.to_numeric(cells.str.replace(",", "."), errors="coerce")
        if not is_header and (numbers.notna() | cells.isin(_MISSING)).all():
            names = [str(number + 1) for number in range(len(names))]
            return cls(separator, names, False, choose(names))
        for name in names:
            if len(name) > LONGEST_NAME or not name.isprintable():
                raise TableError(
                    f"{show(name)} is no name of a column: give every column a name of up to "
                    f"{LONGEST_NAME} printable characters, such as current [A]"
                )
        names = [unicodedata.normalize("NFC", name) for name in names]
        kinds = choose(names)
        for name in kinds:
            if names.count(name) > 1:
                raise TableError(f"it has the column {name!r} twice: rename one")
        return cls(separator, names, True, {name: kinds[name] for name in names if name in kinds})

    def parse(self, lines: Any, decimals: str, way_out: str) -> tuple[pd.DataFrame, str]:
        """Return the columns that are read, and the decimal mark, see `_numbers`."""
        rows: list[list[str]] = []
        try:
            for line in lines:
                rows.append(_cells(line, self.separator))
        except TableError as error:
            raise TableError(f"{lines.index.name} {lines.index[len(rows)]}, {error}") from None
        columns = [*zip_longest(*rows, fillvalue="")]
        columns += [("",) * len(rows)] * (len(self.names) - len(columns))
        unnamed = [k for k in range(1, len(columns)) if k >= len(self.names) or not self.names[k]]
        for row, cells in enumerate(zip(*(columns[k] for k in unnamed), strict=True)):
            if any(cells):  # separators may end lines
                raise TableError(
                    f"{lines.index.name} {lines.index[row]}, more cells than names of columns: "
                    f"{show(lines.iloc[row])}: name them; with decimal commas, separate cells by "
                    "semicolons"
                )
        texts: Any = pd.DataFrame(
            {name: columns[self.names.index(name)] for name in self.kinds},
            lines.index,
            dtype=object,
        )
        named = {kind: [n for n in texts if self.kinds[n] == kind] for kind in ("number", "date")}
        numbers, decimals = _numbers(texts[named["number"]], decimals, way_out)
        dates = {
            name: pd.to_datetime(texts[name], format="ISO8601", utc=True, errors="coerce")
            for name in named["date"]
        }
        return pd.DataFrame({**texts, **numbers, **dates}), decimals


def _numbers(texts: Any, decimals: str, way_out: str) -> tuple[Any, str]:
    """Return cells as numbers, and the decimal mark; both marks while either may be meant."""
    values: Any = texts
    faults = []
    for decimal in decimals:
        plain = texts
        if decimal == ",":  # a number with a point becomes none
            plain = texts.map(lambda cell: "." if "." in cell else cell.replace(",", "."))
        values = plain.apply(pd.to_numeric, errors="coerce").astype(float)
        odd = values.isna()
        if odd.any(axis=None):
            values = values.mask(texts.isin(["True", "true"]), 1.0)
            values = values.mask(texts.isin(["False", "false"]), 0.0)
            odd = values.isna() & ~texts.isin(_MISSING)
        if not odd.any(axis=None):
            is_sure = decimal == "," or any("." in cell for name in texts for cell in texts[name])
            return values, decimal if is_sure else decimals
        row = int(odd.any(axis=1).argmax())
        faults.append((row, odd.iloc[row].idxmax()))
    row, name = max(faults)  # the decimal mark that gets further is meant
    refuse(texts.iloc[[row]], True, name, way_out)
    return values, decimals


def _cells(line: str, separator: str, *, strict: bool = True) -> list[str]:
    """Return the cells of a line, without the spaces around them.

    Raises:
        TableError: A quote is not closed, if strict, or a cell is endless.
    """
    if '"' not in line:
        return [cell.strip() for cell in line.split(None if separator == " " else separator)]
    line = line.strip() if separator == " " else line
    reader = csv.reader([line], delimiter=separator, skipinitialspace=True, strict=strict)
    try:
        return [cell.strip() for cell in next(reader)]
    except csv.Error as error:
        raise TableError(f"{error}: {show(line)}: mend it") from None
