"""A recording from a Parquet file; needs the package pyarrow, which is imported when it is used."""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from metarobot.diagnosis.own_data.errors import OwnDataError, reason
from metarobot.diagnosis.own_data.numbers_table import NumbersTable, refuse_cell, require_size

_FIRST_ROW = 1


def parse_parquet(data: bytes, path: Path) -> NumbersTable:
    """Return the numbers of a Parquet file.

    Args:
        data: The file.
        path: Where it is, for messages.

    Raises:
        OwnDataError: pyarrow is missing, or it is no such file; the message names row and column.
    """
    arrow, parquet = _import_arrow(path)
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        schema = file.schema_arrow
        for field in schema:
            _require_numbers(arrow, field, path)
        require_size(path, file.metadata.num_rows, len(schema))
        columns = file.read().columns
    except (arrow.ArrowException, OSError) as error:
        raise OwnDataError(
            f"{path} cannot be read as a Parquet file: {reason(error)}: write it again"
        ) from error
    for name, column in zip(schema.names, columns, strict=True):
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            refuse_cell(f"{path}: row {row + _FIRST_ROW}", name, "")
    values = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    table = NumbersTable(path, tuple(schema.names), values, "row", _FIRST_ROW)
    table.require_finite()
    return table


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
            f"{path}: column {field.name!r} holds {reason(Exception(field.type))}, must hold "
            "integers or floating point numbers: convert or drop it"
        )
