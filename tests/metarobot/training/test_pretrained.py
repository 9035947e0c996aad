"""The policies that come with the package."""

import zlib
from pathlib import Path

import pytest
import ship

import metarobot as mr
from metarobot.config import PRESETS
from metarobot.evaluation.table import Evaluation
from metarobot.io import read_json
from metarobot.training.load import find_run, load_run
from metarobot.training.run_folder import EVALUATION_FILE, FOLDER, RunError, pretrained_names

MOST_BYTES = 2_000_000


@pytest.mark.parametrize("name", pretrained_names())
def test_a_name_is_a_run_of_its_family(name) -> None:
    run = load_run(Path(name))
    assert {*run.policies} == {*ship.shipped_algorithms(name)}
    assert run.env_id == PRESETS[name].env_id
    assert run.seed == 0
    assert not run.unfinished


@pytest.mark.parametrize("name", pretrained_names())
def test_what_was_measured_lies_beside_it(name) -> None:
    evaluation = Evaluation.from_dict(read_json(FOLDER / name / EVALUATION_FILE))
    assert evaluation.family == PRESETS[name].env_id
    assert {policy.algorithm for policy in evaluation.policies} >= {*ship.shipped_algorithms(name)}


def test_they_are_small() -> None:
    """As they are packed in a wheel."""
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert len(files) >= 14 * len(pretrained_names()) > 0
    assert sum(len(zlib.compress(file.read_bytes())) for file in files) < MOST_BYTES


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = pretrained_names()[0]
    assert find_run(Path(name)) == FOLDER / name
    (tmp_path / name).mkdir()
    assert find_run(Path(name)) == Path(name)
    with pytest.raises(RunError, match="is not a run folder"):
        mr.load_run(name)
