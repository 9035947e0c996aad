"""Files: nothing leads out of a folder, nothing is half written, no part of a file is trusted."""

import csv
import io
import json
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hostile import IN_PLACE_OF_A_FILE, IN_PLACE_OF_A_FOLDER, make_canary, needs_posix, snapshot
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as plain_safetensors

from metarobot.console import printable
from metarobot.io import (
    Folder,
    FolderError,
    csv_table,
    json_bytes,
    most_bytes,
    parse_json,
    parse_tensors,
    read_file,
    require_writable,
    rounded,
    seal_tensors,
    write_file,
)

ON_A_FILE: dict[str, Callable[[Folder, str], object]] = {
    "has": lambda folder, name: folder.has(name),
    "read": lambda folder, name: folder.read(name),
    "write": lambda folder, name: folder.write(name, b"new"),
    "write first of two": lambda folder, name: folder.write_together({name: b"a", "z": b"b"}),
    "remove among others": lambda folder, name: folder.write_together({name: None, "z": b"b"}),
    "require_files": lambda folder, name: folder.require_files(name),
    "open_log": lambda folder, name: folder.open_log(name, 0).close(),
    "remove": lambda folder, name: folder.remove(name),
    "move": lambda folder, name: folder.move(name, folder / "other"),
    "move over": lambda folder, name: folder.move("plain", folder, name),
    "write_file": lambda folder, name: write_file(folder.path / name, b"new"),
    "require_writable": lambda folder, name: require_writable(folder.path / name),
}
FINE = {
    ("has", "giant"),
    ("remove", "giant"),
    ("move", "giant"),
    ("move", "folder"),
    ("move over", "giant"),
}
"""What is no danger: nothing is read or followed."""

IN_A_FOLDER: dict[str, Callable[[Folder], object]] = {
    "exists": lambda folder: folder.exists(),
    "kinds": lambda folder: folder.kinds(),
    "has": lambda folder: folder.has("file"),
    "read": lambda folder: folder.read("file"),
    "make": lambda folder: folder.make(),
    "write": lambda folder: folder.write("file", b"new"),
    "create": lambda folder: folder.create("new").close(),
    "open_log": lambda folder: folder.open_log("file", 0).close(),
    "remove": lambda folder: folder.remove("file"),
    "remove_tree": lambda folder: folder.remove_tree(),
    "move out": lambda folder: folder.move("file", Folder(folder.root)),
    "move in": lambda folder: Folder(folder.root).move("plain", folder),
    "lock": lambda folder: folder.lock().__enter__(),
    "deeper": lambda folder: (folder / "below").write("file", b"new"),
}


@pytest.fixture
def canary(tmp_path) -> Path:
    return make_canary(tmp_path / "canary")


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path / "root")
    (folder / "other").make()
    folder.write("plain", b"plain")
    return folder


@needs_posix
@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FILE)
@pytest.mark.parametrize("act", ON_A_FILE)
def test_what_is_no_plain_file_is_refused_and_not_followed(folder, canary, act, thing):
    IN_PLACE_OF_A_FILE[thing](folder.path / "x", canary)
    before = snapshot(canary)
    if (act, thing) in FINE:
        ON_A_FILE[act](folder, "x")
    else:
        with pytest.raises((FolderError, IsADirectoryError)) as error:
            ON_A_FILE[act](folder, "x")
        assert str(folder.path / "x") in str(error.value)
        assert "\n" not in str(error.value)
        assert folder.names() == ["other", "plain", "x"]
    assert snapshot(canary) == before


@needs_posix
@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FOLDER)
@pytest.mark.parametrize("act", IN_A_FOLDER)
def test_what_is_no_folder_is_refused_and_not_followed(folder, canary, act, thing):
    IN_PLACE_OF_A_FOLDER[thing](folder.path / "x", canary)
    before = snapshot(canary)
    with pytest.raises(FolderError) as error:
        IN_A_FOLDER[act](folder / "x")
    assert f"{folder.path / 'x'} is a" in str(error.value)
    assert snapshot(canary) == before


@pytest.mark.parametrize("act", IN_A_FOLDER)
def test_a_root_that_is_a_link_is_refused_unless_it_is_only_read_from(folder, canary, act):
    link = folder.path / "link"
    link.symlink_to(canary / "folder")
    before = snapshot(canary)
    with pytest.raises(FolderError, match="is a link"):
        IN_A_FOLDER[act](Folder(link))
    assert snapshot(canary) == before
    assert Folder.named(link).read("file") == b"precious"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "../x", "nul\0"])
def test_names_lead_nowhere_else(folder, name):
    for what, act in ON_A_FILE.items():
        if what in ("write_file", "require_writable"):  # whose path is the user's own
            continue
        with pytest.raises(FolderError, match="is not the name of a file"):
            act(folder, name)
    with pytest.raises(FolderError):
        folder / name


def test_hard_links_are_not_written_through(folder, canary):
    os.link(canary / "folder" / "file", folder.path / "curve.csv")
    before = snapshot(canary)
    with pytest.raises(FolderError, match="another name elsewhere"):
        folder.open_log("curve.csv", 0)
    folder.write("curve.csv", b"new")  # replaces the name, not the content
    assert snapshot(canary) == before


def test_files_that_belong_together_appear_together(folder, monkeypatch):
    """Wherever writing ends: old numbers with the old report, or new ones, perhaps without one."""
    old = {"numbers": b"old", "picture": b"old", "report": b"old"}
    new = {"numbers": b"new", "picture": None, "report": b"new"}
    calls = {"fsync": 0}

    class Killed(BaseException):
        pass

    for name in ("fsync", "replace", "unlink"):
        real = getattr(os, name)

        def counted(*args, real=real, **kwargs):
            if calls["left"] == 0:
                raise Killed
            calls["left"] -= 1
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, counted)
    seen = set()
    for number in range(40):
        calls["left"] = 10**9
        folder.write_together(old)
        calls["left"] = number
        try:
            folder.write_together(new)
        except Killed:
            calls["left"] = 10**9
        found = {name: folder.read(name) for name in new if folder.has(name)}
        if found.get("report") == b"old":
            assert found == old
        elif found.get("report") == b"new":
            assert found == {"numbers": b"new", "report": b"new"}
        seen.add((found["numbers"], found.get("report")))
    assert {(b"old", b"old"), (b"new", b"new"), (b"new", None)} <= seen


def test_a_full_disk_changes_nothing(folder, monkeypatch):
    """However far writing several files has come."""
    folder.write_together({"a": b"old", "b": b"old", "c": b"old"})
    for number in range(3):
        left = [number]

        def full(descriptor, left=left):
            if left[0] == 0:
                raise OSError(28, "No space left on device")
            left[0] -= 1

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left") as error:
                folder.write_together({"a": b"new", "b": b"new", "c": b"new"})
        assert str(folder.path / "abc"[number]) in str(error.value)
        assert [folder.read(name) for name in "abc"] == [b"old"] * 3
        assert folder.names() == ["a", "b", "c", "other", "plain"]


def test_a_file_that_the_user_names_may_be_a_link(tmp_path, canary):
    (tmp_path / "link").symlink_to(canary / "folder" / "file")
    assert read_file(tmp_path / "link") == b"precious"
    with pytest.raises(FolderError, match="is a link"):
        write_file(tmp_path / "link", b"new")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises((OSError, FolderError)):
        read_file(tmp_path / "circle")
    with pytest.raises(FileNotFoundError, match="missing"):
        read_file(tmp_path / "missing")


def test_trees_are_removed_without_what_their_links_lead_to(folder, canary):
    deep = folder / "tree" / "a" / "b"
    deep.make()
    (deep.path / "link").symlink_to(canary)
    before = snapshot(canary)
    (folder / "tree").remove_tree()
    (folder / "tree").remove_tree()
    assert folder.names() == ["other", "plain"]
    assert snapshot(canary) == before


# JSON and CSV.

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(VALUES, st.binary())
@settings(deadline=None)
def test_values_and_any_path_come_back_from_json_however_they_are_laid_out(value, name):
    data = json_bytes({"x": value, "path": os.fsdecode(name)})
    data.decode()
    assert parse_json(data, Path("x.json")) == {"x": value, "path": os.fsdecode(name)}


def test_a_row_of_a_table_is_a_line_and_what_is_not_finite_is_null():
    table = [{"curve": "a", "points": [{"n": 0, "mean": [1.5, 1.0]}, {"n": 1, "mean": math.nan}]}]
    assert (
        json_bytes({"seeds": [0, 1], "curves": table, "none": (math.inf,)}).decode()
        == """{
  "seeds": [0, 1],
  "curves": [
    {
      "curve": "a",
      "points": [
        {"n": 0, "mean": [1.5, 1.0]},
        {"n": 1, "mean": null}
      ]
    }
  ],
  "none": [null]
}
"""
    )


@pytest.mark.parametrize("text", ["[]", "{", "NaN", '{"a": 1e400}', "[" * 10_000, "1" * 5000])
def test_what_is_no_json_object_is_one_line(text):
    with pytest.raises(ValueError, match=r"^x\.json ") as error:
        parse_json(text.encode(), Path("x.json"))
    assert "\n" not in str(error.value)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2).map(sorted))
@settings(deadline=None)
def test_rounding_keeps_six_digits_and_the_order(numbers):
    found = rounded({"a": [numbers]})["a"][0]
    assert found == sorted(found) == rounded(found)
    assert found == pytest.approx(numbers, rel=5.1e-6, abs=0.0)
    assert rounded([7, True, None, "x"]) == [7, True, None, "x"]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"]
)
def test_no_text_is_a_formula_or_leaves_its_cell_in_a_spreadsheet(text):
    """As a label in a cell, and in the heading of a column; names may have any bytes."""
    name = os.fsdecode(b"a\r=1\xff.csv")
    table = csv_table([{"label": text, text: -0.5, "range": (-1.0, 2.0), "file": name}])
    header, row = csv.reader(io.StringIO(table, newline=""))
    assert header == ["label", f"'{printable(text)}", "range_low", "range_high", "file"]
    assert row == [f"'{printable(text)}", "-0.5", "-1.0", "2.0", r"a\r=1\xff.csv"]


# Sealed files of tensors.

SHAPES = {"a": (2, 3), "b": (4,)}
TENSORS = {
    name: torch.arange(24.0)[: torch.Size(s).numel()].reshape(s) for name, s in SHAPES.items()
}
DATA = seal_tensors(TENSORS, {"iteration": 3, "name": "Grip"})
X = Path("x")


def test_tensors_and_facts_come_back_bit_for_bit_and_equal_content_gives_equal_bytes():
    tensors, facts = parse_tensors(X, DATA, SHAPES)
    assert list(tensors) == ["a", "b"]
    assert all(torch.equal(tensors[name], leaf) for name, leaf in TENSORS.items())
    assert facts == {"iteration": 3, "name": "Grip"}
    assert seal_tensors(TENSORS, facts) == DATA
    assert len(DATA) <= most_bytes(SHAPES)
    double = {**TENSORS, "b": TENSORS["b"].double() / 3}
    dtypes = {"a": torch.float32, "b": torch.float64}
    tensors, _ = parse_tensors(X, seal_tensors(double, {}), {"a": (-1, 3), "b": (-1,)}, dtypes)
    assert torch.equal(tensors["b"], double["b"])


def test_every_single_bit_counts():
    """Not a sample: each bit of the file is turned once."""
    for bit in range(8 * len(DATA)):
        damaged = bytearray(DATA)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(ValueError, match="seal is broken"):
            parse_tensors(X, bytes(damaged), SHAPES)


@settings(deadline=None)
@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)), st.binary(max_size=64))
def test_damaged_files_are_refused(start, end, inserted):
    damaged = DATA[: min(start, end)] + inserted + DATA[max(start, end) :]
    assume(damaged != DATA)
    with pytest.raises(ValueError, match="seal is broken") as error:
        parse_tensors(X, damaged, SHAPES)
    assert "\n" not in str(error.value)


HEADERS = [json.dumps(h) for h in ([], {}, {"__metadata__": 3}, {"__metadata__": {"sha256": 3}})]
UNSEALED = [plain_safetensors(TENSORS), b"\x80\x04K\x01.", b"", struct.pack("<Q", 2**62)]
UNSEALED += [struct.pack("<Q", len(text)) + text.encode() for text in HEADERS]


@pytest.mark.parametrize("content", UNSEALED)
def test_what_has_no_seal_is_refused(content):
    with pytest.raises(ValueError, match="seal is broken"):
        parse_tensors(X, content, SHAPES)


@pytest.mark.parametrize(
    ("shapes", "dtypes", "message"),
    [
        ({"a": (2, 3)}, None, "'b' is too many"),
        ({**SHAPES, "c": (1,)}, None, "it lacks c"),
        ({**SHAPES, "b": (5,)}, None, r"b is F32 \(4,\), must be F32 \(5,\)"),
        ({**SHAPES, "b": (4, 1)}, None, "must be F32"),
        ({**SHAPES, "b": (-1, -1)}, None, "must be F32"),
        (SHAPES, dict.fromkeys(SHAPES, torch.float64), r"a is F32 .*, must be F64"),
    ],
)
def test_other_tensors_are_refused_before_they_are_read(shapes, dtypes, message):
    with pytest.raises(ValueError, match=message):
        parse_tensors(X, DATA, shapes, dtypes)


def test_what_could_not_be_read_is_not_written():
    with pytest.raises(ValueError, match=r"b must be float32 or float64 to be saved: got .*int64"):
        seal_tensors({"b": torch.ones(2, dtype=torch.int64)}, {})
    with pytest.raises(ValueError, match="JSON"):
        seal_tensors(TENSORS, {"x": math.nan})
    with pytest.raises(ValueError, match="not finite in a"):
        parse_tensors(X, seal_tensors({"a": torch.tensor([math.inf])}, {}), {"a": (1,)})
