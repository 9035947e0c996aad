"""The command that measures learners of faults beside references, at its smallest size."""

import json

import numpy as np
import pytest
from loading import load_script

from metarobot.few_shot_diagnosis.classes import HELD_OUT_CLASSES, SEEN_CLASSES
from metarobot.few_shot_diagnosis.learners import LEARNERS
from metarobot.few_shot_diagnosis.pool import PoolSpec
from metarobot.few_shot_diagnosis.references import nearest_mean
from metarobot.few_shot_diagnosis.splits import Split

diagnosis = load_script("diagnosis")

SEEN, UNSEEN = SEEN_CLASSES[:6], HELD_OUT_CLASSES[:5]


@pytest.fixture
def small(monkeypatch):
    """A few machines and updates; features that need no extra."""
    train = PoolSpec(machines="train", num_machines=10, classes=SEEN)
    test = PoolSpec(machines="test", num_machines=10, classes=SEEN + UNSEEN)
    splits = {"seen": Split(test, test, SEEN), "unseen": Split(test, test, UNSEEN)}
    sizes = np.random.default_rng(0).normal(size=(31, 40))
    for name, value in {
        "TRAIN_POOL": train,
        "SEEN_CLASSES": SEEN,
        "SPLITS": splits,
        "NUM_UPDATES": dict.fromkeys(LEARNERS, 1),
        "NUM_JOINT_UPDATES": 1,
        "catch22_features": lambda residual, _: residual.std(2),
        "minirocket_features": lambda residual, *_: residual.std(2) @ sizes,
        "random_forest": nearest_mean,
        "new_head": nearest_mean,
    }.items():
        monkeypatch.setattr(diagnosis, name, value)


@pytest.mark.usefixtures("small")
def test_it_writes_a_row_for_each_and_measures_none_twice(tmp_path, monkeypatch, capsys):
    rows_at, trainings_at = tmp_path / "rows.json", tmp_path / "trainings.json"
    monkeypatch.setattr(diagnosis, "ROWS", rows_at)
    monkeypatch.setattr(diagnosis, "TRAININGS", trainings_at)
    options = ["--cache", str(tmp_path / "cache"), "--tasks", "3", "--threads", "1"]
    assert diagnosis.main([*options, "--only", "anil"]) == 0
    assert diagnosis.main(options) == 0
    rows = json.loads(rows_at.read_text())
    names = {row["learner"] for row in rows}
    assert names > {*LEARNERS, "ridge_minirocket", "fine_tuning", "from_scratch"}
    keys = {(row["learner"], row["split"], row["shots"]) for row in rows}
    assert keys == {
        (name, split, shots) for name in names for split in ("seen", "unseen") for shots in (1, 5)
    }
    assert len(rows) == len(keys)
    for row in rows:
        assert (row["task"], row["way"]) == ("fault in joint", 5)
        low, high = row["accuracy_ci"]
        assert 0 <= low <= row["accuracy"] <= high <= 1
    trainings = {own["learner"]: own for own in json.loads(trainings_at.read_text())}
    assert set(trainings) == {*LEARNERS, "pretrained"}
    assert trainings["anil"]["updates"] == 1
    capsys.readouterr()
    assert diagnosis.main(options) == 0
    assert capsys.readouterr().out == ""  # nothing is left to measure
