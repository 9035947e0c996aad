"""A posterior over tasks: weighted candidates, and new ones that follow the data.

Candidates are points (K, P) of the unit box that holds all splits. New ones are drawn from a normal
distribution with the moments of the weighted ones, in coordinates without bounds, and weighted by
importance: density of prior and likelihood over that of the draw. After a few rounds they lie where
the posterior is, for any number of task parameters.

Source: Cappé et al. 2004, doi:10.1198/106186004X12803 (population Monte Carlo); Del Moral et al.
2006, doi:10.1111/j.1467-9868.2006.00553.x, for tempered weights.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

MOST_ROUNDS = 20
"""Rounds of new candidates at most."""
ENOUGH = 0.3
"""Effective sample size, as a share of K, at which candidates follow the posterior."""
FEWEST_OF_A_PARAMETER = 4
"""Least effective sample size from which moments are taken, for each parameter and one."""
SPREAD = 1.1
"""Standard deviation of the draws, in that of the weighted candidates: tails are covered."""
_EDGE = 1e-4
"""Least distance of a candidate from the bounds of the box, where coordinates end."""


class Candidates(NamedTuple):
    """K weighted candidates of one task."""

    points: np.ndarray
    """In the unit box, (K, P)."""
    log_weights: np.ndarray
    """Logarithms of their weights, but for a constant, (K,)."""


@np.errstate(under="ignore")
def refine(
    prior: Candidates,
    log_likelihood: Callable[[np.ndarray], np.ndarray],
    normals: np.ndarray,
    circular: Sequence[bool],
    *,
    uniform: bool,
) -> Candidates:
    """Return candidates that follow the posterior, by `MOST_ROUNDS` rounds at most.

    Args:
        prior: Candidates and their weights before the data.
        log_likelihood: Maps points (K, P) to the logarithm of their likelihood, (K,).
        normals: Standard normal numbers of the draws, (K, P), the same in all rounds.
        circular: Whether each parameter is an angle, (P,).
        uniform: Whether the prior is uniform over the box; if not, it is a normal distribution with
            the moments of its candidates.
    """
    angles = np.asarray(circular)
    before = None if uniform else _Normal.of(prior, angles)
    points, importance = prior
    log_weights = importance + log_likelihood(points)
    for _ in range(MOST_ROUNDS):
        if effective_size(log_weights) >= ENOUGH * len(points):
            break
        normal = _Normal.of(Candidates(points, tempered(log_weights, points.shape[1])), angles)
        points, drawn = normal.draw(normals, angles)
        density = (
            np.where(angles, 0.0, -0.5 * np.square(drawn)).sum(1)
            if before is None
            else before.log_density(drawn)
        )
        log_weights = density - normal.log_density(drawn, SPREAD) + log_likelihood(points)
    return Candidates(points, log_weights)


def effective_size(log_weights: np.ndarray) -> float:
    """Return the effective sample size 1 / Σ w², of weights that sum to 1."""
    return float(1.0 / np.square(normalised(log_weights)).sum())


def normalised(log_weights: np.ndarray) -> np.ndarray:
    """Return weights (K,) that sum to 1."""
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def tempered(log_weights: np.ndarray, num_parameters: int) -> np.ndarray:
    """Return the logarithms times the largest power up to 1 that leaves enough candidates."""
    least = min(FEWEST_OF_A_PARAMETER * (num_parameters + 1), len(log_weights) / 2)
    if effective_size(log_weights) >= least:
        return log_weights
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if effective_size(middle * log_weights) >= least else (low, middle)
        )
    return low * log_weights


def weighted_band(values: np.ndarray, weights: np.ndarray, *, circular: bool) -> list[float]:
    """Return 5 % quantile, median and 95 % quantile of weighted values, (K,) each.

    Angles, in rad, are unwrapped about their mean direction.
    """
    values, below = _distribution(values, weights, circular=circular)
    return np.interp([0.05, 0.5, 0.95], below, values).tolist()


def weighted_rank(
    value: float, values: np.ndarray, weights: np.ndarray, scale: float, *, circular: bool
) -> float:
    """Return the weight, 0 to 1, of the values (K,) below one, when spread about their median.

    Values that equal it count half, as where a task parameter has only a few values. The spread
    has a factor `scale`; angles as in `weighted_band`.
    """
    values, below = _distribution(values, weights, circular=circular)
    middle = np.interp(0.5, below, values)
    error = value - middle
    if circular:
        error = (error + np.pi) % (2 * np.pi) - np.pi
    place = middle + error / max(scale, 1e-9)
    below_it = np.interp(place, values, below, left=0.0, right=1.0)
    above_it = np.interp(-place, -values[::-1], 1.0 - below[::-1], left=0.0, right=1.0)
    return float(below_it + 1.0 - above_it) / 2.0  # half the weight of values that equal it


def _distribution(
    values: np.ndarray, weights: np.ndarray, *, circular: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return values (K,) in order, unwrapped, and the share of the weight below each, (K,)."""
    if circular:
        middle = np.angle(weights @ np.exp(1j * values))
        values = middle + (values - middle + np.pi) % (2 * np.pi) - np.pi
    order = np.argsort(values)
    below = np.cumsum(weights[order]) - weights[order] / 2
    return values[order], below / weights.sum()


class _Normal(NamedTuple):
    """A normal distribution in coordinates without bounds: probits, and angles in turns."""

    mean: np.ndarray
    """(P,)."""
    root: np.ndarray
    """Cholesky factor of the covariance, (P, P)."""

    @classmethod
    def of(cls, candidates: Candidates, angles: np.ndarray) -> "_Normal":
        """Return the distribution with the moments of weighted candidates."""
        weights = normalised(candidates.log_weights)
        turns = np.exp(2j * np.pi * candidates.points)
        middle = np.angle(weights @ turns) / (2 * np.pi)
        away = (candidates.points - middle + 0.5) % 1.0 - 0.5  # the short way round
        places = np.where(angles, middle + away, _probit(candidates.points))
        mean = weights @ places
        errors = places - mean
        covariance = (errors * weights[:, None]).T @ errors
        size = effective_size(candidates.log_weights)
        shrunk = len(mean) / (len(mean) + size)  # with few candidates, correlations are chance
        covariance += shrunk * (np.diag(np.diag(covariance)) - covariance)
        return cls(mean, np.linalg.cholesky(covariance + 1e-8 * np.eye(len(mean))))

    def draw(self, normals: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points (K, P) and their coordinates, from standard normal numbers (K, P)."""
        from scipy.special import ndtr

        drawn = self.mean + SPREAD * normals @ self.root.T
        points = np.where(angles, drawn % 1.0, ndtr(drawn))
        inside = points.clip(_EDGE, 1.0 - _EDGE)
        return np.where(angles, points, inside), np.where(angles, drawn, _probit(inside))

    def log_density(self, places: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """Return the logarithm of the density at coordinates (K, P), but for a constant, (K,)."""
        whitened = np.linalg.solve(scale * self.root, (places - self.mean).T)
        return -0.5 * np.square(whitened).sum(0)


def _probit(points: np.ndarray) -> np.ndarray:
    """Return coordinates in which the uniform distribution is the standard normal one."""
    from scipy.special import ndtri

    return ndtri(points.clip(_EDGE, 1.0 - _EDGE))
