"""A latent policy on a robot: `LatentActor` with NumPy.

A step weighs a thousand tasks.  That part is computed in single precision, as in training; the rest
in double precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from metarobot.policies.controller import Array, Controller, MlpController
from metarobot.policies.gaussian_mlp import layer_of
from metarobot.policies.latent_networks import CONSTANT, LatentNetworks
from metarobot.policies.params import Params, to_array
from metarobot.policies.task_model import COARSEST, FINEST

Single = Any
"""An array in single precision."""


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
        self._model = _ModelAtWork(policy, params)
        self._step = 0
        self._reward: float | Array | None = None
        self._waiting = False

    def begin(self) -> None:
        """An episode begins; what has been found out stays."""
        if self._waiting and self._reward is not None:
            self._model.see(self._reward, None)
        self._step, self._waiting, self._reward = 0, False, None

    def act(self, observations: Array) -> Array:
        """Return the means of the actions (..., A) for observations (..., O)."""
        seen = (observations - self._centre) / self._half_range
        rows = np.atleast_2d(seen)
        if self._waiting:
            self._model.see(self._reward, rows)
        told = self._model.mean_task(len(rows))
        crossed = (rows[:, :, None] * told[:, None, :]).reshape(len(rows), -1)
        action = self._network.act(np.concatenate([rows, told, crossed], axis=1))
        self._model.act(rows, np.minimum(np.maximum(action, -1.0), 1.0), told, self._step)
        self._step += 1
        self._waiting, self._reward = True, None
        return action.reshape(*seen.shape[:-1], -1)

    def learn(self, rewards: float | Array) -> None:
        """Take note of the rewards (...) of the step before."""
        self._reward = rewards


class _ModelAtWork:
    """The task model of one policy, on M robots: what they did, and what that says of K tasks."""

    def __init__(self, policy: LatentNetworks, params: Params) -> None:
        self._weights = {name: _single(leaf) for name, leaf in policy.model_params(params).items()}
        self._tasks, self._angles = _single(policy.tasks), policy.angles
        ones = np.ones((1, len(self._tasks)), np.float32)
        self._tasks_and_one = np.concatenate([self._tasks.T, ones])  # (C + 1, K)
        self._power = np.float32(policy.likelihood_power)
        self._size, self._head = policy.model.outcome_size, policy.model.head_width
        self._arrays: dict[str, Single] = {}
        trust = float(params["trust"])
        self._squares, self._logs, self._count = (
            _single(part)[None] * np.float32(trust) for part in policy.evidence(params)
        )
        self._mean, std = _single(params["outcome_mean"]), _single(params["outcome_std"])
        self._varies = std > CONSTANT
        self._std = np.maximum(std, np.float32(CONSTANT))

    def mean_task(self, num_robots: int) -> Array:
        """Return what to tell the policy, (M, C)."""
        best = self._squares.min(axis=1, keepdims=True)
        scale = np.maximum(best / np.maximum(self._count, 1.0), 1.0)
        log_weights = -0.5 * self._power * (self._squares / scale + self._logs)
        weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
        mean = (weights @ self._tasks) / weights.sum(axis=1, keepdims=True)
        for first in self._angles:
            pair = mean[:, first : first + 2]
            mean[:, first : first + 2] = pair / np.maximum(
                np.sqrt((pair * pair).sum(axis=1, keepdims=True)), 1e-6
            )
        return np.broadcast_to(mean, (num_robots, mean.shape[1])).astype(np.float64)

    def act(self, seen: Array, done: Array, told: Array, step: int) -> None:
        """Take note of what was seen, (M, O), done, (M, A), and told, (M, C), in a step."""
        if step == 0:
            self._change, self._before = np.zeros_like(seen), np.zeros_like(done)
            self._sum = np.float32(0.0)
        time = np.broadcast_to([float(step == 0), np.log(1.0 + step) / 4.0], (len(seen), 2))
        parts = [seen, done, self._change, self._before, time, told]
        self._inputs = np.concatenate(parts, axis=1).astype(np.float32)
        self._seen, self._before, self._told = seen, done, told.astype(np.float32)
        self._step = step

    def see(self, reward: float | Array | None, seen: Array | None) -> None:
        """Weigh the tasks by what came of that step: the reward, and what is seen now, (M, O)."""
        outcome = np.zeros((len(self._inputs), self._size), np.float32)
        was_seen = np.zeros(self._size, bool)
        if reward is not None:
            outcome[:, 0], was_seen[0] = reward, True
        if seen is not None:
            outcome[:, 1:], was_seen[1:] = seen - self._seen, True
        counted = was_seen & self._varies & np.isfinite(outcome).all(axis=0)
        outcome = np.where(counted, (outcome - self._mean) / self._std, np.float32(0.0))
        self._weigh(outcome, np.flatnonzero(counted))
        self._change = outcome[:, 1:].astype(np.float64)

    def _weigh(self, outcome: Single, counted: np.ndarray) -> None:
        """Add what outcomes (M, D) say of every task, by those elements that count."""
        mean, variance = self._predict(counted)
        spread = mean.var(axis=2)
        tells = spread / (spread + variance.mean(axis=2))
        mean -= outcome[:, counted, None]
        mean *= mean
        mean /= variance
        self._squares = self._squares + (tells[:, None] @ mean)[:, 0]
        self._logs = self._logs + (tells[:, None] @ np.log(variance, out=variance))[:, 0]
        self._count = self._count + tells.sum(axis=1, keepdims=True)

    def _predict(self, counted: np.ndarray) -> tuple[Single, Single]:
        """Return mean and variance of some elements in every task, (M, d, K) each."""
        w, J, D = self._weights, self._head, self._size
        self._sum = self._sum + np.tanh(self._linear("summary", self._inputs))
        memory = self._sum / np.float32(self._step + 1)
        hidden = np.tanh(self._linear("step_1", np.concatenate([self._inputs, memory], axis=1)))
        made = self._linear("step_3", np.tanh(self._linear("step_2", hidden)))
        made = made.reshape(len(made), J + 2 * D, -1)
        rows = np.concatenate([counted, D + counted])
        chosen = np.concatenate([np.arange(J), J + rows])
        made = made[:, chosen]
        made[..., -1:] -= made[..., :-1] @ self._told[:, :, None]
        heads = self._array("heads", (*made.shape[:2], len(self._tasks)))
        np.matmul(made, self._tasks_and_one, out=heads)
        hidden = np.maximum(heads[:, :J], np.float32(0.0), out=heads[:, :J])
        predicted = self._array("predicted", heads[:, J:].shape)
        np.matmul(w["head.weight"][rows], hidden, out=predicted)
        predicted += heads[:, J:]
        predicted += w["head.bias"][rows, None]
        mean, variance = np.split(predicted, 2, axis=1)
        np.clip(variance, np.float32(-10.0), np.float32(2 * np.log(COARSEST)), out=variance)
        np.exp(variance, out=variance)
        variance += np.float32(FINEST**2)
        return mean, variance

    def _array(self, name: str, shape: tuple[int, ...]) -> Single:
        """Return an array to write to: a new one of this size would cost more than filling it."""
        if name not in self._arrays or self._arrays[name].shape != shape:
            self._arrays[name] = np.empty(shape, np.float32)
        return self._arrays[name]

    def _linear(self, name: str, inputs: Single) -> Single:
        return inputs @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]


def _single(leaf: Any) -> Single:
    return to_array(leaf).astype(np.float32)
