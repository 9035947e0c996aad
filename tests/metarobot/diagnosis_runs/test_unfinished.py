"""A training that was stopped goes on as if it never had, or says why it cannot."""

import json
import shutil

import pytest
from made_up_machines import TONES, make_plant
from resealed import open_sealed, sealed

from metarobot.cli.main import main
from metarobot.diagnosis_runs import OwnTraining, TrainingPlan, load_run, save_run, train_own
from metarobot.diagnosis_runs.run_folder import (
    DiagnosisRunError,
    require_new_run,
    require_unfinished,
)
from metarobot.diagnosis_runs.unfinished import (
    UNFINISHED_FILE,
    Unfinished,
    UnfinishedError,
)

PLAN = TrainingPlan(updates=13)


class Stopped(Exception):  # noqa: N818  as a signal does
    """What ends a training in a test."""


def silent(stage, share):
    pass


def stop_halfway(stage, share):
    if 0.4 < share < 1:
        raise Stopped


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    return make_plant(tmp_path_factory.mktemp("unfinished") / "plant", labels=tuple(TONES))


def interrupted(plant, run, plan=PLAN):
    with pytest.raises(Stopped):
        train_own(OwnTraining(folder=plant), plan, stop_halfway, Unfinished(run))
    return run


@pytest.mark.parametrize("learner", ["prototypes", "meta_sgd"])
def test_it_goes_on_bit_for_bit(learner, plant, tmp_path):
    plan = TrainingPlan(learner=learner, updates=13)
    whole = train_own(OwnTraining(folder=plant), plan, silent)
    run = interrupted(plant, tmp_path / "run", plan)
    with pytest.raises(DiagnosisRunError, match="--resume"):
        require_new_run(run)
    require_unfinished(run)
    seen = []
    unfinished = Unfinished(run, resume=True)
    again = train_own(
        OwnTraining(folder=plant), plan, lambda stage, _: seen.append(stage), unfinished
    )
    assert len([stage for stage in seen if stage.startswith("training")]) < 7  # of ten parts
    ours, theirs = again.learner.state(), whole.learner.state()
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == leaf).all() for name, leaf in theirs.items())
    assert again.config.losses == whole.config.losses
    assert again.config.strange_above == whole.config.strange_above
    save_run(again, run)
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "learner.safetensors"]
    assert load_run(run).config == again.config


def test_another_training_is_refused(plant, tmp_path):
    run = interrupted(plant, tmp_path / "run")
    fewer = shutil.copytree(plant, tmp_path / "fewer")
    lines = (fewer / "labels.csv").read_text().splitlines()
    del lines[1]  # a recording that is trained on
    (fewer / "labels.csv").write_text("\n".join(lines) + "\n")
    for folder, plan in ((plant, TrainingPlan(updates=14)), (fewer, PLAN)):
        with pytest.raises(UnfinishedError, match="other options or recordings"):
            train_own(OwnTraining(folder=folder), plan, silent, Unfinished(run, resume=True))


def test_a_damaged_file_is_refused(plant, tmp_path):
    run = interrupted(plant, tmp_path / "run")
    data = bytearray((run / UNFINISHED_FILE).read_bytes())
    data[-5] ^= 1
    (run / UNFINISHED_FILE).write_bytes(bytes(data))
    with pytest.raises(UnfinishedError, match="damaged"):
        train_own(OwnTraining(folder=plant), PLAN, silent, Unfinished(run, resume=True))


def test_what_is_in_the_way_is_said_before_the_work(plant, tmp_path, capsys):
    run = interrupted(plant, tmp_path / "run")
    command = ["diagnose", "train", str(plant), "--updates", "13", "--resume", "--out"]
    for name in (".learner.safetensors.partial", ".config.json.partial"):
        (run / name).mkdir()
        assert main([*command, str(run)]) == 2
        assert f"{name} is a folder" in capsys.readouterr().err
        (run / name).rmdir()
    (tmp_path / "link").symlink_to(run)
    assert main([*command, str(tmp_path / "link")]) == 2
    assert "link is a link" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == [UNFINISHED_FILE]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"processor_s"', '"seconds"'),
        ('"processor_s": ', '"processor_s": "x", "rest": '),
        ('"losses": ', '"losses": [[1]], "rest": '),
    ],
)
def test_what_is_kept_is_not_trusted(plant, tmp_path, old, new):
    run = interrupted(plant, tmp_path / "run")
    entries, facts, rest = open_sealed((run / UNFINISHED_FILE).read_bytes())
    text = json.dumps(facts)
    assert old in text
    changed = sealed(json.dumps(entries), text.replace(old, new), rest)
    (run / UNFINISHED_FILE).write_bytes(changed)
    with pytest.raises(UnfinishedError, match="does not fit"):
        train_own(OwnTraining(folder=plant), PLAN, silent, Unfinished(run, resume=True))


def test_the_command_goes_on(plant, tmp_path, capsys):
    run = tmp_path / "run"
    command = ["diagnose", "train", str(plant), "--out", str(run), "--updates", "13"]
    assert main([*command, "--resume"]) == 2
    assert "holds no training that was interrupted" in capsys.readouterr().err
    interrupted(plant, run)
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert load_run(run).config.updates == 13
