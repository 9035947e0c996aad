"""A recurrent policy on a robot: `RecurrentPolicy.take_step` with NumPy, in double precision."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metarobot.policies.controller import Array, Controller, Layer


class RecurrentWeights(NamedTuple):
    """What the controller computes with."""

    centre: Array
    """Centre of the observation bounds, (O,)."""
    half_range: Array
    """Half of their width, (O,)."""
    layers: Sequence[Layer]
    """Tanh layers before the unit."""
    inputs: Layer
    """From the last of them to the gates r, z and n, (U, 3 H)."""
    recurrent: Layer
    """From the state to the gates, (H, 3 H)."""
    head: Layer
    """From [seen, state, state x observation] to the means."""
    change_gain: float
    """Units of a change of an observation."""


class RecurrentController(Controller):
    """Remembers across episodes, until it is made anew.

    Args:
        weights: What it computes with.
        memory: What it remembers: state, last observation (scaled), last action (clipped),
            last reward, (H + O + A + 1,).
    """

    remembers = True

    def __init__(self, weights: RecurrentWeights, memory: Array) -> None:
        self.weights, self.memory = weights, memory
        self._recall(memory)

    def _recall(self, memory: Array) -> None:
        """Begin with what is remembered, (H + O + A + 1,)."""
        weights = self.weights
        size, num_elements = len(weights.recurrent[0]), len(weights.centre)
        self._state, step = memory[:size], memory[size:]
        self._last, self._outcome = step[:num_elements], step[num_elements:]
        self._first = True

    def begin(self) -> None:
        """An episode begins."""
        self._first = True

    def act(self, observations: Array) -> Array:
        """Return the means of the actions (..., A) for observations (..., O)."""
        w = self.weights
        scaled = (observations - w.centre) / w.half_range
        seen = self._see(scaled)
        self._state = state = self._remember(seen)
        told = _products(state, scaled)
        weight, bias = w.head
        action = np.concatenate([seen, state, told], axis=-1) @ weight + bias
        self._last, self._first = scaled, False
        earned = np.broadcast_to(self._outcome[..., -1:], (*action.shape[:-1], 1))
        done = np.minimum(np.maximum(action, -1.0), 1.0)
        self._outcome = np.concatenate([done, earned], axis=-1)  # until it is told what that earned
        return action

    def learn(self, rewards: float | Array) -> None:
        """Remember the rewards (...) of the step before; where NaN, those told last are kept."""
        rewards = np.asarray(rewards, float)
        earned = np.where(np.isnan(rewards), self._outcome[..., -1], rewards)
        done = self._outcome[..., :-1]
        done = np.broadcast_to(done, (*earned.shape, done.shape[-1]))
        self._outcome = np.concatenate([done, earned[..., None]], axis=-1)

    def _see(self, scaled: Array) -> Array:
        """Return what the tanh layers make of the observations and of the step before."""
        w, shape = self.weights, scaled.shape[:-1]
        outcome = np.broadcast_to(self._outcome, (*shape, self._outcome.shape[-1]))
        changes = 0.0 * scaled if self._first else w.change_gain * (scaled - self._last)
        first = np.full((*shape, 1), float(self._first))
        effects = _products(outcome[..., :-1], changes)
        seen = np.concatenate([scaled, changes, outcome, first, effects], axis=-1)
        for weight, bias in w.layers:
            seen = np.tanh(seen @ weight + bias)
        return seen

    def _remember(self, seen: Array) -> Array:
        """Take a step of the gated recurrent unit; see `metarobot.policies.gru`."""
        w, size = self.weights, self._state.shape[-1]
        x = seen @ w.inputs[0] + w.inputs[1]
        a = self._state @ w.recurrent[0] + w.recurrent[1]
        gates = 0.5 + 0.5 * np.tanh(0.5 * (x[..., : 2 * size] + a[..., : 2 * size]))  # sigmoid
        reset, update = gates[..., :size], gates[..., size:]
        candidate = np.tanh(x[..., 2 * size :] + reset * a[..., 2 * size :])
        return candidate + update * (self._state - candidate)


def _products(a: Array, b: Array) -> Array:
    """Multiply every element of (..., I) with every one of (..., J): (..., I J)."""
    crossed = a[..., :, None] * b[..., None, :]
    return crossed.reshape(*crossed.shape[:-2], -1)
