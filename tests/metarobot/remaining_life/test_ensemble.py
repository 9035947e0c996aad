"""An ensemble predicts the mixture of its members."""

import numpy as np
import pytest
from life_fakes import fake_fleet

from metarobot.remaining_life import checks_at, fit_health_index, read_lives
from metarobot.remaining_life.ensemble import train_ensemble
from metarobot.remaining_life.learners import joint_plan


@pytest.fixture(scope="module")
def lives():
    fleet = fake_fleet(20)
    return read_lives(fleet, fit_health_index(fleet))


def train(lives, seed, num_members):
    return train_ensemble(lives, lambda own: joint_plan(own, 3, False), seed, num_members)


def test_it_has_the_moments_of_the_mixture(lives):
    checks = checks_at(lives)
    ensemble = train(lives, 0, 2)
    first, second = (member.predict(lives, checks) for member in ensemble.members)
    found = ensemble.predict(lives, checks)
    draws = np.random.default_rng(0).normal(size=100_000)
    both = [own.mean_log[0] + own.spread_log[0] * draws for own in (first, second)]
    np.testing.assert_allclose(found.mean_log[0], np.mean(both), atol=0.01)
    np.testing.assert_allclose(found.spread_log[0], np.std(both), rtol=0.01)
    np.testing.assert_allclose(found.cycles, (first.cycles + second.cycles) / 2)


def test_ensembles_of_two_seeds_have_no_member_in_common(lives):
    checks = checks_at(lives)
    members = [member for seed in (0, 1) for member in train(lives, seed, 2).members]
    found = [member.predict(lives, checks).cycles[0] for member in members]
    assert len(set(found)) == 4
