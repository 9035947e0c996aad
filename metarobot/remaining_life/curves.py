"""Degradation curves: exponential growth of the health index after an onset, and what a fleet has.

    h(t) = c + A g((t / τ - o) / (1 - o)),    g(u) = (e^(κ u) - 1) / (e^κ - 1),  0 where u < 0

τ is the life in cycles, o the share of it before the onset.  A small κ is a straight line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS
from metarobot.remaining_life.lives import Lives
from metarobot.remaining_life.wear import NOMINAL_PAYLOAD_KG, WEARING_FAULTS

SHAPES, ONSETS = np.geomspace(0.1, 12.0, 20), np.linspace(0.0, 0.8, 17)
"""Values of κ and o that are tried."""
NUM_PARAMETERS = 5  # log τ, log κ, c, log A, o
_LEAST_RISE = 0.05
_LATEST_ONSET = 0.9
_SHRINKAGE = 0.1
"""Share of each fault's covariance that is taken as diagonal: it has about fifty machines."""
_FEWEST_MACHINES = 2
"""Of each fault: one alone does not tell how its curves differ."""


def growth(share: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Return g(u), from shares u and shapes κ that broadcast; it goes on after u = 1."""
    # A prior of few machines draws shapes that would overflow.
    return np.expm1(np.clip(shape * share, 0.0, 50.0)) / np.expm1(np.minimum(shape, 500.0))


def curve(parameters: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Return h of S curves (S, 5) at ages (K,) in cycles, (S, K)."""
    log_life, log_shape, offset, log_rise, onset = parameters.T[:, :, None]
    onset = np.clip(onset, 0.0, _LATEST_ONSET)
    share = (age / np.exp(log_life) - onset) / (1 - onset)
    return offset + np.exp(log_rise) * growth(share, np.exp(log_shape))


def fit_lives(lives: Lives) -> np.ndarray:
    """Fit a curve to every part that is worn out, whose life is known, (M, P, 5)."""
    fitted = np.empty((*lives.life_cycles.shape, NUM_PARAMETERS))
    for machine, part in np.ndindex(*lives.life_cycles.shape):
        count = int(lives.num_checks[machine, part])
        series = lives.index[machine, part, :count, lives.fault[machine]]
        fitted[machine, part] = _fit(series, float(lives.life_cycles[machine, part]))
    return fitted


def _fit(series: np.ndarray, life: float) -> np.ndarray:
    """Fit c, A, κ and o to a series of one life by least squares, (5,)."""
    share = np.arange(len(series)) * CYCLES_BETWEEN_CHECKS / life
    onset, shape = (grid.ravel()[:, None] for grid in np.meshgrid(ONSETS, SHAPES))
    shapes = growth((share - onset) / (1 - onset), shape)  # (G, K)
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    rise = (centred * series).sum(axis=1) / ((centred**2).sum(axis=1) + 1e-3)
    rise = np.maximum(rise, _LEAST_RISE)
    offset = series.mean() - rise * shapes.mean(axis=1)
    errors = ((series - offset[:, None] - rise[:, None] * shapes) ** 2).sum(axis=1)
    best = errors.argmin()
    chosen = (np.log(shape[best, 0]), offset[best], np.log(rise[best]), onset[best, 0])
    return np.array([np.log(life), *chosen])


class Gaussian(NamedTuple):
    """A normal distribution."""

    mean: np.ndarray
    """(D,)."""
    covariance: np.ndarray
    """(D, D)."""

    def given(self, values: np.ndarray, known: list[int], wanted: list[int]) -> Gaussian:
        """Return the distribution of some elements, given others."""
        gain = np.linalg.solve(
            self.covariance[np.ix_(known, known)], self.covariance[np.ix_(known, wanted)]
        )
        mean = self.mean[wanted] + (values - self.mean[known]) @ gain
        left = self.covariance[np.ix_(wanted, wanted)]
        return Gaussian(mean, left - self.covariance[np.ix_(wanted, known)] @ gain)


class FleetPrior(NamedTuple):
    """How curves differ over a fleet: by fault, with the load, and within a machine."""

    by_fault: list[Gaussian]
    """For each fault: curves of the first and the second part, and the log of the load, (11,)."""
    share: np.ndarray
    """How often each fault is found, (F,)."""
    noise: np.ndarray
    """Standard deviation of each fault's index on new parts, (F,)."""
    idle: np.ndarray
    """The same over the whole life of parts that wear by another fault, (F,)."""
    scatter: float
    """Standard deviation that grows with the index, over the index."""


def log_load(lives: Lives) -> np.ndarray:
    """Return the logarithm of the payload over the nominal one, (M,)."""
    return np.log(lives.payload_kg / NOMINAL_PAYLOAD_KG)


def fit_prior(lives: Lives) -> FleetPrior:
    """Learn from machines whose parts are all worn out how curves differ.

    Raises:
        ValueError: There are too few machines of a fault.
    """
    _require_machines(lives)
    fitted = fit_lives(lives)
    rows = np.concatenate([fitted.reshape(len(lives), -1), log_load(lives)[:, None]], axis=1)
    num_faults = lives.index.shape[3]
    by_fault = []
    for fault in range(num_faults):
        own = rows[lives.fault == fault]
        covariance = np.cov(own.T) + 1e-6 * np.eye(rows.shape[1])
        diagonal = np.diag(np.diag(covariance))
        mixed = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * diagonal
        by_fault.append(Gaussian(own.mean(axis=0), mixed))
    share = np.bincount(lives.fault, minlength=num_faults) / len(lives)
    return FleetPrior(by_fault, share, *_noise(lives, fitted))


def _require_machines(lives: Lives) -> None:
    """Refuse a fleet that does not tell how curves of each fault differ.

    Raises:
        ValueError: There are too few machines of a fault; the message names it.
    """
    for fault, name in enumerate(WEARING_FAULTS):
        count = int((lives.fault == fault).sum())
        if count < _FEWEST_MACHINES:
            raise ValueError(
                f"the Bayesian curve needs at least {_FEWEST_MACHINES} training machines of every "
                f"fault, the fleet has {count} of {name}: watch more machines"
            )


def _noise(lives: Lives, fitted: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return what curves leave over: on new parts, in other faults, and over the index."""
    new = lives.index[:, :, :2].reshape(-1, lives.index.shape[3])
    relative = []
    for machine, part in np.ndindex(*lives.life_cycles.shape):
        count = int(lives.num_checks[machine, part])
        age = np.arange(count) * CYCLES_BETWEEN_CHECKS
        model = curve(fitted[machine, part][None], age)[0]
        error = lives.index[machine, part, :count, lives.fault[machine]] - model
        relative.append((error / np.maximum(np.abs(model), 0.3))[-3:])
    checked = np.arange(lives.index.shape[2]) < lives.num_checks[:, :, None]
    faults = range(lives.index.shape[3])
    other = [(checked & (lives.fault != fault)[:, None, None], fault) for fault in faults]
    idle = [np.sqrt((lives.index[rows, fault] ** 2).mean()) for rows, fault in other]
    return new.std(axis=0), np.array(idle), float(np.concatenate(relative).std())
