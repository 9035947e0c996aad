"""Intervals of shares: as wide as what was recorded, not as narrow as tasks are many."""

import numpy as np
import pytest
from scipy import stats

from metarobot.diagnosis_runs.shares import share_of


def test_independent_entries_have_the_exact_interval():
    true = np.arange(400) < 320
    found = share_of(true, np.arange(400))
    exact = stats.binomtest(320, 400).proportion_ci()
    assert found.value == 0.8
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.003)


def test_asking_again_and_again_tells_nothing_new():
    true, cluster = np.arange(12) < 7, np.arange(12)
    once, often = share_of(true, cluster), share_of(np.tile(true, 500), np.tile(cluster, 500))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_all_right_is_not_certain():
    few, many = share_of(np.ones(12, bool), np.arange(12)), share_of(np.ones(400, bool), range(400))
    assert few.value == few.high == many.high == 1
    assert few.low == pytest.approx(stats.binomtest(12, 12).proportion_ci().low)
    assert few.low < 0.75 < 0.99 < many.low
    none = share_of(np.zeros(12, bool), np.arange(12))
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - few.low)
    alone = share_of(np.ones(50, bool), np.zeros(50))
    assert alone.low < 0.05


@pytest.mark.parametrize("clusters", [8, 40])
def test_it_holds_the_truth_as_often_as_it_says(clusters):
    """Clusters that differ: a machine is easy or hard."""
    rng = np.random.default_rng(clusters)
    held = []
    for _ in range(400):
        chances = rng.beta(4, 1, clusters).repeat(30)  # 0.8 on the mean
        found = share_of(rng.random(chances.size) < chances, np.arange(clusters).repeat(30))
        held.append(found.low <= 0.8 <= found.high)
    assert 0.93 < np.mean(held) <= 1
