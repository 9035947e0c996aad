"""Sight: the tables are the simulator's own laws."""

import numpy as np
import pytest
from life_fakes import fake_fleet

from metarobot.diagnosis import sample_machines
from metarobot.remaining_life import (
    fit_health_index,
    fit_index_sight,
    perfect_sight,
    read_lives,
    sample_parts,
)
from metarobot.remaining_life.sight import SEVERITY_GRID, WEAR_GRID, scatter_table
from metarobot.remaining_life.wear import SCATTER_OFFSET, SCATTER_RATIO


@pytest.fixture(scope="module")
def lives():
    fleet = fake_fleet(60)
    return read_lives(fleet, fit_health_index(fleet))


@pytest.fixture(scope="module")
def parts():
    return sample_parts(sample_machines(60))


@pytest.mark.parametrize("wear", [0.0, 0.1, 0.5, 1.0])
def test_the_scatter_of_a_day_has_its_moments(wear):
    shares = scatter_table()[np.searchsorted(WEAR_GRID, wear)]
    draws = np.random.default_rng(0).normal(size=(2, 200_000))
    seen = wear * np.exp(SCATTER_RATIO * draws[0]) + SCATTER_OFFSET * draws[1]
    seen = seen.clip(0.0, SEVERITY_GRID[-1])
    np.testing.assert_allclose(shares.sum(), 1.0)
    np.testing.assert_allclose(shares @ SEVERITY_GRID, seen.mean(), atol=2e-3)
    spread = np.sqrt(shares @ SEVERITY_GRID**2 - (shares @ SEVERITY_GRID) ** 2)
    np.testing.assert_allclose(spread, seen.std(), atol=2e-3)


def test_perfect_sight_knows_fault_and_joint_and_is_right_about_the_wear(lives, parts):
    sight, machine = perfect_sight(lives, parts), 3
    told = sight.log_likelihood(lives, machine, 0)
    assert told.shape[0] == lives.num_checks[machine, 0]
    fault, joint = lives.fault[machine], [2, 4].index(parts.joint[machine])
    possible = np.isfinite(told).all(axis=(0, 3))
    assert possible.sum() == 1
    assert possible[fault, joint]


def test_the_index_is_most_likely_near_the_wear_that_made_it(lives, parts):
    """Over all checks of a machine, in its own fault, the best wear is that of the checks."""
    sight = fit_index_sight(lives, parts)
    errors = []
    for machine in range(20):
        told = sight.log_likelihood(lives, machine, 0)
        joint = [2, 4].index(parts.joint[machine])
        best = WEAR_GRID[told[:, lives.fault[machine], joint].argmax(axis=1)]
        seen = perfect_sight(lives, parts).severity[machine, 0, : len(best)]
        errors.extend(best - seen)
    assert np.abs(np.mean(errors)) < 0.04
    assert np.std(errors) < 0.12
