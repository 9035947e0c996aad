"""A latent policy on a robot: `LatentActor` with NumPy, in double precision.

A step weighs a thousand tasks, by sums over all steps so far.  In single precision these would lose
what a step adds once a robot has acted for a while.
"""

from __future__ import annotations

import math

import numpy as np

from metarobot.policies.controller import Array, Controller, MlpController
from metarobot.policies.gaussian_mlp import layer_of
from metarobot.policies.latent_networks import (
    CONSTANT,
    MOST_AHEAD,
    NUM_LIKELY,
    LatentNetworks,
)
from metarobot.policies.params import Params, to_array
from metarobot.policies.task_predictor import TaskPredictor


class LatentController(Controller):
    """Finds out the task while it acts, and goes on with what it knows in the next episode.

    Args:
        policy: The functional module.
        params: Each leaf in its own shape.
    """

    remembers = True

    def __init__(self, policy: LatentNetworks, params: Params) -> None:
        layers = [layer_of(params, index) for index in range(len(policy.layers))]
        self.network = MlpController(layers, to_array(params["direct.weight"]).T.copy())
        self.centre = to_array(policy.observation_centre)
        self.half_range = to_array(policy.observation_half_range)
        self.tasks = WeighedTasks(policy, params)
        self._step = 0
        self._reward: float | Array | None = None

    def begin(self) -> None:
        """An episode begins; what has been found out stays."""
        if self._step > 0 and self._reward is not None:
            self.tasks.see(self._reward, None)
        self._step, self._reward = 0, None

    def act(self, observations: Array) -> Array:
        """Return the means of the actions (..., A) for observations (..., O)."""
        seen = (observations - self.centre) / self.half_range
        rows = seen.reshape(-1, len(self.centre))
        if self._step == 0:
            self.tasks.begin(len(rows))
        else:
            self.tasks.see(self._reward, rows)
        told = self.tasks.mean()
        crossed = (rows[:, :, None] * told[:, None, :]).reshape(len(rows), -1)
        action = self.network.act(np.concatenate([rows, told, crossed], axis=1))
        self.tasks.act(rows, np.minimum(np.maximum(action, -1.0), 1.0), told, self._step)
        self._step, self._reward = self._step + 1, None
        return action.reshape(*seen.shape[:-1], -1)

    def learn(self, rewards: float | Array) -> None:
        """Take note of the rewards (...) of the step before, NaN where nobody measured them."""
        self._reward = rewards


class WeighedTasks:
    """K tasks, weighed by what M robots did and what came of it: `Evidence` with NumPy.

    Only the d elements of the outcome that vary tell anything.
    """

    def __init__(self, policy: LatentNetworks, params: Params) -> None:
        self.outcome_mean, std = to_array(params["outcome_mean"]), to_array(params["outcome_std"])
        self.outcome_std = np.maximum(std, CONSTANT)
        self.varies = std > CONSTANT  # (D,)
        # One at least, for runtimes that know no arrays without elements; it is not counted then.
        self.elements = np.flatnonzero(self.varies) if self.varies.any() else np.array([0])  # (d,)
        tasks, self.angles = to_array(policy.tasks), policy.angles
        self.predictor = TaskPredictor(policy.model_params(params), tasks, self.elements)
        self.tasks_and_one = np.hstack([tasks, np.ones_like(tasks[:, :1])])  # (K, C + 1)
        self._average = np.full(len(tasks), 1 / len(tasks))
        self.num_likely = min(NUM_LIKELY, len(tasks))
        self.half_power = 0.5 * policy.likelihood_power
        trusted = policy.evidence(params).times(params["trust"])
        self.squares, self.logs, self.count = (to_array(part)[None] for part in trusted)

    def begin(self, num_robots: int) -> None:
        """An episode begins, on M robots; what has been found out stays."""
        self.predictor.begin(num_robots)
        self.squares, self.logs, self.count = (
            np.broadcast_to(part, (num_robots, part.shape[1]))
            for part in (self.squares, self.logs, self.count)
        )

    def mean(self) -> Array:
        """Return what to tell the policy, (M, C)."""
        best = self.squares.min(axis=1, keepdims=True)
        scale = np.maximum(best / np.maximum(self.count, 1.0), 1.0)
        against = (self.squares / scale + self.logs) * self.half_power
        against -= against.min(axis=1, keepdims=True)
        last = self.num_likely - 1
        ahead = np.partition(against, last, axis=1)[:, last : last + 1]
        with np.errstate(under="ignore"):  # an unlikely task weighs nothing
            weights = np.exp(against / np.maximum(ahead, MOST_AHEAD) * -MOST_AHEAD)
            sums = weights @ self.tasks_and_one
        mean = sums[:, :-1] / sums[:, -1:]
        for first in self.angles:
            pair = mean[:, first : first + 2]
            pair /= np.maximum(np.sqrt((pair * pair).sum(axis=1, keepdims=True)), 1e-6)
        return mean

    def act(self, seen: Array, done: Array, told: Array, step: int) -> None:
        """Take note of what was seen, (M, O), done, (M, A), and told, (M, C), in a step."""
        if step == 0:
            self._change, self._before = np.zeros_like(seen), np.zeros_like(done)
        time = np.array([[step == 0, math.log(1.0 + step) / 4.0]] * len(seen))
        parts = [seen, done, self._change, self._before, time, told]
        self._inputs = np.concatenate(parts, axis=1)
        self._seen, self._before, self._told = seen, done, told

    def see(self, reward: float | Array | None, seen: Array | None) -> None:
        """Weigh the tasks by what came of that step: the reward, and what is seen now, (M, O)."""
        outcomes = np.empty((len(self._inputs), len(self.outcome_mean)))
        outcomes[:, 0] = np.nan if reward is None else reward
        outcomes[:, 1:] = np.nan if seen is None else seen - self._seen
        outcomes -= self.outcome_mean
        outcomes /= self.outcome_std
        counts = self.varies & np.isfinite(outcomes)
        outcomes[~counts] = 0.0
        self._change = outcomes[:, 1:]
        self._weigh(outcomes.take(self.elements, axis=1), counts.take(self.elements, axis=1))

    def _weigh(self, outcomes: Array, counts: np.ndarray) -> None:
        """Add what outcomes (M, d) say of every task, where they count, (M, d)."""
        predicted, d = self.predictor.predict(self._inputs, self._told, outcomes), len(counts[0])
        errors, variances = predicted[:, :d], predicted[:, d:]
        averages = predicted @ self._average  # (M, 2 d)
        around = errors - averages[:, :d, None]
        around *= around
        spread = around @ self._average
        tells = counts * spread / (spread + averages[:, d:])
        errors *= errors
        errors /= variances
        logs = np.log(variances, out=variances)
        self.squares = self.squares + (tells[:, None] @ errors)[:, 0]
        self.logs = self.logs + (tells[:, None] @ logs)[:, 0]
        self.count = self.count + tells.sum(axis=1, keepdims=True)
