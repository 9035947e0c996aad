"""The label table of a folder: which file holds which recording, of what, from which machine."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from metarobot.diagnosis.own_data.columns import LONGEST_NAME
from metarobot.diagnosis.own_data.errors import OwnDataError
from metarobot.diagnosis.own_data.text_lines import read_cells, read_header, read_lines
from metarobot.envs import nearest_name
from metarobot.envs.checked_numbers import show

LABELS_FILE = "labels.csv"
MOST_TABLE_BYTES = 16 * 2**20
MOST_RECORDINGS = 100_000
SUFFIXES = (".csv", ".parquet")
_NEEDED = ("file", "label")
_FREE = ("joint", "severity", "condition")
_LONGEST_FILE = 200
_DRIVE = re.compile(r"[A-Za-z]:")


class LabelRow(NamedTuple):
    """One recording, as the table has it; what the table does not tell is empty."""

    line: int
    """Where it stands in the table."""
    file: str
    """Its file, from the folder on, with / between folders."""
    label: str
    """What was wrong with the machine, or that nothing was."""
    machine: str = ""
    """Which machine it is from."""
    joint: str = ""
    severity: str = ""
    condition: str = ""

    @property
    def parts(self) -> list[str]:
        """The folders that lead to the file, and its name."""
        return self.file.split("/")


COLUMNS = LabelRow._fields[1:]
"""Columns that the table may have; file and label it must."""


def parse_labels(data: bytes, path: Path) -> list[LabelRow]:
    """Return the rows of a label table.

    Args:
        data: The file.
        path: Where it is, for messages.

    Raises:
        OwnDataError: It is no such table, names a file twice or one outside the folder, or has
            fewer than two labels.
    """
    header, *lines = read_lines(data, path)
    names = read_header(header, path)
    _require_columns(names, path)
    if not 1 <= len(lines) <= MOST_RECORDINGS:
        raise OwnDataError(
            f"{path} names {len(lines):,} recordings, must name 1 to {MOST_RECORDINGS:,}: a line "
            "each, such as a.csv,healthy"
        )
    rows = [_read_row(line, number, names, path) for number, line in enumerate(lines, 2)]
    _require_different_files(rows, path)
    _require_two_labels(rows, path)
    for column in ("label", "machine"):
        _require_one_spelling(column, sorted({getattr(row, column) for row in rows}), path)
    return rows


def require_known(rows: Sequence[LabelRow], labels: Sequence[str], path: Path) -> None:
    """Refuse a label that a trained learner does not know.

    Raises:
        OwnDataError: There is one.
    """
    for row in rows:
        if row.label not in labels:
            raise OwnDataError(
                f"{path}: line {row.line}: no label {row.label!r}, allowed: {', '.join(labels)}"
                + nearest_name(row.label, labels)
            )


def _require_columns(names: Sequence[str], path: Path) -> None:
    for name in names:
        if name not in COLUMNS:
            raise OwnDataError(
                f"{path}: line 1: no column {show(name)}, allowed: {', '.join(COLUMNS)}: rename or "
                f"drop it{nearest_name(name, COLUMNS)}"
            )
        if names.count(name) > 1:
            raise OwnDataError(f"{path}: line 1 has the column {name!r} twice: drop one")
    for name in _NEEDED:
        if name not in names:
            raise OwnDataError(
                f"{path}: line 1 lacks the column {name!r}, allowed: {', '.join(COLUMNS)}"
            )


def _read_row(line: str, number: int, names: Sequence[str], path: Path) -> LabelRow:
    place = f"{path}: line {number}"
    cells = read_cells(line, number, path)
    if len(cells) != len(names):
        raise OwnDataError(
            f"{place} has {len(cells)} cells, the first line names {len(names)} columns: "
            f"{show(line)}"
        )
    for name, cell in zip(names, cells, strict=True):
        if not cell and name not in _FREE:
            raise OwnDataError(f"{place}: {name} is empty: fill it, or drop the line")
        most = _LONGEST_FILE if name == "file" else LONGEST_NAME
        if not cell.isprintable() or len(cell) > most:
            raise OwnDataError(
                f"{place}: {name} must be up to {most} printable characters, got {show(cell)}"
            )
    # One spelling for what looks alike; but a file is called what the disk calls it.
    texts = {
        name: cell if name == "file" else unicodedata.normalize("NFC", cell)
        for name, cell in zip(names, cells, strict=True)
    }
    row = LabelRow(number, **texts)
    _require_inside(row, place)
    return row


def _require_inside(row: LabelRow, place: str) -> None:
    """Refuse what is not the name of a recording in the folder."""
    if "\\" in row.file:
        raise OwnDataError(f"{place}: write / between folders, got {row.file!r}")
    if {"", ".", ".."} & {*row.parts} or _DRIVE.match(row.file):
        raise OwnDataError(
            f"{place}: {row.file!r} must be the name of a file in the folder, such as a.csv or "
            "press1/a.csv: copy it there"
        )
    if not row.file.lower().endswith(SUFFIXES) or row.file == LABELS_FILE:
        raise OwnDataError(
            f"{place}: {row.file!r} is no recording: its name must end in {' or '.join(SUFFIXES)}"
        )


def _require_different_files(rows: Sequence[LabelRow], path: Path) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        if row.file in seen:
            raise OwnDataError(
                f"{path}: lines {seen[row.file]} and {row.line} both name {row.file!r}: a "
                "recording has one line"
            )
        seen[row.file] = row.line


def _require_two_labels(rows: Sequence[LabelRow], path: Path) -> None:
    labels = {row.label for row in rows}
    if len(labels) == 1:
        raise OwnDataError(
            f"{path} has the one label {labels.pop()!r}, needs at least 2 to tell apart, such as "
            "healthy and a fault"
        )


def _require_one_spelling(column: str, names: Sequence[str], path: Path) -> None:
    """Refuse names that a typist meant to be the same."""
    folded: dict[str, str] = {}
    for name in names:
        same = folded.setdefault(re.sub(r"[\s_-]+", " ", name).casefold(), name)
        if same != name:
            raise OwnDataError(
                f"{path} has the {column}s {same!r} and {name!r}: spell them alike, or tell them "
                "apart by more than case, spaces and hyphens"
            )
