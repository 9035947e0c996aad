"""Run folders: whole, sealed, without pickle, or refused in one line."""

import json
import shutil
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from made_up_machines import make_case, make_plant

from metarobot.diagnosis.own_data import OwnDataError
from metarobot.diagnosis_runs import (
    LEARNER_NAMES,
    DiagnosisRunError,
    OwnTraining,
    TrainingPlan,
    load_run,
    predict_folder,
    save_run,
    train_own,
)
from metarobot.diagnosis_runs.evaluating import own_splits
from metarobot.diagnosis_runs.run_folder import CONFIG_FILE, LEARNER_FILE, require_new_run
from metarobot.directory import FolderError


def silent(stage, share):
    pass


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return (make_plant(folder / "plant"), *make_case(folder))


@pytest.fixture(scope="module")
def trained(case):
    return train_own(OwnTraining(folder=case[0]), TrainingPlan(updates=25), silent)


@pytest.mark.parametrize("name", LEARNER_NAMES)
def test_every_learner_is_the_same_after_saving(name, case, tmp_path):
    plant, examples, recordings, _ = case
    plan = TrainingPlan(learner=name, updates=2)
    own = train_own(OwnTraining(folder=plant), plan, silent)
    save_run(own, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [CONFIG_FILE, LEARNER_FILE]
    again = load_run(tmp_path / "run")
    assert again.config == own.config
    found = [predict_folder(run, examples, recordings)[1] for run in (own, again)]
    assert found[0] == found[1]


def test_training_is_repeatable_and_learns(trained, case):
    again = train_own(OwnTraining(folder=case[0]), TrainingPlan(updates=25), silent)
    ours = {**trained.learner.state()}
    assert all(np.array_equal(ours[k], v) for k, v in again.learner.state().items())
    assert trained.config.losses[-1] < 0.3 * trained.config.losses[0]


def test_a_machine_never_seen_is_diagnosed_and_what_it_never_had_is_noticed(trained, case):
    _, examples, recordings, truth = case
    model, found = predict_folder(trained, examples, recordings)
    assert model.classes == ("healthy", "loose foot", "worn bearing")
    for own, label in zip(found, truth, strict=True):
        assert own.looks_like_none == (label == "bent shaft")
        assert label == "bent shaft" or own.label == label
        assert sum(own.probabilities.values()) == pytest.approx(1)
        assert own.probability == max(own.probabilities.values())


def test_what_a_recording_shows_does_not_depend_on_others(case, tmp_path):
    plant, examples, recordings, _ = case
    run = train_own(OwnTraining(folder=plant, window_s=0.32), TrainingPlan(updates=5), silent)
    assert run.config.windows == 4
    found = predict_folder(run, examples, recordings)[1]
    some = tmp_path / "some"
    some.mkdir()
    for name in ("r00.csv", "r07.csv"):
        (some / name).write_bytes((recordings / name).read_bytes())
    alone = predict_folder(run, examples, some)[1]
    assert [own.file for own in alone] == ["r00.csv", "r07.csv"]
    for own, beside in zip(alone, (found[0], found[7]), strict=True):
        assert own.probabilities == pytest.approx(beside.probabilities, abs=1e-6)
    lines = (recordings / "r01.csv").read_text().splitlines(keepends=True)
    (some / "short.csv").write_text("".join(lines[:100]))
    words = "short.csv has 3 windows of 0.32 s, the learner reads 4 of each recording: take it out"
    with pytest.raises(OwnDataError, match=words):
        predict_folder(run, examples, some)


def test_only_what_it_was_trained_beside_judges_a_learner(case, tmp_path):
    folder = tmp_path / "plant"
    shutil.copytree(case[0], folder)
    run = train_own(OwnTraining(folder=folder), TrainingPlan(updates=1), silent)
    assert [tested.material.name for tested in own_splits(run, folder)] == ["unseen machines"]
    table = folder / "labels.csv"
    text = table.read_text()
    table.write_text(
        text.replace("press 2", "x").replace("press 0", "press 2").replace("x", "press 0")
    )
    with pytest.raises(OwnDataError, match="holds other recordings, labels or machines"):
        list(own_splits(run, folder))


def test_a_head_refuses_more_labels_than_it_has(trained, case):
    run = train_own(
        OwnTraining(folder=case[0]), TrainingPlan(learner="anil", way=2, updates=1), silent
    )
    with pytest.raises(OwnDataError, match="tells 2 labels apart, the examples have 3"):
        predict_folder(run, case[1], case[2])


def test_thresholds_serve_more_examples_than_were_measured(trained):
    config = trained.config
    assert set(config.strange_above) == {"1", "2"}
    assert config.strange_from(1) == config.strange_above["1"]
    assert config.strange_from(40) == config.strange_above["2"]


def edit_config(change):
    def spoil(folder):
        values = json.loads((folder / CONFIG_FILE).read_text())
        change(values)
        (folder / CONFIG_FILE).write_text(json.dumps(values))

    return spoil


def flip(folder):
    path = folder / LEARNER_FILE
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


SPOILED = {
    "no config": lambda folder: (folder / CONFIG_FILE).unlink(),
    "no JSON": lambda folder: (folder / CONFIG_FILE).write_text("{"),
    "no tensors": lambda folder: (folder / LEARNER_FILE).unlink(),
    "a bit": flip,
    "a list": lambda folder: (folder / CONFIG_FILE).write_text("[]"),
    "another learner": edit_config(lambda values: values.update(learner="maml")),
    "unknown learner": edit_config(lambda values: values.update(learner="magic")),
    "unknown key": edit_config(lambda values: values.update(code="import os")),
    "a way": edit_config(lambda values: values.update(way=10**9)),
    "no thresholds": edit_config(lambda values: values.update(strange_above={})),
    "a threshold": edit_config(lambda values: values.update(strange_above={"01": [1.0, 1.0]})),
    "a length": edit_config(lambda values: values["signal"].update(samples=-1)),
    "another kind": edit_config(lambda values: values.update(kind="arms")),
    "a seed": edit_config(lambda values: values.update(seed=-1)),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_run_is_refused_in_one_line(name, trained, tmp_path):
    save_run(trained, tmp_path / "run")
    SPOILED[name](tmp_path / "run")
    with pytest.raises((DiagnosisRunError, OSError)) as error:
        load_run(tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_run_replaces_nothing(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DiagnosisRunError, match="not empty"):
        require_new_run(tmp_path)
    assert replace(TrainingPlan(), updates=3).num_updates == 3


def test_nothing_is_written_through_a_link(trained, tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="run is a link"):
        require_new_run(tmp_path / "run")
    with pytest.raises((FolderError, FileExistsError)):
        save_run(trained, tmp_path / "run")
    assert not (tmp_path / "elsewhere").exists()


def test_a_machine_is_named_in_any_form_of_unicode(trained, case, tmp_path):
    folder = tmp_path / "known"
    shutil.copytree(case[0], folder)
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("press 1", unicodedata.normalize("NFC", "Säge")))
    name = unicodedata.normalize("NFD", "Säge")
    assert predict_folder(trained, folder, case[2], name)[0].healthy.by_machine.keys() == {"Säge"}
