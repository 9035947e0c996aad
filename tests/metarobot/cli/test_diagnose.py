"""`metarobot diagnose` train, evaluate, predict and demo, from folder to report."""

import csv
import json
import re
import shutil
from dataclasses import replace

import pytest
from made_up_machines import TONES, make_case, make_plant

from metarobot.cli import (
    diagnose_demo,
    diagnose_evaluate,
    diagnose_predict,
    diagnose_train_options,
)
from metarobot.cli.diagnose_demo import DemoSize
from metarobot.cli.main import main
from metarobot.diagnosis_runs import LearnerName
from metarobot.diagnosis_runs.predicting import Prediction
from metarobot.few_shot_diagnosis import SPLITS, TRAIN_POOL, FaultClass

FEW = ("--updates", "25")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A trained run, examples of another machine, recordings of it, and what they show."""
    folder = tmp_path_factory.mktemp("diagnose")
    plant = make_plant(folder / "plant")
    examples, recordings, truth = make_case(folder)
    assert main(["diagnose", "train", str(plant), "--out", str(folder / "run"), *FEW]) == 0
    return folder, examples, recordings, truth


def is_self_contained(page: str) -> bool:
    """Whether a page asks nobody for anything, and runs no script."""
    asks = re.findall(r"(?:src|href)=|url\(|@import|https?://|<script|javascript:", page)
    return not asks and "default-src 'none'" in page


def test_train_says_what_was_kept_back(tmp_path, capsys):
    plant = make_plant(tmp_path / "plant", labels=tuple(TONES))
    kept = ["--unseen-machines", "press 0", "--unseen-labels", "bent shaft", "loose foot"]
    run = tmp_path / "run"
    assert main(["diagnose", "train", str(plant), "--out", str(run), "--updates", "1", *kept]) == 0
    said = capsys.readouterr().out
    assert "kept back to test on: all recordings of press 0; all recordings labelled" in said
    config = json.loads((run / "config.json").read_text())
    assert config["trained_machines"] == ["press 1", "press 2"]
    assert config["trained_labels"] == ["healthy", "worn bearing"]
    out = tmp_path / "out"
    assert main(["diagnose", "evaluate", str(run), "--out", str(out), "--tasks", "3"]) == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert [split["name"] for split in found["splits"]] == ["unseen machines", "unseen labels"]


def test_evaluate_writes_figures_and_a_page(case, tmp_path, capsys):
    folder = case[0]
    moved = shutil.copytree(folder / "plant", tmp_path / "moved")
    out = tmp_path / "out"
    arguments = ["diagnose", "evaluate", str(folder / "run"), str(moved), "--out", str(out)]
    assert main([*arguments, "--tasks", "12"]) == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    (split,) = json.loads((out / "evaluation.json").read_text())["splits"]
    assert split["name"] == "unseen machines"
    trained = [own for own in split["scores"] if own["learner"] == "prototypical network"]
    assert [own["shots"] for own in trained] == [1, 2]
    assert trained[1]["accuracy"][0] > 0.9
    page = (out / "report.html").read_text()
    assert is_self_contained(page)
    for heading in ("Accuracy by number", "What is taken for what", "signal that decided"):
        assert heading in page
    assert "How long it will last" not in page  # nothing was measured of it


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_predict_names_faults_and_strangers(case, tmp_path, capsys, ending):
    folder, examples, recordings, truth = case
    out = tmp_path / f"what.{ending}"
    arguments = ["diagnose", "predict", str(folder / "run"), "--examples", str(examples)]
    assert main([*arguments, "--recordings", str(recordings), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.count("like none of them") == truth.count("bent shaft")
    if ending == "json":
        rows = json.loads(out.read_text())
        assert set(rows[0]["probabilities"]) == {"healthy", "loose foot", "worn bearing"}
    else:
        rows = list(csv.DictReader(out.read_text().splitlines()))
        assert float(rows[0]["p(healthy)"]) > 0.5
    known = [(row["label"], label) for row, label in zip(rows, truth, strict=True)]
    assert all(said == label for said, label in known if label != "bent shaft")


def test_a_label_is_no_formula_in_a_spreadsheet(tmp_path):
    label = '=HYPERLINK("http://x","y")'
    found = [Prediction("@a.csv", label, 0.9, False, -0.5, {label: 0.9, "healthy": 0.1})]
    diagnose_predict.write_predictions(tmp_path / "x.csv", found)
    (row,) = csv.DictReader((tmp_path / "x.csv").read_text().splitlines())
    assert (row["file"], row["label"]) == ("'@a.csv", f"'{label}")
    assert (row["strangeness"], row[f"p({label})"]) == ("-0.5", "0.9")
    diagnose_predict.write_predictions(tmp_path / "x.json", found)
    assert json.loads((tmp_path / "x.json").read_text())[0]["label"] == label


def drop_channel(folder):
    for path in folder.glob("*.csv"):
        if path.name != "labels.csv":
            lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
            path.write_text("\n".join(lines) + "\n")


def rename(old, new):
    def spoil(folder):
        for path in folder.glob("*.csv"):
            path.write_text(path.read_text().replace(old, new, 1))

    return spoil


def slow(folder):
    """Twice the time between samples."""
    for path in folder.glob("*.csv"):
        if path.name != "labels.csv":
            header, *lines = path.read_text().splitlines()
            rows = [line.split(",") for line in lines]
            lines = [",".join([f"{2 * float(row[0]):g}", *row[1:]]) for row in rows]
            path.write_text("\n".join([header, *lines]) + "\n")


def shorten(folder):
    for path in folder.glob("*.csv"):
        if path.name != "labels.csv":
            path.write_text("\n".join(path.read_text().splitlines()[:100]) + "\n")


def extra(folder):
    for path in folder.glob("r*.csv"):
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([f"{header},noise", *(f"{own},1" for own in lines)]) + "\n")


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def one_label(folder):
    lines = (folder / "labels.csv").read_text().splitlines()
    lines = [line for line in lines if "worn" not in line and "loose" not in line]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


RECORDINGS = {
    "lacks the channel": drop_channel,
    "lacks the channel 'vibration'": rename("vibration", "shaking"),
    "in 'mm/s', the learner was trained on 'm/s^2'": rename("m/s^2", "mm/s"),
    "samples a second": slow,
    "recordings of 99 samples, the learner was trained on 128": shorten,
    "not trained on a channel 'noise'": extra,
    "is no finite number": rename("\n0,", "\nnan,"),
    "holds no recordings": empty,
    "there is no such folder": shutil.rmtree,
}


@pytest.mark.parametrize("message", RECORDINGS)
def test_recordings_that_do_not_fit_are_refused_in_one_line(case, tmp_path, capsys, message):
    folder, examples, recordings, _ = case
    own = shutil.copytree(recordings, tmp_path / "new")
    RECORDINGS[message](own)
    arguments = ["diagnose", "predict", str(folder / "run"), "--examples", str(examples)]
    assert main([*arguments, "--recordings", str(own)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_examples_that_do_not_fit_are_refused_in_one_line(case, tmp_path, capsys):
    folder, examples, recordings, _ = case
    for number, spoil in enumerate((drop_channel, one_label, slow)):
        own = shutil.copytree(examples, tmp_path / f"known{number}")
        spoil(own)
        arguments = ["diagnose", "predict", str(folder / "run"), "--examples", str(own)]
        assert main([*arguments, "--recordings", str(recordings)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    arguments = ["diagnose", "predict", str(folder / "run"), "--examples", str(folder / "plant")]
    assert main([*arguments, "--recordings", str(recordings)]) == 2
    assert "name the one that the recordings are of with --machine" in capsys.readouterr().err
    assert main([*arguments, "--recordings", str(recordings), "--machine", "press 9"]) == 2
    assert "has no machine 'press 9'" in capsys.readouterr().err


WRONG = [
    ("train", "PLANT", "--out", "NEW", "--unseen-machines", "press 7"),
    ("train", "PLANT", "--out", "NEW", "--unseen-machines", "press 0", "press 1", "press 2"),
    ("train", "PLANT", "--out", "NEW", "--unseen-labels", "healthy"),
    ("train", "PLANT", "--out", "NEW", "--unseen-labels", "healthy", "loose foot"),
    ("train", "PLANT", "--out", "RUN"),
    ("train", "PLANT", "--out", "NEW", "--learner", "magic"),
    ("train", "PLANT", "--out", "NEW", "--way", "1"),
    ("train", "PLANT", "--out", "NEW", "--updates", "0"),
    ("train", "PLANT", "--out", "NEW", "--window-s", "nan"),
    ("train", "PLANT", "--out", "NEW", "--window-s", "0.1"),
    ("train", "--out", "NEW", "--window-s", "0.5"),
    ("train", "NEW", "--out", "NEW"),
    ("evaluate", "PLANT", "--out", "NEW"),
    ("evaluate", "RUN", "NEW", "--out", "NEW/out"),
    ("evaluate", "RUN", "--out", "NEW", "--tasks", "1"),
    ("predict", "RUN", "--examples", "PLANT", "--recordings", "PLANT", "--out", "a.txt"),
    ("predict", "NEW", "--examples", "PLANT", "--recordings", "PLANT"),
    ("demo", "--seed", "-1"),
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_cannot_be_done_is_said_in_one_line(case, tmp_path, capsys, words):
    places = {"PLANT": case[0] / "plant", "RUN": case[0] / "run", "NEW": tmp_path / "new"}
    arguments = [str(places.get(word, word.replace("NEW", str(tmp_path)))) for word in words]
    assert main(["diagnose", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert not (tmp_path / "new" / "config.json").exists()


def test_the_demo_does_everything_once(tmp_path, monkeypatch, capsys):
    healthy = FaultClass("healthy", 0)
    classes = (healthy, FaultClass("dry_friction", 2), FaultClass("weak_drive", 3))
    train = replace(TRAIN_POOL, classes=classes)
    name = "unseen machines, seen faults"
    pool = replace(SPLITS[name].support, classes=classes)
    splits = {name: SPLITS[name]._replace(support=pool, query=pool, classes=classes)}
    monkeypatch.setattr(diagnose_demo, "TRAIN_POOL", train)
    monkeypatch.setattr(diagnose_evaluate, "SPLITS", splits)
    monkeypatch.setattr(diagnose_demo, "QUICK", DemoSize(8, 8, 10, 5, (name,), None))
    out = tmp_path / "demo"
    assert main(["diagnose", "demo", "--quick", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith(f"report: {out / 'report.html'}")
    assert is_self_contained((out / "report.html").read_text())
    assert sorted(path.name for path in (out / "run").iterdir()) == [
        "config.json",
        "learner.safetensors",
    ]
    assert main(["diagnose", "demo", "--quick", "--out", str(out)]) == 2  # replaces nothing


def test_recordings_of_an_arm_are_diagnosed_from_folders(tmp_path, capsys, monkeypatch):
    """Trained on simulated arms, and used on files of one."""
    monkeypatch.chdir(tmp_path)
    small = replace(TRAIN_POOL, classes=(FaultClass("healthy", 0), FaultClass("dry_friction", 2)))
    monkeypatch.setattr("metarobot.cli.diagnose_train.TRAIN_POOL", small)
    made = ["--out", "runs", "--machines", "10", "--updates", "10"]
    assert main(["diagnose", "train", *made]) == 0
    recorded = ["--faults", "dry_friction", "--machines", "1", "--checks", "3"]
    assert main(["diagnose", "record", "--out", "known", *recorded]) == 0
    shutil.copytree("known", "new")
    arguments = ["diagnose", "predict", "runs", "--examples", "known", "--recordings", "new"]
    assert main([*arguments, "--out", "what.json"]) == 0
    lines = (tmp_path / "known/labels.csv").read_text().splitlines()
    table = {row["file"]: row["label"] for row in csv.DictReader(lines)}
    rows = json.loads((tmp_path / "what.json").read_text())
    assert sum(row["label"] == table[row["file"]] for row in rows) >= 5
    sick = [line for line in lines if ",healthy," not in line]
    (tmp_path / "known/labels.csv").write_text(
        "\n".join([*sick[:3], sick[3].replace("dry_friction", "other")]) + "\n"
    )
    assert main(arguments) == 2
    assert "two examples labelled 'healthy'" in capsys.readouterr().err


def test_the_options_name_every_learner():
    assert diagnose_train_options.LearnerName == LearnerName
