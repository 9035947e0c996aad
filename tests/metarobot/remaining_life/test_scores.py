"""Scores by hand, and intervals that cover what they promise."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from metarobot.diagnosis import sample_machines
from metarobot.remaining_life import (
    CYCLES_BETWEEN_CHECKS,
    SEEN,
    Lives,
    calibrate,
    checks_at,
    phm_score,
    sample_parts,
)
from metarobot.remaining_life.predictions import Checks, log_normal
from metarobot.remaining_life.scores import root_mean_square


def test_phm_score_by_hand():
    errors = np.array([0.0, -13.0, 10.0, 20.0])
    np.testing.assert_allclose(phm_score(errors), [0, np.e - 1, np.e - 1, np.e**2 - 1])


def test_root_mean_square_by_hand():
    assert root_mean_square(np.array([3.0, -4.0])) == np.sqrt(12.5)


def test_age_alone_tells_the_rest_at_checks_picked_by_shares_of_the_true_life():
    """So errors at such checks bound nothing: docs/remaining-life.md says how small this one is."""
    parts = sample_parts(sample_machines(200, "test", seed=1))
    cycles = parts.life_cycles
    lives = SimpleNamespace(life_cycles=cycles, num_checks=np.ceil(cycles / CYCLES_BETWEEN_CHECKS))
    checks = checks_at(cast("Lives", lives))
    age = CYCLES_BETWEEN_CHECKS * checks.check.reshape(*cycles.shape, len(SEEN))
    life = (age + CYCLES_BETWEEN_CHECKS / 2) / np.array(SEEN)
    error = root_mean_square((life - cycles[..., None])[..., SEEN.index(0.3)])
    page = (Path(__file__).parents[3] / "docs/remaining-life.md").read_text(encoding="utf-8")
    assert f"errs by {error:.1f} cycles after 30 % of life" in " ".join(page.split())


def test_intervals_cover_nine_of_ten_whatever_the_learner_believes():
    """A learner that takes itself to be three times too sure, and errs more early in life."""
    generator = np.random.default_rng(0)

    def draw(count):
        age = generator.integers(0, 17, count)
        mean = np.full(count, np.log(50.0))
        truth = np.exp(mean + generator.normal(0, 0.6 - 0.03 * age))
        checks = Checks(np.arange(count), np.zeros(count, int), age)
        return log_normal(mean, np.full(count, 0.2)), checks, truth

    calibration = calibrate(*draw(4000))
    predictions, checks, truth = draw(20000)
    low, high = calibration.interval(predictions, checks)
    held = (low <= truth) & (truth <= high)
    for part in (checks.check < 5, checks.check >= 12):
        assert 0.87 < held[part].mean() < 0.94


def test_few_calibration_points_make_wide_intervals():
    """With nine machines the greatest error of all is what nine of ten stay within."""
    generator = np.random.default_rng(1)
    surprise = generator.normal(size=9)
    predictions = log_normal(np.zeros(9), np.ones(9))
    checks = Checks(np.arange(9), np.zeros(9, int), np.zeros(9, int))
    factors = calibrate(predictions, checks, np.exp(surprise)).factors
    np.testing.assert_allclose(factors, np.abs(surprise).max())
