"""References that fit a degradation curve to each machine: alone, and with the fleet's prior."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarobot.remaining_life.curves import (
    NUM_PARAMETERS,
    FleetPrior,
    curve,
    fit_lives,
    fit_prior,
    growth,
    log_load,
)
from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS
from metarobot.remaining_life.lives import Lives
from metarobot.remaining_life.predictions import Checks, Predictions

_SAMPLES = 400
"""Curves drawn from the prior of each fault."""
_LEAST_LEFT_CYCLES = 1.0
_FIRST = list(range(NUM_PARAMETERS))  # columns of the prior: first part, second part, load
_SECOND = [NUM_PARAMETERS + column for column in _FIRST]
_LOAD = [2 * NUM_PARAMETERS]


class ExponentialCurve(NamedTuple):
    """Least squares on the health index of the part alone: no prior but the range of lives.

    The index is extrapolated to where, on average, the fleet's parts were replaced.
    """

    end: float
    """Health index at which a part is replaced."""
    most_cycles: float
    """Longest life of the fleet."""

    def predict(self, lives: Lives, checks: Checks) -> Predictions:
        """Predict remaining life at R checks."""
        rows = [self._one(lives, *row) for row in zip(*checks, strict=True)]
        cycles = np.array(rows)
        return Predictions(np.log(cycles), np.ones(len(cycles)), cycles)

    def _one(self, lives: Lives, machine: int, part: int, check: int) -> float:
        age = np.arange(check + 1) * CYCLES_BETWEEN_CHECKS
        series = lives.index[machine, part, : check + 1].sum(axis=1)
        now = check * CYCLES_BETWEEN_CHECKS
        life = np.geomspace(now + _LEAST_LEFT_CYCLES, self.most_cycles + now, 60)[:, None]
        shape = np.geomspace(0.1, 30.0, 20)
        share = age / life[:, :, None]  # (60, 1, K)
        form = growth(share, shape[:, None])
        # A curve that begins at the first checks and reaches the end at its life: c is fitted.
        offset = ((series - self.end * form) * (1 - form)).sum(axis=2)
        offset /= ((1 - form) ** 2).sum(axis=2) + 1e-9
        model = offset[..., None] + (self.end - offset[..., None]) * form
        errors = ((series - model) ** 2).sum(axis=2)
        good = errors <= errors.min() + 1e-6
        return float(np.median(np.broadcast_to(life, errors.shape)[good]) - now)


def fit_exponential(lives: Lives) -> ExponentialCurve:
    """Learn from a fleet where the health index ends."""
    rows = np.arange(len(lives))[:, None], np.arange(lives.life_cycles.shape[1])[None]
    end = lives.index.sum(axis=3)[*rows, lives.num_checks - 1]
    return ExponentialCurve(float(end.mean()), float(lives.life_cycles.max()))


class BayesianCurve(NamedTuple):
    """The posterior of the curve, from the fleet's prior and the machine's checks.

    Curves are drawn from the prior of every fault, given the load and, where there is one, the
    part before.  The likelihood of the whole index weighs them: a curve says that one fault grows
    and the others do not.
    """

    prior: FleetPrior
    trust: float = 0.5
    """Power of the likelihood, chosen as the settings of networks were: neighbouring checks err
    alike, so they tell less than they seem."""
    seed: int = 0

    def predict(self, lives: Lives, checks: Checks) -> Predictions:
        """Predict remaining life at R checks."""
        fitted = fit_lives(lives)
        moments = np.empty((len(checks.machine), 3))
        for machine, part in set(zip(checks.machine.tolist(), checks.part.tolist(), strict=True)):
            mine = (checks.machine == machine) & (checks.part == part)
            moments[mine] = self._part(lives, fitted, machine, part, checks.check[mine])
        return Predictions(moments[:, 0], moments[:, 1], moments[:, 2])

    def _part(
        self, lives: Lives, fitted: np.ndarray, machine: int, part: int, check: np.ndarray
    ) -> np.ndarray:
        """Return mean and spread of the log, and mean, of remaining life at checks (k,), (k, 3)."""
        curves, fault, log_weight = self._draw(lives, fitted, machine, part)
        age = np.arange(int(check.max()) + 1) * CYCLES_BETWEEN_CHECKS
        log_likelihood = self._log_likelihood(curves, fault, lives.index[machine, part], age)
        now = check * CYCLES_BETWEEN_CHECKS
        left = np.exp(curves[:, 0]) - now[:, None]  # (k, S)
        weight = log_weight + self.trust * log_likelihood[:, check].T
        weight = np.where(left >= 0, weight, -np.inf)
        # Where no curve lasts as long as the part has, those that come closest must do.
        none = ~np.isfinite(weight).any(axis=1)
        weight[none] = 20.0 * np.minimum(left[none], 0.0)
        weight = np.exp(weight - weight.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        left = np.maximum(left, _LEAST_LEFT_CYCLES)
        mean_log = (weight * np.log(left)).sum(axis=1)
        spread = np.sqrt((weight * (np.log(left) - mean_log[:, None]) ** 2).sum(axis=1))
        return np.stack([mean_log, np.maximum(spread, 0.03), (weight * left).sum(axis=1)], axis=1)

    def _draw(
        self, lives: Lives, fitted: np.ndarray, machine: int, part: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw curves (S, 5) with the fault of each (S,) and the log of its weight (S,)."""
        load = log_load(lives)[machine]
        faults = range(len(self.prior.by_fault)) if part == 0 else [lives.fault[machine]]
        normal = np.random.default_rng(self.seed).standard_normal((_SAMPLES, NUM_PARAMETERS))
        curves, share = [], []
        for fault in faults:
            fleet = self.prior.by_fault[fault]
            if part == 0:
                own = fleet.given(np.array([load]), _LOAD, _FIRST)
            else:
                known = np.append(fitted[machine, 0], load)
                own = fleet.given(known, _FIRST + _LOAD, _SECOND)
            root = np.linalg.cholesky(own.covariance + 1e-9 * np.eye(NUM_PARAMETERS))
            curves.append(own.mean + normal @ root.T)
            share.append(np.full(_SAMPLES, np.log(self.prior.share[fault])))
        names = np.repeat(np.array(list(faults)), _SAMPLES)
        return np.concatenate(curves), names, np.concatenate(share)

    def _log_likelihood(
        self, curves: np.ndarray, fault: np.ndarray, index: np.ndarray, age: np.ndarray
    ) -> np.ndarray:
        """Return the log-likelihood of all checks up to each, (S, K)."""
        model = curve(curves, age)
        seen = index[: len(age)]  # (K, F)
        idle = (seen / self.prior.idle) ** 2 / 2 + np.log(self.prior.idle)  # (K, F)
        spread = np.hypot(self.prior.noise[fault][:, None], self.prior.scatter * model)
        own = ((seen[:, fault].T - model) / spread) ** 2 / 2 + np.log(spread)
        return np.cumsum(idle[:, fault].T - own, axis=1)


def fit_bayesian(lives: Lives, trust: float = 0.5) -> BayesianCurve:
    """Learn from a fleet how curves differ.

    Raises:
        ValueError: There are too few machines of a fault.
    """
    return BayesianCurve(fit_prior(lives), trust)
