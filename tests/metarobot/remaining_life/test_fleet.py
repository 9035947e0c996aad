"""A fleet is watched once: a cache gives back what was seen, or it is recorded again."""

import numpy as np
import pytest

from metarobot.remaining_life import fleet, watch_fleet
from metarobot.remaining_life.indicators import NUM_INDICATORS


@pytest.fixture
def counted(monkeypatch):
    """Count recordings; their indicators are made up."""
    calls = []

    def record(machines, faults, *_, **__):
        calls.append(len(machines))
        return np.arange(len(machines))

    def indicators(recordings):
        return recordings[:, None] + np.linspace(0.0, 1.0, NUM_INDICATORS)

    monkeypatch.setattr(fleet, "record", record)
    monkeypatch.setattr(fleet, "indicators", indicators)
    return calls


def test_what_is_kept_is_not_recorded_again(tmp_path, counted):
    first = watch_fleet(2, "train", cache=tmp_path / "new")
    again = watch_fleet(2, "train", cache=tmp_path / "new")
    assert len(counted) == 1
    np.testing.assert_array_equal(again.indicators, first.indicators)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_recorded_again(tmp_path, counted, damage):
    first = watch_fleet(2, "train", cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    path.write_bytes({"cut": whole[:-9], "flipped": flipped, "empty": b""}[damage])
    again = watch_fleet(2, "train", cache=tmp_path)
    assert len(counted) == 2
    np.testing.assert_array_equal(again.indicators, first.indicators)
    assert path.read_bytes() == whole
