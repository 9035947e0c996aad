"""The command that makes the learner of faults of the package, at its smallest size."""

import json

import pytest
from loading import load_script

from metarobot.diagnosis_runs.results import DiagnosisResult
from metarobot.diagnosis_runs.run_folder import load_run
from metarobot.diagnosis_runs.training import TrainingPlan
from metarobot.few_shot_diagnosis import PoolSpec, Split
from metarobot.few_shot_diagnosis.classes import HELD_OUT_CLASSES, SEEN_CLASSES

ship_diagnosis = load_script("ship_diagnosis")

SEEN, UNSEEN = SEEN_CLASSES[:6], HELD_OUT_CLASSES[:5]


@pytest.fixture
def small(monkeypatch):
    """A few machines and updates."""
    train = PoolSpec(machines="train", num_machines=10, classes=SEEN)
    test = PoolSpec(machines="test", num_machines=10, classes=SEEN + UNSEEN)
    splits = {
        "unseen machines, seen faults": Split(test, test, SEEN),
        "unseen machines, unseen faults": Split(test, test, UNSEEN),
    }
    monkeypatch.setattr(ship_diagnosis, "TRAIN_POOL", train)
    monkeypatch.setattr(ship_diagnosis, "SPLITS", splits)
    monkeypatch.setattr(ship_diagnosis, "TrainingPlan", lambda: TrainingPlan(updates=2))


@pytest.mark.usefixtures("small")
def test_it_writes_a_run_with_a_card_and_finds_it_again(tmp_path, capsys):
    out = tmp_path / "trained"
    options = ["--cache", str(tmp_path / "cache"), "--out", str(out), "--tasks", "8"]
    assert ship_diagnosis.main(options) == 0
    names = {"config.json", "learner.safetensors", "evaluation.json", "README.md"}
    assert {path.name for path in (out / "arm").iterdir()} == names
    run = load_run(out / "arm")
    state = run.learner.state()
    assert all((leaf == leaf.half().float()).all() for leaf in state.values())
    assert not any(leaf.any() for name, leaf in state.items() if name.startswith("adam."))
    assert any(leaf.any() for leaf in run.learner.params.values())
    assert str(tmp_path) not in (out / "arm" / "config.json").read_text()
    capsys.readouterr()
    assert ship_diagnosis.main([*options, "--check"]) == 0
    assert "all as on the card" in capsys.readouterr().out
    forge_accuracy(out / "arm" / "evaluation.json")
    assert ship_diagnosis.main([*options, "--check"]) == 1
    assert "accuracy 0.010 on the card" in capsys.readouterr().out


def forge_accuracy(path):
    values = json.loads(path.read_text())
    for score in values["splits"][0]["scores"]:
        score["accuracy"] = [0.01, 0.01, 0.011]
    path.write_text(json.dumps(values))
    assert values.keys() >= {*DiagnosisResult.__struct_fields__} - {"decisions", "life"}


def test_a_bad_option_is_one_line(capsys):
    assert ship_diagnosis.main(["--tasks", "many"]) == 2
    assert "ship_diagnosis.py: error" in capsys.readouterr().err
