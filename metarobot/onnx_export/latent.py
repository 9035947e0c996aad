"""The controller of a latent policy as a graph: in every step it weighs a thousand tasks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarobot.onnx_export.controllers import actions
from metarobot.onnx_export.graph import Graph, Value
from metarobot.policies.latent_controller import LatentController, WeighedTasks
from metarobot.policies.latent_networks import MOST_AHEAD
from metarobot.policies.task_model import FINEST
from metarobot.policies.task_predictor import HIGHEST, LOWEST, TaskPredictor

_LARGEST = np.finfo(np.float64).max


class _LastStep(NamedTuple):
    """The step before, of which a robot sees now what came of it, (N, .) each."""

    number: Value
    """Which of its episode it was, from 1; 0 before the first of all."""
    seen: Value
    """Scaled observations, (N, O)."""
    done: Value
    """Actions, (N, A)."""
    told: Value
    """What the policy was told, (N, C)."""
    inputs: Value
    """All that the model reads of it, (N, I + C)."""
    total: Value
    """Sum of what the model remembers of the episode until then, (N, H)."""


class _Evidence(NamedTuple):
    """What was seen, held against each of K tasks; see `metarobot.policies.Evidence`."""

    squares: Value
    log_variances: Value
    num_outcomes: Value


def latent(graph: Graph, controller: LatentController, observations: Value) -> Value:
    """Act as a `LatentController`: weigh the tasks by what came of the last step, and act on that.

    What is not known (NaN) tells nothing.  As an episode begins, only the reward can tell.
    """
    tasks, begins, network = controller.tasks, graph.begins, controller.network
    last = _last_step(graph, tasks, len(network.layers[-1][1]))
    scaled = (observations - controller.centre) / controller.half_range
    change = graph.where(begins, np.nan, scaled - last.seen)
    outcomes = graph.concat(graph.reward, change)
    outcomes = (outcomes - tasks.outcome_mean) / tasks.outcome_std
    counts = (outcomes.apply("Abs") <= _LARGEST) & tasks.varies & ~graph.is_new
    outcomes = graph.where(counts, outcomes, 0.0)
    told = _mean_task(graph, tasks, _weigh(graph, tasks, last, outcomes, counts))
    shown = graph.concat(scaled, told, scaled.times_each(told))
    action = actions(network.layers, shown, network.direct)
    graph.keep("step", graph.where(begins, 0.0, last.number) + 1.0)
    graph.keep("observation", scaled)
    graph.keep("action", action)
    graph.keep("action_before", graph.where(begins, 0.0, last.done))
    graph.keep("change", outcomes.split(1, len(controller.centre))[1])
    graph.keep("told", told)
    graph.keep("total", graph.where(begins, 0.0, last.total))
    return action


def _last_step(graph: Graph, tasks: WeighedTasks, num_actions: int) -> _LastStep:
    """Return what is kept of the last step."""
    size, code_size = len(tasks.varies) - 1, tasks.tasks_and_one.shape[1] - 1
    number = graph.state("step", np.zeros(1))
    seen, change = (graph.state(name, np.zeros(size)) for name in ("observation", "change"))
    done, before = (
        graph.state(name, np.zeros(num_actions)) for name in ("action", "action_before")
    )
    told = graph.state("told", np.zeros(code_size))
    is_first = (number < 1.5).to(np.float64)
    time = number.apply("Max", 1.0).apply("Log") / 4.0
    inputs = graph.concat(seen, done, change, before, is_first, time, told)
    layer = tasks.predictor.layers["summary"]
    total = graph.state("total", np.zeros(len(layer[1]))) + inputs.layer(layer).tanh()
    return _LastStep(number, seen, done, told, inputs, total)


def _weigh(
    graph: Graph, tasks: WeighedTasks, last: _LastStep, outcomes: Value, counts: Value
) -> _Evidence:
    """Add to the evidence what outcomes (N, D) say of every task, where they count, (N, D)."""
    elements, d = tasks.elements, len(tasks.elements)
    outcomes = outcomes.apply("Gather", elements, axis=1)
    counts = counts.apply("Gather", elements, axis=1).to(np.float64).reshaped(0, d, 1)
    errors, variances = _predict(graph, tasks.predictor, last, outcomes)  # (N, d, K)
    around = errors - errors.reduced("ReduceMean", 2)
    spread = (around * around).reduced("ReduceMean", 2)
    tells = counts * spread / (spread + variances.reduced("ReduceMean", 2))  # (N, d, 1)
    added = {
        "squares": (errors * errors / variances * tells, tasks.squares),
        "log_variances": (variances.apply("Log") * tells, tasks.logs),
        "num_outcomes": (tells, tasks.count),
    }
    evidence = {
        name: graph.state(name, first[0]) + more.reduced("ReduceSum").reshaped(0, first.shape[1])
        for name, (more, first) in added.items()
    }
    for name, value in evidence.items():
        graph.keep(name, value)
    return _Evidence(**evidence)


def _predict(
    graph: Graph, predictor: TaskPredictor, last: _LastStep, outcomes: Value
) -> tuple[Value, Value]:
    """Return errors of the predicted means, and predicted variances, (N, d, K) each."""
    (outputs, width), tasks_and_one = predictor.head.shape, predictor.tasks_and_one
    code_size, d = len(tasks_and_one) - 1, outputs // 2
    memory = last.total / last.number.apply("Max", 1.0)
    hidden = graph.concat(last.inputs, memory)
    for name in ("step_1", "step_2"):
        hidden = hidden.layer(predictor.layers[name]).tanh()
    made = hidden.layer(predictor.layers["step_3"]).reshaped(0, code_size + 1, width + outputs)
    slopes, constants = made.split(code_size, 1)
    constants = constants - last.told.reshaped(0, 1, code_size) @ slopes
    of_hidden, of_mean, of_variance = constants.split(width, d, d, axis=2)
    constants = graph.concat(of_hidden, of_mean - outcomes.reshaped(0, 1, d), of_variance, axis=2)
    made = graph.concat(slopes, constants).apply("Transpose", perm=[0, 2, 1])
    of_hidden, direct = made.split(width, outputs)
    predicted = predictor.head @ (of_hidden @ tasks_and_one).apply("Relu") + direct @ tasks_and_one
    errors, logs = predicted.split(d, d)
    return errors, logs.between(LOWEST, HIGHEST).apply("Exp") + FINEST**2


def _mean_task(graph: Graph, tasks: WeighedTasks, known: _Evidence) -> Value:
    """Return what to tell the policy, (N, C)."""
    code_size = tasks.tasks_and_one.shape[1] - 1
    best = known.squares.reduced("ReduceMin")
    scale = (best / known.num_outcomes.apply("Max", 1.0)).apply("Max", 1.0)
    against = (known.squares / scale + known.log_variances) * tasks.half_power
    against = against - against.reduced("ReduceMin")
    ahead = graph.nth_least(against, tasks.num_likely).apply("Max", MOST_AHEAD)
    weights = (against / ahead * -MOST_AHEAD).apply("Exp")
    sums, total = (weights @ tasks.tasks_and_one).split(code_size, 1)
    mean = sums / total
    for first in tasks.angles:
        before, pair, after = mean.split(first, 2, code_size - first - 2)
        length = (pair * pair).reduced("ReduceSum").apply("Sqrt").apply("Max", 1e-6)
        mean = graph.concat(before, pair / length, after)
    return mean
