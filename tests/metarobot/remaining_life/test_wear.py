"""Wear: it only grows, ends a life, and is the machine's own."""

import numpy as np
import pytest

from metarobot.diagnosis import sample_machines
from metarobot.remaining_life import sample_parts
from metarobot.remaining_life.wear import MOST_CYCLES, WEARING_FAULTS, most_severe


@pytest.fixture(scope="module")
def parts():
    return sample_parts(sample_machines(300, seed=5))


def test_wear_only_grows_from_new_to_worn_out(parts):
    assert (np.diff(parts.wear, axis=2) >= 0).all()
    assert (parts.wear[:, :, 0] <= 0.25).all()
    assert (parts.life_cycles < MOST_CYCLES).all()
    rows = np.arange(len(parts.fault))
    life = parts.life_cycles[:, 0]
    assert (parts.wear[rows, 0, life] >= 1).all()
    assert (parts.wear[rows, 0, life - 1] < 1).all()


def test_a_machine_wears_alike_whatever_stands_beside_it(parts):
    few = sample_parts(sample_machines(300, seed=5).rows([7, 3]))
    for name in ("fault", "joint", "limit", "wear"):
        np.testing.assert_array_equal(getattr(few, name), getattr(parts, name)[[7, 3]])


def test_parts_of_one_machine_last_about_as_long_and_machines_differ(parts):
    log_life = np.log(parts.life_cycles)
    within, between = np.diff(log_life, axis=1).std() / np.sqrt(2), log_life.mean(axis=1).std()
    assert within < 0.5 * between
    assert 0.3 < between < 0.6


def test_a_heavier_payload_shortens_lives(parts):
    load, life = np.log(parts.machines.payload_kg), np.log(parts.life_cycles[:, 0])
    slope = np.polyfit(load, life, 1)[0]
    assert -0.8 < slope < -0.2  # -0.5 with the spread of 300 machines


def test_the_gamma_process_has_the_spread_that_it_states():
    """At the expected end of its life wear has mean 1 and standard deviation 1 / sqrt(25)."""
    from metarobot.remaining_life import wear

    uniform = np.random.default_rng(0).random((4000, 51))
    age = np.broadcast_to(np.linspace(0, 1, 51), uniform.shape)
    worn = wear.gamma_process(age, np.full(4000, 0.5), uniform)
    np.testing.assert_allclose(worn[:, -1].mean(), 1.0, atol=0.02)
    np.testing.assert_allclose(worn[:, -1].std(), 0.2, atol=0.02)
    np.testing.assert_allclose(worn[:, 25].mean(), 0.5**1.75, atol=0.02)


def test_what_a_check_finds_scatters_about_the_wear(parts):
    machine, part = np.arange(300), np.zeros(300, int)
    cycle = parts.life_cycles[:, 0] - 1
    most = np.array([most_severe(name) for name in parts.fault])
    found = parts.severity(machine, part, cycle)
    worn = parts.limit * parts.wear[machine, part, cycle]
    assert ((found >= 0) & (found <= 1.5 * most)).all()
    ratio = np.log(found / worn)
    assert 0.12 < ratio.std() < 0.2
    np.testing.assert_array_equal(found, parts.severity(machine, part, cycle))


def test_every_fault_that_wears_occurs(parts):
    assert set(parts.fault) == set(WEARING_FAULTS)
