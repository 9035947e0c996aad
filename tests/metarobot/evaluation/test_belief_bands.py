"""Bands of a belief, by hand."""

import numpy as np
import pytest

from metarobot.envs import find_family
from metarobot.evaluation.explain import _turned, weighted_band

YAW = find_family("metarobot/Reach-v0").distribution["frame_yaw_rad"]
MASS = find_family("metarobot/Grip-v0").distribution["block_mass_kg"]


def test_quantiles_of_weighted_values() -> None:
    # In order: 1, 2, 3 with weights 0.2, 0.6, 0.2; their middles lie at 0.1, 0.5 and 0.9.
    band = weighted_band(MASS, np.array([3.0, 1.0, 2.0]), np.array([0.2, 0.2, 0.6]))
    assert band == pytest.approx([1.0, 2.0, 3.0])
    band = weighted_band(MASS, np.array([1.0, 2.0]), np.array([0.5, 0.5]))
    assert band == pytest.approx([1.0, 1.5, 2.0])


def test_a_band_of_angles_goes_the_short_way_round() -> None:
    values = np.array([3.0, -3.0])
    low, median, high = weighted_band(YAW, values, np.array([0.5, 0.5]))
    assert (low, high) == pytest.approx((3.0, 2 * np.pi - 3.0))
    assert median == pytest.approx(np.pi)


def test_angles_within_half_a_turn() -> None:
    np.testing.assert_allclose(
        _turned(np.array([3.5, -3.5, 1.0])), [3.5 - 2 * np.pi, 2 * np.pi - 3.5, 1.0]
    )
