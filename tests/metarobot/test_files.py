"""JSON files hold whatever a path may be called."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarobot.cli.main import main
from metarobot.files import json_bytes, parse_json
from metarobot.training.load import load_run

TRAIN = ["train", "slide", "--algorithms", "maml", "--total-steps", "64"]
SIZES = ["--num-tasks", "2", "--episodes-per-task", "2", "--hidden-sizes", "4"]


@given(st.binary())
def test_any_path_comes_back_from_json(name):
    path = os.fsdecode(name)
    data = json_bytes({"command": ["train", "--out", path]})
    data.decode()
    assert parse_json(data, Path("x.json")) == {"command": ["train", "--out", path]}


@pytest.mark.skipif(os.name != "posix", reason="names are bytes")
def test_training_into_a_folder_whose_name_is_no_utf8(tmp_path, monkeypatch):
    run = tmp_path / os.fsdecode(b"r\xff")
    command = [*TRAIN, *SIZES, "--out", str(run)]
    monkeypatch.setattr("sys.argv", ["metarobot", *command])
    assert main(command) == 0
    assert load_run(run).policies["maml"].finished
