"""Learners of remaining life: each maps rows of units to quantiles of the remaining life.

A learner is a dataclass of arrays, which a run folder saves.  Times are in typical lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from scipy.stats import lognorm, weibull_min

from metarobot.diagnosis.life_features import Rows, censored

LEVELS = np.round(np.arange(0.025, 0.999, 0.025), 3)
"""Levels of the quantiles, (Q,)."""
_LEAST = 1e-6


class Learner(Protocol):
    """Predicts remaining life; all of its fields are arrays."""

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Self:
        """Learn from the rows of training units."""
        ...

    def predict(self, rows: Rows) -> np.ndarray:
        """Return quantiles of the remaining life at `LEVELS`, (R, Q), rising."""
        ...


@dataclass(frozen=True, eq=False)
class ByAge:
    """A distribution of lives, given that the unit has reached its age; reads no sensor."""

    shape: np.ndarray
    """()."""
    scale: np.ndarray
    """()."""
    distribution: ClassVar[Any]

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Self:
        """Fit by censored maximum likelihood."""
        _, last = np.unique(rows.unit[::-1], return_index=True)
        last = len(rows) - 1 - last
        data = censored(rows.end[last], rows.failed[last])
        shape, _, scale = cls.distribution.fit(data, floc=0)
        return cls(np.array(shape), np.array(scale))

    def predict(self, rows: Rows) -> np.ndarray:
        """Return quantiles of the life, less the age."""
        shape, scale = float(self.shape), float(self.scale)
        lasts = np.maximum(self.distribution.sf(rows.age, shape, scale=scale), 1e-12)
        life = self.distribution.isf(lasts[:, None] * (1 - LEVELS), shape, scale=scale)
        return np.maximum(life - rows.age[:, None], 0.0)


@dataclass(frozen=True, eq=False)
class Weibull(ByAge):
    """Weibull-distributed lives."""

    distribution: ClassVar[Any] = weibull_min


@dataclass(frozen=True, eq=False)
class LogNormal(ByAge):
    """Log-normal lives."""

    distribution: ClassVar[Any] = lognorm


@dataclass(frozen=True, eq=False)
class FleetCurve:
    """Quantiles of remaining life among the fleet's rows of about the same health index."""

    index: np.ndarray
    """Rising, (K,)."""
    quantiles: np.ndarray
    """(K, Q), falling with the index."""

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Self:
        """Take quantiles over groups of neighbouring rows."""
        groups = np.array_split(np.argsort(rows.index), int(np.clip(len(rows) // 40, 2, 40)))
        index = np.array([rows.index[own].mean() for own in groups])
        found = np.array([np.quantile(rows.remaining[own], LEVELS) for own in groups])
        return cls(index, np.minimum.accumulate(found))

    def predict(self, rows: Rows) -> np.ndarray:
        """Interpolate between the groups."""
        columns = [np.interp(rows.index, self.index, column) for column in self.quantiles.T]
        return np.stack(columns, axis=1)


_SHAPES, _ONSETS = np.geomspace(0.1, 12.0, 12), np.linspace(0.0, 0.8, 9)
_DRAWS = 1500
_BATCH = 500


@dataclass(frozen=True, eq=False)
class BayesianCurve:
    """The posterior of a degradation curve, from the fleet's prior and the unit's own rows.

    h(t) = c + A g((t / τ - o) / (1 - o)),    g(u) = (e^(κ u) - 1) / (e^κ - 1),  0 where u < 0

    h is the health index, τ the life, o the share of it before the onset.  The prior is a kernel
    density of the curves that fit training units; its draws are weighted by the likelihood.

    Source: Gebraeel et al. 2005, IIE Transactions 37.
    """

    curves: np.ndarray
    """Draws of (log τ, log κ, c, log A, o), by rising τ, (D, 5)."""
    noise: np.ndarray
    """Standard deviation of the index around its curve, ()."""
    weight: np.ndarray
    """Of a row in the log-likelihood: below 1, as errors of neighbouring rows are alike, ()."""

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Self:
        """Fit a curve to every training unit, and draw from their density."""
        fitted, errors = [], []
        for own in _by_unit(rows):
            found, error = _fit_curve(rows.index[own], rows.age[own], rows.life[own][0])
            fitted.append(found)
            errors.append(error)
        noise = np.sqrt(np.mean(np.concatenate(errors) ** 2)) + 1e-3
        pairs = np.concatenate([error[1:] * error[:-1] for error in errors])
        alike = np.clip(pairs.sum() / max(len(pairs), 1) / noise**2, 0.0, 0.95)
        draws = _kernel_draws(np.array(fitted), seed)
        weight = (1 - alike) / (1 + alike)
        return cls(draws[np.argsort(draws[:, 0])], np.array(noise), np.array(weight))

    def predict(self, rows: Rows) -> np.ndarray:
        """Weigh the draws by the rows of each unit so far."""
        life = np.exp(self.curves[:, 0])
        quantiles = np.empty((len(rows), len(LEVELS)))
        for own in _by_unit(rows):
            likelihood = np.zeros((1, len(life)))
            for batch in np.split(own, range(_BATCH, len(own), _BATCH)):
                errors = rows.index[batch, None] - _curve(self.curves, rows.age[batch])
                squares = np.minimum((errors / self.noise) ** 2, 16.0)
                likelihood = likelihood[-1] - 0.5 * self.weight * np.cumsum(squares, axis=0)
                quantiles[batch] = _weighted(likelihood, life, rows.age[batch, None])
        return quantiles


def _by_unit(rows: Rows) -> list[np.ndarray]:
    """Return the places of the rows of each unit."""
    return np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows.unit)) + 1)


def _growth(share: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Return g(u) for shares u of a life and shapes κ that broadcast; it goes on after u = 1."""
    return np.expm1(np.clip(shape * share, 0.0, 50.0)) / np.expm1(np.minimum(shape, 50.0))


def _curve(curves: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Return h of curves (D, 5) at ages (R,), (R, D)."""
    log_life, log_shape, offset, log_rise, onset = curves.T
    share = (age[:, None] / np.exp(log_life) - onset) / (1 - onset)
    return offset + np.exp(log_rise) * _growth(share, np.exp(log_shape))


def _fit_curve(index: np.ndarray, age: np.ndarray, life: float) -> tuple[np.ndarray, np.ndarray]:
    """Fit a curve to a unit of known life by least squares: its parameters (5,), and errors."""
    onset, shape = (grid.ravel()[:, None] for grid in np.meshgrid(_ONSETS, _SHAPES))
    forms = _growth((age / max(life, _LEAST) - onset) / (1 - onset), shape)  # (G, K)
    centred = forms - forms.mean(axis=1, keepdims=True)
    rise = (centred * index).sum(axis=1) / ((centred**2).sum(axis=1) + 1e-3)
    rise = np.maximum(rise, 0.05)
    offset = index.mean() - rise * forms.mean(axis=1)
    errors = index - offset[:, None] - rise[:, None] * forms
    best = (errors**2).sum(axis=1).argmin()
    found = (np.log(max(life, _LEAST)), np.log(shape[best, 0]), offset[best], np.log(rise[best]))
    return np.array([*found, onset[best, 0]]), errors[best]


def _kernel_draws(fitted: np.ndarray, seed: int) -> np.ndarray:
    """Draw from a kernel density that keeps mean and covariance, (D, 5).

    Source: West 1993, "Approximating posterior distributions by mixtures".
    """
    count, size = fitted.shape
    width = count ** (-1 / (size + 4))
    generator = np.random.default_rng(seed)
    covariance = np.cov(fitted.T) + 1e-4 * np.eye(size)
    noise = generator.multivariate_normal(np.zeros(size), covariance, _DRAWS)
    chosen = fitted[generator.integers(count, size=_DRAWS)]
    mean = fitted.mean(axis=0)
    draws = mean + np.sqrt(1 - width**2) * (chosen - mean) + width * noise
    draws[:, 4] = np.clip(draws[:, 4], 0.0, 0.9)
    return draws


def _weighted(likelihood: np.ndarray, life: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Return quantiles of life less age (R, 1) over draws (D,) with log-likelihoods (R, D)."""
    # Draws that end before the age count only where all do: then the latest.
    late = np.minimum(life - age, 0.0)
    likelihood = likelihood + 200.0 * late + np.where(late < 0, -30.0, 0.0)
    weights = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    total = np.cumsum(weights, axis=1)
    total /= total[:, -1:]
    places = [(total >= level).argmax(axis=1) for level in LEVELS]
    return np.maximum(life[np.stack(places, axis=1)] - age, 0.0)
