"""The policies that come with the package."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import ship

import metarobot as mr
from metarobot.config import PRESETS
from metarobot.evaluation.table import Evaluation
from metarobot.io import read_json
from metarobot.training.load import EVALUATION_FILE, FOLDER, find_run, load_run, pretrained_names
from metarobot.training.run_folder import RunError

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
        mr.load(name)


def test_a_name_that_is_nearly_right() -> None:
    name = pretrained_names()[0]
    words = f"no run folder at {name}x, nor policies of that name in the package, did you mean "
    with pytest.raises(RunError, match=f"^{words}'{name}'"):
        load_run(Path(f"{name}x"))
    with pytest.raises(RunError, match="no run folder at missing: `metarobot runs` lists "):
        load_run(Path("missing"))


def test_a_check_allows_for_chance() -> None:
    """Of 300 figures of 60 tasks each, none of which differs, and of some that do."""
    rng = np.random.default_rng(5)
    chances = rng.uniform(0, 1, 300)
    by_chance = [ship.Figure("alike", *rng.binomial(60, chance, 2) / 60) for chance in chances]
    assert max(abs(each.card - each.here) for each in by_chance) > 0.2
    assert not ship.differing(by_chance, 60)
    broken = [ship.Figure("broken", 1.0, 0.6), ship.Figure("broken", 0.9, 0.4)]
    assert ship.differing([*by_chance, *broken], 60) == broken
    assert not ship.differing([], 60)
