"""What is made of recordings of one's own: examples, inputs, tasks, what is kept back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_machines import TONES, make_plant, write_recording

from metarobot.diagnosis.own_data import OwnDataError, read_recordings, read_unlabelled
from metarobot.diagnosis_runs.kept_back import KeptBack, keep_back, require_judgeable
from metarobot.diagnosis_runs.own_encoder import FrameEncoder
from metarobot.diagnosis_runs.own_inputs import OwnScale, frames_in, frames_of
from metarobot.diagnosis_runs.own_tasks import OwnTasks
from metarobot.diagnosis_runs.whole_recordings import fewest_windows, whole_recordings


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    return make_plant(tmp_path_factory.mktemp("own") / "plant", labels=tuple(TONES))


def test_windows_of_a_file_stay_together_and_are_spread_evenly(plant, tmp_path):
    folder = make_plant(tmp_path / "plant", machines=1, each=2)
    long = np.arange(300.0)[:, None] * [1, 2]
    write_recording(folder / "m0-healthy-0.csv", long)
    read = read_recordings(folder, window_s=0.4)
    windows = fewest_windows(read)
    whole = whole_recordings(read, windows)
    assert windows == 3  # 128 samples hold three windows of 40
    assert len(whole) == len(set(read.file)) == 6
    assert whole.file.tolist()[0] == "m0-healthy-0.csv"
    first = whole.signals[0, :, 0].reshape(3, 40)
    assert first[:, 0].tolist() == [40, 120, 200]  # of seven windows: the second, fourth, sixth


def test_frames_hold_means_and_energies_by_octave():
    time = np.arange(256) / 256
    slow, fast = (np.sin(2 * np.pi * cycles * time) for cycles in (16, 96))
    signals = np.stack([5 + slow, 5 + fast], axis=1)[None]
    assert (frames_in(256, 1), frames_in(100_000, 1), frames_in(1024, 4)) == (16, 64, 16)
    found = frames_of(signals, 1, 16)
    assert found.shape == (1, 2, 4, 16)
    assert found.dtype == np.float32
    found = frames_of(signals, 1, 8)  # frames of 32 samples, a whole number of cycles each
    assert np.allclose(found[0, :, 0], 5, atol=1e-5)
    loudest = found[0, :, 1:].mean(-1).argmax(1)
    assert loudest.tolist() == [2, 0]  # 2 and 12 of 16 cycles a frame


def test_what_never_changes_is_seen_as_nothing():
    signals = np.random.default_rng(0).normal(size=(4, 64, 2))
    signals[..., 1] = 3.0
    frames = frames_of(signals, 1, 8)
    scale = OwnScale.of(frames)
    signals[0, :, 1] = 9.0
    inputs = scale.inputs(frames_of(signals, 1, 8))
    assert (inputs[:, 1, 0] == 0).all()
    assert inputs[:, 0].std() > 0.5


def test_short_recordings_are_refused():
    with pytest.raises(OwnDataError, match="at least 32"):
        frames_in(31, 1)


def test_the_encoder_reads_any_number_of_windows():
    encoder = FrameEncoder(6, 8)
    one = torch.randn(3, 2, 3, 8)
    assert encoder(one).shape == (3, encoder.num_outputs)
    assert torch.allclose(encoder(one), encoder(torch.cat([one, one], -1)), atol=1e-5)


def test_tasks_are_of_one_machine_and_never_part_a_recording():
    label = np.tile(np.repeat([0, 1, 2], 4), 2)
    machine = np.repeat(["a", "b"], 12)
    tasks = OwnTasks(label, machine, way=2)
    assert (tasks.way, tasks.most_shots) == (2, 3)
    rows = tasks.draw(np.random.default_rng(0), 50, 3)
    both = np.concatenate([rows.support, rows.query], axis=2).reshape(50, -1)
    for own in both:
        assert len(set(machine[own])) == 1
        assert len(set(own)) == 8
    assert (label[rows.support] == rows.label[:, :, None]).all()
    assert (label[rows.query] == rows.label[:, :, None]).all()
    assert set(machine[both[:, 0]]) == {"a", "b"}


def test_machines_with_two_labels_are_mixed_where_none_has_enough():
    label, machine = np.array([0, 0, 1, 1, 0, 0]), np.array(["a", "b", "a", "b", "c", "c"])
    rows = OwnTasks(label, machine).draw(np.random.default_rng(0), 30, 1)
    assert rows.support.shape == (30, 2, 1)
    assert {*machine[rows.support].flat} == {*machine[rows.query].flat} == {"a", "b"}
    with pytest.raises(OwnDataError, match="two labels with two recordings"):
        OwnTasks(np.array([0, 0, 1]), np.array(["a", "a", "a"]))


def test_a_label_that_may_be_its_machine_is_refused():
    label, machine = np.repeat([0, 1, 0, 1], 4), np.repeat(["a", "b", "c", "d"], 4)
    with pytest.raises(OwnDataError, match="machines that have both labels"):
        OwnTasks(label, machine)


def test_what_judges_nothing_is_not_kept_back(plant):
    recordings = read_recordings(plant)
    lone = (recordings.machine == "press 2") & (recordings.label != "healthy")
    rest = recordings.rows(~lone)
    assert keep_back(rest, [], [], 0) == KeptBack(machines=("press 1",))
    kept = keep_back(rest, ["press 2"], [], 0)
    with pytest.raises(OwnDataError, match=r"kept back \(unseen machines\) judges nothing"):
        require_judgeable(kept, rest)
    require_judgeable(keep_back(rest, ["press 1"], [], 0), rest)


def test_what_is_kept_back_is_never_trained_on(plant):
    recordings = read_recordings(plant)
    kept = keep_back(recordings, ["press 1"], ["healthy", "loose foot"], 0)
    training, splits = kept.training(recordings), kept.splits(recordings)
    assert set(recordings.machine[training]) == {"press 0", "press 2"}
    assert set(recordings.label[training]) == {"worn bearing", "bent shaft"}
    assert not (training & np.logical_or.reduce([*splits.values()])).any()
    assert (training | np.logical_or.reduce([*splits.values()])).all()
    assert not (splits["unseen machines"] & splits["unseen labels"]).any()
    assert "press 1" in kept.sentence()
    assert "loose foot" in kept.sentence()


def test_a_name_that_is_kept_back_twice_is_refused(plant):
    recordings = read_recordings(plant)
    with pytest.raises(OwnDataError, match="--unseen-machines names 'press 1' twice"):
        keep_back(recordings, ["press 1", "press 1"], [], 0)
    with pytest.raises(OwnDataError, match="--unseen-labels names 'healthy' twice"):
        keep_back(recordings, [], ["healthy", "healthy"], 0)


def test_names_to_keep_back_may_be_typed_in_either_form_of_unicode(plant):
    recordings = read_recordings(plant)
    named = recordings.machine.astype("U20")
    named[named == "press 1"] = "pressé"
    kept = keep_back(replace(recordings, machine=named), ["presse\u0301"], [], 0)
    assert kept == KeptBack(machines=("pressé",))


def test_by_itself_the_last_machine_or_a_third_is_kept_back(plant):
    recordings = read_recordings(plant)
    assert keep_back(recordings, [], [], 0) == KeptBack(machines=("press 2",))
    one = recordings.rows(recordings.machine == "press 0")
    kept = keep_back(one, [], [], 0)
    assert len(kept.files) == 8
    assert "third" in kept.sentence()
    assert list(kept.splits(one)) == ["other recordings"]


def test_recordings_without_labels_are_read_by_name(plant):
    (plant / "notes.txt").write_text("not a recording")
    found = read_unlabelled(plant)
    assert found.file.tolist() == sorted(found.file)
    assert len(found) == 48
    assert set(found.label) == {""}
