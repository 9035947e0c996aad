"""`metarobot diagnose`, each of its commands once, from folder to page."""

import csv
import json
import re
import shutil
from functools import partial
from typing import Any

import numpy as np
import pytest

from metarobot.cli import diagnosing
from metarobot.cli.list import DIAGNOSES
from metarobot.cli.main import main
from metarobot.diagnosis.recordings import Channel, Recordings, read_recordings, write_recordings
from metarobot.diagnosis.run import TRAINED_FOLDER, load_diagnosis, train

TONES_HZ = {"healthy": 4.0, "worn bearing": 17.0, "loose foot": 31.0, "bent shaft": 24.0}
KNOWN = tuple(TONES_HZ)[:3]
RATE_HZ, SAMPLES = 100.0, 128
CHANNELS = (Channel("current", "A"), Channel("vibration", "m/s^2"))
FAST = ("--learner", "nearest_mean")


def made_up(machines=3, each=4, labels=KNOWN, seed=0) -> Recordings:
    """Return recordings of a tone by label, louder for a bent shaft, and an offset by machine."""
    rng = np.random.default_rng(seed)
    rows = [(m, label) for m in range(machines) for label in labels for _ in range(each)]
    time_s, signals = np.arange(SAMPLES) / RATE_HZ, []
    for machine, label in rows:
        tone = np.sin(2 * np.pi * (TONES_HZ[label] * time_s + rng.random()))
        loud = 6.0 if label == "bent shaft" else 1.5
        clean = np.stack([np.full(SAMPLES, 1.0 + machine), loud * tone])
        signals.append((clean + 0.1 * rng.normal(size=clean.shape)).astype(np.float32))
    label = np.array([label for _, label in rows])
    machine = np.array([f"press {machine}" for machine, _ in rows])
    name = np.arange(len(rows)).astype(str)
    return Recordings(tuple(signals), RATE_HZ, CHANNELS, label, machine, name)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A folder with a run, what it was trained on, and examples and recordings of a machine."""
    folder = tmp_path_factory.mktemp("diagnose")
    write_recordings(made_up(), folder / "plant")
    write_recordings(made_up(machines=1, each=3), folder / "known")
    new = made_up(machines=1, each=3, labels=tuple(TONES_HZ), seed=7)
    write_recordings(new, folder / "new")
    (folder / "new/labels.csv").unlink()
    assert run("train", folder / "plant", "--out", folder / "run", *FAST) == 0
    return folder


def run(*words) -> int:
    return main(["diagnose", *map(str, words)])


def refused(capsys, *words) -> str:
    """Return the one line with which a command ends."""
    capsys.readouterr()
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said


def test_record_writes_a_folder_that_check_reads(tmp_path, capsys):
    out = tmp_path / "example"
    words = ("--machines", 2, "--checks", 1, "--faults", "dry_friction", "shifted_payload")
    assert run("record", "--out", out, *words) == 0
    said = capsys.readouterr().out
    assert "6 recordings of 2 arms: healthy, dry friction in joint 2, shifted payload" in said
    assert run("check", out, "--window-s", "1.6") == 0
    said = capsys.readouterr().out
    heading, *rows = [line.split("  ") for line in said.splitlines()[:4]]
    assert [cell.strip() for cell in heading if cell][-2:] == ["arm 1000000", "arm 1000001"]
    assert len(rows) == 3
    assert "6 recordings, 12 windows of 1.6 s (400 samples)" in said
    assert "never changes" not in said


def test_check_says_what_is_odd(tmp_path, capsys):
    recordings = made_up(machines=1)
    for signal in recordings.signals:
        signal[0] = 1.0
    write_recordings(recordings, tmp_path / "plant")
    table = tmp_path / "plant/labels.csv"
    table.write_text(table.read_text().replace("healthy", "", 1))
    assert "--ignore-label" in refused(capsys, "check", tmp_path / "plant")
    assert run("check", tmp_path / "plant", "--ignore-label", "") == 0
    said = capsys.readouterr().out
    assert "11 recordings of 1.28 s (128 samples)" in said
    assert "never changes: current [A]" in said
    assert "all are of one machine" in said
    lines = ("file,label", "recording-0001.csv,healthy", "recording-0004.csv,worn")
    table.write_text("\n".join(lines))
    assert run("check", tmp_path / "plant") == 0
    assert "not in labels.csv: recording-0000.csv, recording-0002.csv" in capsys.readouterr().out


def test_train_holds_out_what_is_named(case, tmp_path, capsys):
    out = tmp_path / "run"
    write_recordings(made_up(each=5, labels=tuple(TONES_HZ)), tmp_path / "plant")
    named = ("--unseen-machines", "press 0", "--unseen-labels", "bent shaft", "loose foot")
    options = ("--resample-hz", 100, "--baseline", "healthy", "--seed", 3)
    assert run("train", tmp_path / "plant", "--out", out, *FAST, *named, *options) == 0
    said = capsys.readouterr().out
    assert "faults known from training: nearest_mean" in said
    assert "10 are held out" in said
    config = load_diagnosis(out).config
    assert config.machines == ("press 1", "press 2")
    assert config.labels == ("healthy", "worn bearing")
    assert (config.resample_hz, config.baseline, config.seed) == (100.0, "healthy", 3)
    assert len(config.held_out) == 10


def test_evaluate_writes_figures_and_a_page(case, tmp_path, capsys):
    moved = shutil.copytree(case / "plant", tmp_path / "moved")
    out = tmp_path / "out"
    assert run("evaluate", case / "run", moved, "--out", out, "--tasks", 10) == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    rows = json.loads((out / "evaluation.json").read_text())["rows"]
    assert [(row["known"], row["shots"]) for row in rows] == [(True, 1), (True, 2)]
    assert rows[1]["accuracy"] > 0.9
    page = (out / "report.html").read_text()
    for words in ("press 0, press 1<", "current [A], vibration [m/s^2]", "worn bearing", "100 Hz"):
        assert words in page
    assert "not empty" in refused(capsys, "evaluate", case / "run", "--out", out)
    table = moved / "labels.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    said = refused(capsys, "evaluate", case / "run", moved, "--out", tmp_path / "other")
    assert "was held out of this training, and is not there" in said


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_predict_names_faults_and_strangers(case, tmp_path, capsys, ending):
    out = tmp_path / f"what.{ending}"
    words = ("--examples", case / "known", "--recordings", case / "new")
    assert run("predict", case / "run", *words, "--out", out) == 0
    said = capsys.readouterr().out
    text = out.read_text()
    rows: list[dict[str, Any]]
    rows = json.loads(text) if ending == "json" else list(csv.DictReader(text.splitlines()))
    strange = [str(row["looks_like_none"]) == "True" for row in rows]
    assert all(strange[9:])
    assert said.count("like none of them") == sum(strange) < 6
    assert f"{sum(strange)} of 12 look like none of the labels" in said
    assert [row["label"] for row in rows[:9]] == [label for label in KNOWN for _ in range(3)]
    first = rows[0].get("probabilities", {}).get("healthy", rows[0].get("p(healthy)"))
    assert float(first) > 0.5


WRONG = {
    ("train", "PLANT", "--out", "NEW", "--unseen-machines", "press 7"): "no machine 'press 7'",
    ("train", "PLANT", "--out", "NEW", "--unseen-labels", "healthy"): "hold out two at least",
    ("train", "PLANT", "--out", "RUN"): "is not empty",
    ("train", "PLANT", "--out", "LINK"): "link",
    ("train", "PLANT", "--out", "NEW", "--learner", "magic"): "takes one of nearest_mean, trees",
    ("train", "PLANT", "--out", "NEW", "--way", "1"): "way must be",
    ("train", "PLANT", "--out", "NEW", "--window-s", "nan"): "window_s must be",
    ("train", "PLANT", "--out", "NEW", "--baseline", "new"): "no recording with the label 'new'",
    ("train", "--out", "NEW", "--window-s", "0.5"): "window_s goes with a folder",
    ("train", "NEW", "--out", "NEW"): "no such folder",
    ("evaluate", "PLANT", "--out", "NEW"): "holds no config.json",
    ("evaluate", "RUN", "NEW", "--out", "NEW/out"): "no such folder",
    ("evaluate", "RUN", "--out", "RUN"): "is not empty",
    ("evaluate", "RUN", "--out", "NEW", "--tasks", "1"): "tasks must be",
    ("predict", "RUN", "--examples", "PLANT", "--recordings", "PLANT", "--out", "a.txt"): ".csv",
    ("predict", "NEW", "--examples", "PLANT", "--recordings", "PLANT"): "holds no config.json",
    ("record", "--out", "NEW", "--faults", "rust"): "no fault 'rust'",
    ("record", "--out", "LINK"): "link",
    ("demo", "--seed", "-1"): "seed must be",
    ("demo", "--out", "RUN"): "is not empty",
    ("life", "train", "NEW", "--out", "LINK"): "link",
    ("life", "predict", "RUN", "NEW"): "",
    ("life",): "name one of record, check",
    ("trian",): "did you mean 'train'?",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_cannot_be_done_is_said_in_one_line(case, tmp_path, capsys, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    places = {"PLANT": case / "plant", "RUN": case / "run", "LINK": tmp_path / "link"}
    words_of = [places.get(word, word.replace("NEW", str(tmp_path / "new"))) for word in words]
    assert WRONG[words] in refused(capsys, *words_of)
    assert not (tmp_path / "new").exists()
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.stress
def test_simulated_arms_are_trained_on_and_diagnosed_from_folders(tmp_path, capsys, monkeypatch):
    """Trained on a few faults, evaluated on one more, listed, and used on files of one arm."""
    monkeypatch.setattr(diagnosing, "_QUICK_FAULTS", ("shifted_payload",))
    fast = partial(train, learners=("nearest_mean",))
    monkeypatch.setattr("metarobot.diagnosis.run.train", fast)
    out = tmp_path / "demo"
    assert run("demo", "--quick", "--out", out) == 0
    said = capsys.readouterr().out
    assert f"report: {out / 'report.html'}" in said
    assert "trained on 50 recordings of 10 machines, 2 labels" in said
    rows = json.loads((out / "evaluation.json").read_text())["rows"]
    assert {row["known"] for row in rows} == {True, False}
    assert "leave out" in refused(
        capsys, "evaluate", out / "run", tmp_path, "--out", tmp_path / "x"
    )
    words = ("--faults", "shifted_payload", "--machines", 1, "--checks", 5)
    assert run("record", "--out", tmp_path / "known", *words) == 0
    shutil.copytree(tmp_path / "known", tmp_path / "new")
    folders = ("--examples", tmp_path / "known", "--recordings", tmp_path / "new")
    assert run("predict", out / "run", *folders, "--out", tmp_path / "what.json") == 0
    truth = read_recordings(tmp_path / "known").label
    found = [row["label"] for row in json.loads((tmp_path / "what.json").read_text())]
    right = [said == label for said, label in zip(found, truth, strict=True)]
    assert sum(right) >= 8


def test_the_list_shows_diagnoses_of_the_package(case, capsys, monkeypatch):
    assert DIAGNOSES == TRAINED_FOLDER
    monkeypatch.setattr("metarobot.cli.list.DIAGNOSES", case)
    assert main(["list", "run"]) == 0
    heading, row = capsys.readouterr().out.splitlines()[-2:]
    assert heading.split("  ")[0] == "trained diagnosis"
    assert re.search(r"run +nearest_mean .*right: known faults \d+\s%, new faults \d+\s%", row)
