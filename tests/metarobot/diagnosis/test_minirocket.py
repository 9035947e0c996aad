"""Random convolutions of aeon, an extra: features and learner survive a run folder."""

import numpy as np
import pytest

from metarobot.diagnosis.recordings import Channel, Recordings
from metarobot.diagnosis.run import load_diagnosis, train

pytest.importorskip("aeon")


def test_minirocket_names_the_frequency_and_is_the_same_after_loading(tmp_path):
    rng = np.random.default_rng(0)
    label, time = np.array(["slow", "fast"] * 12), np.arange(100) / 100
    hertz = np.where(label == "slow", 3, 9)[:, None, None]
    phase, noise = rng.uniform(0, 6, (24, 1, 1)), 0.1 * rng.normal(size=(24, 1, 100))
    signals = tuple((np.sin(2 * np.pi * hertz * time + phase) + noise).astype(np.float32))
    machine, name = np.repeat(["a", "b", "c"], 8), np.arange(24).astype(str)
    recordings = Recordings(signals, 100.0, (Channel("current", "A"),), label, machine, name)
    others, own = recordings.rows(machine != "c"), recordings.rows(machine == "c")
    diagnosis = train(others, learners=("minirocket",), num_tasks=10)
    diagnosis.save(tmp_path / "run")
    found = [
        each.predict(own.rows(slice(4)), own.rows(slice(4, 8)))
        for each in (diagnosis, load_diagnosis(tmp_path / "run"))
    ]
    assert [finding.label for finding in found[0]] == own.label[4:].tolist()
    assert [f.probability for f in found[0]] == pytest.approx([f.probability for f in found[1]])
