"""How much a check tells of wear, when the simulator's own laws are known.

A check sees the wear through the scatter of its day, and through sensors.  Both are tables here:
how likely a wear shows as every severity, and how likely every severity is, given the sensors.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import ndtr

from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS
from metarobot.remaining_life.lives import Lives
from metarobot.remaining_life.wear import (
    HIGHEST,
    SCATTER_OFFSET,
    SCATTER_RATIO,
    WORN_JOINTS,
    Parts,
    most_severe,
)

WEAR_GRID = np.linspace(0.0, 1.0, 401)
"""Wear, as severity over the highest that any job tolerates."""
SEVERITY_GRID = np.linspace(0.0, HIGHEST, 301)
"""What the day may make of it, over the same."""
TRUST = 0.6
"""Power of the likelihood of the health index: as good as 1 in error on the calibration machines of
seed 100, and nearer to 90 % in coverage.  Errors of one machine's checks are alike in part, so they
tell less than they seem."""
_NODES = 21
_DEGREE = 3
_LEAST = 1e-9
"""No check is taken for less likely than this, over the most likely wear: sensors err more often
than the normal distribution says."""
_NEVER = 1e-30


class Sight(Protocol):
    """What is seen of a part at its checks."""

    def log_likelihood(self, lives: Lives, machine: int, part: int) -> np.ndarray:
        """Return that of every wear of the grid, (K, F, J, G), by check, fault and joint."""
        ...


def scatter_table() -> np.ndarray:
    """Return the probability of every severity of its grid, given the wear, (G, S)."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(_NODES)
    middle = WEAR_GRID[:, None] * np.exp(SCATTER_RATIO * nodes)  # (G, n)
    edges = (SEVERITY_GRID[1:] + SEVERITY_GRID[:-1]) / 2
    below = ndtr((edges - middle[:, :, None]) / SCATTER_OFFSET)  # (G, n, S - 1)
    below = (below * shares[:, None]).sum(axis=1) / shares.sum()
    ends = np.zeros((len(WEAR_GRID), 1)), np.ones((len(WEAR_GRID), 1))
    return np.diff(np.concatenate([ends[0], below, ends[1]], axis=1), axis=1)


class PerfectSight(NamedTuple):
    """Sees the severity of every check without an error, and which fault it is, and where."""

    severity: np.ndarray
    """Of every check over the highest of its fault, (M, P, K)."""
    joint: np.ndarray
    """Place of each machine's joint in `WORN_JOINTS`, (M,)."""
    scatter: np.ndarray
    """(G, S)."""

    def log_likelihood(self, lives: Lives, machine: int, part: int) -> np.ndarray:
        """Return that of every wear of the grid, (K, F, J, G)."""
        seen = self.severity[machine, part, : lives.num_checks[machine, part]]
        place = np.abs(seen[:, None] - SEVERITY_GRID).argmin(axis=1)
        shape = (len(seen), lives.index.shape[3], len(WORN_JOINTS), len(WEAR_GRID))
        found = np.full(shape, -np.inf)
        found[:, lives.fault[machine], self.joint[machine]] = _log(self.scatter[:, place].T)
        return found


class IndexSight(NamedTuple):
    """Sees the health index: what severities make of it, on training machines, and its noise."""

    mean: np.ndarray
    """Health index at every severity of the grid, (F, J, S, F')."""
    precision: np.ndarray
    """Inverse covariance of what is left over, (F, J, F', F')."""
    scatter: np.ndarray
    """(G, S)."""
    trust: float = TRUST
    """Power of the likelihood."""

    def log_likelihood(self, lives: Lives, machine: int, part: int) -> np.ndarray:
        """Return that of every wear of the grid, (K, F, J, G)."""
        seen = lives.index[machine, part, : lives.num_checks[machine, part]]
        error = seen[:, None, None, None] - self.mean  # (K, F, J, S, F')
        square = np.einsum("kfjsa,fjab,kfjsb->kfjs", error, self.precision, error)
        scale = np.linalg.slogdet(self.precision)[1] / 2
        logarithm = scale[:, :, None] - square / 2
        most = logarithm.max(axis=(1, 2, 3), keepdims=True)
        found = _log(np.exp(logarithm - most) @ self.scatter.T)
        return self.trust * found


def fit_index_sight(lives: Lives, parts: Parts) -> IndexSight:
    """Fit what severities make of the health index, on machines whose severities are known.

    Args:
        lives: Of training machines.
        parts: What wears in the same machines.
    """
    severity, joint = seen_severity(lives, parts), worn_joint(parts)
    num_faults = lives.index.shape[3]
    shape = (num_faults, len(WORN_JOINTS))
    mean = np.empty((*shape, len(SEVERITY_GRID), num_faults))
    precision = np.empty((*shape, num_faults, num_faults))
    for fault, place in np.ndindex(*shape):
        own = (lives.fault == fault) & (joint == place)
        known = np.isfinite(severity[own])
        powers = np.vander(severity[own][known], _DEGREE + 1)
        seen = lives.index[own][known]
        shares = np.linalg.lstsq(powers, seen, rcond=None)[0]
        mean[fault, place] = np.vander(SEVERITY_GRID, _DEGREE + 1) @ shares
        precision[fault, place] = np.linalg.inv(np.cov((seen - powers @ shares).T))
    return IndexSight(mean, precision, scatter_table())


def perfect_sight(lives: Lives, parts: Parts) -> PerfectSight:
    """Return the sight of somebody who knows the severity of every check of some machines."""
    return PerfectSight(seen_severity(lives, parts), worn_joint(parts), scatter_table())


def seen_severity(lives: Lives, parts: Parts) -> np.ndarray:
    """Return the severity at every check over the highest of its fault, (M, P, K); else NaN."""
    checked = np.arange(lives.index.shape[2]) < lives.num_checks[:, :, None]
    machine, part, check = np.nonzero(checked)
    most = np.array([most_severe(name) for name in parts.fault])[machine]
    found = np.full(checked.shape, np.nan)
    cycle = check * CYCLES_BETWEEN_CHECKS
    found[machine, part, check] = parts.severity(machine, part, cycle) / most
    return found


def worn_joint(parts: Parts) -> np.ndarray:
    """Return the place of each machine's worn joint in `WORN_JOINTS`, (M,)."""
    return np.searchsorted(WORN_JOINTS, parts.joint)


def _log(probability: np.ndarray) -> np.ndarray:
    """Return the logarithm of (..., G), not far below the highest."""
    least = np.maximum(_LEAST * probability.max(axis=-1, keepdims=True), _NEVER)
    return np.log(np.maximum(probability, least))
