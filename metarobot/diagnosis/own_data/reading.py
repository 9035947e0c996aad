"""`read_recordings`, `read_unlabelled`: a folder of recordings, checked, as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarobot.diagnosis.channels import Channel
from metarobot.diagnosis.own_data.columns import TIME, order_like, read_channels
from metarobot.diagnosis.own_data.csv_file import parse_csv
from metarobot.diagnosis.own_data.errors import OwnDataError, errors_of
from metarobot.diagnosis.own_data.found_files import is_recording, recordings_in
from metarobot.diagnosis.own_data.label_table import (
    LABELS_FILE,
    MOST_TABLE_BYTES,
    SUFFIXES,
    LabelRow,
    parse_labels,
    require_known,
)
from metarobot.diagnosis.own_data.numbers_table import NumbersTable
from metarobot.diagnosis.own_data.own_recordings import OwnRecordings
from metarobot.diagnosis.own_data.parquet_file import parse_parquet
from metarobot.diagnosis.own_data.sampling import require_same_rate, sample_rate
from metarobot.diagnosis.own_data.windows import cut, require_same_length
from metarobot.envs import nearest_name
from metarobot.envs.memory import require_memory
from metarobot.folder import Folder

MOST_FILE_BYTES = 256 * 2**20
"""The longest file that is read."""


class _Recording(NamedTuple):
    """One file that was read."""

    path: Path
    channels: tuple[Channel, ...]
    samples_per_s: float
    signals: np.ndarray
    """(T, C) float32."""


def read_recordings(
    folder: Path | str, *, window_s: float | None = None, labels: Sequence[str] | None = None
) -> OwnRecordings:
    """Read a folder of recordings; docs/own-recordings.md describes it.

    Args:
        folder: The folder, which holds `labels.csv`.
        window_s: Cut every recording into windows of so many seconds, which do not overlap; what
            is left at its end is dropped.  Without, recordings must be equally long.
        labels: Labels that are allowed, those of a trained learner; any where None.

    Raises:
        OwnDataError: Something is wrong; the message is one line.
    """
    path = Path(folder)
    with errors_of(path):
        place = Folder.named(path)
        rows = _read_labels(place)
        if labels is not None:
            require_known(rows, labels, path / LABELS_FILE)
        recordings = _read_all(place, rows)
    return _gather(rows, recordings, window_s)


def read_unlabelled(folder: Path | str, *, window_s: float | None = None) -> OwnRecordings:
    """Read a folder of recordings of which nobody knows yet what they show.

    All CSV and Parquet files in it and in folders in it are read, in the order of their names.  A
    label table is not read.

    Args:
        folder: The folder.
        window_s: As of `read_recordings`.

    Returns:
        The recordings; their labels and machines are empty.

    Raises:
        OwnDataError: Something is wrong; the message is one line.
    """
    path = Path(folder)
    with errors_of(path):
        place = Folder.named(path)
        if not place.exists():
            raise OwnDataError(f"{place}: there is no such folder")
        rows = [LabelRow(0, name, "") for name in recordings_in(place)]
        if not rows:
            raise OwnDataError(
                f"{place} holds no recordings: put a file that ends in {' or '.join(SUFFIXES)} "
                "there for each"
            )
        recordings = [recording for recording, _ in _read_each(place, rows)]
    return _gather(rows, recordings, window_s)


def _read_labels(place: Folder) -> list[LabelRow]:
    if not place.exists():
        raise OwnDataError(
            f"{place}: there is no such folder: `metarobot diagnose record --out {place}` makes one"
        )
    if not place.has(LABELS_FILE):
        raise OwnDataError(
            f"{place} holds no {LABELS_FILE}: a table with the columns file,label, and machine "
            "where there are several"
        )
    data = place.read(LABELS_FILE, MOST_TABLE_BYTES)
    return parse_labels(data, place.path / LABELS_FILE)


def _read_all(place: Folder, rows: Sequence[LabelRow]) -> list[_Recording]:
    """Read every file, and compare it with those before."""
    read: list[_Recording] = []
    seen: dict[bytes, LabelRow] = {}
    for row, (recording, digest) in zip(rows, _read_each(place, rows), strict=True):
        twin = seen.setdefault(digest, row)
        if twin is not row:
            raise OwnDataError(
                f"{place.path / LABELS_FILE}: lines {twin.line} and {row.line}: {twin.file!r} "
                f"({twin.label}) and {row.file!r} ({row.label}) hold the same numbers: drop one"
            )
        read.append(recording)
    return read


def _read_each(place: Folder, rows: Sequence[LabelRow]) -> Iterator[tuple[_Recording, bytes]]:
    """Read one file after the other; with each comes a digest of its numbers."""
    named, first = frozenset(row.file for row in rows), None
    for row in rows:
        recording, digest = _read(_read_table(place, row, named), first)
        if first is None:
            first = recording
            _require_memory(len(rows), first)
        yield recording, digest


def _read(table: NumbersTable, first: _Recording | None) -> tuple[_Recording, bytes]:
    """Read one file, its channels in the order of the first recording's; and digest its numbers.

    The digest is that of the numbers in the file: single precision may merge what differs.
    """
    channels = read_channels(table.names, table.path)
    time = table.names.index(TIME)
    rate = sample_rate(table, table.values[:, time])
    signals = np.delete(table.values, time, axis=1)
    if first is not None:
        order = order_like(first.channels, channels, table.path, first.path)
        signals, channels = signals[:, order], first.channels
        require_same_rate(rate, first.samples_per_s, table, first.path.name)
        rate = first.samples_per_s
    digest = hashlib.sha256(signals.tobytes()).digest()
    single = np.ascontiguousarray(signals, np.float32)
    return _Recording(table.path, channels, rate, single), digest


def _read_table(place: Folder, row: LabelRow, named: Collection[str]) -> NumbersTable:
    *folders, name = row.parts
    for folder in folders:
        place = place / folder
    if not place.exists() or not place.has(name):
        files = filter(is_recording, place.names())
        others = [own for own in files if "/".join((*folders, own)) not in named]
        raise OwnDataError(
            f"{place.path / name}: there is no such file, line {row.line} of {LABELS_FILE} names "
            f"it: copy it there, or drop the line{nearest_name(name, others)}"
        )
    data = place.read(name, MOST_FILE_BYTES)
    parse = parse_parquet if name.lower().endswith(".parquet") else parse_csv
    return parse(data, place.path / name)


def _require_memory(count: int, first: _Recording) -> None:
    """Refuse, once the size of one is known, what would not fit into this machine."""
    try:
        size = 2 * count * first.signals.nbytes  # as they are read, and gathered
        require_memory({f"{count} recordings as {first.path.name}": size}, "name fewer")
    except ValueError as error:
        raise OwnDataError(str(error)) from error


def _gather(
    rows: Sequence[LabelRow], recordings: Sequence[_Recording], window_s: float | None
) -> OwnRecordings:
    """Put all recordings, or the windows of all, into one batch."""
    first = recordings[0]
    if window_s is None:
        require_same_length([(each.path, len(each.signals)) for each in recordings])
        parts = [each.signals[None] for each in recordings]
    else:
        parts = [cut(each.signals, window_s, each.samples_per_s, each.path) for each in recordings]
    counts = [len(part) for part in parts]
    texts = {
        name: np.repeat([getattr(row, name) for row in rows], counts)
        for name in ("label", "machine", "file", "joint", "severity", "condition")
    }
    return OwnRecordings(
        signals=np.concatenate(parts),
        channels=first.channels,
        samples_per_s=first.samples_per_s,
        window=np.concatenate([np.arange(count) for count in counts]),
        **texts,
    )
