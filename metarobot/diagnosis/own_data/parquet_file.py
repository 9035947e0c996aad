"""A recording from a Parquet file; needs the package pyarrow, which is imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from metarobot.diagnosis.own_data.columns import read_channels
from metarobot.diagnosis.own_data.errors import OwnDataError, reason
from metarobot.diagnosis.own_data.numbers_table import NumbersTable, refuse_cell, require_size
from metarobot.diagnosis.own_data.parquet_pages import MOST_ENTRIES, read_footer, require_pages
from metarobot.envs.checked_numbers import show

_FIRST_ROW = 1
_MOST_CELLS_AT_ONCE = 2**20


def parse_parquet(data: bytes, path: Path) -> NumbersTable:
    """Return the numbers of a Parquet file.

    Args:
        data: The file.
        path: Where it is, for messages.

    Raises:
        OwnDataError: pyarrow is missing, or it is no such file; the message names row and column.
    """
    arrow, parquet = _import_arrow(path)
    groups = read_footer(data, path)
    try:
        file = parquet.ParquetFile(
            arrow.BufferReader(data), thrift_container_size_limit=MOST_ENTRIES
        )
        schema = file.schema_arrow
        require_size(path, file.metadata.num_rows, len(schema))
        for field in schema:
            _require_numbers(arrow, field, path)
        names = tuple(schema.names)
        read_channels(names, path)
        require_pages(data, groups, len(names), path)
        values = _read_values(file, names, path)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise OwnDataError(
            f"{path} cannot be read as a Parquet file: {reason(error)}: write it again"
        ) from error
    table = NumbersTable(path, names, values, "row", _FIRST_ROW)
    table.require_finite()
    return table


def _read_values(file: Any, names: Sequence[str], path: Path) -> np.ndarray:
    """Read the numbers, (T, columns), some rows at a time."""
    values = np.empty((file.metadata.num_rows, len(names)))
    start = 0
    for batch in file.iter_batches(_MOST_CELLS_AT_ONCE // len(names)):
        end = start + len(batch)
        for place, (name, column) in enumerate(zip(names, batch.columns, strict=True)):
            if column.null_count:
                row = start + column.is_null().to_pylist().index(True)
                refuse_cell(f"{path}: row {row + _FIRST_ROW}", name, "")
            values[start:end, place] = np.asarray(column)
        start = end
    if start != len(values):
        raise OSError(f"{start:,} of {len(values):,} rows are there")
    return values


def _import_arrow(path: Path) -> tuple[Any, Any]:
    """Import pyarrow, or say what to install."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise OwnDataError(
            f"{path}: Parquet files need `pip install 'metarobot[parquet]'`: install it, or write "
            "CSV files"
        ) from error


def _require_numbers(arrow: Any, field: Any, path: Path) -> None:
    """Refuse a column that is not of numbers, before anything of it is read."""
    if not (arrow.types.is_integer(field.type) or arrow.types.is_floating(field.type)):
        raise OwnDataError(
            f"{path}: column {show(field.name)} holds {reason(Exception(field.type))}, must hold "
            "integers or floating point numbers: convert or drop it"
        )
