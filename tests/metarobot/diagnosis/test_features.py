"""Features depend on what a recording shows, not on its phase, length, unit or machine."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import RATE_HZ, plant, recording

from metarobot.diagnosis.features import (
    FeatureMap,
    Kernels,
    _difference,
    part_baseline,
    read_data,
)
from metarobot.diagnosis.recordings import RecordingsError

RNG = np.random.default_rng


def with_signals(recordings, signals):
    return replace(recordings, signals=tuple(np.asarray(each, np.float32) for each in signals))


def test_training_features_are_standardised_and_constant_ones_are_zero():
    recordings = plant()
    features = FeatureMap.fit(recordings)(recordings)
    spread = features.std(0)
    assert np.abs(features.mean(0)).max() < 0.2
    assert spread.min() == 0.0  # the duration
    assert np.median(spread) == pytest.approx(1.0, abs=0.05)


def test_a_band_holds_the_power_of_its_frequencies():
    """White noise of variance v has v / 2 in every band; a sine has its power in one."""
    recordings = plant()
    fitted = FeatureMap.fit(recordings)
    noise = RNG(0).normal(0, 2.0, (2, 40_000))
    np.testing.assert_allclose(fitted._bands(noise, RATE_HZ), 4.0, rtol=0.25)
    sine = np.sin(2 * np.pi * 0.25 * np.arange(1200))[None]
    power = fitted._bands(sine, RATE_HZ)[0]
    loudest = int(power.argmax())
    assert fitted.edges_hz[loudest] <= 0.25 * RATE_HZ <= fitted.edges_hz[loudest + 1]
    assert power[loudest] > 100 * np.delete(power, loudest).max()


@pytest.mark.parametrize("length", [8, 31, 200_000])
def test_recordings_of_any_length_have_the_same_features(length):
    """Also where training recordings are short, and a channel is silent."""
    for recordings in (plant(), plant(length=8)):
        silent = with_signals(recordings, [each * [[1], [0]] for each in recordings.signals])
        fitted = FeatureMap.fit(silent)
        features = fitted(with_signals(silent.rows([0]), [recording("belt", 0, RNG(1), length)]))
        assert features.shape == (1, fitted(silent).shape[1])
        assert np.isfinite(features).all()


def test_a_unit_does_not_matter():
    recordings = plant()
    in_milliamperes = with_signals(recordings, [1000 * each for each in recordings.signals])
    first, other = (FeatureMap.fit(each)(each) for each in (recordings, in_milliamperes))
    np.testing.assert_allclose(first, other, atol=2e-3)


def test_with_a_baseline_the_machine_is_gone():
    """Two machines that differ by an offset alone are the same, less their baselines."""
    rng, signals = RNG(0), []
    for label in ["healthy"] * 3 + ["bearing"] * 4:
        signals.append(recording(label, 0, rng, phase=0.0))
    recordings = plant(machines=1, per_label=7, labels=("healthy",))
    one = replace(with_signals(recordings, signals), label=np.array(["healthy"] * 3 + ["b"] * 4))
    other = with_signals(one, [each + np.array([[3.0], [-2.0]]) for each in one.signals])
    rest, baselines = part_baseline(one, "healthy")
    assert (len(rest), len(baselines)) == (4, 3)
    fitted = FeatureMap.fit(rest, baselines)
    moved = fitted._plain(other.signals[3], RATE_HZ) - fitted._plain(one.signals[3], RATE_HZ)
    assert np.abs(moved).max() > 0.1
    spectra = slice(fitted(rest, baselines).shape[1] - fitted.power[1].size, None)
    np.testing.assert_allclose(
        fitted(*part_baseline(other, "healthy"))[:, spectra],
        fitted(rest, baselines)[:, spectra],
        atol=1e-2,
    )


@pytest.mark.parametrize("late", [-9, 0, 9])
def test_recordings_that_start_later_are_aligned_to_their_baseline(late):
    baseline = recording("healthy", 0, RNG(0), phase=0.0)
    signal = recording("healthy", 0, RNG(1), phase=late)
    rest = _difference(signal, baseline)
    assert rest.shape[1] == 120 - abs(late)
    assert rest.std() < 0.2  # of two recordings' noise
    assert (signal - baseline).std() > (0.3 if late else 0.0)


def test_a_machine_without_a_baseline_is_named():
    recordings = plant(machines=2)
    label = recordings.label.copy()
    label[(recordings.machine == "machine 1") & (label == "healthy")] = "gear"
    with pytest.raises(RecordingsError, match="machine 'machine 1' has no recording with the"):
        part_baseline(replace(recordings, label=label), "healthy")


def test_without_aeon_there_are_no_kernels(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "aeon", None)
    recordings = plant()
    assert Kernels.fit(recordings, 0) is None
    data = read_data(recordings, None, FeatureMap.fit(recordings), None)
    assert data.kernels.shape == (len(recordings), 0)
