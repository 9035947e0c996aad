"""Indicators: least squares find again what was put in."""

import numpy as np
import pytest

from metarobot.diagnosis import record, sample_machines
from metarobot.remaining_life import INDICATORS, indicators, watch_fleet
from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS
from metarobot.remaining_life.indicators import NUM_INDICATORS


@pytest.mark.parametrize(
    ("fault", "severity", "indicator", "tolerance"),
    [
        ("dry_friction", 2.0, "dry friction", 0.1),
        ("gear_ripple", 1.5, "ripple", 0.1),
        ("weak_drive", 0.2, "torque lost by the drive", 0.03),
        ("lost_lubricant", 4.0, "viscous damping", 0.5),  # the oil's temperature differs
    ],
)
def test_a_fault_raises_its_indicator_by_its_severity(fault, severity, indicator, tolerance):
    joint = 2
    recordings = record(
        sample_machines(1, seed=3).rows([0, 0]),
        fault,
        [0.0, severity],
        1,
        joints=joint,
        checks=[0, 1],
        num_threads=1,
    )
    found = indicators(recordings).reshape(2, 7, len(INDICATORS))
    column = [name.startswith(indicator) for name in INDICATORS].index(True)
    rise = found[1, :, column] - found[0, :, column]
    np.testing.assert_allclose(rise[joint - 1], severity, atol=tolerance)
    assert np.abs(np.delete(rise, joint - 1)).max() < 0.25 * severity + tolerance


def test_a_fleet_is_the_same_from_the_cache(tmp_path):
    fleet = watch_fleet(1, "train", seed=11, cache=tmp_path, num_threads=1)
    again = watch_fleet(1, "train", seed=11, cache=tmp_path, num_threads=2)
    anew = watch_fleet(1, "train", seed=11, num_threads=2)
    np.testing.assert_array_equal(fleet.indicators, again.indicators)
    np.testing.assert_array_equal(fleet.indicators, anew.indicators)
    assert fleet.indicators.shape[3] == NUM_INDICATORS
    checks = (fleet.life_cycles - 1) // CYCLES_BETWEEN_CHECKS + 1
    np.testing.assert_array_equal(fleet.num_checks, checks)
    assert fleet.indicators[0, 0, : checks[0, 0]].any(axis=1).all()
    assert len(list(tmp_path.iterdir())) == 1
