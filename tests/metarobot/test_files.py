"""JSON files hold whatever a path may be called; a row of a table is a line."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metarobot.cli.main import main
from metarobot.console import printable
from metarobot.io import csv_table, json_bytes, parse_json, rounded
from metarobot.training.load import load_run

TRAIN = ["train", "slide", "--algorithms", "maml", "--total-steps", "64"]
SIZES = ["--num-tasks", "2", "--episodes-per-task", "2", "--hidden-sizes", "4"]


@given(st.binary())
def test_any_path_comes_back_from_json(name):
    path = os.fsdecode(name)
    data = json_bytes({"command": ["train", "--out", path]})
    data.decode()
    assert parse_json(data, Path("x.json")) == {"command": ["train", "--out", path]}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(VALUES)
@settings(deadline=None)
def test_values_come_back_from_json_however_they_are_laid_out(value):
    assert json.loads(json_bytes([value])) == [value]


def test_a_row_of_a_table_is_a_line():
    table = [{"curve": "a", "points": [{"n": 0, "mean": [1.5, 1.0, 2.0]}, {"n": 1, "mean": None}]}]
    assert (
        json_bytes({"seeds": [0, 1], "curves": table, "none": []}).decode()
        == """{
  "seeds": [0, 1],
  "curves": [
    {
      "curve": "a",
      "points": [
        {"n": 0, "mean": [1.5, 1.0, 2.0]},
        {"n": 1, "mean": null}
      ]
    }
  ],
  "none": []
}
"""
    )


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
def test_no_text_is_a_formula_in_a_spreadsheet(text):
    """As a label in a cell, and in the heading of a column."""
    table = csv_table([{"label": text, text: -0.5, "range": (-1.0, 2.0), "plain": "a=b"}])
    header, row = csv.reader(io.StringIO(table, newline=""))
    assert header == ["label", f"'{printable(text)}", "range_low", "range_high", "plain"]
    assert row == [f"'{printable(text)}", "-0.5", "-1.0", "2.0", "a=b"]


def test_a_name_of_any_bytes_stays_in_its_cell():
    """Files to predict are called what the disk calls them."""
    name = os.fsdecode(b"a\r=1\xff.csv")
    header, row = csv.reader(io.StringIO(csv_table([{"file": name}]), newline=""))
    assert (header, row) == (["file"], [r"a\r=1\xff.csv"])


@pytest.mark.skipif(os.name != "posix", reason="names are bytes")
def test_training_into_a_folder_whose_name_is_no_utf8(tmp_path, monkeypatch):
    run = tmp_path / os.fsdecode(b"r\xff")
    command = [*TRAIN, *SIZES, "--out", str(run)]
    monkeypatch.setattr("sys.argv", ["metarobot", *command])
    assert main(command) == 0
    assert load_run(run).policies["maml"].finished
