"""Learners of remaining life: each maps rows of units to quantiles of the remaining life.

All read the health index: how close a unit is to its end, from its sensors so far; it needs no
fault labels.  Index and learners are dataclasses of arrays, which a run folder keeps.  Times are in
typical lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd
import torch
from scipy.linalg import eigh
from scipy.stats import CensoredData, lognorm, norm
from sklearn.covariance import shrunk_covariance
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from torch import Tensor, nn

from metarobot.diagnosis.life_table import LifeTable
from metarobot.learning import few_shot
from metarobot.learning.few_shot import Examples, FewShotTasks
from metarobot.policies import repeat_params

LEVELS = np.round(np.arange(0.025, 0.999, 0.025), 3)
"""Levels of the quantiles, (Q,)."""
_CLIP = 10.0
"""Standard deviations beyond which a sensor counts no further."""
_PENALTIES = np.geomspace(1.0, 1e5, 11)
_FOLDS = 5
_NUM_DIRECTIONS = 6
_MOST_CONSTANT = 10
INDEX_FEATURE = 2
"""Column of the features that is the health index."""
_CLOSE = 0.05
"""Added to the remaining life before its logarithm, in typical lives."""


@dataclass(frozen=True, eq=False)
class Rows:
    """R rows of units as learners read them; times are in typical lives of the fleet."""

    unit: np.ndarray
    """Place of the unit, rising, (R,) int."""
    age: np.ndarray
    """(R,)."""
    index: np.ndarray
    """Health index: the higher, the closer to the end, (R,)."""
    features: np.ndarray
    """Standardised inputs of networks, (R, F); index and age among them."""
    left: np.ndarray
    """Time to the unit's last row, (R,)."""
    failed: np.ndarray
    """Whether the unit failed there, (R,) bool; else ``left`` is a bound."""
    remaining: np.ndarray
    """Remaining life, (R,): ``left``, or a random draw for a unit that still runs."""

    def __len__(self) -> int:
        return len(self.age)

    def rows(self, index: np.ndarray) -> Rows:
        """Return some rows, by mask or places."""
        return Rows(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class HealthIndex:
    """Linear map of sensors without the effect of operating conditions; every field is saved."""

    typical_life: np.ndarray
    """Median life, in the table's unit of time, ()."""
    window: np.ndarray
    """Rows of a trailing mean, ()."""
    condition_range: np.ndarray
    """Lowest value and span of each operating condition, (2, C)."""
    condition_effect: np.ndarray
    """Effect of the terms of the conditions, see `_terms`, on each sensor, (T, S)."""
    sensor_gain: np.ndarray
    """Inverse standard deviations of the residuals; 0 of a constant sensor, (S,)."""
    weights: np.ndarray
    """Weights of the index, (2 S + 1,), the last one its offset."""
    directions: np.ndarray
    """Directions of the deviation from the first rows at the end of lives, (S, D)."""
    constant: np.ndarray
    """Places of sensors that do not change within a unit, (K,)."""
    feature_scale: np.ndarray
    """Mean and standard deviation, (2, F)."""

    def rows(self, table: LifeTable, index: Any = None, life: np.ndarray | None = None) -> Rows:
        """Return the rows of units.

        Args:
            table: The units.
            index: Health index of each row, (R,), if not the map's own.
            life: Life of each unit, (U,), if not the time of its last row.
        """
        inputs, unit, age = self.inputs(table), table.unit, table.time / self.typical_life
        index = self.weights[-1] + inputs @ self.weights[:-1] if index is None else index
        place, size = _place_in_unit(unit), len(self.directions)
        columns = [age, np.log(age + 0.05), index]
        for span in (3, 8):
            back = np.arange(len(unit)) - np.minimum(place, span * int(self.window))
            columns += [
                _trailing_mean(index, unit, span),
                (index - index[back]) / (age - age[back] + 0.05),
            ]
        change = inputs[:, size:] @ self.directions
        recent = _trailing_mean(change, unit, 3)
        length = np.log1p(np.linalg.norm(recent, axis=1))
        constant = inputs[:, self.constant.astype(int)]
        mean, scale = self.feature_scale
        left = table.end[unit] / self.typical_life - age
        return Rows(
            unit=unit,
            age=age,
            index=index,
            features=(np.column_stack([*columns, length, change, recent, constant]) - mean) / scale,
            left=left,
            failed=table.failed[unit],
            remaining=left if life is None else life[unit] / self.typical_life - age,
        )

    def inputs(self, table: LifeTable) -> np.ndarray:
        """Return trailing means of sensors, and their change since the first rows, (R, 2 S)."""
        expected = _terms(table.conditions, self.condition_range) @ self.condition_effect
        z = np.nan_to_num((table.sensors - expected) * self.sensor_gain)
        z = np.clip(z, -_CLIP, _CLIP)
        window = int(self.window)
        recent = _trailing_mean(z, table.unit, window)
        place = _place_in_unit(table.unit)
        first = np.arange(len(z)) - place + np.minimum(place, window - 1)
        return np.concatenate([recent, recent - recent[first]], axis=1)


def fit_health_index(table: LifeTable, seed: int = 0) -> tuple[HealthIndex, Rows]:
    """Fit the health index to units; return it with their rows before the ends of their lives.

    The index of a training row comes from a fit without its unit, so that learners read one that is
    as inexact as that of a new unit.  Ridge regression maps sensors to the logarithm of the
    remaining life; that of a unit which still runs is drawn, see `impute_lives`.
    """
    life = impute_lives(table, seed)
    condition_range = np.stack([table.conditions.min(axis=0), np.ptp(table.conditions, axis=0)])
    terms = _terms(table.conditions, condition_range)
    frame: Any = pd.DataFrame(table.sensors)
    within, total = frame.groupby(table.unit).std(ddof=0).mean(), frame.std(ddof=0)
    constant = np.flatnonzero((total > 0) & (within < 1e-3 * total))
    sensors = frame.fillna(frame.mean()).fillna(0.0).to_numpy()
    effect = np.linalg.lstsq(terms, sensors)[0]
    scale = (sensors - terms @ effect).std(axis=0)
    varies = scale > 1e-9 * np.abs(sensors).max(axis=0)
    size = table.sensors.shape[1]
    unfitted = HealthIndex(
        typical_life=np.array(np.median(life[life > 0])),
        window=np.array(np.clip(np.median(np.bincount(table.unit)) // 12, 1.0, 20.0)),
        condition_range=condition_range,
        condition_effect=effect,
        sensor_gain=np.where(varies, 1 / np.where(varies, scale, 1.0), 0.0),
        weights=np.zeros(2 * size + 1),
        directions=np.zeros((size, 0)),
        constant=constant[:_MOST_CONSTANT].astype(np.float64),
        feature_scale=np.array([[0.0], [1.0]]),
    )
    inputs = unfitted.inputs(table)
    age = table.time / unfitted.typical_life
    remaining = life[table.unit] / unfitted.typical_life - age
    target = -np.log(np.maximum(remaining, 0.0) + _CLOSE)
    folds = list(GroupKFold(min(_FOLDS, len(table))).split(inputs, groups=table.unit))
    ridge: Any = RidgeCV(_PENALTIES, cv=folds).fit(inputs, target)
    index: Any = cross_val_predict(Ridge(ridge.alpha_), inputs, target, cv=folds)
    # Directions in which ends have changed most, over the noise of early life.
    change = inputs[:, size:]
    early = change[table.time < 0.25 * table.end[table.unit]]
    noise = shrunk_covariance(early.T @ early / max(len(early), 1), 0.1)
    ends = change[table.last[table.failed]]
    _, vectors = eigh(ends.T @ ends, noise + 1e-9 * np.eye(len(noise)))
    fitted = replace(
        unfitted,
        weights=np.append(ridge.coef_, ridge.intercept_),
        directions=vectors[:, ::-1][:, :_NUM_DIRECTIONS].copy(),  # torch reads no reversed array
    )
    rows = fitted.rows(table, index, life)
    mean, scale = rows.features.mean(axis=0), rows.features.std(axis=0)
    scale[scale < 1e-9] = 1.0
    fitted = replace(fitted, feature_scale=np.stack([mean, scale]))
    rows = replace(rows, features=(rows.features - mean) / scale)
    return fitted, rows.rows(rows.left > 0)


def impute_lives(table: LifeTable, seed: int) -> np.ndarray:
    """Return the life of every unit, (U,): of one still running, drawn given that it ran so long.

    Lives are log-normal, fitted by censored maximum likelihood.
    """
    end = np.maximum(table.end, 1e-6)
    data = CensoredData(uncensored=end[table.failed], right=end[~table.failed])
    shape, _, scale = lognorm.fit(data, floc=0)
    draws = np.random.default_rng(seed).uniform(1e-6, 1.0, size=len(table))
    drawn = outlasting(lognorm(shape, scale=scale), table.end, draws)
    return np.where(table.failed, table.end, drawn)


def outlasting(lives: Any, age: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the lives that a share of the units with these ages will outlast."""
    lasted = np.maximum(lives.sf(age), 1e-12)
    return np.maximum(lives.isf(lasted * share), age)


def _place_in_unit(unit: np.ndarray) -> np.ndarray:
    """Return the number of each row in its unit, (R,)."""
    return np.arange(len(unit)) - np.searchsorted(unit, unit)


def _trailing_mean(values: np.ndarray, unit: np.ndarray, window: int) -> np.ndarray:
    """Return means over the last rows of the unit, as many as there are, (R, ...)."""
    rolling = pd.DataFrame(values).groupby(unit).rolling(window, min_periods=1)
    return rolling.mean().to_numpy().reshape(values.shape)


def _terms(conditions: np.ndarray, condition_range: np.ndarray) -> np.ndarray:
    """Return 1, the conditions in their range from -1 to 1, and their products, (R, T)."""
    low, span = condition_range
    scaled = np.clip(2 * (conditions - low) / np.where(span > 0, span, 1.0) - 1, -1.0, 1.0)
    scaled = np.column_stack([np.ones(len(scaled)), scaled])
    first, second = np.triu_indices(scaled.shape[1])
    return scaled[:, first] * scaled[:, second]


class Learner(Protocol):
    """Predicts remaining life; all of its fields are arrays."""

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Self:
        """Learn from the rows of training units before the ends of their lives."""
        ...

    def predict(self, rows: Rows) -> np.ndarray:
        """Return quantiles of the remaining life at `LEVELS`, (R, Q), rising."""
        ...


@dataclass(frozen=True, eq=False)
class LogNormal:
    """Log-normal lives, given that the unit has reached its age; reads no sensor."""

    shape: np.ndarray
    """()."""
    scale: np.ndarray
    """()."""

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Self:
        """Fit by maximum likelihood."""
        last = np.flatnonzero(np.diff(rows.unit, append=-1))
        logarithm = np.log(rows.age + rows.remaining)[last]
        return cls(logarithm.std() + 1e-3, np.exp(logarithm.mean()))

    def predict(self, rows: Rows) -> np.ndarray:
        """Return quantiles of the life, less the age."""
        age = rows.age[:, None]
        return outlasting(lognorm(self.shape, scale=self.scale), age, 1 - LEVELS) - age


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
    """Weight of a row in the log-likelihood: below 1, as neighbouring errors are correlated, ()."""

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Self:
        """Fit a curve to every training unit, and draw from their density."""
        curves, errors = zip(*(_fit_curve(rows.rows(own)) for own in _by_unit(rows)), strict=True)
        noise = np.sqrt(np.mean(np.concatenate(errors) ** 2)) + 1e-3
        pairs = np.concatenate([error[1:] * error[:-1] for error in errors])
        alike = np.clip(pairs.sum() / max(len(pairs), 1) / noise**2, 0.0, 0.95)
        draws = _kernel_draws(np.array(curves), seed)
        return cls(draws[np.argsort(draws[:, 0])], noise, (1 - alike) / (1 + alike))

    def predict(self, rows: Rows) -> np.ndarray:
        """Weight the draws by the rows of each unit so far."""
        quantiles = np.empty((len(rows), len(LEVELS)))
        life = np.exp(self.curves[:, 0])
        for own in _by_unit(rows):
            likelihood = np.zeros((1, len(life)))
            for batch in np.split(own, range(_BATCH, len(own), _BATCH)):
                age = rows.age[batch, None]
                errors = (rows.index[batch, None] - _curve(self.curves, age)) / self.noise
                squares = np.minimum(errors**2, 16.0)
                likelihood = likelihood[-1] - 0.5 * self.weight * np.cumsum(squares, axis=0)
                # Draws that end before the age count only where all do: then the latest.
                left = life - age
                late = likelihood + np.where(left < 0, 200.0 * left - 30.0, 0.0)
                total = np.cumsum(np.exp(late - late.max(axis=1, keepdims=True)), axis=1)
                places = [(total >= level * total[:, -1:]).argmax(axis=1) for level in LEVELS]
                found = np.take_along_axis(left, np.stack(places, axis=1), axis=1)
                quantiles[batch] = np.maximum(found, 0.0)
        return quantiles


def _by_unit(rows: Rows) -> list[np.ndarray]:
    """Return the places of the rows of each unit."""
    return np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows.unit)) + 1)


def _growth(share: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Return g(u) for shares u of a life and shapes κ that broadcast; it goes on after u = 1."""
    return np.expm1(np.clip(shape * share, 0.0, 50.0)) / np.expm1(np.minimum(shape, 50.0))


def _curve(curves: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Return h of curves (D, 5) at ages (R, 1), (R, D)."""
    log_life, log_shape, offset, log_rise, onset = curves.T
    share = (age / np.exp(log_life) - onset) / (1 - onset)
    return offset + np.exp(log_rise) * _growth(share, np.exp(log_shape))


def _fit_curve(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Fit a curve to a unit of known life by least squares: its parameters (5,), and errors."""
    life = rows.age[0] + rows.remaining[0]
    onset, shape = (grid.ravel()[:, None] for grid in np.meshgrid(_ONSETS, _SHAPES))
    forms = _growth((rows.age / life - onset) / (1 - onset), shape)  # (G, K)
    centred = forms - forms.mean(axis=1, keepdims=True)
    rise = (centred * rows.index).sum(axis=1) / ((centred**2).sum(axis=1) + 1e-3)
    rise = np.maximum(rise, 0.05)
    offset = rows.index.mean() - rise * forms.mean(axis=1)
    errors = rows.index - offset[:, None] - rise[:, None] * forms
    best = (errors**2).sum(axis=1).argmin()
    logarithms = np.log((life, shape[best, 0], rise[best]))
    return np.array([*logarithms[:2], offset[best], logarithms[2], onset[best, 0]]), errors[best]


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


_HIDDEN = 32
_ROWS = 8
"""Rows of a unit before its present row, to adapt from, and from there on, to evaluate."""
_TASKS = 32
_CHECK_EVERY, _PATIENCE = 50, 500
"""Updates between checks on held-out units, and without a better one before training ends."""


@dataclass(frozen=True, eq=False)
class Network:
    """One network for all units: log-normal remaining life; stopped early on held-out units."""

    weights: np.ndarray
    """All parameters in a row, (P,)."""
    num_steps: ClassVar[int] = 0
    """Adaptation steps on the unit's own rows so far."""
    num_updates: ClassVar[int] = 2000

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Self:
        """Train by Adam; keep the running mean of parameters that is best on held-out units."""
        generator = np.random.default_rng(seed)
        units = generator.permutation(np.unique(rows.unit))
        is_held_out = np.isin(rows.unit, units[: max(1, len(units) // 5)])
        fitted, others = rows.rows(~is_held_out), rows.rows(is_held_out)
        held_out = _tasks(others, np.arange(0, len(others), max(1, len(others) // 500)))
        learner = cls._learner(rows.features.shape[1], seed)
        params = {name: leaf.clone().requires_grad_() for name, leaf in learner.params.items()}
        adam = torch.optim.Adam(params.values(), 2e-3)
        best, best_loss, best_update = learner.params, float("inf"), 0
        for update in range(cls.num_updates):
            tasks = _tasks(fitted, generator.integers(len(fitted), size=_TASKS))
            adam.zero_grad()
            learner.query_losses(repeat_params(params, _TASKS), tasks).mean().backward()
            adam.step()
            learner.params = {
                name: torch.lerp(leaf, params[name].detach(), 0.01)
                for name, leaf in learner.params.items()
            }
            if update % _CHECK_EVERY < _CHECK_EVERY - 1:
                continue
            loss = float(learner.adapt(held_out.support).losses(held_out.query).mean())
            if loss < best_loss:
                best, best_loss, best_update = learner.params, loss, update
            elif update >= best_update + _PATIENCE:
                break
        return cls(nn.utils.parameters_to_vector(best.values()).double().numpy())

    @classmethod
    def _learner(cls, num_inputs: int, seed: int) -> few_shot.Maml:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = nn.Sequential(
                nn.Linear(num_inputs, _HIDDEN),
                nn.Tanh(),
                nn.Linear(_HIDDEN, _HIDDEN),
                nn.Tanh(),
                nn.Linear(_HIDDEN, 3),
            )
        options = few_shot.MamlOptions(inner_lr=0.05, num_adaptation_steps=cls.num_steps)
        return few_shot.Maml(module, _loss, options)

    def predict(self, rows: Rows) -> np.ndarray:
        """Return quantiles of the log-normal distribution."""
        learner = self._learner(rows.features.shape[1], 0)
        nn.utils.vector_to_parameters(_tensor(self.weights), learner.params.values())
        quantiles = np.empty((len(rows), len(LEVELS)))
        for places in np.array_split(np.arange(len(rows)), len(rows) // 1000 + 1):
            adapted = learner.adapt(_support(rows, places))
            outputs = adapted.predict(_inputs(rows, places[:, None]))[:, 0].double()
            scale = _scale(outputs).numpy()[:, None]
            quantiles[places] = np.exp(outputs[:, 1:2].numpy() + scale * norm.ppf(LEVELS))
        return quantiles


@dataclass(frozen=True, eq=False)
class Maml(Network):
    """The same network, adapted to each unit by a gradient step on its own rows so far.

    It predicts the health index of the row after each, which is known of a unit that still runs.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 2.
    """

    num_steps: ClassVar[int] = 1


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each row, (S,).

    Args:
        outputs: Next index, mean and raw scale of the log remaining life, (S, 3).
        targets: Next index, log of the life left, and weights of three errors: of the index, of a
            life that is known, and of one that is at least so long, (S, 5).
    """
    scale = _scale(outputs)
    index = (outputs[:, 0] - targets[:, 0]).square()
    error = (targets[:, 1] - outputs[:, 1]) / scale
    density = 0.5 * error.square() + torch.log(scale)
    lasts = -torch.log(
        torch.special.ndtr(-error.clamp(max=5.0))
    )  # 0 beyond 13, in single precision
    return (torch.stack([index, density, lasts], dim=1) * targets[:, 2:]).sum(1)


def _scale(outputs: Tensor) -> Tensor:
    """Return the standard deviation of the log remaining life, from outputs (..., 3)."""
    return 0.03 + 1.47 * torch.sigmoid(outputs[..., 2])


def _tasks(rows: Rows, places: np.ndarray) -> FewShotTasks:
    """Return a task for each place: the unit's rows before it, and those from there on."""
    query = np.minimum(places[:, None] + np.arange(_ROWS), len(rows) - 1)
    same = rows.unit[query] == rows.unit[places][:, None]
    left, failed = np.log(np.maximum(rows.left[query], 1e-3)), rows.failed[query]
    blank = np.zeros_like(left)
    targets = np.stack([blank, left, blank, same & failed, same & ~failed], axis=2)
    return FewShotTasks(_support(rows, places), Examples(_inputs(rows, query), _tensor(targets)))


def _support(rows: Rows, places: np.ndarray) -> Examples:
    """Return the rows of the unit before each place, with the index of the row after each."""
    own = places[:, None] - 1 - np.arange(_ROWS)
    before = np.maximum(own, 0)
    same = (own >= 0) & (rows.unit[before] == rows.unit[places][:, None])
    following = _inputs(rows, np.maximum(own + 1, 0))[..., INDEX_FEATURE]
    weight = _ROWS * same / np.maximum(same.sum(axis=1, keepdims=True), 1)
    blank = np.zeros_like(weight)
    targets = np.stack([following, blank, weight, blank, blank], axis=2)
    return Examples(_inputs(rows, before), _tensor(targets))


def _inputs(rows: Rows, places: np.ndarray) -> Tensor:
    return _tensor(np.clip(rows.features[places], -5.0, 5.0))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


LEARNERS: Mapping[str, type[Learner]] = {
    "log-normal": LogNormal,
    "fleet curve": FleetCurve,
    "Bayesian curve": BayesianCurve,
    "network": Network,
    "MAML": Maml,
}
"""Learners by their names in tables."""
