"""A latent policy on a robot: `LatentActor` with NumPy.

A step weighs a thousand tasks.  That part is computed in single precision, as in training; the rest
in double precision.
"""

from __future__ import annotations

import math

import numpy as np

from metarobot.policies.controller import Array, Controller, MlpController
from metarobot.policies.gaussian_mlp import layer_of
from metarobot.policies.latent_networks import CONSTANT, LatentNetworks
from metarobot.policies.params import Params, to_array
from metarobot.policies.task_predictor import Single, TaskPredictor, single


class LatentController(Controller):
    """Finds out the task while it acts, and goes on with what it knows in the next episode.

    Args:
        policy: The functional module.
        params: Each leaf in its own shape.
    """

    def __init__(self, policy: LatentNetworks, params: Params) -> None:
        layers = [layer_of(params, index) for index in range(len(policy.layers))]
        self._network = MlpController(layers)
        self._centre = to_array(policy.observation_centre)
        self._half_range = to_array(policy.observation_half_range)
        self._tasks = _WeighedTasks(policy, params)
        self._step = 0
        self._reward: float | Array | None = None

    def begin(self) -> None:
        """An episode begins; what has been found out stays."""
        if self._step > 0 and self._reward is not None:
            self._tasks.see(self._reward, None)
        self._step, self._reward = 0, None

    def act(self, observations: Array) -> Array:
        """Return the means of the actions (..., A) for observations (..., O)."""
        seen = (observations - self._centre) / self._half_range
        rows = seen.reshape(-1, len(self._centre))
        if self._step == 0:
            self._tasks.begin(len(rows))
        else:
            self._tasks.see(self._reward, rows)
        told = self._tasks.mean()
        crossed = (rows[:, :, None] * told[:, None, :]).reshape(len(rows), -1)
        action = self._network.act(np.concatenate([rows, told, crossed], axis=1))
        self._tasks.act(rows, np.minimum(np.maximum(action, -1.0), 1.0), told, self._step)
        self._step, self._reward = self._step + 1, None
        return action.reshape(*seen.shape[:-1], -1)

    def learn(self, rewards: float | Array) -> None:
        """Take note of the rewards (...) of the step before."""
        self._reward = rewards


class _WeighedTasks:
    """K tasks, weighed by what M robots did and what came of it: `Evidence` with NumPy.

    Only the d elements of the outcome that vary tell anything.
    """

    def __init__(self, policy: LatentNetworks, params: Params) -> None:
        self._mean, std = single(params["outcome_mean"]), single(params["outcome_std"])
        self._std = np.maximum(std, np.float32(CONSTANT))
        self._varies = std > CONSTANT  # (D,)
        self._elements = np.flatnonzero(self._varies)  # (d,)
        tasks, self._angles = single(policy.tasks), policy.angles
        self._predictor = TaskPredictor(policy.model_params(params), tasks, self._elements)
        self._tasks_and_one = np.hstack([tasks, np.ones_like(tasks[:, :1])])  # (K, C + 1)
        self._average = np.full(len(tasks), 1 / len(tasks), np.float32)
        self._half_power = np.float32(0.5 * policy.likelihood_power)
        trusted = policy.evidence(params).times(params["trust"])
        self._squares, self._logs, self._count = (single(part)[None] for part in trusted)

    def begin(self, num_robots: int) -> None:
        """An episode begins, on M robots; what has been found out stays."""
        self._predictor.begin(num_robots)
        self._squares, self._logs, self._count = (
            np.broadcast_to(part, (num_robots, part.shape[1]))
            for part in (self._squares, self._logs, self._count)
        )

    def mean(self) -> Array:
        """Return what to tell the policy, (M, C)."""
        best = self._squares.min(axis=1, keepdims=True)
        scale = np.maximum(best / np.maximum(self._count, 1.0), 1.0)
        against = (self._squares / scale + self._logs) * self._half_power
        weights = np.exp(against.min(axis=1, keepdims=True) - against)
        sums = weights @ self._tasks_and_one
        mean = sums[:, :-1] / sums[:, -1:]
        for first in self._angles:
            pair = mean[:, first : first + 2]
            pair /= np.maximum(np.sqrt((pair * pair).sum(axis=1, keepdims=True)), 1e-6)
        return mean.astype(np.float64)

    def act(self, seen: Array, done: Array, told: Array, step: int) -> None:
        """Take note of what was seen, (M, O), done, (M, A), and told, (M, C), in a step."""
        if step == 0:
            self._change, self._before = np.zeros_like(seen), np.zeros_like(done)
        time = np.array([[step == 0, math.log(1.0 + step) / 4.0]] * len(seen))
        parts = [seen, done, self._change, self._before, time, told]
        self._inputs = np.concatenate(parts, axis=1).astype(np.float32)
        self._seen, self._before, self._told = seen, done, told.astype(np.float32)

    def see(self, reward: float | Array | None, seen: Array | None) -> None:
        """Weigh the tasks by what came of that step: the reward, and what is seen now, (M, O)."""
        outcomes = np.empty((len(self._inputs), len(self._mean)), np.float32)
        outcomes[:, 0] = np.nan if reward is None else reward
        outcomes[:, 1:] = np.nan if seen is None else seen - self._seen
        outcomes -= self._mean
        outcomes /= self._std
        counts = self._varies & np.isfinite(outcomes)
        outcomes[~counts] = 0.0
        self._change = outcomes[:, 1:]
        self._weigh(outcomes.take(self._elements, axis=1), counts.take(self._elements, axis=1))

    def _weigh(self, outcomes: Single, counts: np.ndarray) -> None:
        """Add what outcomes (M, d) say of every task, where they count, (M, d)."""
        predicted, d = self._predictor.predict(self._inputs, self._told, outcomes), len(counts[0])
        errors, variances = predicted[:, :d], predicted[:, d:]
        averages = predicted @ self._average  # (M, 2 d)
        around = errors - averages[:, :d, None]
        around *= around
        spread = around @ self._average
        tells = counts * spread / (spread + averages[:, d:])
        errors *= errors
        errors /= variances
        logs = np.log(variances, out=variances)
        self._squares = self._squares + (tells[:, None] @ errors)[:, 0]
        self._logs = self._logs + (tells[:, None] @ logs)[:, 0]
        self._count = self._count + tells.sum(axis=1, keepdims=True)
