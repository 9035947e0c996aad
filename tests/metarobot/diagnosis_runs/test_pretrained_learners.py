"""The learner of faults that comes with the package."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from diagnosis_card import card

from metarobot.cli import diagnose_evaluate
from metarobot.cli.main import main
from metarobot.diagnosis import Recordings, record, sample_machines
from metarobot.diagnosis.own_data import write_recordings
from metarobot.diagnosis_runs import DiagnosisRunError, diagnose, load_run, pretrained_names
from metarobot.diagnosis_runs.pretrained import FOLDER, find_run, measured_of
from metarobot.few_shot_diagnosis import HELD_OUT_FAULTS, SPLITS, PoolSpec, Split
from metarobot.few_shot_diagnosis.classes import SEEN_CLASSES
from metarobot.training import pretrained as policies

MOST_BYTES, MOST_BYTES_WITH_POLICIES = 60_000, 2_000_000
FAULTS = ("healthy", "backlash", "dry_friction", "weak_drive")
EXAMPLES = 2


def packed_bytes(folder: Path) -> int:
    """Return the size of a folder as it is packed in a wheel."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return sum(len(zlib.compress(file.read_bytes())) for file in files)


def test_it_is_small():
    own = packed_bytes(FOLDER)
    assert 10_000 < own < MOST_BYTES
    assert own + packed_bytes(policies.FOLDER) < MOST_BYTES_WITH_POLICIES


def test_its_card_says_what_was_measured():
    (name,) = pretrained_names()
    measured, run = measured_of(name), load_run(Path(name))
    assert [split.name for split in measured.splits] == [*SPLITS]
    assert measured.learner == run.learner.title
    text = (FOLDER / name / "README.md").read_text()
    assert text == card(measured, run, "python scripts/ship_diagnosis.py")
    for fault in HELD_OUT_FAULTS:
        assert fault.replace("_", " ") in text


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_run(Path("arm")) == FOLDER / "arm"
    (tmp_path / "arm").mkdir()
    assert find_run(Path("arm")) == Path("arm")


def test_a_name_that_is_nearly_right():
    with pytest.raises(DiagnosisRunError, match="did you mean 'arm'"):
        load_run(Path("arms"))


def record_arm(checks: range, seed: int) -> Recordings:
    """Record every state of an arm that nothing was trained on, some checks each."""
    (machine,) = [sample_machines(1, "test", seed=seed)]
    return record(
        machine.rows([0] * len(FAULTS) * len(checks)),
        np.repeat(FAULTS, len(checks)).tolist(),
        np.repeat([0.0, 0.02, 4.0, 0.2], len(checks)),
        seed,
        joints=2,
        checks=[*checks] * len(FAULTS),
    )


def test_it_diagnoses_an_arm_that_it_never_saw_by_its_name(tmp_path, capsys):
    write_recordings(record_arm(range(EXAMPLES), 9), tmp_path / "known")
    new = record_arm(range(EXAMPLES, EXAMPLES + 2), 9)
    write_recordings(new, tmp_path / "new")
    (tmp_path / "new" / "labels.csv").unlink()
    found = diagnose("arm", tmp_path / "known", tmp_path / "new")
    assert [own.label for own in found] == new.fault.tolist()
    command = ["diagnose", "predict", "arm", "--examples", str(tmp_path / "known")]
    assert main([*command, "--recordings", str(tmp_path / "new")]) == 0
    assert "dry_friction" in capsys.readouterr().out


def test_a_default_dtype_of_the_callers_own_changes_nothing(tmp_path, double_precision):
    folders = tmp_path / "known", tmp_path / "new"
    for folder, checks in zip(
        folders, (range(EXAMPLES), range(EXAMPLES, EXAMPLES + 1)), strict=True
    ):
        write_recordings(record_arm(checks, 9), folder)
    found = diagnose("arm", *folders)
    torch.set_default_dtype(torch.float32)
    assert found == diagnose("arm", *folders)


def test_it_is_evaluated_by_its_name(tmp_path, monkeypatch, capsys):
    machines = PoolSpec(machines="test", num_machines=10, classes=SEEN_CLASSES[:6])
    splits = {"unseen machines, seen faults": Split(machines, machines, machines.classes)}
    monkeypatch.setattr(diagnose_evaluate, "SPLITS", splits)
    command = ["diagnose", "evaluate", "arm", "--out", str(tmp_path / "out"), "--tasks", "10"]
    assert main([*command, "--machines", "10"]) == 0
    assert "metarobot diagnose evaluate arm" in (tmp_path / "out" / "report.html").read_text()
    said = capsys.readouterr().out
    assert "it names the right one of 5 " in said or "it then names the right one of 5 " in said


def test_list_names_it(capsys):
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    assert "trained diagnosis" in told
    assert "arm" in told
    assert main(["list", "grip"]) == 0
    assert "trained diagnosis" not in capsys.readouterr().out
