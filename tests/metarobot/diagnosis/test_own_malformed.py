"""Folders that are not what they must be: each ends the command with one line and exit code 2."""

import gzip
import io
import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hostile import GIANT_BYTES, IN_PLACE_OF_A_FILE, make_canary, needs_posix, snapshot
from own_folders import HEADER, change, lines_of, make_folder, replace_cell, rows, write

from metarobot.cli.main import main
from metarobot.diagnosis.own_data import OwnDataError, numbers_table, read_recordings


def remove(name):
    return lambda folder: (folder / name).unlink()


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def raw(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def edit(name, change_lines):
    return lambda folder: change(folder / name, change_lines)


def cell(name, line, column, value):
    return lambda folder: replace_cell(folder / name, line, column, value)


def header(name, line):
    return edit(name, lambda lines: [line, *lines[1:]])


def numbers(name, line, lines):
    return lambda folder: write(folder / name, [line, *lines])


def label_file(value):
    return cell("labels.csv", 3, 0, value)


def no_folder(folder):
    folder.rename(folder.with_name("moved"))


def file_instead(folder):
    no_folder(folder)
    folder.write_text("no folder")


def link_that_leaves(folder):
    outside = folder.with_name("outside.csv")
    (folder / "b.csv").rename(outside)
    (folder / "b.csv").symlink_to(outside)


def folder_link_that_leaves(folder):
    outside = make_folder(folder.with_name("outside"))
    (folder / "sub").symlink_to(outside)
    label_file("sub/b.csv")(folder)


def circle(folder):
    no_folder(folder)
    folder.symlink_to(folder)


def same_content(folder):
    """The same numbers, written in another way, under another label."""
    lines = lines_of(folder / "a.csv")
    write(folder / "c.csv", [lines[0], *(f"{line}0" for line in lines[1:])])


def excel(folder):
    with zipfile.ZipFile(folder / "b.csv", "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")


def huge(folder):
    with (folder / "b.csv").open("wb") as file:
        file.truncate(GIANT_BYTES)  # a hole, which takes no space


def decimal_commas(lines):
    return [lines[0], *(line.replace(".", ",") for line in lines[1:])]


def semicolons(lines):
    return [line.replace(",", ";") for line in lines]


TIMES_TWO = [line.replace(",", ";") for line in rows(9)]
GAP = [f"{k / 100 + (k > 9):g},{k},0.5" for k in range(20)]
BACK = [f"{k / 100 - 0.02 * (k == 9):g},{k},0.5" for k in range(20)]
ROUNDED = [f"{k // 4 / 25:g},{k},0.5" for k in range(20)]
UNEVEN = [f"{k / 100 - 0.008 * (k == 9):g},{k},0.5" for k in range(20)]

FOLDERS = {
    # The folder.
    "missing folder": (no_folder, ["there is no such folder", "diagnose record"]),
    "file in place of the folder": (file_instead, ["is a file, must be a folder"]),
    "circular link": (circle, ["circle"]),
    # The label table.
    "no label table": (remove("labels.csv"), ["holds no labels.csv", "file,label"]),
    "empty label table": (text("labels.csv", ""), ["labels.csv is empty"]),
    "blank label table": (text("labels.csv", "\n \n"), ["labels.csv is empty"]),
    "label table without rows": (text("labels.csv", "file,label\n"), ["names 0 recordings"]),
    "no label column": (header("labels.csv", "file,machine"), ["line 1 lacks", "'label'"]),
    "misspelled column": (header("labels.csv", "file,label,machin"), ["did you mean 'machine'"]),
    "column twice": (header("labels.csv", "file,label,label"), ["'label' twice"]),
    "short line": (edit("labels.csv", lambda t: [*t, "e.csv"]), ["line 6 has 1 cells", "e.csv"]),
    "empty label": (cell("labels.csv", 3, 1, ""), ["line 3: label is empty"]),
    "empty machine": (cell("labels.csv", 3, 2, " "), ["line 3: machine is empty"]),
    "endless label": (cell("labels.csv", 3, 1, "x" * 101), ["line 3: label must be up to 100"]),
    "label with an escape": (cell("labels.csv", 3, 1, "\x1b[2J"), ["line 3: label", "\\x1b"]),
    "file twice": (label_file("a.csv"), ["lines 2 and 3 both name 'a.csv'"]),
    "one label": (
        edit("labels.csv", lambda t: [line.replace("worn", "healthy") for line in t]),
        ["one label 'healthy'", "at least 2"],
    ),
    "labels that differ by case": (cell("labels.csv", 3, 1, "Healthy"), ["'Healthy'", "alike"]),
    "machines that differ by spaces": (
        cell("labels.csv", 3, 2, "press-2"),
        ["machines 'press 2' and 'press-2'", "alike"],
    ),
    "label table by semicolons": (edit("labels.csv", semicolons), ["semicolon", "commas"]),
    "label table in Latin-1": (
        raw("labels.csv", b"file,label\na.csv,gr\xfcn\n"),
        ["line 2", "UTF"],
    ),
    "quote that is not closed": (cell("labels.csv", 3, 1, '"worn'), ["line 3"]),
    # Where files are.
    "file missing": (
        remove("b.csv"),
        ["b.csv: there is no such file, line 3 of labels.csv", "or drop the line$"],
    ),
    "file misspelled": (label_file("bb.csv"), ["bb.csv", "did you mean 'b.csv'"]),
    "file above": (label_file("../b.csv"), ["line 3", "'../b.csv'", "in the folder"]),
    "file at the root": (label_file("/etc/passwd"), ["'/etc/passwd'", "in the folder"]),
    "file on a drive": (label_file("C:/b.csv"), ["'C:/b.csv'", "in the folder"]),
    "backslashes": (label_file("sub\\b.csv"), ["write / between folders"]),
    "link that leaves": (link_that_leaves, ["b.csv is a link, must be a file"]),
    "folder that leaves": (folder_link_that_leaves, ["sub is a link, must be a folder"]),
    "another suffix": (label_file("b.xlsx"), ["'b.xlsx'", ".csv or .parquet"]),
    "the table itself": (label_file("labels.csv"), ["'labels.csv' is no recording"]),
    # Columns.
    "no time": (header("b.csv", "t,current [A],vibration"), ["b.csv has no column time_s", "'t'"]),
    "time in ms": (header("b.csv", HEADER.replace("_s", "_ms")), ["did you mean 'time_ms'"]),
    "no header": (edit("b.csv", lambda t: t[1:]), ["first line must name the columns"]),
    "missing channel": (
        edit("b.csv", lambda t: [line.rpartition(",")[0] for line in t]),
        ["b.csv lacks the channel 'vibration', which a.csv has"],
    ),
    "extra channel": (
        edit("b.csv", lambda t: [f"{t[0]},spin", *(f"{line},1" for line in t[1:])]),
        ["b.csv has a channel 'spin', which a.csv has not"],
    ),
    "misspelled channel": (header("b.csv", f"{HEADER}s"), ["'vibration'", "did you mean"]),
    "channel twice": (header("b.csv", "time_s,x,x"), ["'x' twice"]),
    "time twice": (header("b.csv", "time_s,x,time_s"), ["'time_s' twice"]),
    "channel without a name": (header("b.csv", "time_s,,x"), ["'' is no name of a channel"]),
    "other unit": (header("b.csv", HEADER.replace("A", "mA")), ["in 'mA'", "a.csv in 'A'"]),
    "time alone": (numbers("a.csv", "time_s", ["0", "0.1"]), ["no channel beside time_s"]),
    "endless spaces in a name": (
        header("b.csv", f"{HEADER}{' ' * 100_000}x"),
        ["line 1 has a cell of 100,010 characters, at most 200", "shorten it"],
    ),
    "endless name": (header("b.csv", f"{HEADER}{'x' * 95}"), ["is no name of a channel"]),
    "too many columns": (header("b.csv", "x," * 1_001), ["more than 1,001 cells"]),
    # Rows and numbers.
    "zero bytes": (raw("b.csv", b""), ["b.csv is empty"]),
    "zero rows": (text("b.csv", f"{HEADER}\n"), ["b.csv has 0 rows"]),
    "one row": (numbers("b.csv", HEADER, rows(1)[:1]), ["b.csv has 1 rows", "at least 2"]),
    "NaN": (cell("b.csv", 7, 1, "nan"), ["b.csv: line 7, column 'current [A]': nan"]),
    "infinity": (cell("b.csv", 7, 2, "-inf"), ["line 7, column 'vibration': -inf"]),
    "too large": (
        cell("b.csv", 7, 2, "1e39"),
        ["line 7, column 'vibration': 1e+39 is too large: numbers may be up to 3.4e+38"],
    ),
    "far too large": (cell("b.csv", 7, 2, "1e999"), ["line 7, column 'vibration': inf"]),
    "endless digits": (
        cell("b.csv", 7, 1, f"{'1' * 130_000}x"),
        ["line 7 has a cell of 130,001 characters, at most 200", "shorten it"],
    ),
    "endless line": (cell("b.csv", 7, 1, "1" * 300_000), ["line 7 has more than 200,200 char"]),
    "text": (cell("b.csv", 7, 1, "off"), ["line 7, column 'current [A]': 'off' is text"]),
    "missing by a word": (cell("b.csv", 7, 1, "N/A"), ["'N/A' is no finite number", "interpol"]),
    "date": (
        cell("b.csv", 2, 0, "2026-01-01T00:00"),
        ["line 2, column 'time_s': '2026-01-01T00:00' is a date", "write seconds"],
    ),
    "time of day": (cell("b.csv", 3, 0, "08:15:00.5"), ["'08:15:00.5' is a date or a time of day"]),
    "units below the header": (
        edit("b.csv", lambda t: [t[0], "s,A,", *t[1:]]),
        ["line 2 holds no numbers: 's,A,': drop it", "units into the first line"],
    ),
    "code": (cell("b.csv", 2, 1, "__import__('os')"), ["line 2", "__import__"]),
    "underscore": (cell("b.csv", 2, 1, "1_000"), ["line 2", "'1_000'"]),
    "hexadecimal": (cell("b.csv", 2, 1, "0x10"), ["line 2", "'0x10'"]),
    "empty cell": (cell("b.csv", 7, 1, ""), ["line 7, column 'current [A]': an empty cell"]),
    "short row": (edit("b.csv", lambda t: [*t[:6], "0.05,1"]), ["line 7 has 2 cells", "3 columns"]),
    "long row": (edit("b.csv", lambda t: [*t, "0.2,1,1,1"]), ["line 22 has 4 cells"]),
    "empty line": (edit("b.csv", lambda t: [*t[:6], "", *t[6:]]), ["line 7 is empty"]),
    "decimal commas": (edit("b.csv", decimal_commas), ["line 2 has", "0.5, not 0,5"]),
    "quoted decimal comma": (cell("b.csv", 7, 1, '"0,5"'), ["line 7", "decimal comma"]),
    "commas for points and for cells": (
        edit("b.csv", lambda t: [t[0], *(f'{k},"1,5"' for k in range(20))]),
        ["line 2 has 2 cells", "0.5, not 0,5"],
    ),
    "open quote": (cell("b.csv", 21, 2, '"5'), ["line 21", "end of data"]),
    "stray quote": (cell("b.csv", 7, 2, '""5'), ["line 7", "expected after"]),
    "semicolons": (edit("b.csv", semicolons), ["b.csv: line 1", "semicolon"]),
    "semicolons below": (numbers("b.csv", HEADER, TIMES_TWO), ["line 2 has 1 cells"]),
    "tabulators": (edit("b.csv", lambda t: [x.replace(",", "\t") for x in t]), ["tabulator"]),
    "Latin-1": (raw("b.csv", f"{HEADER}\n0,1\xb0,1".encode("latin-1")), ["line 2 is not UTF-8"]),
    "UTF-16": (raw("b.csv", HEADER.encode("utf-16")), ["is UTF-16: save it as UTF-8"]),
    "null bytes": (raw("b.csv", b"time_s,x\n\0\0"), ["null bytes"]),
    "binary": (raw("b.csv", bytes(range(1, 256))), ["b.csv: line 2 is not UTF-8"]),
    "Excel": (excel, ["b.csv is an Excel workbook"]),
    "gzip": (raw("b.csv", gzip.compress(b"time_s,x")), ["compressed by gzip"]),
    "Parquet called CSV": (raw("b.csv", b"PAR1...."), ["name end in .parquet"]),
    "huge": (huge, ["b.csv is 3,221,225,472 bytes long, at most 268,435,456"]),
    "too many lines": (raw("b.csv", b"time_s\n" + b"\n" * 5_000_001), ["more than 5,000,000"]),
    # Times.
    "time that goes back": (numbers("b.csv", HEADER, BACK), ["line 11", "must increase"]),
    "rounded times": (numbers("b.csv", HEADER, ROUNDED), ["must increase", "more digits"]),
    "gap": (numbers("b.csv", HEADER, GAP), ["line 12: time_s goes from 0.09 to 1.1", "gap"]),
    "uneven times": (numbers("b.csv", HEADER, UNEVEN), ["line 11", "uneven"]),
    "other rate": (
        numbers("b.csv", HEADER, rows(1, rate=250)),
        ["b.csv has 250 samples a second, a.csv 100", "resample"],
    ),
    # All recordings together.
    "same content": (same_content, ["'a.csv' (healthy) and 'c.csv' (worn)", "same numbers"]),
    "mixed lengths": (numbers("b.csv", HEADER, rows(1, 30)), ["30 samples, a.csv 20", "window"]),
}
OPTIONS = {
    "shorter than a window": (["--window-s", "0.5"], ["a.csv has 20 samples, 0.2 s"]),
    "window of one sample": (["--window-s", "0.01"], ["window_s must hold at least 2 samples"]),
    "too few shots": (["--shots", "2"], ["'healthy' has 2 recordings", "2 shots need 3"]),
    "too few labels": (["--way", "5"], ["2 labels are too few for 5-way", "healthy, worn"]),
    "no window": (["--window-s", "nan"], ["window_s must be"]),
    "no shots": (["--shots", "0"], ["shots must be"]),
    "too short to learn from": ([], ["20 samples each, a network needs at least 32"]),
    "windows too short to learn from": (["--window-s", "0.1"], ["10 samples each", "32"]),
}


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def one_line(capfd, *options: str) -> str:
    """Check the folder; return the one line that says what is wrong."""
    assert main(["diagnose", "check", "own", *options]) == 2
    out, err = capfd.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("metarobot: error: ")
    assert len(line) < 500
    assert not out
    return line


@needs_posix
@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(name, tmp_path, capfd):
    spoil, words = FOLDERS[name]
    spoil(make_folder(tmp_path / "own"))
    line = one_line(capfd)
    assert not [word for word in words if word not in f"{line}$"], line
    with pytest.raises(OwnDataError):
        read_recordings("own")


@pytest.mark.parametrize("name", OPTIONS)
def test_what_a_folder_is_too_small_for_is_said_in_one_line(name, tmp_path, capfd):
    options, words = OPTIONS[name]
    make_folder(tmp_path / "own")
    line = one_line(capfd, *options)
    assert not [word for word in words if word not in line], line


@needs_posix
@pytest.mark.parametrize("kind", IN_PLACE_OF_A_FILE)
@pytest.mark.parametrize("name", ["labels.csv", "b.csv"])
def test_only_plain_files_in_the_folder_are_read(name, kind, tmp_path, capfd):
    folder, canary = make_folder(tmp_path / "own"), make_canary(tmp_path / "canary")
    before = snapshot(canary)
    (folder / name).unlink()
    IN_PLACE_OF_A_FILE[kind](folder / name, canary)
    assert name in one_line(capfd)
    assert snapshot(canary) == before


def test_a_label_that_a_learner_does_not_know_is_refused(tmp_path):
    folder = make_folder(tmp_path / "own")
    with pytest.raises(OwnDataError, match=r"line 4: no label 'worn', allowed: healthy, wornout"):
        read_recordings(folder, labels=["healthy", "wornout"])
    assert len(read_recordings(folder, labels=["worn", "healthy", "cracked"])) == 4


def test_more_than_the_machine_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("metarobot.envs.memory.machine_bytes", lambda: 1000)
    with pytest.raises(OwnDataError, match=r"4 recordings as a\.csv"):
        read_recordings(make_folder(tmp_path / "own"))


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path, capfd):
    (make_folder(tmp_path / "own") / "b.csv").chmod(0)
    assert "b.csv: Permission denied" in one_line(capfd)


# Parquet.


def as_parquet(folder: Path, columns: dict[str, list]) -> None:
    """Let b be a Parquet file with these columns."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table(columns), folder / "b.parquet")
    label_file("b.parquet")(folder)


TIME = [k / 100 for k in range(20)]
ONES = [1.0] * 20
COLUMNS = {
    "null": ([*ONES[1:], None], ["row 20, column 'current [A]': an empty cell"]),
    "NaN": ([*ONES[1:], float("nan")], ["row 20, column 'current [A]': nan"]),
    "text": (["1.0"] * 20, ["'current [A]' holds string, must hold integers or floating"]),
    "lists": ([[1.0]] * 20, ["'current [A]' holds list"]),
    "one row": ([1.0], ["b.parquet has 1 rows"]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_wrong_with_a_parquet_file_is_said_in_one_line(name, tmp_path, capfd):
    values, words = COLUMNS[name]
    folder = make_folder(tmp_path / "own")
    count = len(values)
    columns = {"time_s": TIME[:count], "current [A]": values, "vibration": ONES[:count]}
    as_parquet(folder, columns)
    line = one_line(capfd)
    assert not [word for word in words if word not in line], line


def test_a_parquet_file_larger_than_is_allowed_is_refused_before_it_is_read(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr(numbers_table, "MOST_CELLS", 60)
    as_parquet(make_folder(tmp_path / "own"), {"time_s": TIME, **dict.fromkeys("abc", ONES)})
    assert "holds 20 rows x 4 columns, at most 60 numbers" in one_line(capfd)


def test_a_parquet_file_with_too_many_columns_is_refused(tmp_path, capfd):
    as_parquet(make_folder(tmp_path / "own"), {f"{k}": ONES for k in range(1_002)})
    assert "b.parquet has 1,002 columns, at most 1,001" in one_line(capfd)


def varint(value: int) -> bytes:
    """Return an integer as Thrift writes it, zigzag and seven bits a byte."""
    parts = [2 * value >> shift & 127 | 128 for shift in range(0, (2 * value).bit_length(), 7)]
    return bytes([*parts[:-1], parts[-1] & 127])


def with_footer(data: bytes, old: int, new: int, field: int = 0x16, most: int = -1) -> bytes:
    """Replace a number in the footer of a Parquet file, in the first places or in all."""
    length = int.from_bytes(data[-8:-4], "little")
    before, now = (bytes([field]) + varint(value) for value in (old, new))
    footer = data[-8 - length : -8]
    assert before in footer
    footer = footer.replace(before, now, most)
    return data[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def zeros(num_rows: int, num_groups: int = 1) -> bytes:
    """Return a Parquet file of zeros."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({name: np.zeros(num_rows) for name in ("time_s", "current [A]")})
    file = io.BytesIO()
    with parquet.ParquetWriter(file, table.schema, use_dictionary=num_groups > 1) as writer:
        for _ in range(num_groups):
            writer.write_table(table, row_group_size=num_rows)
    return file.getvalue()


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


LIES = {
    "footer": (
        lambda: with_footer(zeros(100_000, 2), 200_000, 64),
        ["its footer says 64 rows, its row groups 200,000"],
    ),
    "footer and row group": (
        lambda: with_footer(zeros(100_000), 100_000, 64, most=1),
        ["its footer says 64 rows, its row groups 100,000"],
    ),
    "footer, row group and columns": (
        lambda: with_footer(zeros(100_000), 100_000, 64),
        ["the pages of a column hold other than its 64 rows"],
    ),
    "size of a page": (
        lambda: with_page_of(1_000_000, zeros(5_000)),
        ["5,000 rows of a column unpack to 1,000,000 bytes or more"],
    ),
    "long footer": (lambda: long_footer(2_000_000), ["has a footer of", "at most 1,048,576"]),
    "empty columns": (lambda: long_footer(1_000_000), ["its footer is damaged"]),
    "more rows than are allowed": (
        lambda: zeros(1_000_000, 6),
        ["b.parquet has 6,000,000 rows, at most 5,000,000"],
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_parquet_file_whose_footer_lies_is_refused(name, tmp_path, capfd):
    make, words = LIES[name]
    folder = make_folder(tmp_path / "own")
    (folder / "b.parquet").write_bytes(make())
    label_file("b.parquet")(folder)
    line = one_line(capfd)
    assert not [word for word in words if word not in line], line


MEASURE = """
import sys
from pathlib import Path

from metarobot.cli.main import main

for folder in sys.argv[1:]:
    assert main(["diagnose", "check", folder]) == 2
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_hostile_files_take_little_memory_and_time(tmp_path):
    """60 million rows behind a footer, pages and footers that lie, endless cells, an emoji."""
    files = {"b.parquet": [with_footer(zeros(5_000_000, 12), 60_000_000, 64)]}
    files["b.parquet"] += [LIES[name][0]() for name in ("size of a page", "empty columns")]
    emoji = f"{HEADER}\U0001f600\n" + f"{'1' * 100}\n" * 500_000
    files["b.csv"] = [emoji.encode(), f"{HEADER}\n0,1,{'1' * 130_000}x\n1,1,1".encode()]
    folders = []
    for name, contents in files.items():
        for content in contents:
            folders.append(make_folder(tmp_path / f"own{len(folders)}"))
            (folders[-1] / name).write_bytes(content)
            label_file(name)(folders[-1])
    command = [sys.executable, "-c", MEASURE, *map(str, folders)]
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        command, env=paths, capture_output=True, text=True, check=True, timeout=60
    )
    assert len(done.stderr.splitlines()) == len(folders)
    assert float(done.stdout) < 500, done.stdout


@pytest.mark.parametrize("content", [b"", b"PAR1", b"time_s,x\n0,1\n", b"PAR1" + b"\xff" * 99])
def test_parquet_that_is_none_is_refused(content, tmp_path, capfd):
    pytest.importorskip("pyarrow")
    folder = make_folder(tmp_path / "own")
    (folder / "b.parquet").write_bytes(content)
    label_file("b.parquet")(folder)
    assert "b.parquet cannot be read as a Parquet file" in one_line(capfd)


def test_a_damaged_parquet_file_is_refused_or_read(tmp_path):
    """Whatever bit is flipped, no other error appears."""
    folder = make_folder(tmp_path / "own")
    as_parquet(folder, {"time_s": TIME, "current [A]": ONES, "vibration": ONES})
    whole = (folder / "b.parquet").read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        (folder / "b.parquet").write_bytes(damaged)
        with suppress(OwnDataError):
            read_recordings(folder)


def test_without_pyarrow_the_extra_is_named(tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    folder = make_folder(tmp_path / "own")
    (folder / "b.parquet").write_bytes(b"PAR1")
    label_file("b.parquet")(folder)
    assert "`pip install 'metarobot[parquet]'`" in one_line(capfd)
