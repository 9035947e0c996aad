"""Networks that predict remaining life: one for all units, and one that adapts to each (MAML)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metarobot.diagnosis.life_features import INDEX_FEATURE, Rows
from metarobot.diagnosis.life_learners import LEVELS
from metarobot.learning.inner_loop import adapt
from metarobot.policies import Params, repeat_params

_HIDDEN = 32
_SUPPORT = 8
"""Rows of the unit's own past to adapt from, each with the health index of the row after."""
_QUERIES = 8
_TASKS = 32
_INNER_LR, _OUTER_LR = 0.05, 2e-3
_DECAY = 0.99
"""Of the running mean of parameters."""
_CHECK_EVERY, _PATIENCE = 50, 500
"""Updates between checks on held-out units, and without a better one before training ends."""
_LEAST_SCALE, _MOST_SCALE = 0.03, 1.5
_CLIP = 5.0
_BATCH = 1000


class _IndexLoss(NamedTuple):
    """L_n(θ_n): the squared error of the next health index on the last S rows of N units."""

    module: nn.Module
    inputs: Tensor
    """(N, S, F)."""
    next_index: Tensor
    """(N, S)."""
    weight: Tensor
    """1 where the unit has such a row, else 0, (N, S)."""

    def gradient(self, params: Params, adapting: Sequence[str]) -> Params:
        """Return ∇ L_n of every unit, for the leaves (N, ...) that adapt."""

        def total(leaves: Params) -> Tensor:
            outputs = _outputs(self.module, {**params, **leaves}, self.inputs)
            errors = (outputs[..., 0] - self.next_index).square() * self.weight
            return (errors.sum(1) / self.weight.sum(1).clamp(min=1.0)).sum()

        return grad(total)({name: params[name] for name in adapting})


def _outputs(module: nn.Module, params: Params, inputs: Tensor) -> Tensor:
    """Return next index, mean and raw scale of the log remaining life, (N, Q, 3)."""
    return vmap(lambda own, rows: functional_call(module, own, (rows,)))(params, inputs)


def _module(num_inputs: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Linear(num_inputs, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, _HIDDEN), nn.Tanh())
        return nn.Sequential(*layers, nn.Linear(_HIDDEN, 3)).requires_grad_(False)


@dataclass(frozen=True, eq=False)
class Network:
    """One network for all units: log-normal remaining life, by censored likelihood."""

    weights: np.ndarray
    """All parameters in a row, (P,)."""
    num_steps: ClassVar[int] = 0
    """Adaptation steps on the unit's own rows."""
    num_updates: ClassVar[int] = 2000

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Self:
        """Train by Adam; keep the parameters that are best on held-out units."""
        generator = np.random.default_rng(seed)
        units = generator.permutation(np.unique(rows.unit))
        held_out = np.isin(rows.unit, units[: max(1, len(units) // 5)])
        module = _module(rows.features.shape[1], seed)
        params = {name: leaf.clone() for name, leaf in module.named_parameters()}
        leaves = [leaf.requires_grad_(True) for leaf in params.values()]
        adam = torch.optim.Adam(leaves, _OUTER_LR)
        mean = {name: leaf.detach().clone() for name, leaf in params.items()}
        fitted, validation = rows.rows(~held_out), rows.rows(held_out)
        best, best_loss, best_update = mean, float("inf"), 0
        for update in range(cls.num_updates):
            places = generator.integers(len(fitted), size=_TASKS)
            loss = cls._loss(module, params, fitted, places)
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(leaves, 1.0)
            adam.step()
            for name, leaf in mean.items():
                leaf.lerp_(params[name].detach(), 1 - _DECAY)
            if update % _CHECK_EVERY == _CHECK_EVERY - 1:
                every = np.arange(0, len(validation), max(1, len(validation) // 500))
                with torch.no_grad():
                    found = float(cls._loss(module, mean, validation, every, later=False))
                if found < best_loss:
                    best_loss, best_update = found, update
                    best = {name: leaf.clone() for name, leaf in mean.items()}
                elif update >= best_update + _PATIENCE:
                    break
        return cls(nn.utils.parameters_to_vector(best.values()).double().numpy())

    @classmethod
    def _loss(
        cls,
        module: nn.Module,
        params: Params,
        rows: Rows,
        places: np.ndarray,
        *,
        later: bool = True,
    ) -> Tensor:
        """Return the mean loss of the log remaining life, at rows and those after them."""
        adapted = cls._adapt(module, params, rows, places)
        query = places[:, None] + np.arange(_QUERIES if later else 1)
        query = np.minimum(query, len(rows) - 1)
        same = rows.unit[query] == rows.unit[places][:, None]
        outputs = _outputs(module, adapted, _inputs(rows, query))
        age, end, failed = rows.age[query], rows.end[query], rows.failed[query]
        left = _tensor(np.log(np.maximum(end - age, 1e-3)))
        scale = _scale(outputs)
        error = (left - outputs[..., 1]) / scale
        density = 0.5 * error.square() + torch.log(scale)
        lasts = -torch.special.log_ndtr(-error)
        losses = torch.where(torch.from_numpy(failed), density, lasts)
        weight = _tensor(same & (end > age))
        return (losses * weight).sum() / weight.sum().clamp(min=1.0)

    @classmethod
    def _adapt(cls, module: nn.Module, params: Params, rows: Rows, places: np.ndarray) -> Params:
        """Return the parameters of the unit at each place, leaves (N, ...)."""
        adapted = repeat_params(params, len(places))
        loss = _index_loss(module, rows, places)
        for _ in range(cls.num_steps):
            adapted = adapt(loss, adapted, _INNER_LR)
        return adapted

    def predict(self, rows: Rows) -> np.ndarray:
        """Return quantiles of the log-normal distribution."""
        module = _module(rows.features.shape[1], 0)
        nn.utils.vector_to_parameters(_tensor(self.weights), module.parameters())
        params: Params = {**dict(module.named_parameters())}
        quantiles = np.empty((len(rows), len(LEVELS)))
        for start in range(0, len(rows), _BATCH):
            places = np.arange(start, min(start + _BATCH, len(rows)))
            adapted = self._adapt(module, params, rows, places)
            inputs = _inputs(rows, places)[:, None]
            with torch.no_grad():
                outputs = _outputs(module, adapted, inputs)[:, 0]
            mean, scale = outputs[:, 1].double().numpy(), _scale(outputs).double().numpy()
            quantiles[places] = np.exp(mean[:, None] + scale[:, None] * norm.ppf(LEVELS))
        return quantiles


@dataclass(frozen=True, eq=False)
class Maml(Network):
    """The same network, adapted to each unit by a step on its own rows so far.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 2.
    """

    num_steps: ClassVar[int] = 1


def _scale(outputs: Tensor) -> Tensor:
    """Return the standard deviation of the log remaining life, from outputs (..., 3)."""
    return _LEAST_SCALE + (_MOST_SCALE - _LEAST_SCALE) * torch.sigmoid(outputs[..., 2])


def _index_loss(module: nn.Module, rows: Rows, places: np.ndarray) -> _IndexLoss:
    """Return the loss on the rows of the unit before each place."""
    own = places[:, None] - 1 - np.arange(_SUPPORT)
    valid = (own >= 0) & (rows.unit[np.maximum(own, 0)] == rows.unit[places][:, None])
    own = np.maximum(own, 0)
    following = _inputs(rows, np.minimum(own + 1, len(rows) - 1))[..., INDEX_FEATURE]
    return _IndexLoss(module, _inputs(rows, own), following, _tensor(valid))


def _inputs(rows: Rows, places: np.ndarray) -> Tensor:
    return _tensor(np.clip(rows.features[places], -_CLIP, _CLIP))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
