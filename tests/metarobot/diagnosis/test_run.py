"""A diagnosis from recordings to findings: chosen on held-out machines, kept, and read back."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
from made_up import plant

from metarobot.diagnosis.recordings import Channel
from metarobot.diagnosis.run import (
    TENSORS_FILE,
    DiagnosisError,
    hold_out,
    load_diagnosis,
    train,
)
from metarobot.diagnosis.run_folder import CONFIG_FILE
from metarobot.io import open_tensors, parse_tensors, seal_tensors

LEARNERS = ("nearest_mean", "trees")


@pytest.fixture(scope="module")
def diagnosis():
    return train(plant(machines=4), learners=LEARNERS, num_tasks=10)


@pytest.fixture
def run(diagnosis, tmp_path):
    diagnosis.save(tmp_path / "run")
    return tmp_path / "run"


def new_machine():
    recordings = plant(machines=6, seed=9)
    own = recordings.rows(recordings.machine == "machine 5")
    shown = np.arange(len(own)) % 8 < 3
    return own.rows(shown), own.rows(~shown)


def test_a_machine_that_it_never_saw_is_diagnosed(diagnosis):
    examples, recordings = new_machine()
    found = diagnosis.predict(examples, recordings)
    assert [each.name for each in found] == recordings.name.tolist()
    right = [each.label == label for each, label in zip(found, recordings.label, strict=True)]
    assert np.mean(right) > 0.9
    assert all(sum(each.probabilities.values()) == pytest.approx(1.0) for each in found)
    assert np.mean([each.looks_like_none for each in found]) < 0.35


def test_new_labels_are_told_apart_and_an_unknown_one_looks_like_none(diagnosis):
    recordings = plant(machines=1, labels=("gear", "belt", "healthy"), seed=4)
    shown = np.arange(len(recordings)) % 8 < 4
    known = recordings.rows(shown & (recordings.label != "gear"))
    found = diagnosis.predict(known, recordings.rows(~shown))
    gear = recordings.label[~shown] == "gear"
    flags = np.array([each.looks_like_none for each in found])
    assert flags[gear].mean() > flags[~gear].mean() + 0.4
    assert diagnosis.choose(["gear", "belt"])[0].known is False


def test_windows_of_a_file_are_one_finding(diagnosis):
    examples, recordings = new_machine()
    names = np.array([str(place // 2) for place in range(len(recordings))])
    found = diagnosis.predict(examples, replace(recordings, name=names))
    assert [each.name for each in found] == list(dict.fromkeys(names.tolist()))


def test_it_says_what_it_compared(diagnosis):
    rows = [row for row in diagnosis.config.rows if row.known]
    assert {row.learner for row in rows} >= {"trees", "nearest_mean 0.3"}
    means: dict[str, list[float]] = {}
    for row in rows:
        means.setdefault(row.learner, []).append(row.accuracy)
    chosen = next(each for each in diagnosis.config.chosen if each.known)
    best = max(np.mean(own) for own in means.values())
    assert np.mean(means[chosen.learner]) == pytest.approx(best)
    assert set(chosen.calibration) == {"1", "2", "5"}


def test_evaluating_counts_what_was_held_out(diagnosis):
    rows = diagnosis.evaluate(plant(machines=2, seed=7), num_tasks=20)
    assert [row["shots"] for row in rows] == [1, 2, 5]
    for row in rows:
        assert row["accuracy_ci"][0] <= row["accuracy"] <= row["accuracy_ci"][1]
        answers = sum(sum(found.values()) for found in row["confusion"].values())
        assert answers == sum(count for *_, count in row["reliability"])
        diagonal = sum(found.get(label, 0) for label, found in row["confusion"].items())
        assert diagonal / answers == pytest.approx(row["accuracy"], abs=0.02)
    assert rows[-1]["accuracy"] > 0.9


def test_a_saved_diagnosis_is_the_same(diagnosis, run):
    again = load_diagnosis(run)
    assert again.config == diagnosis.config
    examples, recordings = new_machine()
    for found, expected in zip(
        again.predict(examples, recordings), diagnosis.predict(examples, recordings), strict=True
    ):
        assert (found.name, found.label) == (expected.name, expected.label)
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-3)


def test_a_baseline_is_taken_from_the_examples():
    recordings = plant(machines=3, per_label=8, phase=0.0)
    found = train(recordings, learners=("nearest_mean",), baseline="healthy", num_tasks=5)
    own = plant(machines=6, per_label=8, seed=9, phase=0.0)
    own = own.rows(own.machine == "machine 4")
    shown = np.arange(len(own)) % 8 < 5
    findings = found.predict(own.rows(shown), own.rows(~shown))
    right = [f.label == label for f, label in zip(findings, own.label[~shown], strict=True)]
    assert np.mean(right) > 0.9


def test_machines_and_labels_are_held_out():
    recordings = plant(machines=3)
    trained, held = hold_out(recordings)
    assert held.machines == ("machine 2",)
    assert len(trained) + len(held) == len(recordings)
    trained, held = hold_out(recordings, machines=["machine 0"])
    assert (trained.machines, held.machines) == (("machine 1", "machine 2"), ("machine 0",))
    trained, held = hold_out(recordings, labels=["bearing", "belt"])
    assert (trained.labels, held.labels) == (("healthy",), ("bearing", "belt"))
    trained, held = hold_out(plant(machines=1, per_label=9))
    assert (len(trained), len(held)) == (18, 9)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"machines": ["machine 7"]}, "no machine 'machine 7', allowed: machine 0"),
        ({"labels": ["belts", "bearing"]}, "no label 'belts', .*did you mean 'belt'"),
        ({"labels": ["belt"]}, "hold out two at least"),
        ({"machines": ["machine 0", "machine 1", "machine 2"]}, "nothing is left"),
    ],
)
def test_what_cannot_be_held_out_is_one_line(names, words):
    with pytest.raises(DiagnosisError, match=words):
        hold_out(plant(machines=3), **names)


def test_recordings_that_do_not_fit_are_one_line(diagnosis, monkeypatch):
    examples, recordings = new_machine()
    other = replace(examples, channels=(Channel("current", "A"), Channel("force", "N")))
    cases = [
        (other, recordings, r"other channels than those of training: force \[N\]"),
        (replace(examples, rate_hz=50.0), recordings, "--resample-hz 100"),
        (examples.rows(examples.label == "belt"), recordings, "examples need two labels"),
    ]
    for known, asked, words in cases:
        with pytest.raises(DiagnosisError, match=words) as refusal:
            diagnosis.predict(known, asked)
        assert "\n" not in str(refusal.value)
    with pytest.raises(DiagnosisError, match="too few recordings to compare learners"):
        train(plant(machines=1, per_label=1), learners=LEARNERS)
    monkeypatch.setattr("metarobot.diagnosis.run.Kernels.fit", lambda recordings, seed: None)
    with pytest.raises(DiagnosisError, match="minirocket needs aeon: pip install"):
        train(plant(machines=1), learners=("minirocket",))


def test_a_folder_that_is_no_diagnosis_is_one_line(tmp_path, run):
    with pytest.raises(DiagnosisError, match="`metarobot diagnose train"):
        load_diagnosis(tmp_path / "nothing")
    config = run / CONFIG_FILE
    whole = json.loads(config.read_text())
    for damage in (
        {**whole, "chosen": []},
        {**whole, "way": "five"},
        {**whole, "extra": 1},
        {**whole, "channels": whole["channels"][:1]},
        {**whole, "chosen": [{**whole["chosen"][0], "learner": "magic"}]},
        {**whole, "chosen": [{**whole["chosen"][0], "calibration": {}}]},
    ):
        config.write_text(json.dumps(damage))
        with pytest.raises(DiagnosisError, match="no diagnosis, or damaged") as refusal:
            load_diagnosis(run)
        assert "\n" not in str(refusal.value)


def test_arrays_that_do_not_fit_together_are_one_line(run):
    """Sealed again by whoever changed them."""
    file = run / TENSORS_FILE
    shapes, facts = open_tensors(file, file.read_bytes())
    tensors, _ = parse_tensors(file, file.read_bytes(), shapes)
    for name, leaf in tensors.items():
        for changed in (leaf[..., :-1] if leaf.ndim else leaf * float("nan"), leaf * 1e38 * 10):
            file.write_bytes(seal_tensors({**tensors, name: changed}, facts))
            with contextlib.suppress(DiagnosisError):  # nothing else
                load_diagnosis(run)
    file.write_bytes(seal_tensors({n: t for n, t in tensors.items() if n != "space.rest"}, facts))
    with pytest.raises(DiagnosisError, match="no diagnosis, or damaged"):
        load_diagnosis(run)
