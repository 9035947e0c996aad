"""The task model on robots: `TaskModel` with NumPy, for K tasks that stay the same."""

from __future__ import annotations

import numpy as np

from metarobot.policies.controller import Array, Layer
from metarobot.policies.params import Params, to_array
from metarobot.policies.task_model import COARSEST, FINEST

LOWEST, HIGHEST = -10.0, 2 * np.log(COARSEST)
"""Bounds of the logarithm of a variance."""


class TaskPredictor:
    """Predicts what comes of each step of an episode on M robots, for each of K tasks.

    A step costs two products of matrices, and passes over (d, K) numbers.  They fill the same
    arrays in every step: new ones of that size would cost more than filling them.

    Args:
        model: Parameters of the `TaskModel`, each leaf in its own shape.
        tasks: (K, C).
        elements: Which d of the D elements of the outcome are predicted.
    """

    def __init__(self, model: Params, tasks: Array, elements: np.ndarray) -> None:
        self.layers = {name: _layer(model, name) for name in ("summary", "step_1", "step_2")}
        self.tasks_and_one = np.vstack([tasks.T, np.ones_like(tasks.T[:1])])  # (C + 1, K)
        outputs = np.concatenate([elements, len(model["head.bias"]) // 2 + elements])
        self.head = to_array(model["head.weight"])[outputs]  # (2 d, J)
        self.layers["step_3"] = _making_layer(model, outputs)
        self.begin(1)

    def begin(self, num_robots: int) -> None:
        """An episode begins, on M robots: forget the one before."""
        M, (outputs, J), (columns, K) = num_robots, self.head.shape, self.tasks_and_one.shape
        self._sum, self._num_steps = 0.0, 0
        self._features = np.empty((M, J + columns, K))
        self._features[:, J:] = self.tasks_and_one
        self._zeros = np.zeros((M, J, K))
        self._weights = np.empty((M, outputs, J + columns))
        self._weights[:, :, :J] = self.head
        self._predicted = np.empty((M, outputs, K))

    def predict(self, inputs: Array, told: Array, outcomes: Array) -> Array:
        """Return errors of the predicted means, then predicted variances, (M, 2 d, K).

        The next call overwrites them.

        Args:
            inputs: The step as the model reads it, with what the policy was told, (M, I + C).
            told: What the policy was told, (M, C).
            outcomes: What came of it, (M, d).
        """
        (outputs, J), d = self.head.shape, outcomes.shape[1]
        made = self._read(inputs).reshape(len(inputs), -1, J + outputs)  # (M, C + 1, J + 2 d)
        made[:, -1:] -= told[:, None] @ made[:, :-1]
        made[:, -1, J : J + d] -= outcomes
        made = made.swapaxes(1, 2)
        hidden = self._features[:, :J]
        np.matmul(made[:, :J], self.tasks_and_one, out=hidden)
        np.maximum(hidden, self._zeros, out=hidden)  # six times as fast as with a number
        self._weights[:, :, J:] = made[:, J:]
        np.matmul(self._weights, self._features, out=self._predicted)
        variances = self._predicted[:, d:]
        variances.clip(LOWEST, HIGHEST, out=variances)
        np.exp(variances, out=variances)
        variances += FINEST**2
        return self._predicted

    def _read(self, inputs: Array) -> Array:
        """Return the weights that the model makes of a step, in a row, (M, (C + 1) (J + 2 d))."""
        self._sum = self._sum + np.tanh(self._apply("summary", inputs))
        self._num_steps += 1
        memory = self._sum / self._num_steps
        hidden = np.tanh(self._apply("step_1", np.concatenate([inputs, memory], axis=1)))
        return self._apply("step_3", np.tanh(self._apply("step_2", hidden)))

    def _apply(self, name: str, inputs: Array) -> Array:
        weight, bias = self.layers[name]
        return inputs @ weight + bias


def _layer(model: Params, name: str) -> Layer:
    return to_array(model[f"{name}.weight"]).T.copy(), to_array(model[f"{name}.bias"])


def _making_layer(model: Params, outputs: np.ndarray) -> Layer:
    """Return the layer that makes weights (C + 1, J + 2 d), for some outputs of the head, (2 d,).

    It makes the head's bias as well.
    """
    head, head_bias = model["head.weight"], to_array(model["head.bias"])
    num_outputs, J = head.shape
    rows = np.concatenate([np.arange(J), J + outputs])
    weight, bias = to_array(model["step_3.weight"]), to_array(model["step_3.bias"])
    weight = weight.reshape(J + num_outputs, -1, weight.shape[1])[rows]  # (J + 2 d, C + 1, H)
    bias = bias.reshape(J + num_outputs, -1)[rows]
    bias[J:, -1] += head_bias[outputs]
    return weight.T.reshape(weight.shape[2], -1), bias.T.ravel()
