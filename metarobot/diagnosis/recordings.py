"""`Recordings`: signals of machines, in memory and as a folder of CSV and Parquet files.

docs/own-recordings.md describes the folder.  Nothing in a file is executed, and nothing outside the
folder is read.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from metarobot.adaptation.file_reader import MOST_NUMBERS, FileReader
from metarobot.diagnosis.tables import (
    LONGEST_NAME,
    Kind,
    TableError,
    errors_as,
    read_table,
    refuse,
    require_bounded,
)
from metarobot.envs import nearest_name
from metarobot.envs.checks import is_number, require_memory, show
from metarobot.io import Folder

LABELS_FILE = "labels.csv"
LEAST_SAMPLES = 4
TIMES = {"time_s": 1.0, "time_ms": 1e-3, "time_us": 1e-6, "timestamp": 1.0}
"""Columns that hold the time, and their unit in seconds; a timestamp is a date with time."""
_SUFFIXES = (".csv", ".parquet")
_LONGEST_FILE = 200
_SAME_RATE = 0.01
"""Fraction by which rates of recordings may differ; clocks differ by less."""
_LARGEST = float(np.finfo(np.float32).max)  # signals are kept in single precision


class RecordingsError(ValueError):
    """A folder of recordings is not valid; one line with file, place, value, way out."""


class Channel(NamedTuple):
    """One signal of a recording."""

    name: str
    unit: str
    """Empty if unknown."""

    def __str__(self) -> str:
        """Return it as the first line of a file names it: "current [A]"."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @classmethod
    def of(cls, column: str) -> Channel:
        """Read the name of a column, with its unit in brackets where it has one."""
        before, _, unit = column.removesuffix("]").rpartition("[")
        has_unit = before.strip() and column.endswith("]") and "]" not in unit
        return cls(before.rstrip(), unit) if has_unit else cls(column, "")


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
    """(R,) of strings: the file.  Windows of one file share it; no split may separate them."""

    def __len__(self) -> int:
        return len(self.signals)

    def rows(self, index: Sequence[int] | slice | np.ndarray) -> Recordings:
        """Return the recordings of a boolean mask, integers or a slice."""
        numbers = np.arange(len(self))[index]
        columns = {f.name: getattr(self, f.name)[numbers] for f in fields(self)[3:]}
        return replace(self, signals=tuple(self.signals[k] for k in numbers), **columns)

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
        """Return all signals as one array, (R, C, T); a ValueError if their lengths differ."""
        lengths = sorted({signal.shape[1] for signal in self.signals})
        if len(lengths) > 1:
            raise ValueError(
                f"recordings must be equally long, got {lengths[0]} to {lengths[-1]} samples: "
                "cut them into windows (window_s, --window-s)"
            )
        return np.stack(self.signals)


class _File(NamedTuple):
    """A recording as its file has it, or resampled."""

    path: Path
    channels: tuple[Channel, ...]
    signals: np.ndarray
    """(C, T) float32."""
    rate_hz: float
    digest: bytes
    """SHA-256 of all signals as float64, in the order of the channels' names."""


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
        labelled: Read the files in `labels.csv`.  Else all CSV and Parquet files in the folder and
            in folders in it, in the order of their names, without labels and machines.
        window_s: Cut recordings into windows of so many seconds, which do not overlap; the rest at
            the end is dropped.  Without, recordings are as long as their files.
        resample_hz: Bring all recordings to this rate; without, their rates must be the same.
        fill_missing: Interpolate a channel linearly over time where cells are empty.
        drop_duplicates: Keep the first of recordings with the same numbers; without, an error.
        ignore_labels: Leave out recordings with these labels; "" is an empty cell.

    Raises:
        RecordingsError: The folder is not valid; the message is one line.
    """
    path = Path(folder)
    for name, value in (("window_s", window_s), ("resample_hz", resample_hz)):
        if value is not None and not is_number(value, 1e-12, 1e12):
            raise RecordingsError(f"{name} must be a number above 0, got {show(value)}")
    with errors_as(RecordingsError, path), FileReader() as reader:
        place = Folder.named(path)
        if not place.exists():
            raise TableError("there is no such folder")
        if labelled:
            table = _read_labels(place, reader, ignore_labels)
        else:
            table = pd.DataFrame({"file": find_files(place), "label": "", "machine": ""})
        if not len(table):
            raise TableError(
                f"it holds no files that end in {' or '.join(_SUFFIXES)}: put some there"
            )
        files: list[_File] = []
        num_bytes = 0
        for name in table["file"]:
            file = _read_file(place, name, reader, fill_missing, resample_hz)
            files.append(_ordered_like(files[0], file) if files else file)
            num_bytes += file.signals.nbytes
            require_memory({f"recordings up to {name}": num_bytes}, "name fewer")
    if labelled:
        table = table.assign(digest=[file.digest for file in files])
        first = _first_of_same(table, path, drop=drop_duplicates)
        table, files = table.loc[first], [*compress(files, first)]
    rate_hz = _common_rate(files)
    windows = [_cut(file, window_s, rate_hz) for file in files]
    counts = [len(parts) for parts in windows]
    label, machine, name = (
        np.repeat(table[column].to_numpy(str), counts) for column in ("label", "machine", "file")
    )
    signals = tuple(window for parts in windows for window in parts)
    return Recordings(signals, rate_hz, files[0].channels, label, machine, name)


def find_files(place: Folder) -> list[str]:
    """Return the names of all recordings; folders that begin with a dot belong to programs."""
    found = []
    for name, kind in place.kinds().items():
        if kind == "folder" and not name.startswith("."):
            found += [f"{name}/{file}" for file in find_files(place / name)]
        elif kind != "folder" and _is_recording(name):
            found.append(name)
    return sorted(found)


def _is_recording(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and name != LABELS_FILE


def _at(place: Folder, file: str) -> tuple[Folder, str]:
    """Return the folder of a file, and its name there."""
    *folders, name = file.split("/")
    return Folder(place.root, (*place.parts, *folders)), name


def _is_inside(file: str) -> bool:
    """Return whether a text is the name of a recording in the folder."""
    parts = file.split("/")
    return (
        len(file) <= _LONGEST_FILE
        and file.isprintable()
        and not {"", ".", ".."} & {*parts}
        and "\\" not in file
        and file[1:2] != ":"
        and _is_recording(file)
    )


def _label_columns(names: Sequence[str]) -> dict[str, Kind]:
    """Choose the columns of the label table; others are ignored."""
    wanted = [name for name in names if name in ("file", "label", "machine")]
    similar = any(nearest_name(name, ["machine"]) for name in names[:20])
    if not {"file", "label"} <= {*wanted} or (similar and "machine" not in wanted):
        raise TableError(
            "the first line must name the columns file, label and, where there are several, "
            f"machine; it names {', '.join(map(show, names[:5]))}: rename columns"
        )
    return dict.fromkeys(wanted, "text")


def _read_labels(place: Folder, reader: FileReader, ignore_labels: Sequence[str]) -> Any:
    """Return files, labels and machines of the label table, without ignored labels."""
    if not place.has(LABELS_FILE):
        raise TableError(
            f"it holds no {LABELS_FILE}: a table with the columns file,label, and machine where "
            "there are several"
        )
    with errors_as(RecordingsError, place.path / LABELS_FILE):
        table: Any = read_table(reader, place, LABELS_FILE, _label_columns)
        way_out = "name a file in the folder, such as a.csv or press1/a.parquet"
        refuse(table, ~table["file"].map(_is_inside), "file", way_out)
        if "machine" in table:
            refuse(table, table["machine"] == "", "machine", "fill it, or drop the line")
        table = table.assign(machine=table.get("machine", ""))
        for column in ("label", "machine"):
            bad = (table[column].str.len() > LONGEST_NAME) | ~table[column].map(str.isprintable)
            refuse(table, bad, column, f"write up to {LONGEST_NAME} printable characters")
            table[column] = [unicodedata.normalize("NFC", cell) for cell in table[column]]
        ignored = {ignore_labels} if isinstance(ignore_labels, str) else {*ignore_labels}
        for label in ignored - {*table["label"], ""}:
            near = nearest_name(label[:LONGEST_NAME], {*table["label"]})
            raise TableError(f"it has no label {show(label)} to ignore{near}")
        table = table[~table["label"].isin(ignored)]
        way_out = 'fill it, or leave out such recordings (ignore_labels=[""], --ignore-label "")'
        refuse(table, table["label"] == "", "label", way_out)
        refuse(table, table["file"].duplicated(), "file", "it is named above: drop one line")
        if table["label"].nunique() < 2:
            raise TableError(
                "it must name recordings with at least 2 labels, such as healthy and a fault, it "
                f"has {[*table['label'].unique()]}"
            )
        for column in ("label", "machine"):
            spelling = table[column].str.casefold().str.replace(r"(?<!^)[-_\s]+", " ", regex=True)
            first = table[column].groupby(spelling).transform("first")
            way_out = (
                "a line above writes it in another way: spell both alike, or let more than case, "
                "spaces and hyphens differ"
            )
            refuse(table, table[column] != first, column, way_out)
        gone = ~table["file"].map(lambda file: Folder.has(*_at(place, file)))
        if gone.any():
            others = {*find_files(place)} - {*table["file"]}
            near = nearest_name(table["file"][gone].iloc[0], others)
            way_out = f"there is no such file: copy it there, or drop the line{near}"
            refuse(table, gone, "file", way_out)
        return table


def _signal_columns(names: Sequence[str]) -> dict[str, Kind]:
    """Choose the columns of a recording: the time and the channels; empty names are no channels."""
    given = [name for name in names if name]
    if len([name for name in given if name in TIMES]) != 1:
        raise TableError(
            "it must name its columns in the first line, and one of them time_s (seconds) or "
            f"{', '.join([*TIMES][1:])}; it has {', '.join(map(show, names[:5]))}"
            f"{', ...' if len(names) > 5 else ''}{nearest_name('time_s', given)}"
        )
    if len(given) == 1:
        raise TableError("it has no channel beside the time: add a column for each sensor")
    return {name: "date" if name == "timestamp" else "number" for name in given}


def _read_file(
    place: Folder, file: str, reader: FileReader, fill_missing: bool, resample_hz: float | None
) -> _File:
    """Read one recording, and resample it if there is a rate."""
    folder, name = _at(place, file)
    path = folder.path / name
    with errors_as(RecordingsError, path):
        way_out = (
            "write a number, leave the cell empty, or drop the row or the column; call a column of "
            "dates timestamp"
        )
        table: Any = read_table(reader, folder, name, _signal_columns, way_out)
        if len(table) < LEAST_SAMPLES:
            raise TableError(
                f"it has {len(table)} rows of numbers, must have at least {LEAST_SAMPLES}: record "
                "longer, or leave it out"
            )
        time = next(column for column in table if column in TIMES)
        column, form = table[time], "0.5"
        if time == "timestamp":
            column = (column - column.iloc[0]) / pd.Timedelta(seconds=1)
            form = "2026-01-31T08:15:00.5Z"
        time_s = column.to_numpy(np.float64) * TIMES[time]
        refuse(table, ~np.isfinite(time_s), time, f"write a time such as {form}, or drop the row")
        falls = np.diff(time_s, prepend=-np.inf) <= 0
        refuse(table, falls, time, "times must increase: sort the rows, or write more digits")
        columns = [column for column in table if column != time]
        way_out = "fill it in, or interpolate (fill_missing=True, --fill-missing)"
        require_bounded(table[columns], _LARGEST, None if fill_missing else way_out)
        digest = hashlib.sha256()
        for column in sorted(columns):
            digest.update(table[column].to_numpy().tobytes())
        with np.errstate(under="ignore"):
            signals = np.stack([table[column].to_numpy(np.float32) for column in columns])
        for column, signal in zip(columns, signals, strict=True):
            missing = np.isnan(signal)
            if missing.all():
                raise TableError(f"it has no number in {column!r}: leave the file out")
            signal[missing] = np.interp(time_s[missing], time_s[~missing], signal[~missing])
        if resample_hz is not None:
            rate_hz, signals = resample_hz, _resampled(time_s, signals, resample_hz)
        else:  # rounded times and jitter are no gaps
            steps = np.diff(time_s)
            usual = float(np.median(steps))
            uneven = (steps < 0.5 * usual) | (steps > 1.5 * usual)
            way_out = (
                f"a usual step is {usual:.6g} s: cut it there, or interpolate (resample_hz, "
                "--resample-hz)"
            )
            refuse(table.iloc[1:], uneven, time, way_out)
            rate_hz = float(f"{1 / steps.mean():.6g}")
    return _File(path, tuple(map(Channel.of, columns)), signals, rate_hz, digest.digest())


def _resampled(time_s: np.ndarray, signals: np.ndarray, rate_hz: float) -> np.ndarray:
    """Return signals (C, T) at another rate: interpolated on even times, then filtered."""
    duration_s, step_s = np.ptp(time_s), np.median(np.diff(time_s))
    ratio = Fraction(float(rate_hz * step_s)).limit_denominator(1000)
    least, most = sorted([duration_s * rate_hz, duration_s / step_s])
    if least < LEAST_SAMPLES - 1 or most * len(signals) > MOST_NUMBERS or ratio > 1000:
        raise TableError(
            f"it has {1 / step_s:g} samples a second in {duration_s:g} s, which cannot be "
            f"resampled to {rate_hz:g}: name a rate that is closer, or another length"
        )
    even_s = time_s[0] + np.arange(round(duration_s / step_s) + 1) * step_s
    even = np.stack([np.interp(even_s, time_s, signal) for signal in signals])
    if ratio != 1:
        even = resample_poly(even, *ratio.as_integer_ratio(), axis=1, padtype="line")
    return even.astype(np.float32)


def _ordered_like(first: _File, file: _File) -> _File:
    """Return a recording with the channels of the first one in its order."""
    lacks, has = {*first.channels} - {*file.channels}, {*file.channels} - {*first.channels}
    if lacks or has:
        texts = [
            f"{name} lacks {', '.join(sorted(repr(str(channel)) for channel in some)[:3])}"
            for name, some in ((file.path, lacks), (first.path.name, has))
            if some
        ]
        raise RecordingsError(
            f"{' and '.join(texts)}: all recordings need the same channels in the same units: "
            "rename, convert or drop them"
        )
    order = [file.channels.index(channel) for channel in first.channels]
    return file._replace(channels=first.channels, signals=file.signals[order])


def _first_of_same(table: Any, path: Path, *, drop: bool) -> Any:
    """Return the mask of first recordings by digest; others are an error or dropped."""
    again = table["digest"].duplicated()
    names = table["file"].map(repr) + " (" + table["label"] + ")"
    pairs = (names + " as " + names.groupby(table["digest"]).transform("first"))[again].tolist()
    if pairs and not drop:
        more = f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
        raise RecordingsError(
            f"{path / LABELS_FILE}: files hold the same numbers: {', '.join(pairs[:5])}{more}: "
            "drop their lines, or let them be dropped (drop_duplicates=True, --drop-duplicates)"
        )
    return ~again.to_numpy()


def _common_rate(files: Sequence[_File]) -> float:
    """Return the rate of all recordings."""
    usual = sorted(file.rate_hz for file in files)[len(files) // 2]
    for file in files:
        by_jitter = 0.5 / (file.signals.shape[1] - 1)  # of the first and the last time
        if abs(file.rate_hz - usual) > max(_SAME_RATE, by_jitter) * usual:
            raise RecordingsError(
                f"{file.path} has {file.rate_hz:g} samples a second, others {usual:g}: bring all "
                f"to one rate (resample_hz={usual:g}, --resample-hz {usual:g})"
            )
    return usual


def _cut(file: _File, window_s: float | None, rate_hz: float) -> list[np.ndarray]:
    """Return the windows of a recording (C, T) one after the other, or the recording."""
    if window_s is None:
        return [file.signals]
    length = round(min(window_s * rate_hz, 1e15))
    num_samples = file.signals.shape[1]
    if not LEAST_SAMPLES <= length <= num_samples:
        raise RecordingsError(
            f"{file.path} has {num_samples} samples, {num_samples / rate_hz:g} s, a window of "
            f"{window_s:g} s has {length}: take one of at least {LEAST_SAMPLES} samples that is no "
            "longer than the recording, or drop the recording"
        )
    starts = range(0, num_samples - length + 1, length)
    return [file.signals[:, start : start + length] for start in starts]


def write_recordings(recordings: Recordings, folder: Path | str) -> None:
    """Write a folder that `read_recordings` reads, with the same numbers bit for bit.

    File names are new: recording-0000.csv and so on.  `labels.csv` appears last.

    Args:
        recordings: Recordings to write, a CSV file for each.
        folder: A new folder, or an empty one.

    Raises:
        RecordingsError: Something is in the folder, or it cannot be written.
    """
    require_new_folder(folder)
    files = [f"recording-{row:04d}.csv" for row in range(len(recordings))]
    labels = pd.DataFrame({"file": files, "label": recordings.label})
    if any(recordings.machine):
        labels["machine"] = recordings.machine
    with errors_as(RecordingsError, folder):
        place = Folder(Path(folder))
        place.make()
        for name, signals in zip(files, recordings.signals, strict=True):
            table = pd.DataFrame(signals.T, columns=[*map(str, recordings.channels)])
            time_s = np.arange(len(table)) / recordings.rate_hz
            table.insert(0, "time_s", [f"{time:.12g}" for time in time_s])
            with place.create(name) as file:  # 9 digits name one number of single precision
                table.to_csv(file, index=False, float_format="%.9g", lineterminator="\n")
        place.write(LABELS_FILE, labels.to_csv(index=False, lineterminator="\n").encode())


def require_new_folder(folder: Path | str) -> None:
    """Make sure, before long work, that nothing is in a folder that is to be written.

    Raises:
        RecordingsError: Something is in it, or in its place.
    """
    path = Path(folder)
    with errors_as(RecordingsError, path):
        if Folder(path).names():
            raise RecordingsError(f"{path} is not empty: name a new folder")
