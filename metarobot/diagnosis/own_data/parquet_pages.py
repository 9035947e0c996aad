"""What the row groups and the pages of a Parquet file hold, before any of it is unpacked.

A page of a few kilobytes may unpack to gigabytes, and a footer may say anything of it.  So the
header of every page is read, and compared with the footer.  pyarrow is not asked: it ends the
process where some of a footer is damaged.

Source: parquet.thrift of Apache Parquet.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, NoReturn

from metarobot.diagnosis.own_data.errors import OwnDataError
from metarobot.diagnosis.own_data.thrift import I32, I64, LIST, STRUCT, Struct, read_struct

MOST_FOOTER_BYTES = 2**20
"""In memory it takes up to 200 times as much."""
MOST_ENTRIES = 10_000
"""Columns, or row groups, of a footer."""
_MOST_PAGES = 100_000
_BYTES_OF_A_NUMBER = 24
"""Most that pages take for a number: 8, as many in a dictionary, levels, and a reserve."""
_BYTES_BESIDE = 2**16
"""Most that a column of a row group takes beside: few numbers fill a page badly."""
_DAMAGED = (IndexError, KeyError, TypeError, ValueError)


class Column(NamedTuple):
    """A column of a row group."""

    start: int
    """Where its first page begins."""
    num_rows: int


class RowGroup(NamedTuple):
    """Some rows of a file."""

    num_rows: int
    columns: list[Column]


def read_footer(data: bytes, path: Path) -> list[RowGroup]:
    """Return the row groups that the footer names.

    Raises:
        OwnDataError: It is damaged, longer than that of any recording, or counts other rows than
            its row groups.
    """
    length = int.from_bytes(data[-8:-4], "little")
    if length > MOST_FOOTER_BYTES and data.endswith(b"PAR1"):
        raise OwnDataError(
            f"{path} has a footer of {length:,} bytes, at most {MOST_FOOTER_BYTES:,} are allowed: "
            "write it again, with fewer row groups"
        )
    try:
        footer, _ = read_struct(data[-8 - length : -8], 0)
        groups = [_row_group(group) for group in footer[4, LIST]]
        said = footer[3, I64]
    except _DAMAGED:
        _refuse(path, "its footer is damaged")
    num_rows = sum(group.num_rows for group in groups)
    if said != num_rows or any(group.num_rows < 0 for group in groups):
        _refuse(path, f"its footer says {said:,} rows, its row groups {num_rows:,}")
    return groups


def _row_group(group: Struct) -> RowGroup:
    chunks = [chunk[3, STRUCT] for chunk in group[1, LIST]]
    return RowGroup(group[3, I64], [Column(_start(chunk), chunk[5, I64]) for chunk in chunks])


def _start(chunk: Struct) -> int:
    """Return where a column begins: with its dictionary, if it has one that stands first."""
    data_page, dictionary = chunk[9, I64], chunk.get((11, I64), 0)
    return dictionary if 0 < dictionary < data_page else data_page


def require_pages(data: bytes, groups: list[RowGroup], num_columns: int, path: Path) -> None:
    """Refuse a file whose pages hold something else than its footer says.

    Args:
        data: The file.
        groups: Its row groups, as `read_footer` returns them.
        num_columns: As its schema has them, all of numbers.
        path: Where it is, for messages.

    Raises:
        OwnDataError: They do.
    """
    num_pages = 0
    for group in groups:
        if len(group.columns) != num_columns:
            _refuse(path, f"a row group has {len(group.columns):,} of {num_columns:,} columns")
        for column in group.columns:
            if column.num_rows != group.num_rows:
                _refuse(path, f"a column has {column.num_rows:,} of {group.num_rows:,} rows")
            num_pages += _walk(data, column, path)
            if num_pages > _MOST_PAGES:
                _refuse(path, f"it has more than {_MOST_PAGES:,} pages")


def _walk(data: bytes, column: Column, path: Path) -> int:
    """Go from page to page, add up what they say they hold, and return how many there are."""
    at, num_rows = column
    num_values = num_bytes = num_pages = 0
    while num_values < num_rows and num_pages <= _MOST_PAGES:
        try:
            header, at = read_struct(data, at)
            unpacked, packed = header[2, I32], header[3, I32]
            values, listed = _values_of(header)
        except _DAMAGED:
            _refuse(path, "the header of a page is damaged")
        at, num_values, num_bytes = at + packed, num_values + values, num_bytes + unpacked
        num_pages += 1
        if min(packed, unpacked, values, listed) < 0 or max(num_values, listed) > num_rows:
            _refuse(path, f"the pages of a column hold other than its {num_rows:,} rows")
        if num_bytes > _BYTES_OF_A_NUMBER * num_rows + _BYTES_BESIDE:
            _refuse(path, f"{num_rows:,} rows of a column unpack to {num_bytes:,} bytes or more")
    return num_pages


def _values_of(header: Struct) -> tuple[int, int]:
    """Return how many values a page holds, and how many it lists as a dictionary."""
    first, dictionary, second = (header.get((field, STRUCT), {}) for field in (5, 7, 8))
    values = first.get((1, I32), 0) + second.get((1, I32), 0)
    return values, dictionary.get((1, I32), 0)


def _refuse(path: Path, why: str) -> NoReturn:
    raise OwnDataError(f"{path} cannot be read as a Parquet file: {why}: write it again")
