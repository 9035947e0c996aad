"""Folders of recordings: numbers come back bit for bit; what is wrong is said in one line."""

import io
import os
import re
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hostile import GIANT_BYTES, needs_posix
from own_folders import FILES, HEADER, change, lines_of, make_folder, replace_cell, rows, write

from metarobot.diagnosis import tables
from metarobot.diagnosis.recordings import Channel, Recordings, RecordingsError

from metarobot.diagnosis.recordings import read_recordings, write_recordings  # isort: skip

PAGE = (Path(__file__).parents[3] / "docs" / "own-recordings.md").read_text(encoding="utf-8")
LABELS = ["=SUM(A1:A9)", "-worn, badly", "'quoted", "@home", "-5", '5: "no"']


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made_up(labels, machines, lengths, scale=1.0):
    rng = np.random.default_rng(0)
    signals = tuple((rng.normal(size=(2, n)) * scale).astype(np.float32) for n in lengths)
    channels = (Channel("current", "A"), Channel("force, side", ""))
    names = np.array([f"{k}" for k in range(len(labels))])
    return Recordings(signals, 250.0, channels, np.array(labels), np.array(machines), names)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_what_is_written_comes_back_bit_for_bit(scale):
    machines = ["+1", "1-1", "11", "\uff1d1", "''", "-"]
    written = made_up(LABELS, machines, [4, 5, 8, 800, 15, 32], scale)
    write_recordings(written, "own")
    read = read_recordings("own")
    for one, other in zip(read.signals, written.signals, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    assert (read.label.tolist(), read.machine.tolist()) == (LABELS, machines)
    assert (read.channels, read.rate_hz) == (written.channels, written.rate_hz)
    for index in (slice(1, 2), [1], np.arange(6) == 1):
        assert read.rows(index).joined(read.rows([1])).stacked().shape == (2, 2, 5)
    with pytest.raises(ValueError, match="equally long, got 4 to 800 samples: cut"):
        read.stacked()


def test_a_folder_is_new_and_its_label_table_appears_last(tmp_path, monkeypatch):
    recordings = made_up(["a", "b"], ["", ""], [9, 9])
    Path("note.txt").write_text("mine")
    Path("link").symlink_to("elsewhere")
    for name, words in (("", "not empty: name a new folder"), ("link", "link is a link")):
        with pytest.raises(RecordingsError, match=words):
            write_recordings(recordings, tmp_path / name)
    with monkeypatch.context() as patched:  # the disk is full
        patched.setattr(pd.DataFrame, "insert", lambda *_: os.read(-1, 1))
        with pytest.raises(RecordingsError, match="Bad file descriptor"):
            write_recordings(recordings, "full")
    assert not Path("full/labels.csv").exists()
    write_recordings(recordings, "own")
    assert len(read_recordings("own")) == 2


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
    "old line ends": lambda data: data.replace(b"\n", b"\r"),
    "blank lines": lambda data: data.replace(b"\n", b"\n \n\n"),
    "no line end below": lambda data: data.rstrip(),
    "quotes": lines_edit(lambda line: b'"' + line.replace(b",", b'","') + b'"'),
    "spaces": lambda data: data.replace(b",", b" , "),
    "comments": lambda data: b'# 5" pipe\n\n' + data.replace(b"\n", b'\n# a,b," c\n', 4),
    "empty columns": lines_edit(lambda line: line + b",,"),
    "separators behind rows": lambda data: data.replace(b"\n", b",\n").replace(b",\n", b"\n", 1),
    "index of pandas": lines_edit(lambda x: (b"," if x[:4] in (b"time", b"file") else b"7,") + x),
    "semicolons": lambda data: data.replace(b",", b";"),
    "tabulators and empty columns": lines_edit(lambda x: x.replace(b",", b"\t") + b"\t\t"),
    "decimal commas": decimal_commas(b";"),
    "decimal commas, tabulators": decimal_commas(b"\t"),
    "quoted decimal commas": lambda data: decimal_commas(b",")(SAME["quotes"](data)),
}


@pytest.mark.parametrize("name", SAME)
def test_what_editors_and_spreadsheets_do_to_a_file_changes_nothing(name):
    folder = make_folder(Path("own"))
    before = read_recordings(folder)
    for path in folder.iterdir():
        path.write_bytes(SAME[name](path.read_bytes()))
    after = read_recordings(folder)
    np.testing.assert_array_equal(after.stacked(), before.stacked())
    assert after.channels == before.channels
    assert after.machine.tolist() == before.machine.tolist()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["time_s", "time_ms", "time_us", "timestamp"])
def test_time_may_have_another_unit_or_be_a_date_in_csv_and_parquet(column, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    folder = make_folder(Path("own"))
    before = read_recordings(folder)
    for name in ("b", "d"):
        table = pd.read_csv(folder / f"{name}.csv")
        time_s = table.pop("time_s")
        start = pd.Timestamp("2026-03-29T01:59:59.9", tz="Europe/Berlin")  # then clocks jump
        times = {"time_s": time_s, "time_ms": 1e3 * time_s, "time_us": 1.7e15 + 1e6 * time_s}
        times["timestamp"] = start + pd.to_timedelta(time_s, "s")
        table = table.astype(np.float32).assign(**{column: times[column]})
        if ending == "parquet":
            table.to_parquet(folder / f"{name}.parquet", row_group_size=7)
        else:
            table.to_csv(folder / f"{name}.csv", index=False, date_format="%Y-%m-%dT%H:%M:%S.%f%z")
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(re.sub(r"\b(b|d)\.csv", rf"\1.{ending}", text))
    after = read_recordings(folder)
    np.testing.assert_array_equal(after.stacked(), before.stacked())
    assert after.name.tolist() == ["a.csv", f"b.{ending}", "c.csv", f"d.{ending}"]
    assert after.rate_hz == 100


def test_names_and_channels_are_matched():
    """Any order, both forms of Unicode, folders in the folder, a link to the folder."""
    folder = make_folder(Path("own"))
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
    Path("link").symlink_to(folder)
    after = read_recordings("link")
    np.testing.assert_array_equal(after.stacked(), before.stacked())
    assert (after.labels, after.channels[1].name) == (("healthy", composed), composed)
    assert after.name[0] == "press 1/a.csv"


def test_recordings_without_a_table_are_read_from_folders_in_the_folder():
    folder = make_folder(Path("own"))
    (folder / "press 1" / "monday").mkdir(parents=True)
    (folder / "b.csv").rename(folder / "press 1" / "monday" / "b.csv")
    (folder / ".checkpoints").mkdir()
    write(folder / ".checkpoints" / "a.csv", ["a copy that a program keeps"])
    write(folder / "press 1" / "labels.csv", ["another table"])
    read = read_recordings(folder, labelled=False)
    assert read.name.tolist() == ["a.csv", "c.csv", "d.csv", "press 1/monday/b.csv"]
    assert (read.labels, read.machines) == (("",), ("",))


def test_labels_can_be_ignored_and_duplicates_dropped():
    folder = make_folder(Path("own"))
    for name in "efghijk":
        (folder / f"{name}.csv").write_bytes((folder / "a.csv").read_bytes())
    more = [f"{name}.csv,unsure,press 1" for name in "efghij"]
    change(folder / "labels.csv", lambda t: [*t, *more, "k.csv,,press 1"])
    assert "no label 'unsur' to ignore, did you mean 'unsure'" in one_line(ignore_labels="unsur")
    line = one_line(ignore_labels=[""])
    assert "'e.csv' (unsure) as 'a.csv' (healthy), " in line
    assert "'i.csv' (unsure) as 'a.csv' (healthy) and 1 more: " in line
    for options in ({"ignore_labels": ["", "unsure"]}, {"drop_duplicates": True}):
        options.setdefault("ignore_labels", [""])
        assert read_recordings(folder, **options).name.tolist() == [*FILES]
    for name in FILES:  # single precision merges what differs by less than 64 at 1e9
        frame = pd.read_csv(folder / name, index_col=0) + 1e9
        frame.to_csv(folder / name, float_format="%.6f")
    assert len(read_recordings(folder, ignore_labels=["", "unsure"])) == 4


def test_what_is_missing_is_interpolated_if_asked_for():
    folder = make_folder(Path("own"))
    replace_cell(folder / "b.csv", 3, 1, "")
    replace_cell(folder / "b.csv", 21, 2, "NaN")
    whole, read = (lines_of(folder / "b.csv"), read_recordings(folder, fill_missing=True))
    current = [float(whole[k].split(",")[1]) for k in (1, 3)]
    assert read.signals[1][0, 1] == pytest.approx(np.mean(current))
    assert read.signals[1][1, 19] == read.signals[1][1, 18]
    replace_cell(folder / "b.csv", 8, 0, "")
    assert "line 8, column 'time_s' is nan: write a time such as 0.5" in one_line(fill_missing=True)


@pytest.mark.parametrize("rate", [100.0, 1000.0])
def test_rates_are_brought_to_one_if_asked_for(rate):
    """A sine of 5 Hz stays one; one above half the new rate does not come back as a slow one."""
    folder = make_folder(Path("own"), 200)
    time_s = np.arange(int(2 * rate)) / rate
    sines = np.sin(2 * np.pi * np.outer(time_s, [5, 0.45 * rate]))
    lines = [f"{t},{a},{b}" for t, (a, b) in zip(time_s, sines, strict=True)]
    write(folder / "b.csv", [HEADER, *lines[:30], *lines[31:]])
    assert "--resample-hz" in one_line()
    slow, fast = read_recordings(folder, resample_hz=100).stacked()[1][:, 20:180]
    np.testing.assert_allclose(slow, np.sin(10 * np.pi * np.arange(20, 180) / 100), atol=0.02)
    assert rate == 100 or np.abs(fast).max() < 0.15


def test_jitter_and_rounded_times_are_no_gaps():
    rng = np.random.default_rng(0)
    times = (np.arange(99) / 100 + rng.uniform(-0.002, 0.002, 99) + 1.7e9).round(4)
    Path("own").mkdir()
    write(Path("own/a.csv"), ["time_s,x", *(f"{t:.4f},1" for t in times)])
    assert read_recordings("own", labelled=False).rate_hz == pytest.approx(100, rel=0.02)


def test_windows_lie_side_by_side_and_know_their_recording():
    folder, lengths = make_folder(Path("own")), (100, 130, 70, 99)
    for seed, (name, length) in enumerate(zip(FILES, lengths, strict=True)):
        write(folder / name, [HEADER, *rows(seed, length)])
    whole, read = read_recordings(folder), read_recordings(folder, window_s=0.3)
    files, counts = np.unique(read.name, return_counts=True)
    assert (files.tolist(), counts.tolist()) == ([*FILES], [n // 30 for n in lengths])
    for name, signals, count in zip(FILES, whole.signals, counts, strict=True):
        mine = read.rows(read.name == name)
        assert len(set(mine.label)) == 1
        np.testing.assert_array_equal(np.hstack(mine.signals), signals[:, : 30 * count])


def test_much_is_read_in_seconds():
    """Processor time, for the machine may be busy."""
    names, cells = ",".join(f"channel {k}" for k in range(32)), ",-0.123456789" * 32
    Path("own").mkdir()
    write(Path("own/a.csv"), [f"time_s,{names}", *(f"{k / 1e3:g}{cells}" for k in range(10_000))])
    start = time.process_time()
    assert read_recordings("own", labelled=False).signals[0].shape == (32, 10_000)
    assert time.process_time() - start < 1.5


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
    return edit("b.csv", lambda _: [HEADER, *lines])


def times(time):
    return numbers([f"{time(k):g},{k},0.5" for k in range(20)])


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


def no_vibration(lines):
    return [line.rpartition(",")[0] for line in lines]


NO_TIME = "must name its columns in the first line, and one of them time_s"
WIDE = f"time_s,{','.join(f'x{k}' for k in range(1_000))}\n".encode()
CURRENT, VIBRATION = (
    rf"b.csv: line 7, column '{name}' is " for name in (r"current \[A\]", "vibration")
)
OUTSIDE = ("../b.csv", "/b.csv", "C:/b.csv", r"a\b.csv", "b.xls", "labels.csv", "a/" * 99 + "b.csv")
NO_NUMBERS = ("off", "__import__('os')", "1_0", "0x10", "\u0663", '"0,5"', "1" * 130_000 + "x")
NO_TEXTS = (b"PK\x03\x04\0", b"\x1f\x8b\x08", b"\xff\xfet\0", b"gr\xfcn", b"time_s,x\n\0")
FOLDERS = {
    "missing folder": (lambda f: f.rename("moved"), "there is no such folder"),
    "circular link": (lambda f: (f.rename("moved"), f.symlink_to(f)), "circle"),
    # The label table.
    "no label table": (lambda f: (f / "labels.csv").unlink(), "holds no labels.csv: .*file,label"),
    "empty label table": (raw("labels.csv", b"\n \n"), "labels.csv: it is empty: .*must name"),
    "no label column": (header("file,machine", "labels.csv"), "first line must name .*rename"),
    "misspelled column": (header("file,label,machin", "labels.csv"), "machin'.*rename"),
    "column twice": (header("file,label,label", "labels.csv"), "'label' twice: rename one"),
    "empty label": (label(1, ""), "line 3, column 'label' is '': fill it, or .*--ignore-label"),
    "empty machine": (label(2, " "), "line 3, column 'machine' is '': fill it, or drop the line"),
    "endless label": (label(1, "x" * 101), "'label' is 'xx.*: write up to 100"),
    "label with an escape": (label(1, "\x1b[2J"), r"line 3, column 'label' is '\\x1b"),
    "file twice": (label(0, "a.csv"), "line 3, .* 'a.csv': it is named above: drop"),
    "one label": (edit("labels.csv", lambda t: t[:3]), "with at least 2 labels"),
    "labels like Healthy": (label(1, "Healthy"), "line 3, .* 'Healthy': a line above"),
    "machines like press-2": (label(2, "press-2"), "line 5, .* 'press 2': a line above .*: spell"),
    "open quote in the table": (label(1, '"worn'), "labels.csv: line 3, .*: mend it"),
    # Where files are.
    "file missing": (lambda f: (f / "b.csv").unlink(), "line 3, .* no such file: .*drop the line"),
    "file misspelled": (label(0, "bb.csv"), "'bb.csv': there is .*did you mean 'b.csv'"),
    "link that leaves": (link_that_leaves, "b.csv is a link, must be a file"),
    "pipe": (lambda f: ((f / "b.csv").unlink(), os.mkfifo(f / "b.csv")), "b.csv is a pipe"),
    "folder that leaves": (folder_link_that_leaves, "sub is a link, must be a folder"),
    **{file: (label(0, file), "line 3, column 'file' is '.*: name a file in") for file in OUTSIDE},
    # Columns.
    "no time": (header(HEADER.replace("_s", "-s")), f"{NO_TIME}.*did you mean 'time-s'"),
    "missing channel": (edit("b.csv", no_vibration), "b.csv lacks 'vibration': all"),
    "other unit": (header(HEADER.replace("A", "mA")), r"'current \[A\]' and a.csv lacks 'current"),
    "channel twice": (header("time_s,x,x"), "'x' twice: rename one"),
    "channel without a name": (header("time_s,,x"), "line 2, more cells than names"),
    "time alone": (raw("a.csv", b"time_s\n0\n0.1\n"), "a.csv: it has no channel beside the time"),
    "endless spaces": (header(f"{HEADER}{' ' * 100_000}x"), "is no name of a column"),
    "endless accents": (header(HEADER + "\u0301\u0323" * 40_000), "is no name of a column"),
    "too many columns": (header("x," * 1_001), "1,002 columns, at most 1,001"),
    # Rows and numbers.
    "zero bytes": (raw("b.csv", b""), "b.csv: it is empty: its first line must name the columns"),
    "three rows": (numbers(rows(1)[:3]), "it has 3 rows of numbers, must have at least 4"),
    "too many rows": (raw("b.csv", WIDE + b"1\n" * 70_000), "at most .* 67,108,864 .*: cut it"),
    "NaN": (cell(7, 1, "nan"), f"{CURRENT}nan: fill it in.*--fill-missing"),
    "short row": (edit("b.csv", lambda t: [*t[:6], "0.05,1"]), f"{VIBRATION}nan: fill it in"),
    "too large": (cell(7, 2, "1e39"), f"{VIBRATION}1e\\+39: numbers may be .* 3.4e\\+38: convert"),
    **{x[:20]: (cell(7, 1, x), f"{CURRENT}.*: write a number, .*drop the") for x in NO_NUMBERS},
    **{f"{x}": (raw("b.csv", x + b"\n1"), "line . is no text in UTF-8: save") for x in NO_TEXTS},
    "endless line": (cell(7, 1, "1" * 2_000_000), "line 7 has more than 200,200 characters: save"),
    "units below the header": (edit("b.csv", lambda t: [t[0], "s,A,", *t[1:]]), "line 2.* 's'"),
    "long row": (edit("b.csv", lambda t: [*t, "0.2,1,1,1"]), "line 22, more cells than names"),
    "decimal commas": (numbers(["0,1,2,1,3"] * 9), "line 2, more cells .*semicolons"),
    "open quote": (cell(21, 2, '"5'), "line 21, .*: mend it"),
    "huge": (lambda f: os.truncate(f / "b.csv", GIANT_BYTES), "b.csv is 3,221,225,472 bytes long"),
    # Times.
    "time that goes back": (times(lambda k: k / 100 - 0.02 * (k == 9)), "line 11, .* increase"),
    "rounded times": (times(lambda k: k // 4 / 25), "line 3, .* increase: .* more digits"),
    "gap": (times(lambda k: k / 100 + (k > 9)), "line 12, .* 1.1: a usual step is 0.01 s: cut"),
    "time of day": (cell(3, 0, "08:15:00.5"), "line 3, .*call a column of dates timestamp"),
    "no date": (header(HEADER.replace("time_s", "timestamp")), "line 2, .*such as 2026-01-31T08"),
    "other rate": (numbers(rows(1, rate=250)), "b.csv has 250 samples .*100: .*--resample-hz 100"),
    "same numbers": (same_numbers, r"'c.csv' \(worn\) as 'a.csv' \(healthy\): drop .*--drop-dup"),
}  # fmt: skip
OPTIONS = {
    "shorter than a window": (
        {"window_s": 0.5},
        "a.csv has 20 samples, 0.2 s, a window of 0.5 s has 50: take",
    ),
    "window of one sample": (
        {"window_s": 0.01},
        "a window of 0.01 s has 1: take one of at least 4 samples",
    ),
    "no window": ({"window_s": float("nan")}, "window_s must be a number above 0, got nan"),
    "no rate": ({"resample_hz": 0}, "resample_hz must be a number above 0"),
    "endless rate": ({"resample_hz": 1e9}, r"cannot be resampled to 1e\+09: name a"),
    "slow rate": (
        {"resample_hz": 10},
        "100 samples a second in 0.19 s, which cannot be resampled to 10: name",
    ),
}


def one_line(**options) -> str:
    """Return the one line that says what is wrong with the folder."""
    with pytest.raises(RecordingsError) as error:
        read_recordings("own", **options)
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 500
    return line


@needs_posix
@pytest.mark.parametrize("name", [*FOLDERS, *OPTIONS])
def test_what_is_wrong_is_said_in_one_line(name):
    spoil, words = FOLDERS.get(name, (lambda _: None, ""))
    options, words = OPTIONS.get(name, ({}, words))
    spoil(make_folder(Path("own")))
    start = time.process_time()
    assert re.search(words, one_line(**options)), one_line(**options)
    assert time.process_time() - start < 2


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


def test_more_than_the_machine_holds_is_refused(monkeypatch):
    monkeypatch.setattr("metarobot.envs.checks.machine_bytes", lambda: 600)
    make_folder(Path("own"))
    assert "recordings up to d.csv" in one_line()


def with_parquet(content: bytes) -> Path:
    """Make a folder whose second recording is a Parquet file."""
    folder = make_folder(Path("own"))
    (folder / "b.parquet").write_bytes(content)
    label(0, "b.parquet")(folder)
    return folder


def table(current, **options) -> bytes:
    pytest.importorskip("pyarrow")
    columns = {"time_s": np.arange(len(current)) / 100, "current [A]": current, "vibration": 1.0}
    file = io.BytesIO()
    pd.DataFrame(columns).to_parquet(file, **options)
    return file.getvalue()


CURRENT_20 = r"row 20, column 'current \[A\]' is "
NONE = "b.parquet: it cannot be read: .*: write it again"
ONES = [1.0] * 19
PARQUET = {
    "null": (lambda: table([*ONES, None]), f"{CURRENT_20}nan: fill it in"),
    "infinity": (lambda: table([*ONES, np.inf]), f"{CURRENT_20}inf: numbers may be up to 3"),
    "text": (
        lambda: table(["off"] * 20),
        r"row 1, column 'current \[A\]' is 'off': write a number",
    ),
    "lists": (lambda: table([[1.0]] * 20), NONE),
    "one row": (lambda: table([1.0]), "b.parquet: it has 1 rows"),
    "many rows": (lambda: table([1.0] * 50), "holds 50 rows x 3 columns, at most 40 rows"),
    "empty": (lambda: b"", NONE),
    "CSV": (lambda: b"time_s,x\n0,1\n", NONE),
    "no footer": (lambda: b"PAR1" + b"\xff" * 99, NONE),
}


@pytest.mark.parametrize("name", PARQUET)
def test_what_is_wrong_with_a_parquet_file_is_said_in_one_line(name, monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROWS", 40)
    make, words = PARQUET[name]
    with_parquet(make())
    assert re.search(words, one_line()), one_line()


def test_a_damaged_parquet_file_is_refused_or_read():
    """Whatever bit is flipped, no other error appears, though pyarrow ends its process for some."""
    whole = table(ONES)
    folder = with_parquet(whole)
    for place in range(4, len(whole), len(whole) // 8):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        (folder / "b.parquet").write_bytes(damaged)
        with suppress(RecordingsError):
            read_recordings(folder)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    Path("path").mkdir()
    Path("path/pyarrow.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    with_parquet(b"PAR1")
    assert "`pip install 'metarobot[parquet]'`" in one_line()
