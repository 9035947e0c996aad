"""Files that appear in one piece, and JSON that every reader accepts."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file in one piece: a reader, or a crash, sees the old content or the new."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        raise naming(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def naming(path: Path, error: OSError) -> OSError:
    """Return an error that names the file: that of a full disk, for one, does not."""
    return OSError(error.errno, error.strerror or str(error), str(path))


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk: without, a file that was renamed may come back."""
    if os.name == "posix":  # Windows cannot open a folder, and does not need to
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes that lock it; the system lets go of it when we die.

    Raises:
        BlockingIOError: Another process holds it.
    """
    if fcntl is None:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def write_json(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a JSON file in one piece; a number that is not finite becomes null."""
    text = json.dumps(_finite_or_none(values), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, not a {type(values).__name__}")
    return values


def replace_rows(
    path: Path, preset: str, rows: Sequence[dict[str, Any]], presets: Sequence[str]
) -> None:
    """Replace the rows of one preset in a table of several; the table is made if missing.

    Args:
        path: JSON file with a list of rows, each with its ``preset``.
        preset: Whose rows are replaced.
        rows: The new ones.
        presets: All presets, in the order of the table.
    """
    table = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [row for row in table if row["preset"] != preset]
    write_json(path, sorted([*kept, *rows], key=lambda row: presets.index(row["preset"])))


def csv_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV; an interval becomes two columns, ``_low`` and ``_high``."""
    flat = []
    for row in rows:
        cells: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, list | tuple):
                cells[f"{name}_low"], cells[f"{name}_high"] = value
            else:
                cells[name] = value
        flat.append(cells)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite_or_none(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
