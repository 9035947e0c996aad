"""Tables of results: JSON files that hold a list of rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarobot.io import write_json


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; none where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def replace_rows(path: Path, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Put rows into a file, in place of those about the same, and sort all of them.

    Args:
        path: File of rows; made if missing.
        rows: The new ones.
        names: Columns that tell what a row is about, in the order of sorting.
    """

    def about(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in names)

    replaced = set(map(about, rows))
    kept = [row for row in read_rows(path) if about(row) not in replaced]
    write_json(path, sorted([*kept, *rows], key=about))
