"""One CSV or Parquet file of a recording: its channels, times and signals, each number checked."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd

from metarobot.envs import nearest_name
from metarobot.envs.checked_numbers import show
from metarobot.io import Folder
from metarobot.printable import printable

MOST_CSV_BYTES = 2**30
MOST_PARQUET_BYTES = 2**28
MOST_ROWS = 10_000_000
MOST_NUMBERS = 2**26
"""Numbers of a file: 256 MiB of signals."""
MOST_COLUMNS = 1_001
LEAST_SAMPLES = 4
LONGEST_NAME = 100
"""Characters of a name: of a channel, a label, a machine."""
TIMES = {"time_s": 1.0, "time_ms": 1e-3, "time_us": 1e-6, "timestamp": 1.0}
"""Columns that hold the time, and their unit in seconds; a timestamp is a date with time."""
_LONGEST_LINE = 200 * MOST_COLUMNS
_NUMBERS_AT_ONCE = 2**17
_LARGEST = float(np.finfo(np.float32).max)  # signals are kept in single precision
_NO_TEXT = {
    b"PAR1": "is a Parquet file: let its name end in .parquet",
    b"PK\x03\x04": "is an Excel workbook or a ZIP archive: save it as CSV",
    b"\x1f\x8b": "is compressed by gzip: unpack it",
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
}
_MISSING = ("", "nan", "NaN", "NA", "N/A", "n/a", "null")
"""Cells without a number."""


class RecordingsError(ValueError):
    """A folder of recordings is not what it must be; one line with file, place, value, way out."""


class Channel(NamedTuple):
    """One signal of a recording."""

    name: str
    unit: str
    """Empty if unknown."""


class SignalFile(NamedTuple):
    """A recording as its file has it: T samples of C channels."""

    path: Path
    channels: tuple[Channel, ...]
    time_s: np.ndarray
    """(T,) float64; increases."""
    signals: np.ndarray
    """(C, T) float32."""
    digest: bytes
    """SHA-256 of all signals as float64, in the order of the channels' names."""
    place: Callable[[int], str]
    """Returns where a sample stands in the file, for messages."""


class _Columns(NamedTuple):
    """Columns of a file."""

    names: Sequence[str]
    """As the file has them."""
    time: int
    """Which one is the time."""
    channels: dict[int, Channel]
    """By the columns that they are."""


class _BadRowError(ValueError):
    """After so many rows comes one that cannot be used, or some with one that holds no numbers."""

    def __init__(self, num_rows: int, reason: str = "") -> None:
        super().__init__(reason)
        self.num_rows = num_rows


def read_signal_file(
    folder: Folder, name: str, parquet: ParquetProcess, *, fill_missing: bool = False
) -> SignalFile:
    """Read one recording.

    Args:
        folder: Where it is.
        name: Its name, which ends in .csv or .parquet.
        parquet: Reads Parquet files.
        fill_missing: Interpolate channels where cells are empty.

    Raises:
        RecordingsError: It is not what it must be.
        OSError: It cannot be read.
        FolderError: It is no regular file, or too long.
    """
    path = folder.path / name
    if name.lower().endswith(".parquet"):
        data = folder.read(name, MOST_PARQUET_BYTES)
        columns, gathered = parquet.read(data, path, fill_missing=fill_missing)
    else:
        columns, gathered = _read_csv(folder, name, fill_missing=fill_missing)
    time_s, signals, digest = gathered
    channels = tuple(columns.channels.values())

    def place(row: int) -> str:
        if name.lower().endswith(".parquet"):
            return f"row {row + 1}"
        return f"line {next(islice(lines_of(folder, name), row + 1, None))[0]}"

    for channel, signal in zip(channels, signals, strict=True):
        missing = np.isnan(signal)
        if missing.all():
            raise RecordingsError(f"{path} has no number in {channel.name!r}: leave the file out")
        signal[missing] = np.interp(time_s[missing], time_s[~missing], signal[~missing])
    return SignalFile(path, channels, time_s, signals, digest, place)


def column_name(channel: Channel) -> str:
    """Return a channel as the first line of a file names it: "current [A]"."""
    return f"{channel.name} [{channel.unit}]" if channel.unit else channel.name


def _read_columns(names: Sequence[str], path: Path) -> _Columns:
    """Find the time and the channels; empty names are no channels."""
    if len(names) > MOST_COLUMNS:
        raise RecordingsError(
            f"{path} has {len(names):,} columns, at most {MOST_COLUMNS:,} are allowed: leave out "
            "channels"
        )
    channels = {place: _channel(name, path) for place, name in enumerate(names) if name}
    times = [place for place in channels if names[place] in TIMES]
    given = [channel.name for channel in channels.values()]
    if len(times) != 1:
        raise RecordingsError(
            f"{path} must name its columns in the first line, and one of them time_s (seconds) or "
            f"{', '.join([*TIMES][1:])}; it has {', '.join(map(show, names[:5]))}"
            f"{', ...' if len(names) > 5 else ''}{nearest_name('time_s', given)}"
        )
    del channels[times[0]]
    if not channels:
        raise RecordingsError(f"{path} has no channel beside the time: add what the sensors read")
    for name in given:
        if given.count(name) > 1:
            raise RecordingsError(f"{path} has the column {name!r} twice: rename one")
    return _Columns(names, times[0], channels)


def _channel(name: str, path: Path) -> Channel:
    """Read one name of a column, its unit in brackets where it has one."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise RecordingsError(
            f"{path}: {show(name)} is no name of a channel: give every column a name of up to "
            f"{LONGEST_NAME} printable characters, such as current [A]"
        )
    name = unicodedata.normalize("NFC", name)
    before, _, unit = name.removesuffix("]").rpartition("[")
    has_unit = before.strip() and name.endswith("]") and "]" not in unit
    return Channel(before.rstrip(), unit) if has_unit else Channel(name, "")


def _require_size(num_rows: int, columns: _Columns, path: Path) -> None:
    """Refuse a file before its numbers are read."""
    if num_rows < LEAST_SAMPLES:
        raise RecordingsError(
            f"{path} has {num_rows} rows of numbers, must have at least {LEAST_SAMPLES}: record "
            "longer, or leave it out"
        )
    if num_rows > MOST_ROWS or num_rows * len(columns.names) > MOST_NUMBERS:
        raise RecordingsError(
            f"{path} holds {num_rows:,} rows x {len(columns.names)} columns, at most "
            f"{MOST_ROWS:,} rows and {MOST_NUMBERS:,} numbers are allowed: cut it into shorter "
            "recordings"
        )


def _gather(
    columns: _Columns, blocks: Iterator[np.ndarray], num_rows: int, *, fill_missing: bool
) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Put blocks of rows (rows, columns) together, NaN where a cell is empty.

    Returns:
        Times (T,) float64, signals (C, T) float32, and the digest of the signals.

    Raises:
        _BadRowError: A number cannot be used, or blocks raise ValueError.
    """
    time_s, signals = np.empty(num_rows), np.empty((len(columns.channels), num_rows), np.float32)
    by_name = sorted(columns.channels, key=lambda place: columns.channels[place])
    digest = hashlib.sha256()
    start, before_s = 0, -np.inf
    try:
        for block in blocks:
            times_s = block[:, columns.time] * TIMES[columns.names[columns.time]]
            values = block[:, [*columns.channels]]
            good = np.abs(values) <= _LARGEST
            good |= np.isnan(values) & fill_missing
            with np.errstate(invalid="ignore"):
                rises = np.isfinite(times_s) & (np.diff(times_s, prepend=before_s) > 0)
            if not (good.all() and rises.all()):
                row = int(np.argmin(good.all(1) & rises))
                reason = _bad_time(columns, float(block[row, columns.time]))
                if rises[row]:
                    channel = int(np.argmin(good[row]))
                    name = columns.names[[*columns.channels][channel]]
                    reason = f"column {name!r}: {_bad_number(float(values[row, channel]))}"
                raise _BadRowError(start + row, reason)
            end = start + len(block)
            time_s[start:end] = times_s
            with np.errstate(under="ignore"):
                signals[:, start:end] = values.T
            digest.update(block[:, by_name].tobytes())
            start, before_s = end, times_s[-1]
    except (_BadRowError, RecordingsError):
        raise
    except ValueError as error:
        raise _BadRowError(start) from error
    return time_s[:start], signals[:, :start], digest.digest()


def _bad_time(columns: _Columns, value: float) -> str:
    """Return why a time cannot be used."""
    name = columns.names[columns.time]
    if not np.isnan(value):
        return f"{name} is {value:.10g}: times must increase: sort the rows, or write more digits"
    form = "2026-01-31T08:15:00.5Z" if name == "timestamp" else "0.5"
    return f"{name} holds no time such as {form}: write it, or drop the row"


def _bad_number(value: float) -> str:
    """Return why a number cannot be used."""
    if np.isnan(value):
        return "a missing number: fill it in, or interpolate (fill_missing=True, --fill-missing)"
    if np.isinf(value):
        return f"{value:g} is not finite: cut the recording there"
    return f"{value:g} is too large, numbers may be up to {_LARGEST:.2g}: convert the unit"


# CSV.


def lines_of(folder: Folder, name: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines of a file that are neither blank nor a comment.

    Raises:
        RecordingsError: It is no text in UTF-8, or a line is endless.
    """
    path = folder.path / name
    with folder.open(name, MOST_CSV_BYTES) as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), b""), 1):
            for beginning, what in _NO_TEXT.items() if number == 1 else ():
                if line.startswith(beginning):
                    raise RecordingsError(f"{path} {what}")
            if len(line) > _LONGEST_LINE or b"\0" in line or b"\r" in line[:-2]:
                raise RecordingsError(
                    f"{path}: line {number} has null bytes, old line ends, or more than "
                    f"{_LONGEST_LINE:,} bytes: "
                    f"{show(line)}: save the file as CSV in UTF-8"
                )
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip(" \r\n")
            except UnicodeDecodeError as error:
                raise RecordingsError(
                    f"{path}: line {number} is not UTF-8: {show(line)}: save the file as UTF-8"
                ) from error
            if text and not text.startswith("#"):
                yield number, text


def cells_of(line: str, separator: str) -> list[str]:
    """Return the cells of a line, without the spaces around them.

    Raises:
        csv.Error: A quote is not closed, or a cell is endless.
    """
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, strict=True))]


def split_header(line: str, wanted: Sequence[str]) -> tuple[str, list[str]]:
    """Return the separator that brings out a wanted name, or else most cells, and the cells.

    Raises:
        csv.Error: As of `cells_of`.
    """
    found = {each: [c.strip() for c in next(csv.reader([line], delimiter=each))] for each in ",;\t"}
    separator = max(found, key=lambda each: (bool({*wanted} & {*found[each]}), len(found[each])))
    return separator, cells_of(line, separator)


def _read_csv(folder: Folder, name: str, *, fill_missing: bool) -> tuple[_Columns, Any]:
    path = folder.path / name
    lines = lines_of(folder, name)
    first_line, header = next(lines, (0, ""))
    if not first_line:
        raise RecordingsError(f"{path} is empty: its first line must name the columns")
    try:
        separator, names = split_header(header, tuple(TIMES))
    except csv.Error as error:
        raise RecordingsError(f"{path}: line {first_line}: {error}: {show(header)}") from error
    columns = _read_columns(names, path)
    num_rows = sum(1 for _ in lines)
    _require_size(num_rows, columns, path)
    bad: list[tuple[int, str]] = []
    for decimal in ".,":  # the one that gets further is meant
        with folder.open(name, MOST_CSV_BYTES) as file:
            for _ in range(first_line):
                file.readline()
            blocks = _csv_blocks(file, columns, separator, decimal)
            try:
                return columns, _gather(columns, blocks, num_rows, fill_missing=fill_missing)
            except _BadRowError as error:
                start = 1 + error.num_rows
                found = (
                    (number, reason)
                    for number, line in islice(lines_of(folder, name), start, None)
                    if (reason := str(error) or _bad_line(line, columns, separator, decimal))
                )
                bad.append(next(found, (first_line + start, "or one below, holds no numbers")))
    number, reason = max(bad, key=lambda found: found[0])
    raise RecordingsError(f"{path}: line {number}, {reason}")


def _csv_blocks(file: Any, columns: _Columns, separator: str, decimal: str) -> Iterator[np.ndarray]:
    """Yield blocks of rows (rows, columns) float64, NaN where cells are empty.

    Raises:
        ValueError: A line has too many cells, or one holds no number.
    """
    names = columns.names
    is_date = names[columns.time] == "timestamp"
    options: dict[str, Any] = {
        "dtype": {k: object if is_date and k == columns.time else float for k in range(len(names))},
        "chunksize": max(1, _NUMBERS_AT_ONCE // len(names)),
        "names": range(len(names)),
        "header": None,
        "skipinitialspace": True,
        "comment": "#",
        "keep_default_na": False,
        "na_values": _MISSING,
    }
    unnamed = [place for place, name in enumerate(names) if not name]
    start = None
    with suppress(pd.errors.EmptyDataError):
        for frame in pd.read_csv(file, sep=separator, decimal=decimal, **options):
            if not isinstance(frame.index, pd.RangeIndex):
                raise ValueError("a line has too many cells")
            if is_date:
                texts = frame[columns.time]
                dates = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
                start = dates.iloc[0] if start is None else start
                frame[columns.time] = (dates - start) / pd.Timedelta(seconds=1)
            block = frame.to_numpy(np.float64)
            if not np.isnan(block[:, unnamed]).all():
                raise ValueError("a column with numbers has no name")
            yield block


def _bad_line(line: str, columns: _Columns, separator: str, decimal: str) -> str:
    """Return why a line holds no numbers, nothing if it does."""
    try:
        cells = cells_of(line.partition("#")[0], separator)
    except csv.Error as error:
        return f"{error}: {show(line)}"
    for place, cell in enumerate(cells):
        name = columns.names[place] if place < len(columns.names) else ""
        if cell and not name:
            return (
                f"more cells than names of columns: {show(line)}: name them; with decimal commas, "
                "separate cells by semicolons"
            )
        if name != "timestamp" and not _is_number(cell, decimal):
            way_out = "write one, leave the cell empty, or drop the line or the column"
            if place == columns.time:
                way_out = "write one, or call a column of dates timestamp"
            return f"column {name!r}: {show(cell)} is no number: {way_out}"
    return ""


def _is_number(cell: str, decimal: str) -> bool:
    """Whether pandas reads a cell as a number, or as a missing one."""
    if "_" in cell or not cell.isascii() or (decimal == "," and "." in cell):
        return False
    with suppress(ValueError):
        float(cell.replace(decimal, "."))
        return True
    return cell in _MISSING


# Parquet.


class ParquetProcess:
    """Reads Parquet files by `parquet_reader.py`, a process that starts with the first of them."""

    def __init__(self) -> None:
        self._process: Any = None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def read(self, data: bytes, path: Path, *, fill_missing: bool) -> tuple[_Columns, Any]:
        """Read one file.

        Raises:
            RecordingsError: pyarrow is missing, or the file is not what it must be.
        """
        if self._process is None:
            script = Path(__file__).with_name("parquet_reader.py")
            command = [sys.executable, "-P", str(script)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
            )
        with suppress(OSError):  # it has ended, and its output has, too
            self._process.stdin.write(len(data).to_bytes(8, "little"))
            self._process.stdin.write(data)
            self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or "{}")
        if "names" not in answer:
            self._refuse(path, answer.get("error", ""))
        columns = _read_columns(answer["names"], path)
        if "" in columns.names:
            raise RecordingsError(f"{path} has a column without a name: name it")
        _require_size(answer["num_rows"], columns, path)
        blocks = self._blocks(answer["num_rows"], len(columns.names), path)
        try:
            gathered = _gather(columns, blocks, answer["num_rows"], fill_missing=fill_missing)
        except _BadRowError as error:
            raise RecordingsError(f"{path}: row {error.num_rows + 1}, {error}") from error
        return columns, gathered

    def _blocks(self, num_rows: int, num_columns: int, path: Path) -> Iterator[np.ndarray]:
        """Yield the blocks of rows (rows, columns) that the process sends."""
        size = max(1, _NUMBERS_AT_ONCE // num_columns)
        for start in range(0, num_rows, size):
            shape = (min(size, num_rows - start), num_columns)
            body = self._process.stdout.read(8 * shape[0] * shape[1])
            if len(body) < 8 * shape[0] * shape[1]:
                self._refuse(path)
            yield np.frombuffer(body).reshape(shape)

    def _refuse(self, path: Path, reason: str = "") -> NoReturn:
        """Say why a file cannot be read."""
        if not reason and self._process.wait() == 3:
            raise RecordingsError(
                f"{path}: Parquet files need `pip install 'metarobot[parquet]'`: install it, or "
                "write CSV files"
            )
        reason = reason or "it is damaged, or takes too much memory: write it again"
        raise RecordingsError(f"{path} cannot be read as a Parquet file: {printable(reason)}")
