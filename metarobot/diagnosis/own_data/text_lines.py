"""The lines of a text file that people, spreadsheets and loggers write."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from metarobot.diagnosis.own_data.errors import OwnDataError, reason
from metarobot.diagnosis.own_data.numbers_table import MOST_COLUMNS, MOST_ROWS
from metarobot.envs.checked_numbers import show

_LONGEST_CELL = 200
"""Characters: bounds the time of all that looks at a cell."""
_LONGEST_LINE = MOST_COLUMNS * _LONGEST_CELL
_OTHER_FORMATS = {
    b"PAR1": "is a Parquet file: let its name end in .parquet",
    b"PK\x03\x04": "is an Excel workbook or a ZIP archive: save it as CSV",
    b"\x1f\x8b": "is compressed by gzip: unpack it",
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
}
"""What files that are no text, or another, begin with."""
_OTHER_SEPARATORS = {";": "a semicolon", "\t": "a tabulator"}


def read_lines(data: bytes, path: Path) -> list[str]:
    """Return the lines of a file in UTF-8, with or without a byte order mark, of any line ends.

    Args:
        data: The file.
        path: Where it is, for messages.

    Raises:
        OwnDataError: It is no such text, is empty, or has too many or too long lines.
    """
    for beginning, what in _OTHER_FORMATS.items():
        if data.startswith(beginning):
            raise OwnDataError(f"{path} {what}")
    if b"\0" in data:
        raise OwnDataError(f"{path} is no text, it holds null bytes: save it as CSV in UTF-8")
    if max(data.count(b"\n"), data.count(b"\r")) > MOST_ROWS:
        raise OwnDataError(
            f"{path} has more than {MOST_ROWS:,} lines: cut it into shorter recordings"
        )
    lines = _decode(data, path)
    while lines and not lines[-1].strip(" "):
        lines.pop()
    if not lines:
        raise OwnDataError(f"{path} is empty: its first line must name the columns")
    lines[-1] = lines[-1].rstrip(" ")
    return lines


def read_cells(line: str, number: int, path: Path) -> list[str]:
    """Return the cells of a line, without the spaces around them.

    Raises:
        OwnDataError: There are too many, one is too long, or quotes are not closed.
    """
    if line.count(",") >= MOST_COLUMNS:
        raise OwnDataError(
            f"{path}: line {number} has more than {MOST_COLUMNS:,} cells: leave out channels"
        )
    try:
        row = next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise OwnDataError(f"{path}: line {number}: {reason(error)}: {show(line)}") from error
    cells = [cell.strip() for cell in row]
    for cell in cells:
        if len(cell) > _LONGEST_CELL:
            raise OwnDataError(
                f"{path}: line {number} has a cell of {len(cell):,} characters, at most "
                f"{_LONGEST_CELL} are allowed: {show(cell)}: shorten it"
            )
    return cells


def read_header(line: str, path: Path) -> list[str]:
    """Return the names of the columns.

    Raises:
        OwnDataError: They are separated by something else than commas.
    """
    cells = read_cells(line, 1, path)
    for separator, name in _OTHER_SEPARATORS.items():
        if len(cells) == 1 and separator in line:
            raise OwnDataError(
                f"{path}: line 1: columns are separated by {name}: separate them by commas, and "
                "write 0.5, not 0,5"
            )
    return cells


def _decode(data: bytes, path: Path) -> list[str]:
    """Return all lines, one by one: a single emoji makes four bytes of each character of a text."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig")
    lines: list[str] = []
    try:
        while line := text.readline(_LONGEST_LINE + 1):
            if len(line) > _LONGEST_LINE:
                raise OwnDataError(
                    f"{path}: line {len(lines) + 1} has more than {_LONGEST_LINE:,} characters: "
                    f"{show(line)}: cut it"
                )
            lines.append(line.removesuffix("\n"))
    except UnicodeDecodeError as error:
        number, line = next(
            (number, line)
            for number, line in enumerate(io.BytesIO(data), 1)
            if line.decode(errors="ignore").encode() != line
        )
        raise OwnDataError(
            f"{path}: line {number} is not UTF-8: {show(line)}: save the file as UTF-8"
        ) from error
    return lines
