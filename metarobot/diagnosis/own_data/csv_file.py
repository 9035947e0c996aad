"""A recording from a CSV file: read by numpy at once; only what is wrong is looked at by cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from metarobot.diagnosis.own_data.errors import OwnDataError
from metarobot.diagnosis.own_data.numbers_table import NumbersTable, refuse_cell, require_size
from metarobot.diagnosis.own_data.text_lines import read_cells, read_header, read_lines
from metarobot.envs.checked_numbers import show

_FIRST_LINE = 2  # the header is line 1
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}[-/.]\d\d?[-/.]\d|\d\d?[-/.]\d\d?[-/.]\d\d|\d\d?:\d\d", re.ASCII)
_MISSING = frozenset(("nan", "na", "n/a", "#n/a", "null", "none", "-", "inf", "+inf", "-inf"))
"""What loggers write where there is no number."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)


def parse_csv(data: bytes, path: Path) -> NumbersTable:
    """Return the numbers of a CSV file.

    Args:
        data: The file.
        path: Where it is, for messages.

    Raises:
        OwnDataError: It is no such file; the message names the line, the column and the value.
    """
    header, *lines = read_lines(data, path)
    names = read_header(header, path)
    require_size(path, len(lines), len(names))
    try:
        plain = _without_quotes(lines, names, path)
        values = np.loadtxt(plain, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        _explain(lines, names, path)
    if values.shape != (len(lines), len(names)):
        _explain(lines, names, path)
    table = NumbersTable(path, tuple(names), values, "line", _FIRST_LINE)
    table.require_finite()
    return table


def _without_quotes(lines: Sequence[str], names: Sequence[str], path: Path) -> Sequence[str]:
    """Return the same lines without quotes, which numpy would read where they are not closed."""
    if not any('"' in line for line in lines):  # the usual case, and the fast one
        return lines
    rows = [read_cells(line, number, path) for number, line in enumerate(lines, _FIRST_LINE)]
    if any(len(cells) != len(names) for cells in rows):
        _explain(lines, names, path)
    return [",".join(cells) for cells in rows]


def _explain(lines: Sequence[str], names: Sequence[str], path: Path) -> NoReturn:
    """Find the first line that is wrong, and say what is wrong with it."""
    for number, line in enumerate(lines, _FIRST_LINE):
        cells = read_cells(line, number, path)
        place = f"{path}: line {number}"
        if not cells:
            raise OwnDataError(f"{place} is empty: drop it")
        if len(cells) != len(names):
            raise OwnDataError(
                f"{place} has {len(cells)} cells, the first line names {len(names)} columns: "
                f"{show(line)}: fill it, and write 0.5, not 0,5"
            )
        pairs = zip(names, cells, strict=True)
        wrong = [(name, cell) for name, cell in pairs if not _NUMBER.fullmatch(cell)]
        if number == _FIRST_LINE and len(wrong) == len(names) > 1:
            raise OwnDataError(
                f"{place} holds no numbers: {show(line)}: drop it, and write units into the first "
                "line, such as current [A]"
            )
        if wrong:
            _refuse(place, *wrong[0])
    raise OwnDataError(f"{path} holds something that is no number")


def _refuse(place: str, name: str, cell: str) -> NoReturn:
    """Say that a cell holds no number, and which kind of none."""
    if _DECIMAL_COMMA.fullmatch(cell):
        raise OwnDataError(
            f"{place}, column {name!r}: {show(cell)} has a decimal comma: write a decimal point"
        )
    if _DATE.match(cell):
        raise OwnDataError(
            f"{place}, column {name!r}: {show(cell)} is a date or a time of day: write seconds "
            "from the first sample on, such as 0.01"
        )
    if cell and cell.casefold() not in _MISSING:
        raise OwnDataError(
            f"{place}, column {name!r}: {show(cell)} is text, not a number: write a number, or "
            "drop the column"
        )
    refuse_cell(place, name, show(cell) if cell else "")
