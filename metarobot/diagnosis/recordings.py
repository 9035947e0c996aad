"""`Recordings`: signals of machines, in memory and as a folder of CSV and Parquet files.

docs/own-recordings.md describes the folder.  Nothing in a file is executed, and nothing outside the
folder is read.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly

from metarobot.diagnosis.signal_file import (
    LEAST_SAMPLES,
    LONGEST_NAME,
    MOST_NUMBERS,
    Channel,
    ParquetProcess,
    RecordingsError,
    SignalFile,
    cells_of,
    column_name,
    lines_of,
    read_signal_file,
    split_header,
)
from metarobot.envs import nearest_name
from metarobot.envs.checked_numbers import is_number, show
from metarobot.envs.memory import require_memory
from metarobot.io import Folder, is_formula

__all__ = ["Channel", "Recordings", "RecordingsError", "read_recordings", "write_recordings"]

LABELS_FILE = "labels.csv"
MOST_RECORDINGS = 100_000
SUFFIXES = (".csv", ".parquet")
_LONGEST_FILE = 200
_DEEPEST = 10
_SAME_RATE = 0.01
"""Fraction by which rates of recordings may differ; clocks differ by less."""


@dataclass(frozen=True, eq=False)
class Recordings:
    """R recordings of machines, labelled or not."""

    signals: tuple[np.ndarray, ...]
    """R arrays (C, T_r) float32; lengths may differ."""
    rate_hz: float
    channels: tuple[Channel, ...]
    """C channels."""
    label: np.ndarray
    """(R,) of strings, empty where unknown."""
    machine: np.ndarray
    """(R,) of strings, empty where unknown."""
    name: np.ndarray
    """(R,) of strings: the file.  Windows of one file share it; no split may part them."""

    def __len__(self) -> int:
        return len(self.signals)

    def rows(self, index: Sequence[int] | slice | np.ndarray) -> Recordings:
        """Return the recordings of a boolean mask, integers or a slice."""
        numbers = np.arange(len(self))[index]
        columns = {f.name: getattr(self, f.name)[numbers] for f in fields(self)[3:]}
        signals = tuple(self.signals[number] for number in numbers)
        return Recordings(signals, self.rate_hz, self.channels, **columns)

    def joined(self, other: Recordings) -> Recordings:
        """Return these recordings and others of the same channels and rate."""
        columns = {
            f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)])
            for f in fields(self)[3:]
        }
        return replace(self, signals=self.signals + other.signals, **columns)

    @property
    def labels(self) -> tuple[str, ...]:
        """Distinct labels, sorted."""
        return tuple(np.unique(self.label).tolist())

    @property
    def machines(self) -> tuple[str, ...]:
        """Distinct machines, sorted."""
        return tuple(np.unique(self.machine).tolist())

    def stacked(self) -> np.ndarray:
        """Return all signals as one array, (R, C, T).

        Raises:
            ValueError: Lengths differ.
        """
        lengths = sorted({signal.shape[1] for signal in self.signals})
        if len(lengths) > 1:
            raise ValueError(
                f"recordings must be equally long, got {lengths[0]} to {lengths[-1]} samples: "
                "cut them into windows (window_s, --window-s)"
            )
        return np.stack(self.signals)


class _Row(NamedTuple):
    """A line of the label table."""

    line: int
    file: str
    label: str
    machine: str


def read_recordings(
    folder: Path | str,
    *,
    labelled: bool = True,
    window_s: float | None = None,
    resample_hz: float | None = None,
    fill_missing: bool = False,
    drop_duplicates: bool = False,
    ignore_labels: Sequence[str] = (),
) -> Recordings:
    """Read a folder of recordings; docs/own-recordings.md describes it.

    Args:
        folder: The folder.
        labelled: Read what `labels.csv` names.  Else all CSV and Parquet files in the folder and in
            folders in it, in the order of their names, without labels and machines.
        window_s: Cut recordings into windows of so many seconds, which do not overlap; the rest at
            the end is dropped.  Without, recordings are as long as their files.
        resample_hz: Bring all recordings to this rate; without, their rates must be the same.
        fill_missing: Interpolate a channel linearly over time where cells are empty.
        drop_duplicates: Keep the first of recordings with the same numbers; without, an error.
        ignore_labels: Leave out recordings with these labels; "" is an empty cell.

    Raises:
        RecordingsError: Something is wrong; the message is one line.
    """
    path = Path(folder)
    for name, value in (("window_s", window_s), ("resample_hz", resample_hz)):
        if value is not None and not is_number(value, 1e-12, 1e12):
            raise RecordingsError(f"{name} must be a number above 0, got {show(value)}")
    with _errors_of(path), closing(ParquetProcess()) as parquet:
        place = Folder.named(path)
        if not place.exists():
            raise RecordingsError(f"{place}: there is no such folder")
        rows = (
            _read_labels(place, ignore_labels)
            if labelled
            else [_Row(0, name, "", "") for name in find_files(place)]
        )
        files = _read_files(place, rows, parquet, fill_missing=fill_missing)
    if labelled:
        kept = _distinct(rows, files, path, drop=drop_duplicates)
        rows, files = [rows[k] for k in kept], [files[k] for k in kept]
    rate_hz, signals = _at_one_rate(files, resample_hz)
    windows = [_cut(s, window_s, rate_hz, f.path) for s, f in zip(signals, files, strict=True)]
    counts = [len(parts) for parts in windows]
    return Recordings(
        signals=tuple(window for parts in windows for window in parts),
        rate_hz=rate_hz,
        channels=files[0].channels,
        label=np.repeat([row.label for row in rows], counts),
        machine=np.repeat([row.machine for row in rows], counts),
        name=np.repeat([row.file for row in rows], counts),
    )


@contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    """Turn what the system, or the folder, refuses into a `RecordingsError`."""
    try:
        yield
    except RecordingsError:
        raise
    except OSError as error:
        raise RecordingsError(f"{error.filename or folder}: {error.strerror or error}") from error
    except ValueError as error:  # of a folder, or of memory
        raise RecordingsError(str(error)) from error
    except RuntimeError as error:
        raise RecordingsError(f"{folder} is a link that leads in a circle") from error


# The files of a folder.


def find_files(place: Folder) -> list[str]:
    """Return the names of all recordings; folders that begin with a dot belong to programs.

    Raises:
        RecordingsError: There are none, or too many.
    """
    found: list[str] = []
    folders = [place]
    while folders:
        here = folders.pop()
        within = here.parts[len(place.parts) :]
        for name, kind in here.kinds().items():
            if kind == "folder":
                folders += [] if name.startswith(".") else [here / name]
            elif _is_recording(name):
                found.append("/".join((*within, name)))
        if len(within) > _DEEPEST or len(found) + len(folders) > MOST_RECORDINGS:
            raise RecordingsError(
                f"{here} is deeper than {_DEEPEST} folders, or one of more than "
                f"{MOST_RECORDINGS:,} files: part them"
            )
    if not found:
        raise RecordingsError(
            f"{place} holds no recordings: put a file that ends in {' or '.join(SUFFIXES)} there "
            "for each"
        )
    return sorted(found)


def _is_recording(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and name != LABELS_FILE


def _read_files(
    place: Folder, rows: Sequence[_Row], parquet: ParquetProcess, *, fill_missing: bool
) -> list[SignalFile]:
    """Read one file after the other, all with the channels of the first in its order."""
    files: list[SignalFile] = []
    named, num_bytes = {row.file for row in rows}, 0
    for row in rows:
        *folders, name = row.file.split("/")
        here = Folder(place.root, (*place.parts, *folders))
        if not here.has(name):
            there = {"/".join((*folders, own)): own for own in here.names() if _is_recording(own)}
            free = [there[own] for own in there.keys() - named]
            raise RecordingsError(
                f"{here.path / name}: there is no such file, line {row.line} of {LABELS_FILE} "
                f"names it: copy it there, or drop the line{nearest_name(name, free)}"
            )
        file = read_signal_file(here, name, parquet, fill_missing=fill_missing)
        if files and file.channels != files[0].channels:
            order = _order_like(files[0], file)
            file = file._replace(channels=files[0].channels, signals=file.signals[order])
        files.append(file)
        num_bytes += file.signals.nbytes + file.time_s.nbytes
        require_memory({f"recordings up to {file.path.name}": num_bytes}, "name fewer")
    return files


def _order_like(first: SignalFile, file: SignalFile) -> list[int]:
    """Return where the channels of the first recording stand in another."""
    units, own = dict(first.channels), dict(file.channels)
    for name in {**units, **own}:
        if units.get(name) != own.get(name):
            texts = [
                repr(column_name(Channel(name, unit))) if unit is not None else f"no {name!r}"
                for unit in (own.get(name), units.get(name))
            ]
            raise RecordingsError(
                f"{file.path} has {texts[0]}, {first.path.name} has {texts[1]}: all recordings "
                "need the same channels in the same units: rename, convert or drop it"
                f"{nearest_name(name, own.keys() - units.keys())}"
            )
    return [[*own].index(name) for name in units]


# The label table.


def _read_labels(place: Folder, ignore_labels: Sequence[str]) -> list[_Row]:
    """Read the label table, without what is to be ignored."""
    path = place.path / LABELS_FILE
    if not place.has(LABELS_FILE):
        raise RecordingsError(
            f"{place} holds no {LABELS_FILE}: a table with the columns file,label, and machine "
            "where there are several"
        )
    rows = list(islice(_label_rows(place), MOST_RECORDINGS + 1))
    if not 1 <= len(rows) <= MOST_RECORDINGS:
        raise RecordingsError(
            f"{path} must name 1 to {MOST_RECORDINGS:,} recordings: a line each, such as "
            "a.csv,healthy"
        )
    ignored = {ignore_labels} if isinstance(ignore_labels, str) else {*ignore_labels}
    for label in ignored - {row.label for row in rows} - {""}:
        raise RecordingsError(
            f"{path} has no label {show(label)} to ignore"
            f"{nearest_name(label[:LONGEST_NAME], {row.label for row in rows})}"
        )
    rows = [row for row in rows if row.label not in ignored]
    labels = sorted({row.label for row in rows})
    lines: dict[str, int] = {}
    for row in rows:
        if not row.label:
            raise RecordingsError(
                f"{path}: line {row.line}: label is empty: fill it, or leave out such recordings "
                '(ignore_labels=[""], --ignore-label "")'
            )
        if lines.setdefault(row.file, row.line) != row.line:
            raise RecordingsError(
                f"{path}: lines {lines[row.file]} and {row.line} both name {row.file!r}: drop one"
            )
    if len(labels) < 2:
        raise RecordingsError(
            f"{path} needs at least 2 labels, such as healthy and a fault, it has {labels}"
        )
    for column, names in (("label", labels), ("machine", sorted({row.machine for row in rows}))):
        _require_one_spelling(column, names, path)
    return rows


def _label_rows(place: Folder) -> Iterator[_Row]:
    """Yield the rows of the label table; columns that are not needed are ignored."""
    path = place.path / LABELS_FILE
    lines = lines_of(place, LABELS_FILE)
    number, line = next(lines, (1, ""))
    try:
        separator, names = split_header(line, _Row._fields)
        counts = [names.count(each) for each in ("file", "label", "machine")]
        similar = [name for name in names[:20] if nearest_name(name[:LONGEST_NAME], ["machine"])]
        if counts not in ([1, 1, 0], [1, 1, 1]) or (similar and not counts[2]):
            raise RecordingsError(
                f"{path}: line {number} must name the columns file, label and, where there are "
                f"several, machine, once each; it is {show(line)}: rename columns"
            )
        for number, line in lines:
            cells = cells_of(line, separator)
            where = f"{path}: line {number}"
            if len(cells) < len(names) or any(cells[len(names) :]):
                raise RecordingsError(
                    f"{where} has {len(cells)} cells, the first line names {len(names)} columns: "
                    f"{show(line)}: fill it, or put quotes around a cell with {separator!r}"
                )
            found = dict(zip(names, cells, strict=False))
            if found.get("machine") == "":
                raise RecordingsError(f"{where}: machine is empty: fill it, or drop the line")
            _require_inside(found["file"], where)
            label, machine = (_text(found.get(k, ""), k, where) for k in ("label", "machine"))
            yield _Row(number, found["file"], label, machine)
    except csv.Error as error:
        raise RecordingsError(f"{path}: line {number}: {error}: {show(line)}: mend it") from error


def _is_quoted(text: str) -> bool:
    """Return whether an apostrophe is written before a text: before a formula, or another one."""
    return text.startswith("'") or is_formula(text)


def _text(cell: str, column: str, where: str) -> str:
    """Return a label or a machine as it is meant: in one form of Unicode, see `_cell`."""
    if cell.startswith("'") and _is_quoted(cell[1:]):
        cell = cell[1:]
    if len(cell) > LONGEST_NAME or not cell.isprintable():
        raise RecordingsError(
            f"{where}: {column} must be up to {LONGEST_NAME} printable characters, got {show(cell)}"
        )
    return unicodedata.normalize("NFC", cell)


def _require_inside(file: str, where: str) -> None:
    """Refuse what is not the name of a recording in the folder."""
    parts = file.split("/")
    if (
        len(file) > _LONGEST_FILE
        or len(parts) > _DEEPEST
        or not file.isprintable()
        or {"", ".", ".."} & {*parts}
        or "\\" in file
        or file[1:2] == ":"
        or not _is_recording(file)
    ):
        raise RecordingsError(
            f"{where}: {show(file)} must be the name of a file in the folder, such as a.csv or "
            "press1/a.parquet, of up to 200 characters: copy it there"
        )


def _require_one_spelling(column: str, names: Sequence[str], path: Path) -> None:
    """Refuse names that a typist meant to be the same."""
    folded: dict[tuple[str, ...], str] = {}
    for name in names:
        words = name.casefold().replace("_", " ").replace("-", " ").split()
        sign = name[:1] if name.startswith("-") else ""
        if (same := folded.setdefault((sign, *words), name)) != name:
            raise RecordingsError(
                f"{path} has the {column}s {same!r} and {name!r}: spell them alike, or let more "
                "than case, spaces and hyphens differ"
            )


# All recordings together.


def _distinct(
    rows: Sequence[_Row], files: Sequence[SignalFile], path: Path, *, drop: bool
) -> list[int]:
    """Return which recordings are the first with their numbers; others are an error or dropped."""
    first: dict[bytes, int] = {}
    twins = [first.setdefault(file.digest, k) for k, file in enumerate(files)]
    pairs = [
        f"{rows[k].file!r} ({rows[k].label}) as {rows[twin].file!r} ({rows[twin].label})"
        for k, twin in enumerate(twins)
        if k != twin
    ]
    if pairs and not drop:
        more = f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
        raise RecordingsError(
            f"{path / LABELS_FILE}: files hold the same numbers: {', '.join(pairs[:5])}{more}: "
            "drop their lines, or let them be dropped (drop_duplicates=True, --drop-duplicates)"
        )
    return [*first.values()]


def _at_one_rate(
    files: Sequence[SignalFile], resample_hz: float | None
) -> tuple[float, list[np.ndarray]]:
    """Return the rate of all recordings, and their signals (C, T) at this rate."""
    if resample_hz is not None:
        return resample_hz, [_resampled(file, resample_hz) for file in files]
    rates = [_rate_hz(file) for file in files]
    usual = sorted(rates)[len(rates) // 2]
    for file, rate in zip(files, rates, strict=True):
        by_jitter = 0.5 / (len(file.time_s) - 1)  # of the first and the last time
        if abs(rate - usual) > max(_SAME_RATE, by_jitter) * usual:
            raise RecordingsError(
                f"{file.path} has {rate:g} samples a second, others {usual:g}: bring all to one "
                f"rate (resample_hz={usual:g}, --resample-hz {usual:g})"
            )
    return usual, [file.signals for file in files]


def _rate_hz(file: SignalFile) -> float:
    """Return the samples a second, to 6 digits; rounded times and jitter are no gaps."""
    steps = np.diff(file.time_s)
    usual = float(np.median(steps))
    uneven = (steps < 0.5 * usual) | (steps > 1.5 * usual)
    if uneven.any():
        row = int(np.argmax(uneven))
        raise RecordingsError(
            f"{file.path}: {file.place(row + 1)}: the time goes from {file.time_s[row]:.10g} to "
            f"{file.time_s[row + 1]:.10g} where {usual:.6g} s is a usual step: cut it there, "
            "or interpolate (resample_hz, --resample-hz)"
        )
    return float(f"{1 / steps.mean():.6g}")


def _resampled(file: SignalFile, rate_hz: float) -> np.ndarray:
    """Return signals (C, T) at another rate: interpolated on even times, then filtered."""
    duration_s, step_s = np.ptp(file.time_s), np.median(np.diff(file.time_s))
    ratio = Fraction(float(rate_hz * step_s)).limit_denominator(1000)
    num_samples = duration_s / step_s * max(1, ratio)
    if not 0 < ratio <= 1000 or num_samples * len(file.signals) > MOST_NUMBERS:
        raise RecordingsError(
            f"{file.path} has {1 / step_s:g} samples a second in {duration_s:g} s, which cannot be "
            f"resampled to {rate_hz:g}: name a rate that is closer, or cut the recording"
        )
    even_s = file.time_s[0] + np.arange(round(duration_s / step_s) + 1) * step_s
    signals = np.stack([np.interp(even_s, file.time_s, signal) for signal in file.signals])
    if ratio != 1:
        signals = resample_poly(signals, *ratio.as_integer_ratio(), axis=1, padtype="line")
    if signals.shape[1] < LEAST_SAMPLES:
        raise RecordingsError(
            f"{file.path} has {signals.shape[1]} samples at {rate_hz:g} Hz, must have at least "
            f"{LEAST_SAMPLES}: name a higher rate, or leave it out"
        )
    return signals.astype(np.float32)


def _cut(
    signals: np.ndarray, window_s: float | None, rate_hz: float, path: Path
) -> list[np.ndarray]:
    """Return the windows of a recording (C, T) one after the other, or the recording.

    Raises:
        RecordingsError: The recording is shorter than a window, or a window is too short.
    """
    if window_s is None:
        return [signals]
    length = round(min(window_s * rate_hz, 1e15))
    if length < LEAST_SAMPLES:
        raise RecordingsError(
            f"window_s must hold at least {LEAST_SAMPLES} samples, {LEAST_SAMPLES / rate_hz:g} s, "
            f"got {window_s:g}"
        )
    num_samples = signals.shape[1]
    if num_samples < length:
        raise RecordingsError(
            f"{path} has {num_samples} samples, {num_samples / rate_hz:g} s, a window {length}, "
            f"{window_s:g} s: take a shorter window, or drop the recording"
        )
    starts = range(0, num_samples - length + 1, length)
    return [signals[:, start : start + length] for start in starts]


# Writing.


def write_recordings(recordings: Recordings, folder: Path | str) -> None:
    """Write a folder that `read_recordings` reads, with the same numbers bit for bit.

    The folder appears whole or not at all.  File names are new: recording-0000.csv and so on.

    Args:
        recordings: What is written, a CSV file for each.
        folder: A new folder, or an empty one.

    Raises:
        RecordingsError: Something is in the folder, or it cannot be written.
    """
    path = Path(folder).absolute()
    require_new_folder(folder)
    labels = [("file", "label", "machine")]
    columns = (recordings.label, recordings.machine)
    for row, (label, machine) in enumerate(zip(*columns, strict=True)):
        labels.append((_file_name(row), _cell(label, "label"), _cell(machine, "machine")))
    if not any(recordings.machine):
        labels = [row[:2] for row in labels]
    with _errors_of(path):
        above = Folder.named(path.parent)
        partial = above / f".{path.name}.partial"
        above.make()
        try:
            partial.remove_tree()  # left over from a process that was killed
            partial.make()
            for row, signals in enumerate(recordings.signals):
                with partial.create(_file_name(row)) as file:
                    file.write(_csv_bytes(signals, recordings))
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(labels)
            partial.write(LABELS_FILE, text.getvalue().encode())
            (above / path.name).remove_if_empty()
            above.move(f".{path.name}.partial", above, path.name)
        finally:
            partial.remove_tree()


def require_new_folder(folder: Path | str) -> None:
    """Make sure, before long work, that nothing is in a folder that is to be written.

    Raises:
        RecordingsError: Something is in it, or in its place.
    """
    path = Path(folder)
    with _errors_of(path):
        if Folder(path).names():
            raise RecordingsError(f"{path} is not empty: name a new folder")


def _file_name(row: int) -> str:
    return f"recording-{row:04d}.csv"


def _cell(text: str, column: str) -> str:
    """Return a label or a machine as a cell that no spreadsheet computes.

    Raises:
        RecordingsError: It could not be read again.
    """
    cell = f"'{text}" if _is_quoted(text) else str(text)
    if _text(cell.strip(), column, "recordings") != text:
        raise RecordingsError(f"{column} {show(str(text))} has spaces at an end: strip it")
    return cell


def _csv_bytes(signals: np.ndarray, recordings: Recordings) -> bytes:
    """Return one recording, (C, T), as CSV; 9 digits name one number of single precision."""
    time_s = np.arange(signals.shape[1]) / recordings.rate_hz
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(
        ["time_s", *map(column_name, recordings.channels)]
    )
    formats = ["%.12g", *["%.9g"] * len(signals)]
    np.savetxt(text, np.column_stack([time_s, signals.T]), fmt=formats, delimiter=",")
    return text.getvalue().encode()
