"""The simulator's posterior: before anything is seen, it is what the simulator draws."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from life_fakes import fake_fleet

from metarobot.diagnosis import sample_machines
from metarobot.remaining_life import (
    Checks,
    SimulatorPosterior,
    checks_at,
    fit_health_index,
    fit_index_sight,
    outcome_of,
    perfect_sight,
    read_lives,
    sample_parts,
    uncalibrated,
)
from metarobot.remaining_life.sight import WEAR_GRID
from metarobot.remaining_life.wear import PROCESSES, WEARING_FAULTS, WORN_JOINTS, median_life_cycles

MACHINES = 80


class NoSight(NamedTuple):
    """Sees nothing."""

    def log_likelihood(self, lives, machine, part):
        """Return zeros."""
        num_checks = lives.num_checks[machine, part]
        return np.zeros((num_checks, len(WEARING_FAULTS), len(WORN_JOINTS), len(WEAR_GRID)))


@pytest.fixture(scope="module")
def fleet():
    return fake_fleet(MACHINES)


@pytest.fixture(scope="module")
def lives(fleet):
    return read_lives(fleet, fit_health_index(fleet))


@pytest.fixture(scope="module")
def many_parts():
    return sample_parts(sample_machines(3000, seed=8))


def test_before_anything_is_seen_lives_are_those_that_the_simulator_draws(lives, many_parts):
    payload_kg = many_parts.machines.payload_kg
    shares = many_parts.life_cycles[:, 0] / median_life_cycles(payload_kg)
    here = Checks(np.array([0]), np.array([0]), np.array([0]))
    found = SimulatorPosterior(NoSight(), 5000).predict(lives, here)
    median = median_life_cycles(lives.payload_kg[0])
    np.testing.assert_allclose(found.cycles[0], shares.mean() * median, rtol=0.03)
    np.testing.assert_allclose(found.spread_log[0], np.log(shares).std(), rtol=0.06)


@pytest.mark.parametrize("name", ["dry_friction", "lost_lubricant", "backlash"])
def test_a_second_life_is_as_the_simulator_draws_it_after_such_a_first_one(name, lives, many_parts):
    machine = int(np.flatnonzero(lives.fault == WEARING_FAULTS.index(name))[0])
    here = Checks(np.array([machine]), np.array([1]), np.array([0]))
    found = SimulatorPosterior(NoSight(), 20_000).predict(lives, here)
    medians = median_life_cycles(many_parts.machines.payload_kg)
    shares = np.log(many_parts.life_cycles / medians[:, None])
    first = np.log(lives.life_cycles[machine, 0] / median_life_cycles(lives.payload_kg[machine]))
    same = [fault for fault, law in PROCESSES.items() if law is PROCESSES[name]]
    alike = np.isin(many_parts.fault, same) & (np.abs(shares[:, 0] - first) < 0.1)
    assert alike.sum() > 60
    expected = shares[alike, 1].mean() + np.log(median_life_cycles(lives.payload_kg[machine]))
    np.testing.assert_allclose(found.mean_log[0], expected, atol=0.06)
    np.testing.assert_allclose(found.spread_log[0], shares[alike, 1].std(), rtol=0.3)


def test_it_is_as_unsure_as_it_ought_to_be(lives):
    """About nine of ten of its intervals hold the truth, without calibration."""
    sight = perfect_sight(lives, sample_parts(sample_machines(MACHINES)))
    found = SimulatorPosterior(sight, 4000).posterior(lives, checks_at(lives))
    covered = outcome_of(found.predictions, uncalibrated(), lives).covered[:, :, :3]
    assert 0.84 < covered.mean() < 0.96
    assert (found.num_effective >= 1.0 - 1e-9).all()


@pytest.mark.parametrize("part", [0, 1])
def test_a_prediction_does_not_depend_on_what_comes_later(part, fleet, lives):
    """Neither on the rest of this part's life, nor on the machines beside it."""
    sight = fit_index_sight(lives, sample_parts(sample_machines(MACHINES)))
    life = fleet.life_cycles.copy()
    life[4, part:] += 12
    indicators = fleet.indicators.copy()
    indicators[4, part, 4:] += 1.0
    other = read_lives(
        replace(fleet, life_cycles=life, indicators=indicators), fit_health_index(fleet)
    )
    here = Checks(np.array([4]), np.array([part]), np.array([3]))
    both = Checks(np.array([2, 4]), np.array([part] * 2), np.array([3, 3]))
    posterior = SimulatorPosterior(sight, 500)
    first, later = (posterior.predict(known, here).cycles[0] for known in (lives, other))
    assert first == later == posterior.predict(lives, both).cycles[1]
