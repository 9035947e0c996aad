"""Controllers as graphs: what each of them computes in a control step, operator by operator.

Every function returns the actions (N, A) of N robots, within [-1, 1], for observations (N, O).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarobot.onnx_export.graph import Graph, Value
from metarobot.policies.controller import Array, Layer, MlpController
from metarobot.policies.episode_encoder import CHANGE_UNIT
from metarobot.policies.episodic_policy import EpisodicController
from metarobot.policies.recurrent_controller import RecurrentController, RecurrentWeights
from metarobot.policies.student_controller import StudentController
from metarobot.policies.student_windows import WINDOW
from metarobot.policies.task_mlp import TaskController


def actions(layers: Sequence[Layer], inputs: Value, direct: Array | None = None) -> Value:
    """Return the actions of a tanh network, within [-1, 1]."""
    hidden, (*hidden_layers, last) = inputs, layers
    for layer in hidden_layers:
        hidden = hidden.layer(layer).tanh()
    action = hidden.layer(last)
    if direct is not None:
        action = action + inputs.layer((direct, np.zeros(direct.shape[1])))
    return action.between(-1.0, 1.0)


def perceptron(graph: Graph, controller: MlpController, observations: Value) -> Value:
    """Act as an `MlpController`."""
    del graph
    return actions(controller.layers, observations)


def told_perceptron(graph: Graph, controller: TaskController, observations: Value) -> Value:
    """Act as a `TaskController`."""
    scaled = (observations - controller.centre) / controller.half_range
    num_seen = len(controller.centre) - controller.task_size
    seen, told = scaled.split(num_seen, controller.task_size)
    return actions(controller.layers, graph.concat(scaled, seen.times_each(told)))


def student(graph: Graph, controller: StudentController, observations: Value) -> Value:
    """Act as a `StudentController`.

    It keeps what the last moves have told, the latest at the end, and zeros where there was none.
    """
    w, no_action = controller.weights, np.zeros(controller.action_size)
    left, right, hidden, last = (w.student[name] for name in ("left", "right", "hidden", "last"))
    size = len(left[1])
    step = graph.where(graph.begins, 0.0, graph.state("step", np.zeros(1)))
    moments = graph.where(graph.begins, 0.0, graph.state("moments", np.zeros(WINDOW * size)))
    was, done = graph.state("observation", 0.0 * w.centre), graph.state("action", no_action)
    before, is_first = graph.state("action_before", no_action), step < 0.5
    scaled = (observations - w.centre) / w.half_range
    change = (scaled - was) / CHANGE_UNIT
    logarithm = change.apply("Sign") * (change.apply("Abs") + 1.0).apply("Log")
    move = graph.concat(was, logarithm, done, before)
    moment = graph.where(is_first, 0.0, move.layer(left) * move.layer(right))
    moments = graph.concat(moments.split(size, (WINDOW - 1) * size)[1], moment)
    total = moments.reshaped(0, WINDOW, size).reduced("ReduceSum").reshaped(0, size)
    latent = (total / step.between(1.0, WINDOW)).layer(hidden).tanh().layer(last).tanh()
    action = actions(w.layers, graph.concat(scaled, latent, scaled.times_each(latent)))
    graph.keep("step", step + 1.0)
    graph.keep("moments", moments)
    graph.keep("observation", scaled)
    graph.keep("action", action)
    graph.keep("action_before", graph.where(is_first, 0.0, done))
    return action


def recurrent(graph: Graph, controller: RecurrentController, observations: Value) -> Value:
    """Act as a `RecurrentController`; where the reward is not told (NaN), keep the one told last.

    An `EpisodicController` recalls what it began with as an episode begins, and reads no reward.
    """
    w, begins = controller.weights, graph.begins
    sizes = len(w.recurrent[0]), len(w.centre), len(w.head[1]), 1
    memory = np.split(controller.memory, np.cumsum(sizes)[:-1])
    kept = zip(("hidden", "observation", "action"), memory, strict=False)
    state, was, done = (graph.state(name, first) for name, first in kept)
    if isinstance(controller, EpisodicController):
        first_steps = zip(memory, (state, was, done), strict=False)
        state, was, done = (graph.where(begins, first, value) for first, value in first_steps)
        earned = begins.to(np.float64) * memory[3]
    else:
        reward, told_last = graph.reward, graph.state("reward", memory[3])
        earned = graph.where(reward.apply("IsNaN"), told_last, reward)
        graph.keep("reward", earned)
    scaled = (observations - w.centre) / w.half_range
    changes = graph.where(begins, 0.0, (scaled - was) * w.change_gain)
    effects = done.times_each(changes)
    seen = graph.concat(scaled, changes, done, earned, begins.to(np.float64), effects)
    for layer in w.layers:
        seen = seen.layer(layer).tanh()
    state = _gated_unit(w, seen, state)
    action = actions([w.head], graph.concat(seen, state, state.times_each(scaled)))
    graph.keep("hidden", state)
    graph.keep("observation", scaled)
    graph.keep("action", action)
    return action


def _gated_unit(w: RecurrentWeights, seen: Value, state: Value) -> Value:
    """Take a step of the gated recurrent unit; see `metarobot.policies.gru`."""
    size = len(w.recurrent[0])
    x_r, x_z, x_n = seen.layer(w.inputs).split(size, size, size)
    a_r, a_z, a_n = state.layer(w.recurrent).split(size, size, size)
    reset, update = (x_r + a_r).apply("Sigmoid"), (x_z + a_z).apply("Sigmoid")
    candidate = (x_n + reset * a_n).tanh()
    return candidate + update * (state - candidate)
