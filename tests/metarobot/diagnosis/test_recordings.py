"""Folders of recordings: numbers come back bit for bit; what is wrong is said in one line."""

import gzip
import io
import os
import re
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hostile import GIANT_BYTES, IN_PLACE_OF_A_FILE, make_canary, needs_posix, snapshot
from own_folders import FILES, HEADER, change, lines_of, make_folder, replace_cell, rows, write

from metarobot.diagnosis import recordings as module
from metarobot.diagnosis.recordings import Channel, Recordings, RecordingsError

from metarobot.diagnosis.recordings import read_recordings, write_recordings  # isort: skip

PAGE = (Path(__file__).parents[3] / "docs" / "own-recordings.md").read_text(encoding="utf-8")


def made_up(labels, machines, lengths, scale=1.0):
    rng = np.random.default_rng(0)
    signals = tuple((rng.normal(size=(2, n)) * scale).astype(np.float32) for n in lengths)
    channels = (Channel("current", "A"), Channel("force, side", ""))
    names = np.array([f"{k}" for k in range(len(labels))])
    return Recordings(signals, 250.0, channels, np.array(labels), np.array(machines), names)


LABELS = ["=SUM(A1:A9)", "-worn, badly", "'quoted", "@home", "-5", '5: "no"']


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_what_is_written_comes_back_bit_for_bit(scale, tmp_path):
    machines = ["+1", "1-1", "11", "\uff1d1", "''", "-"]
    written = made_up(LABELS, machines, [4, 5, 8, 800, 15, 32], scale)
    write_recordings(written, tmp_path / "own")
    read = read_recordings(tmp_path / "own")
    assert [s.dtype for s in read.signals] == [np.float32] * 6
    for one, other in zip(read.signals, written.signals, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (read.label.tolist(), read.machine.tolist()) == (LABELS, machines)
    assert (read.channels, read.rate_hz) == (written.channels, written.rate_hz)
    table = (tmp_path / "own" / "labels.csv").read_text()
    assert not re.search(r'(^|,)"?[=+@-]', table, re.MULTILINE)


def test_a_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    recordings = made_up(["a", "b"], ["", ""], [9, 9])
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RecordingsError, match="not empty: name a new folder"):
        write_recordings(recordings, tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordingsError, match="link is a link"):
        write_recordings(recordings, tmp_path / "link")
    (tmp_path / ".own.partial").mkdir()  # as a process that was killed leaves it
    written = []

    def disk_that_fills(*arguments):
        written.append(arguments)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        return b"1"

    with monkeypatch.context() as patched:
        patched.setattr(module, "_csv_bytes", disk_that_fills)
        with pytest.raises(RecordingsError, match="No space left"):
            write_recordings(recordings, tmp_path / "own")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "note.txt"]
    write_recordings(recordings, tmp_path / "own")
    with pytest.raises(RecordingsError, match="label must be up to 100"):
        write_recordings(made_up(["x" * 101, "b"], ["", ""], [9, 9]), tmp_path / "other")
    assert len(read_recordings(tmp_path / "own")) == 2


def test_rows_and_stacks():
    recordings = made_up(["b", "a", "b"], ["", "1", "1"], [9, 9, 8])
    assert (recordings.labels, recordings.machines) == (("a", "b"), ("", "1"))
    for index in (slice(2), [0, 1], np.array([True, True, False])):
        assert recordings.rows(index).stacked().shape == (2, 2, 9)
    with pytest.raises(ValueError, match="equally long, got 8 to 9 samples: cut"):
        recordings.stacked()


def test_any_channels_and_lengths_are_read(tmp_path):
    folder = make_folder(tmp_path / "own")
    write(folder / "b.csv", [HEADER, *rows(1, 15)])
    read = read_recordings(folder)
    assert [s.shape for s in read.signals] == [(2, 20), (2, 15), (2, 20), (2, 20)]
    assert read.channels == (Channel("current", "A"), Channel("vibration", ""))
    assert (read.rate_hz, read.name.tolist()) == (100, [*FILES])
    assert read.label.tolist() == [*FILES.values()]
    expected = np.array([line.split(",")[1:] for line in rows(1, 15)], dtype=np.float32)
    np.testing.assert_array_equal(read.signals[1], expected.T)


# Texts that mean the same.


def lines_edit(edit):
    return lambda data: b"".join(edit(line) + b"\n" for line in data.splitlines())


def decimal_commas(separator):
    def edit(line):
        line = line.replace(b",", separator)
        return line if b".csv" in line else line.replace(b".", b",")

    return lines_edit(edit)


SAME = {
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "line ends of Windows": lambda data: data.replace(b"\n", b"\r\n"),
    "blank lines": lambda data: data.replace(b"\n", b"\n \n\n"),
    "no line end below": lambda data: data.rstrip(),
    "quotes": lines_edit(lambda line: b'"' + line.replace(b",", b'","') + b'"'),
    "spaces": lambda data: data.replace(b",", b" , "),
    "comments": lambda data: b'# 5" pipe\n\n' + data.replace(b"\n", b'\n# a,b," c\n', 4),
    "empty columns": lines_edit(lambda line: line + b",,"),
    "semicolons": lambda data: data.replace(b",", b";"),
    "tabulators and empty columns": lines_edit(lambda x: x.replace(b",", b"\t") + b"\t\t"),
    "decimal commas": decimal_commas(b";"),
    "decimal commas, tabulators": decimal_commas(b"\t"),
    "quoted decimal commas": lambda data: decimal_commas(b",")(SAME["quotes"](data)),
}


@pytest.mark.parametrize("name", SAME)
def test_what_editors_and_spreadsheets_do_to_a_file_changes_nothing(name, tmp_path):
    folder = make_folder(tmp_path / "own")
    before = read_recordings(folder)
    for path in folder.iterdir():
        path.write_bytes(SAME[name](path.read_bytes()))
    after = read_recordings(folder)
    np.testing.assert_array_equal(after.stacked(), before.stacked())
    assert after.channels == before.channels
    assert after.machine.tolist() == before.machine.tolist()


TIMES = {
    "time_ms": lambda t: f"{1000 * t:g}",
    "time_us": lambda t: f"{1.7e15 + 1e6 * t:.0f}",
    "timestamp": lambda t: (
        f"2026-03-29T00:59:{59.9 + t:06.3f}Z" if t < 0.1 else f"2026-03-29T01:00:{t - 0.1:06.3f}Z"
    ),
}


@pytest.mark.parametrize("column", TIMES)
def test_time_may_have_another_unit_or_be_a_date(column):
    folder = make_folder(Path("own"))
    before = read_recordings(folder)
    for name in FILES:
        cells = [line.split(",", 1) for line in lines_of(folder / name)]
        lines = [f"{TIMES[column](float(t))},{rest}" for t, rest in cells[1:]]
        write(folder / name, [f"{column},{cells[0][1]}", *lines])
    after = read_recordings(folder)
    np.testing.assert_array_equal(after.stacked(), before.stacked())
    assert after.rate_hz == 100


def test_names_and_channels_are_matched(tmp_path):
    """Any order, both forms of Unicode, folders in the folder, a link to the folder."""
    folder = make_folder(tmp_path / "own")
    before = read_recordings(folder)
    composed, apart = "usé", "use\u0301"
    for name, spelled in zip(FILES, (composed, apart, apart, composed), strict=True):
        change(folder / name, lambda t, s=spelled: [t[0].replace("vibration", s), *t[1:]])
    change(folder / "c.csv", lambda t: [",".join(line.split(",")[::-1]) for line in t])
    (folder / "press 1").mkdir()
    (folder / "a.csv").rename(folder / "press 1" / "a.csv")
    change(folder / "labels.csv", lambda t: [x.replace("a.csv", "press 1/a.csv") for x in t])
    change(folder / "labels.csv", lambda t: [x.replace("worn", composed) for x in t])
    replace_cell(folder / "labels.csv", 5, 1, apart)
    (tmp_path / "link").symlink_to(folder)
    after = read_recordings(tmp_path / "link")
    np.testing.assert_array_equal(after.stacked(), before.stacked())
    assert (after.labels, after.channels[1].name) == (("healthy", composed), composed)
    assert after.name[0] == "press 1/a.csv"


def test_recordings_without_a_table_are_read_from_folders_in_the_folder(tmp_path):
    folder = make_folder(tmp_path / "own")
    (folder / "press 1" / "monday").mkdir(parents=True)
    (folder / "b.csv").rename(folder / "press 1" / "monday" / "b.csv")
    (folder / ".checkpoints").mkdir()
    write(folder / ".checkpoints" / "a.csv", ["a copy that a program keeps"])
    write(folder / "press 1" / "labels.csv", ["another table"])
    read = read_recordings(folder, labelled=False)
    assert read.name.tolist() == ["a.csv", "c.csv", "d.csv", "press 1/monday/b.csv"]
    assert (read.labels, read.machines) == (("",), ("",))
    (folder / "/".join("abcdefghijk")).mkdir(parents=True)
    with pytest.raises(RecordingsError, match="deeper than 10 folders"):
        read_recordings(folder, labelled=False)


def test_labels_can_be_ignored_and_duplicates_dropped(tmp_path):
    folder = make_folder(tmp_path / "own")
    for name in "efghijk":
        (folder / f"{name}.csv").write_bytes((folder / "a.csv").read_bytes())
    more = [f"{name}.csv,unsure,press 1" for name in "efghij"]
    change(folder / "labels.csv", lambda t: [*t, *more, "k.csv,,press 1"])
    with pytest.raises(RecordingsError, match=r'line 12: label is empty.*--ignore-label ""'):
        read_recordings(folder)
    with pytest.raises(RecordingsError, match="no label 'unsur' to ignore, did you mean 'unsure'"):
        read_recordings(folder, ignore_labels=["unsur"])
    with pytest.raises(RecordingsError) as error:
        read_recordings(folder, ignore_labels=[""])
    assert "'e.csv' (unsure) as 'a.csv' (healthy), " in str(error.value)
    assert "'i.csv' (unsure) as 'a.csv' (healthy) and 1 more: " in str(error.value)
    for options in ({"ignore_labels": ["", "unsure"]}, {"drop_duplicates": True}):
        options.setdefault("ignore_labels", [""])
        assert read_recordings(folder, **options).name.tolist() == [*FILES]


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_recordings_that_differ_are_never_called_the_same(offset, tmp_path):
    """Single precision merges what differs by less than 64 at 1e9."""
    folder = make_folder(tmp_path / "own")
    for name in FILES:
        cells = [[float(c) for c in line.split(",")] for line in lines_of(folder / name)[1:]]
        lines = [f"{t:g},{a + offset:.6f},{b + offset:.6f}" for t, a, b in cells]
        write(folder / name, [HEADER, *lines])
    assert len(read_recordings(folder)) == 4


def test_what_is_missing_is_interpolated_if_asked_for(tmp_path):
    folder = make_folder(tmp_path / "own")
    replace_cell(folder / "b.csv", 3, 1, "")
    replace_cell(folder / "b.csv", 21, 2, "NaN")
    whole, read = (lines_of(folder / "b.csv"), read_recordings(folder, fill_missing=True))
    current = [float(whole[k].split(",")[1]) for k in (1, 3)]
    assert read.signals[1][0, 1] == pytest.approx(np.mean(current))
    assert read.signals[1][1, 19] == read.signals[1][1, 18]
    replace_cell(folder / "b.csv", 9, 1, "off")
    with pytest.raises(RecordingsError, match=r"line 9, column .* 'off' is no number"):
        read_recordings(folder, fill_missing=True)
    replace_cell(folder / "b.csv", 9, 1, "0")
    replace_cell(folder / "b.csv", 8, 0, "")
    with pytest.raises(RecordingsError, match=r"line 8, time_s holds no time such as 0.5"):
        read_recordings(folder, fill_missing=True)


def test_jitter_and_rounded_times_are_no_gaps(tmp_path):
    folder = make_folder(tmp_path / "own")
    rng = np.random.default_rng(0)
    for name in FILES:
        cells = [line.split(",", 1) for line in lines_of(folder / name)[1:]]
        shifts = rng.uniform(-0.002, 0.002, len(cells)) + 1.7e9
        lines = [f"{float(t) + s:.4f},{rest}" for (t, rest), s in zip(cells, shifts, strict=True)]
        write(folder / name, [HEADER, *lines])
    assert read_recordings(folder).rate_hz == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("rate", [100.0, 250.0, 1000.0])
def test_rates_are_brought_to_one_if_asked_for(rate, tmp_path):
    """A sine of 5 Hz stays one; one above half the new rate does not come back as a slow one."""
    folder = make_folder(tmp_path / "own", 200)
    time_s = np.arange(int(2 * rate)) / rate
    sines = np.sin(2 * np.pi * np.outer(time_s, [5, 0.45 * rate]))
    lines = [f"{t},{a},{b}" for t, (a, b) in zip(time_s, sines, strict=True)]
    write(folder / "b.csv", [HEADER, *lines[:30], *lines[31:]])
    with pytest.raises(RecordingsError, match="--resample-hz"):
        read_recordings(folder)
    read = read_recordings(folder, resample_hz=100)
    assert {s.shape for s in read.signals} == {(2, 200)}
    slow, fast = read.signals[1][:, 20:180]
    np.testing.assert_allclose(slow, np.sin(10 * np.pi * np.arange(20, 180) / 100), atol=0.02)
    assert rate == 100 or np.abs(fast).max() < 0.15


def test_windows_lie_side_by_side_and_know_their_recording(tmp_path):
    folder, lengths = make_folder(tmp_path / "own"), (100, 130, 70, 99)
    for seed, (name, length) in enumerate(zip(FILES, lengths, strict=True)):
        write(folder / name, [HEADER, *rows(seed, length)])
    whole, read = read_recordings(folder), read_recordings(folder, window_s=0.3)
    files, counts = np.unique(read.name, return_counts=True)
    assert (files.tolist(), counts.tolist()) == ([*FILES], [n // 30 for n in lengths])
    for name, signals, count in zip(FILES, whole.signals, counts, strict=True):
        mine = read.rows(read.name == name)
        assert len(set(mine.label)) == 1
        np.testing.assert_array_equal(np.hstack(mine.signals), signals[:, : 30 * count])


def test_parquet_and_csv_hold_the_same(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = make_folder(tmp_path / "own")
    before = read_recordings(folder)
    for name in ("b", "d"):
        header, *lines = [line.split(",") for line in lines_of(folder / f"{name}.csv")]
        columns = dict(zip(header, np.array(lines, dtype=np.float64).T, strict=True))
        if name == "d":
            times = np.datetime64("2026-01-31T08:00") + np.arange(20) * np.timedelta64(10, "ms")
            columns = {"timestamp": times, **{key: columns[key] for key in header[1:]}}
        parquet.write_table(arrow.table(columns), folder / f"{name}.parquet", row_group_size=7)
        old, new = f"{name}.csv", f"{name}.parquet"
        change(folder / "labels.csv", lambda t, o=old, n=new: [x.replace(o, n) for x in t])
    after = read_recordings(folder)
    np.testing.assert_array_equal(after.stacked(), before.stacked())
    assert after.name.tolist() == ["a.csv", "b.parquet", "c.csv", "d.parquet"]


def test_a_hundred_files_take_seconds(tmp_path):
    """Ten files of 10,000 rows x 32 channels here; processor time, for the machine may be busy."""
    names = ",".join(f"channel {k}" for k in range(32))
    one = ",".join(["-0.123456789"] * 32)
    table = ["file,label"]
    for number in range(10):
        lines = [f"{k / 1000:g},{one}" for k in range(10_000)]
        lines[0] = f"0,{number},{one[14:]}"
        write(tmp_path / f"{number}.csv", [f"time_s,{names}", *lines])
        table.append(f"{number}.csv,{number % 2}")
    write(tmp_path / "labels.csv", table)
    start = time.process_time()
    assert read_recordings(tmp_path).stacked().shape == (10, 32, 10_000)
    assert time.process_time() - start < 2.0


# Malformed folders.


def edit(name, change_lines):
    return lambda folder: change(folder / name, change_lines)


def raw(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def cell(line, column, value, name="b.csv"):
    return lambda folder: replace_cell(folder / name, line, column, value)


def label(column, value):
    return cell(3, column, value, "labels.csv")


def header(line, name="b.csv"):
    return edit(name, lambda lines: [line, *lines[1:]])


def numbers(lines):
    return lambda folder: write(folder / "b.csv", [HEADER, *lines])


def times(time):
    return numbers([f"{time(k):g},{k},0.5" for k in range(20)])


def moved(folder):
    folder.rename(folder.with_name("moved"))


def link_that_leaves(folder):
    (folder / "b.csv").rename(folder.with_name("outside.csv"))
    (folder / "b.csv").symlink_to(folder.with_name("outside.csv"))


def folder_link_that_leaves(folder):
    (folder / "sub").symlink_to(make_folder(folder.with_name("outside")))
    label(0, "sub/b.csv")(folder)


def same_numbers(folder):
    """Written in another way, under another label."""
    header_line, *lines = lines_of(folder / "a.csv")
    write(folder / "c.csv", [header_line, *(f"{line}0" for line in lines)])


def excel(folder):
    with zipfile.ZipFile(folder / "b.csv", "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")


def huge(folder):
    with (folder / "b.csv").open("wb") as file:
        file.truncate(GIANT_BYTES)  # a hole, which takes no space


def no_vibration(lines):
    return [line.rpartition(",")[0] for line in lines]


NO_TIME = "must name its columns in the first line, and one of them time_s"
WIDE = f"time_s,{','.join(f'x{k}' for k in range(1_000))}\n".encode()
CURRENT, VIBRATION = (
    r"b.csv: line 7, column 'current \[A\]': ",
    "b.csv: line 7, column 'vibration': ",
)
FOLDERS = {
    "missing folder": (moved, "there is no such folder"),
    "file for a folder": (lambda f: (moved(f), f.write_text("")), "is a file, must be a folder"),
    "circular link": (lambda f: (moved(f), f.symlink_to(f)), "circle"),
    # The label table.
    "no label table": (lambda f: (f / "labels.csv").unlink(), "holds no labels.csv: .*file,label"),
    "empty label table": (raw("labels.csv", b"\n \n"), "must name the columns file, label"),
    "label table without rows": (raw("labels.csv", b"file,label\n"), "must name 1 to 100,000 rec"),
    "no label column": (header("file,machine", "labels.csv"), "line 1 must name .*rename"),
    "misspelled column": (header("file,label,machin", "labels.csv"), "machin'.*rename"),
    "column twice": (header("file,label,label", "labels.csv"), "once each.*rename"),
    "short line": (edit("labels.csv", lambda t: [*t, "e.csv"]), "line 6 has 1 cells.* 3 .*e.csv"),
    "empty label": (label(1, ""), "line 3: label is empty: fill it, or .*--ignore-label"),
    "empty machine": (label(2, " "), "line 3: machine is empty: fill it, or drop the line"),
    "endless label": (label(1, "x" * 101), "line 3: label must be up to 100"),
    "label with an escape": (label(1, "\x1b[2J"), r"line 3: label .*\\x1b"),
    "file twice": (label(0, "a.csv"), "lines 2 and 3 both name 'a.csv': drop one"),
    "one label": (edit("labels.csv", lambda t: t[:3]), "needs at least 2 labels"),
    "labels like Healthy": (label(1, "Healthy"), "'Healthy' and 'healthy': spell"),
    "machines like press-2": (label(2, "press-2"), "'press 2' and 'press-2': spell"),
    "table in Latin-1": (raw("labels.csv", b"file,label\na,gr\xfcn\n"), "line 2 is not UTF-8"),
    "open quote in the table": (label(1, '"worn'), "labels.csv: line 3"),
    # Where files are.
    "file missing": (lambda f: (f / "b.csv").unlink(), "line 3 of labels.csv .*or drop the line$"),
    "file misspelled": (label(0, "bb.csv"), "bb.csv: there is no such .*did you mean 'b.csv'"),
    "file above": (label(0, "../b.csv"), "line 3: '../b.csv' must be the name of a file in the f"),
    "file at the root": (label(0, "/etc/passwd"), "'/etc/passwd' must be .*in the folder"),
    "file on a drive": (label(0, "C:/b.csv"), "'C:/b.csv' must be .*in the folder"),
    "backslashes": (label(0, "sub\\b.csv"), "such as a.csv or press1/a.parquet"),
    "another suffix": (label(0, "b.xlsx"), "'b.xlsx' must be .*such as a.csv"),
    "the table itself": (label(0, "labels.csv"), "'labels.csv' must be .*such as a.csv"),
    "deep folders": (label(0, "a/" * 11 + "b.csv"), "must be .*in the folder"),
    "link that leaves": (link_that_leaves, "b.csv is a link, must be a file"),
    "folder that leaves": (folder_link_that_leaves, "sub is a link, must be a folder"),
    # Columns.
    "no time": (header("t,current [A],vibration"), f"{NO_TIME}.*'t'"),
    "misspelled time": (header(HEADER.replace("_s", "-s")), "did you mean 'time-s'"),
    "two times": (header("time_s,time_ms,x"), NO_TIME),
    "no header": (edit("b.csv", lambda t: t[1:]), NO_TIME),
    "missing channel": (edit("b.csv", no_vibration), "b.csv has no 'vibration', a.csv has 'vibrat"),
    "extra channel": (edit("a.csv", no_vibration), "b.csv has 'vibration', a.csv has no 'vib"),
    "misspelled channel": (header(f"{HEADER}s"), "no 'vibration', .*did you mean 'vibrations'"),
    "channel twice": (header("time_s,x,x"), "'x' twice: rename one"),
    "channel without a name": (header("time_s,,x"), "line 2, more cells than names"),
    "other unit": (header(HEADER.replace("A", "mA")), r"\[mA\]', a.csv has 'current \[A\]'"),
    "time alone": (raw("a.csv", b"time_s\n0\n0.1\n"), "a.csv has no channel beside the time"),
    "endless spaces": (header(f"{HEADER}{' ' * 100_000}x"), "is no name of a channel"),
    "endless accents": (header(HEADER + "\u0301\u0323" * 40_000), "is no name of a channel"),
    "too many columns": (header("x," * 1_001), "1,002 columns, at most 1,001"),
    # Rows and numbers.
    "zero bytes": (raw("b.csv", b""), "b.csv is empty: its first line must name the columns"),
    "zero rows": (raw("b.csv", HEADER.encode()), "b.csv has 0 rows"),
    "three rows": (numbers(rows(1)[:3]), "b.csv has 3 rows of numbers, must have at least 4"),
    "too many rows": (raw("b.csv", WIDE + b"1\n" * 70_000), "at most .* 67,108,864 .*: cut it"),
    "NaN": (cell(7, 1, "nan"), f"{CURRENT}a missing number: .*--fill-missing"),
    "short row": (edit("b.csv", lambda t: [*t[:6], "0.05,1"]), f"{VIBRATION}a missing number"),
    "infinity": (cell(7, 2, "-inf"), f"{VIBRATION}-inf is not finite: cut the recording there"),
    "too large": (cell(7, 2, "1e39"), f"{VIBRATION}1e\\+39 is too large, .* 3.4e\\+38: convert"),
    "far too large": (cell(7, 2, "1e999"), f"{VIBRATION}inf is not finite"),
    "text": (cell(7, 1, "off"), f"{CURRENT}'off' is no number: write one, .*or drop the line"),
    "code": (cell(7, 1, "__import__('os')"), f"{CURRENT}\"__import__"),
    "underscore": (cell(7, 1, "1_000"), f"{CURRENT}'1_000' is no number"),
    "hexadecimal": (cell(7, 1, "0x10"), f"{CURRENT}'0x10' is no number"),
    "other digits": (cell(7, 1, "\u0663"), f"{CURRENT}.* is no number"),
    "endless digits": (cell(7, 1, f"{'1' * 130_000}x"), f"{CURRENT}'1+... is no number"),
    "endless line": (cell(7, 1, "1" * 300_000), "line 7 has .* more than 200,200 bytes"),
    "units below the header": (edit("b.csv", lambda t: [t[0], "s,A,", *t[1:]]), "line 2.* 's'"),
    "long row": (edit("b.csv", lambda t: [*t, "0.2,1,1,1"]), "line 22, more cells than names"),
    "decimal commas": (numbers(["0,1,2,1,3"] * 9), "line 2, more cells .*semicolons"),
    "one decimal comma": (cell(7, 1, '"0,5"'), f"{CURRENT}'0,5' is no number"),
    "open quote": (cell(21, 2, '"5'), "line 21, "),
    "semicolons": (numbers([x.replace(",", ";") for x in rows(9)]), "line 2, .* is no number"),
    "Latin-1": (raw("b.csv", f"{HEADER}\n0,1\xb0,1".encode("latin-1")), "line 2 is not UTF-8"),
    "UTF-16": (raw("b.csv", HEADER.encode("utf-16")), "is UTF-16: save it as UTF-8"),
    "null bytes": (raw("b.csv", b"time_s,x\n\0\0"), "line 2 has null bytes"),
    "binary": (raw("b.csv", bytes(range(1, 256))), "b.csv: .* is no name of a channel"),
    "Excel": (excel, "b.csv is an Excel workbook or a ZIP archive: save it as CSV"),
    "gzip": (raw("b.csv", gzip.compress(b"time_s,x")), "is compressed by gzip: unpack it"),
    "Parquet called CSV": (raw("b.csv", b"PAR1...."), "name end in .parquet"),
    "huge": (huge, "b.csv is 3,221,225,472 bytes long, at most 1,073,741,824"),
    # Times.
    "time that goes back": (times(lambda k: k / 100 - 0.02 * (k == 9)), "line 11, .* increase"),
    "rounded times": (times(lambda k: k // 4 / 25), "line 3, .* increase: .* more digits"),
    "gap": (times(lambda k: k / 100 + (k > 9)), "line 12: .* from 0.09 to 1.1 .*--resample-hz"),
    "uneven times": (times(lambda k: k / 100 - 0.008 * (k == 9)), "line 11: .*cut it there"),
    "time of day": (cell(3, 0, "08:15:00.5"), "line 3, .*call a column of dates timestamp"),
    "no date": (header(HEADER.replace("time_s", "timestamp")), "line 2, .*such as 2026-01-31T08"),
    "other rate": (numbers(rows(1, rate=250)), "b.csv has 250 samples .*100: .*--resample-hz 100"),
    "same numbers": (same_numbers, r"'c.csv' \(worn\) as 'a.csv' \(healthy\): drop .*--drop-dup"),
}  # fmt: skip
OPTIONS = {
    "shorter than a window": ({"window_s": 0.5}, "a.csv has 20 samples, 0.2 s, a window 50"),
    "window of one sample": ({"window_s": 0.01}, "window_s must hold at least 4 samples, 0.04 s"),
    "no window": ({"window_s": float("nan")}, "window_s must be a number above 0, got nan"),
    "no rate": ({"resample_hz": 0}, "resample_hz must be a number above 0"),
    "endless rate": ({"resample_hz": 1e9}, r"cannot be resampled to 1e\+09: name a rate"),
    "slow rate": (
        {"resample_hz": 10},
        "has 2 samples at 10 Hz, must have at least 4: name a higher",
    ),
}


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def one_line(**options) -> str:
    """Return the one line that says what is wrong with the folder."""
    with pytest.raises(RecordingsError) as error:
        read_recordings("own", **options)
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 500
    return line


@needs_posix
@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(name):
    spoil, words = FOLDERS[name]
    spoil(make_folder(Path("own")))
    start = time.process_time()
    assert re.search(words, one_line()), one_line()
    assert time.process_time() - start < 2


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_wrong_with_an_option_is_said_in_one_line(name):
    options, words = OPTIONS[name]
    make_folder(Path("own"))
    assert re.search(words, one_line(**options))


def test_the_errors_are_as_the_page_shows_them():
    messages = []
    for name in ("NaN", "missing channel", "other rate", "same numbers"):
        FOLDERS[name][0](make_folder(Path("own")))
        messages.append(one_line())
        Path("own").rename(name)
    assert re.findall(r"^- `(own/.*)`$", PAGE, re.MULTILINE) == messages


def test_the_examples_of_the_page_convert_other_formats():
    own, lp, ur3 = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert own.startswith("from metarobot.diagnosis.recordings import read_recordings\n")
    blocks = ["\n".join(["normal", *["\t1\t2\t3\t4\t5\t6"] * 15]) + "\n"]
    blocks += [blocks[0].replace("normal", "lost").replace("3", "-3")]
    Path("lp1.data.txt").write_text("\n\n".join(blocks))
    exec(compile(lp, "page", "exec"), {})
    read = read_recordings("lp1")
    assert (read.label.tolist(), read.machines) == (["normal", "lost"], ("lp1",))
    assert (read.stacked().shape, read.stacked()[1, 2, 14]) == ((2, 6, 15), -3)
    lines = ["Num;Timestamp;Current_J0;Tool_current;cycle ;Robot_ProtectiveStop;grip_lost;;"]
    for row in range(40):
        clock, current = f"{8 + row // 20:02}:00:{row:02}.5", "" if row == 13 else f"{row},5"
        words = f"{row // 10 % 3};{row == 15};{row == 35};;"
        lines += [f"{row};2022-10-26T{clock}Z;{current};-0,25;{words}"] * (row != 17)
    write(Path("dataset_02052023.csv"), lines)
    exec(compile(ur3, "page", "exec"), {})
    read = read_recordings("ur3", fill_missing=True, resample_hz=1)
    assert read.label.tolist() == ["normal", "protective stop", "normal", "grip lost"]
    assert read.machine.tolist() == ["session 0"] * 2 + ["session 1"] * 2
    np.testing.assert_array_equal(read.stacked()[:, 0].ravel(), np.arange(40) + 0.5)


@needs_posix
@pytest.mark.parametrize("kind", IN_PLACE_OF_A_FILE)
@pytest.mark.parametrize("name", ["labels.csv", "b.csv"])
@pytest.mark.parametrize("labelled", [True, False])
def test_only_plain_files_in_the_folder_are_read(name, kind, labelled, tmp_path):
    folder, canary = make_folder(tmp_path / "own"), make_canary(tmp_path / "canary")
    before = snapshot(canary)
    (folder / name).unlink()
    IN_PLACE_OF_A_FILE[kind](folder / name, canary)
    if labelled or (name == "b.csv" and kind != "folder"):
        assert name in one_line(labelled=labelled)
    assert snapshot(canary) == before


def test_more_than_the_machine_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("metarobot.envs.memory.machine_bytes", lambda: 1000)
    make_folder(Path("own"))
    assert "recordings up to d.csv" in one_line()


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named():
    (make_folder(Path("own")) / "b.csv").chmod(0)
    assert "b.csv: Permission denied" in one_line()


# Parquet.


def with_parquet(content: bytes) -> Path:
    """Make a folder whose second recording is a Parquet file."""
    folder = make_folder(Path("own"))
    (folder / "b.parquet").write_bytes(content)
    label(0, "b.parquet")(folder)
    return folder


def table(current, **options) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    count, file = len(current), io.BytesIO()
    time_s = np.arange(count) / 100
    columns = {"time_s": time_s, "current [A]": current, "vibration": np.ones(count)}
    parquet.write_table(arrow.table(columns), file, **options)
    return file.getvalue()


def varint(value: int) -> bytes:
    """Return an integer as Thrift writes it, zigzag and seven bits a byte."""
    parts = [2 * value >> shift & 127 | 128 for shift in range(0, (2 * value).bit_length(), 7)]
    return bytes([*parts[:-1], parts[-1] & 127])


def with_footer(data: bytes, old: int, new: int, most: int = -1) -> bytes:
    """Replace a number in the footer of a Parquet file, in the first places or in all."""
    length = int.from_bytes(data[-8:-4], "little")
    footer, before = data[-8 - length : -8], b"\x16" + varint(old)
    assert before in footer
    footer = footer.replace(before, b"\x16" + varint(new), most)
    return data[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def with_page_of(num_bytes: int, data: bytes) -> bytes:
    """Let the first page say that it unpacks to so many bytes, instead of some ten thousand."""
    assert data[:7] == b"PAR1\x15\0\x15"
    return data[:7] + varint(num_bytes) + data[10:]


def long_footer(num_bytes: int) -> bytes:
    """Return a file whose row groups have 9,000 columns of three bytes, which say nothing."""
    group = b"\x19\xfc" + varint(4500) + b"\x26\0\0" * 9000 + b"\x16\0\x16\x02\0"
    groups = num_bytes // len(group)
    schema = b"\x2c\x48\x01s\x15\x02\0" + b"\x15\x0a\x25\0\x18\x01x\0"
    rows = b"\x16" + varint(groups)
    footer = b"\x15\x02\x19" + schema + rows + b"\x19\xfc" + bytes([groups]) + group * groups
    return b"PAR1" + footer + b"\0" + (len(footer) + 1).to_bytes(4, "little") + b"PAR1"


ONES = [1.0] * 19
CURRENT_20 = r"row 20, column 'current \[A\]': "
NONE = "b.parquet cannot be read as a Parquet file: "
MANY = np.zeros(10_000)
LIES = {
    "footer": (lambda: with_footer(table(MANY), 10_000, 64, most=1), "64 rows, .* 10,000: write"),
    "all of the footer": (lambda: with_footer(table(MANY), 10_000, 1_000_000), NONE),
    "millions of rows": (
        lambda: with_footer(table(MANY), 10_000, 60_000_000),
        "60,000,000 rows x 3",
    ),
    "empty columns": (lambda: long_footer(2_000_000), NONE),
    "size of a page": (
        lambda: with_page_of(2_000_000_000, table(np.zeros(5_000), use_dictionary=False)),
        f"{NONE}it is damaged, or takes too much memory: write it again",
    ),
}
PARQUET = LIES | {
    "null": (lambda: table([*ONES, None]), f"{CURRENT_20}a missing number"),
    "infinity": (lambda: table([*ONES, np.inf]), f"{CURRENT_20}inf is not finite"),
    "text": (lambda: table(["1.0"] * 20), r"'current \[A\]' holds string, must hold integers"),
    "lists": (lambda: table([[1.0]] * 20), r"'current \[A\]' holds list.*: convert or drop it"),
    "one row": (lambda: table([1.0]), "b.parquet has 1 rows"),
    "empty": (lambda: b"", NONE),
    "a beginning": (lambda: b"PAR1", NONE),
    "CSV": (lambda: b"time_s,x\n0,1\n", NONE),
    "no footer": (lambda: b"PAR1" + b"\xff" * 99, NONE),
}


@pytest.mark.parametrize("name", PARQUET)
def test_what_is_wrong_with_a_parquet_file_is_said_in_one_line(name):
    make, words = PARQUET[name]
    with_parquet(make())
    assert re.search(words, one_line()), one_line()


MEASURE = """
import resource, sys
from pathlib import Path
from metarobot.diagnosis.recordings import RecordingsError, read_recordings
for folder in sys.argv[1:]:
    try:
        read_recordings(folder, labelled=False)
    except RecordingsError:
        print("refused")
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit of memory")
def test_files_that_lie_take_little_memory():
    for name, (make, _) in LIES.items():
        Path(name).mkdir()
        (Path(name) / "b.parquet").write_bytes(make())
    Path("emoji").mkdir()
    write(Path("emoji/b.csv"), [f"{HEADER}\U0001f600", *["1" * 100] * 500_000])
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", MEASURE, *LIES, "emoji"]
    out = subprocess.run(command, env=paths, capture_output=True, text=True, check=True).stdout
    *refused, own, childs = out.splitlines()
    assert refused == ["refused"] * 6
    assert float(own) + float(childs) < 500, out


def test_a_damaged_parquet_file_is_refused_or_read():
    """Whatever bit is flipped, no other error appears, though pyarrow ends its process for some."""
    whole = table(ONES)
    folder = with_parquet(whole)
    for place in range(4, len(whole), len(whole) // 12):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        (folder / "b.parquet").write_bytes(damaged)
        with suppress(RecordingsError):
            read_recordings(folder)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "pyarrow.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    with_parquet(b"PAR1")
    assert "`pip install 'metarobot[parquet]'`" in one_line()
