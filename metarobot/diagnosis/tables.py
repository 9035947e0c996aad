"""Tables of users: one bounded reader of CSV and Parquet files, and checks of their cells.

Each error is one line that names the place, the value and the way out.  Nothing in a file is
executed.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pandas as pd

from metarobot.console import printable
from metarobot.envs.checks import show
from metarobot.io import Folder

MOST_CSV_BYTES = 2**30
MOST_PARQUET_BYTES = 2**28
MOST_ROWS = 10_000_000
MOST_NUMBERS = 2**26
MOST_COLUMNS = 1_001
LONGEST_NAME = 100
"""Characters of a name: of a column, a label, a machine."""
_LONGEST_LINE = 2 * LONGEST_NAME * MOST_COLUMNS
_BYTES_AT_ONCE = 2**20
_CELLS_AT_ONCE = 2**18
_MISSING = ["", "nan", "NaN", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "None"]
"""Cells without a number."""

Kind = Literal["number", "text", "date"]
Choose = Callable[[Sequence[str]], Mapping[str, Kind]]
"""Returns which columns of a table are read, by name, and what they hold; may raise TableError."""


class TableError(ValueError):
    """A table is not what it must be; the message does not name the file."""


@contextmanager
def errors_as(kind: type[ValueError], path: Path | str) -> Iterator[None]:
    """Turn errors of reading into one kind whose messages name a file or a folder."""
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
    folder: Folder, name: str, choose: Choose, parquet: ParquetProcess, way_out: str = ""
) -> pd.DataFrame:
    """Read a table.  Its index, called "line" or "row", says where the rows stand in the file.

    CSV is UTF-8.  Semicolons, tabulators, commas or else spaces separate cells.  Decimal commas are
    recognised.  Lines that begin with # are comments.  Where the first line holds only numbers,
    columns are named by their number from 1.

    Args:
        folder: Where it is.
        name: The file; Parquet if it ends in .parquet.
        choose: Chooses the columns.
        parquet: Reads Parquet files.
        way_out: What to do about a cell that is no number.

    Returns:
        The columns: float64, NaN where a cell is empty; text; or dates.

    Raises:
        TableError: It is not what it must be.
        OSError: It cannot be read.
        FolderError: It is no regular file, or too long.
    """
    if name.lower().endswith(".parquet"):
        blocks = parquet.blocks(folder.read(name, MOST_PARQUET_BYTES))
        return _read(_lines(blocks, "row"), choose, way_out)
    with folder.open(name, MOST_CSV_BYTES) as file:
        return _read(_lines(_csv_blocks(file), "line"), choose, way_out)


def read_frame(frame: pd.DataFrame, choose: Choose, way_out: str = "") -> pd.DataFrame:
    """Read a DataFrame as `read_table` reads its CSV; rows count from 1.

    Raises:
        TableError: It is not what it must be.
    """
    size = max(1, _CELLS_AT_ONCE // max(1, frame.shape[1]))
    blocks = (
        frame.iloc[start : start + size].to_csv(index=False, header=start == 0).encode()
        for start in range(0, max(1, len(frame)), size)
    )
    return _read(_lines(blocks, "row"), choose, way_out)


def refuse(table: pd.DataFrame, bad: Any, column: str, way_out: str) -> None:
    """Refuse the first row of a table that is bad.

    Args:
        table: The table.
        bad: Whether each row is, (R,) bool.
        column: Where its value stands.
        way_out: What is allowed, and what to do.

    Raises:
        TableError: One is bad.
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
        missing: What to do about a missing number; None if they may be missing.

    Raises:
        TableError: There is one.
    """
    for name in numbers:
        values = numbers[name].to_numpy()
        if missing is not None:
            refuse(numbers, np.isnan(values), name, missing)
        way_out = f"numbers may be up to {most:.2g}: convert the unit, or cut the table there"
        refuse(numbers, np.abs(values) > most, name, way_out)


def _csv_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file, some whole lines at a time."""
    number = 1
    while block := file.read(_BYTES_AT_ONCE):
        block += file.readline(_LONGEST_LINE)
        number += block.count(b"\n")
        if not block.endswith(b"\n") and file.read(1):
            raise TableError(
                f"line {number} has more than {_LONGEST_LINE:,} bytes: save the file as CSV with a "
                "line for each row"
            )
        yield block


def _lines(blocks: Iterable[bytes], place: str) -> Iterator[tuple[pd.Index, list[str]]]:
    """Yield lines and their numbers, without blank lines and comments."""
    first = 1 if place == "line" else 0  # row 0 holds the names
    encoding = "utf-8-sig"
    for block in blocks:
        text, bad = "", block.find(b"\0")
        try:
            text = block.decode(encoding)
        except UnicodeDecodeError as error:
            bad = error.start
        if bad >= 0:
            number = first + block.count(b"\n", 0, bad)
            raise TableError(f"{place} {number} is no text in UTF-8: save the file as CSV in UTF-8")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        comment = "#" if place == "line" else "\n"
        kept = [k for k, line in enumerate(lines) if line.strip() and line[0] != comment]
        if kept:
            numbers = pd.RangeIndex(first + kept[0], first + kept[-1] + 1, name=place)
            if len(numbers) > len(kept):
                numbers = pd.Index(np.array(kept) + first, name=place)
            yield numbers, [lines[k] for k in kept]
        first, encoding = first + len(lines) - 1, "utf-8"


def _read(
    lines: Iterator[tuple[pd.Index, list[str]]], choose: Choose, way_out: str
) -> pd.DataFrame:
    parser, num_rows = None, 0
    tables: list[pd.DataFrame] = []
    for numbers, texts in lines:
        if parser is None:
            parser = _Parser(texts[0], choose, way_out, is_header=numbers.name == "row")
            numbers, texts = numbers[parser.has_header :], texts[parser.has_header :]
        num_rows += len(texts)
        num_columns = len(parser.names)
        if num_rows > MOST_ROWS or num_rows * num_columns > MOST_NUMBERS:
            raise TableError(
                f"it holds {num_rows:,} rows x {num_columns} columns or more, at most "
                f"{MOST_ROWS:,} rows and {MOST_NUMBERS:,} numbers are allowed: cut it"
            )
        size = max(1, _CELLS_AT_ONCE // num_columns)
        for start in range(0, len(texts), size):
            part = slice(start, start + size)
            tables.append(parser.parse(numbers[part], texts[part]))
    if parser is None:
        raise TableError("it is empty: its first line must name the columns")
    if not tables:
        return pd.DataFrame(columns=[*parser.kinds])
    return pd.concat(tables)


class _Parser:
    """Parses lines by what the first one says."""

    def __init__(self, line: str, choose: Choose, way_out: str, *, is_header: bool) -> None:
        several = (mark for mark in ";\t, " if len(_cells(line, mark, strict=False)) > 1)
        self.separator = next(several, ",")
        self.names = _cells(line, self.separator)
        if len(self.names) > MOST_COLUMNS:
            raise TableError(
                f"it has {len(self.names):,} columns, at most {MOST_COLUMNS:,} are allowed: leave "
                "some out"
            )
        self.has_header = is_header or not all(
            _is_number(name, "," if "," in name else ".") for name in self.names
        )
        if not self.has_header:
            self.names = [str(number + 1) for number in range(len(self.names))]
        for name in self.names:
            if len(name) > LONGEST_NAME or not name.isprintable():
                raise TableError(
                    f"{show(name)} is no name of a column: give every column a name of up to "
                    f"{LONGEST_NAME} printable characters, such as current [A]"
                )
        self.names = [unicodedata.normalize("NFC", name) for name in self.names]
        self.kinds = choose(self.names)
        for name in self.kinds:
            if self.names.count(name) > 1:
                raise TableError(f"it has the column {name!r} twice: rename one")
        self.decimals, self.way_out = ".,", way_out

    def parse(self, numbers: pd.Index, lines: list[str]) -> pd.DataFrame:
        """Return lines, whose numbers become the index, as a table."""
        for decimal in self.decimals:
            with suppress(ValueError, pd.errors.ParserWarning):
                table = self._parse(lines, decimal)
                if decimal == "," or any("." in line for line in lines):
                    self.decimals = decimal
                return table.set_axis(numbers)
        faults = []
        for decimal in self.decimals:
            found = ((k, self._fault(line, decimal)) for k, line in enumerate(lines))
            default = (0, "or one below, holds no numbers: mend it")
            faults.append(next((each for each in found if each[1]), default))
        row, fault = max(faults)  # the decimal mark that gets further is meant
        raise TableError(f"{numbers.name} {numbers[row]}, {fault}")

    def _parse(self, lines: list[str], decimal: str) -> pd.DataFrame:
        """Let pandas parse lines.

        Raises:
            ValueError: A line has too many cells or an open quote, or a cell holds no number.
            ParserWarning: The first line has too many cells.
        """
        names = [*self.names, ""]  # a separator may end the lines
        kinds = {k: self.kinds[name] for k, name in enumerate(names) if name in self.kinds}
        numbers = [k for k, kind in kinds.items() if kind == "number"]
        options: dict[str, Any] = {
            "dtype": {k: float if k in numbers else object for k in range(len(names))},
            "na_values": dict.fromkeys(numbers, _MISSING),
            "sep": r"\s+" if self.separator == " " else self.separator,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO("\n".join(lines)),
                decimal=decimal,
                header=None,
                names=range(len(names)),
                index_col=False,
                skipinitialspace=True,
                keep_default_na=False,
                **options,
            )
        unnamed = table[[k for k, name in enumerate(names) if k and not name]]
        if len(table) != len(lines) or (unnamed != "").to_numpy().any():
            raise ValueError("a quote is not closed, or a column has no name")
        table = table[[*kinds]].rename(columns={k: names[k] for k in kinds})
        for name, kind in self.kinds.items():
            if kind == "text":
                table[name] = table[name].str.strip()
            elif kind == "date":
                dates = {"format": "ISO8601", "utc": True, "errors": "coerce"}
                table[name] = pd.to_datetime(table[name], **dates)
        return table

    def _fault(self, line: str, decimal: str) -> str:
        """Return why pandas does not take a line, nothing if it does."""
        try:
            cells = _cells(line, self.separator)
        except TableError as error:
            return str(error)
        for place, (name, cell) in enumerate(zip_longest(self.names, cells, fillvalue="")):
            if cell and place and not name:
                return (
                    f"more cells than names of columns: {show(line)}: name them; with decimal "
                    "commas, separate cells by semicolons"
                )
            if self.kinds.get(name) == "number" and not _is_number(cell, decimal):
                return f"column {name!r} is {show(cell)}: {self.way_out}"
        return ""


def _cells(line: str, separator: str, *, strict: bool = True) -> list[str]:
    """Return the cells of a line, without the spaces around them.

    Raises:
        TableError: A quote is not closed, if strict, or a cell is endless.
    """
    line = line.strip() if separator == " " else line
    reader = csv.reader([line], delimiter=separator, skipinitialspace=True, strict=strict)
    try:
        return [cell.strip() for cell in next(reader)]
    except csv.Error as error:
        raise TableError(f"{error}: {show(line)}: mend it") from None


def _is_number(cell: str, decimal: str) -> bool:
    """Whether pandas reads a cell as a number, or as a missing one."""
    if "_" in cell or not cell.isascii() or (decimal == "," and "." in cell):
        return False
    with suppress(ValueError):
        float(cell.replace(decimal, "."))
        return True
    return cell in _MISSING


class ParquetProcess:
    """Reads Parquet files by `parquet_reader.py`, a process that starts with the first of them."""

    def __init__(self) -> None:
        self._process: Any = None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def blocks(self, data: bytes) -> Iterator[bytes]:
        """Yield a file as CSV: the names of the columns, then some rows at a time.

        Raises:
            TableError: pyarrow is missing, or the file is not what it must be.
        """
        if self._process is None:
            script = str(Path(__file__).with_name("parquet_reader.py"))
            self._process = subprocess.Popen(
                [sys.executable, "-P", script, str(MOST_ROWS), str(MOST_NUMBERS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        with suppress(OSError):  # it has ended, and its output has, too
            self._process.stdin.write(len(data).to_bytes(8, "little"))
            self._process.stdin.write(data)
            self._process.stdin.flush()
        yield from iter(self._message, b"")
        if reason := self._message().decode():
            raise TableError(f"it cannot be read as a Parquet file: {reason}: write it again")

    def _message(self) -> bytes:
        head = self._process.stdout.read(8)
        message = self._process.stdout.read(int.from_bytes(head, "little"))
        if len(head) == 8 and len(message) == int.from_bytes(head, "little"):
            return message
        if self._process.wait() == 3:
            raise TableError(
                "Parquet files need `pip install 'metarobot[parquet]'`: install it, or write CSV"
            )
        raise TableError(
            "it cannot be read as a Parquet file: it is damaged, or takes too much memory: write "
            "it again"
        )
