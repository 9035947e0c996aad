"""Candidates follow a posterior that is known, and ranks and bands say what they should."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import kstest, norm, qmc

from metarobot.policies.posterior import (
    Candidates,
    effective_size,
    normalised,
    refine,
    weighted_band,
    weighted_rank,
)

K = 1024


@pytest.mark.parametrize("num_parameters", [1, 3, 8, 12])
@pytest.mark.parametrize("width", [0.1, 0.02])
def test_candidates_follow_a_correlated_normal_posterior(num_parameters, width):
    """Mean and spread are right for any number of parameters, in as many evaluations."""
    P, rng = num_parameters, np.random.default_rng(num_parameters)
    points = qmc.Sobol(P, scramble=False).random(2 * K)[1 : 1 + K]
    means, spreads, evaluations = [], [], []
    for _ in range(8):
        true, (axes, _) = rng.uniform(0.2, 0.8, P), np.linalg.qr(rng.normal(size=(P, P)))
        widths = width * np.exp(rng.uniform(-0.7, 0.7, P))

        def log_likelihood(p, true=true, axes=axes, widths=widths):
            evaluations.append(len(p))
            return -0.5 * np.square((p - true) @ axes / widths).sum(1)

        prior = Candidates(points, np.zeros(K))
        found = refine(prior, log_likelihood, ndtri(points), [False] * P, uniform=True)
        weights = normalised(found.log_weights)
        mean = weights @ found.points
        spread = np.sqrt(weights @ np.square(found.points - mean))
        expected = np.sqrt(np.square(axes * widths).sum(1))
        means.append((mean - true) / expected)
        spreads.append(spread / expected)
        assert effective_size(found.log_weights) > 0.05 * K
    assert np.abs(means).mean() < 0.15
    assert np.mean(spreads) == pytest.approx(1.0, abs=0.1)
    assert len(evaluations) <= 8 * 21


def test_candidates_follow_an_angle_across_the_seam():
    points = qmc.Sobol(1, scramble=False).random(2 * K)[1 : 1 + K]

    def log_likelihood(p):
        away = (p[:, 0] - 0.99 + 0.5) % 1.0 - 0.5
        return -0.5 * np.square(away / 0.01)

    found = refine(
        Candidates(points, np.zeros(K)), log_likelihood, ndtri(points), [True], uniform=True
    )
    turn = np.angle(normalised(found.log_weights) @ np.exp(2j * np.pi * found.points[:, 0]))
    assert turn / (2 * np.pi) == pytest.approx(-0.01, abs=1e-3)


@pytest.mark.parametrize("circular", [False, True])
def test_ranks_of_draws_are_uniform_and_bands_are_their_quantiles(circular):
    """Simulation-based calibration in small: truth and candidates come from one distribution."""
    rng, middle = np.random.default_rng(0), 3.0  # an angle near the seam at π
    values, weights = rng.normal(middle, 0.5, 4000), np.ones(4000)
    if circular:
        values = (values + np.pi) % (2 * np.pi) - np.pi
    truths = rng.normal(middle, 0.5, 300)
    ranks = [weighted_rank(t, values, weights, 1.0, circular=circular) for t in truths]
    assert kstest(ranks, "uniform").pvalue > 0.01
    low, _, high = weighted_band(values, weights, circular=circular)
    assert (low - middle, high - middle) == pytest.approx(norm.ppf([0.05, 0.95]) * 0.5, abs=0.05)
    held = np.mean([0.05 <= rank <= 0.95 for rank in ranks])
    assert held == pytest.approx(np.mean((low <= truths) & (truths <= high)), abs=0.01)
    # Twice the spread leaves the same truths nearer to the middle.
    wide = [weighted_rank(t, values, weights, 2.0, circular=circular) for t in truths]
    assert np.abs(np.array(wide) - 0.5).mean() < 0.7 * np.abs(np.array(ranks) - 0.5).mean()


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_a_belief_of_two_values_holds_the_one_that_it_is_sure_of(value):
    values, weights = np.repeat([-1.0, 1.0], 50), np.full(100, 1e-6)
    weights[values == value] = 1.0
    rank = weighted_rank(value, values, weights, 1.0, circular=False)
    assert rank == pytest.approx(0.5, abs=0.02)
    other = weighted_rank(-value, values, weights, 1.0, circular=False)
    assert abs(other - 0.5) > 0.45
