"""Recordings: the same bits for the same address, whatever is recorded beside it."""

import numpy as np
import pytest
from health_checks import joint_of

from metarobot.diagnosis import (
    CHANNELS,
    DURATION_S,
    FAULTS,
    NUM_SAMPLES,
    SAMPLES_PER_S,
    find_fault,
    record,
    recording,
    sample_machines,
)
from metarobot.envs import TaskError

NAMES = (*FAULTS, "healthy", "healthy")


def record_all(order, **options):
    """Record every fault, in an order, on three machines."""
    names = [NAMES[row] for row in order]
    severities = [0.0 if n == "healthy" else FAULTS[n].severity.train[1] for n in names]
    joints = [4 if n == "healthy" else joint_of(FAULTS[n]) for n in names]
    machines = sample_machines(3).rows([row % 3 for row in order])
    return record(machines, names, severities, 7, joints=joints, checks=order, **options)


@pytest.fixture(scope="module")
def recordings():
    return record_all(range(len(NAMES)), num_threads=1)


def test_shapes_and_units(recordings):
    assert recordings.signals.shape == (len(NAMES), len(CHANNELS), NUM_SAMPLES)
    assert recordings.signals.dtype == np.float32
    assert NUM_SAMPLES == DURATION_S * SAMPLES_PER_S
    assert 3 <= DURATION_S <= 5
    views = {
        "rad": recordings.position_rad,
        "rad/s": recordings.velocity_rad_per_s,
        "m/s^2": recordings.tool_acceleration_m_per_s2,
    }
    for unit, view in views.items():
        assert view.shape[1] == [channel.unit for channel in CHANNELS].count(unit)
    torques = [recordings.commanded_torque_nm, recordings.delivered_torque_nm]
    assert sum(view.shape[1] for view in torques) == [c.unit for c in CHANNELS].count("N m")


def test_every_number_is_finite(recordings):
    assert np.isfinite(recordings.signals).all()


def test_any_order_threads_and_parts_give_the_same_bits(recordings, monkeypatch):
    monkeypatch.setattr(recording, "_RECORDINGS_AT_ONCE", 5)
    order = np.random.default_rng(0).permutation(len(NAMES))
    again = record_all(order, num_threads=2)
    np.testing.assert_array_equal(again.signals, recordings.signals[order])
    np.testing.assert_array_equal(again.address, recordings.address[order])


def test_no_two_recordings_share_their_noise(recordings):
    """Two checks of a healthy machine differ, in every sample of every channel that has noise."""
    assert len(set(recordings.address.tolist())) == len(NAMES)
    first, second = record(
        sample_machines(1).rows([0, 0]), "healthy", 0, 7, checks=[0, 1], num_threads=1
    ).signals
    assert (first != second).mean() > 0.99


def test_no_recording_of_a_machine_is_on_both_sides():
    """Train and test machines with the same seed, fault and check share no address."""
    few = {"faults": "dry_friction", "severities": 1.0, "seed": 0, "num_threads": 1}
    train, test = (record(sample_machines(2, split), **few) for split in ("train", "test"))
    assert not set(train.address.tolist()) & set(test.address.tolist())
    assert (train.machine < 1_000_000).all()
    assert (test.machine >= 1_000_000).all()


def test_another_seed_gives_other_noise_of_the_same_machine():
    machine = sample_machines(1)
    first, second = (record(machine, "healthy", 0, seed, num_threads=1).signals for seed in (0, 1))
    assert (first != second).mean() > 0.99


def test_rows_keep_what_belongs_together(recordings):
    part = recordings.rows([3, 1])
    assert len(part) == 2
    assert part.fault.tolist() == [NAMES[3], NAMES[1]]
    np.testing.assert_array_equal(part.signals, recordings.signals[[3, 1]])


@pytest.mark.parametrize(
    ("faults", "options", "words"),
    [
        ("dry_frictoin", {}, "did you mean 'dry_friction'"),
        (["healthy"], {}, "one for each of 2 machines, got 1"),
        ("healthy", {"severities": 1.0}, "healthy machine has the severity 0"),
        ("backlash", {"severities": 1.0}, r"must be in \[0, 0.02\] rad, got 1"),
        ("backlash", {"severities": float("nan")}, "severities must be in"),
        ("backlash", {"severities": [0.1]}, "one number or 2"),
        ("backlash", {"joints": 8}, r"joints must be in \[1, 7\]"),
        ("backlash", {"joints": 1.5}, "joints must be in"),
        ("loose_belt", {"joints": 7}, "can sit in the joints 1, 2, 3, 4, 5, 6, got 7"),
        ("healthy", {"seed": -1}, "seed must be an integer in"),
        ("healthy", {"seed": 1.5}, "seed must be an integer in .* got 1.5"),
        ("healthy", {"seed": "a"}, "seed must be an integer in .* got 'a'"),
        ("healthy", {"same": True}, "recordings 0 and 1 would be the same"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(faults, options, words):
    machines = sample_machines(2).rows([0, 0] if options.pop("same", False) else [0, 1])
    arguments = {"severities": 0.0, "seed": 0, **options}
    with pytest.raises(TaskError, match=words) as error:
        record(machines, faults, **arguments)
    assert "\n" not in str(error.value)


def test_an_unstable_simulation_is_an_error(monkeypatch):
    broken = np.full((1, len(CHANNELS), NUM_SAMPLES), np.nan, np.float32)
    monkeypatch.setattr("metarobot.diagnosis.recording.Simulation.run", lambda self: broken)
    with pytest.raises(recording.RecordingError, match="of machine 0 became unstable"):
        record(sample_machines(1), "healthy", 0, 0, num_threads=1)


def test_a_fault_is_found_by_its_name():
    assert find_fault("backlash") is FAULTS["backlash"]
    assert len(FAULTS) >= 12
