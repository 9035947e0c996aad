"""Measures learners and references on the same tasks, as rows for a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from metarobot.evaluation.statistics import bootstrap_mean
from metarobot.few_shot import Learner
from metarobot.few_shot_diagnosis.references import Fit, predict_each
from metarobot.few_shot_diagnosis.splits import Split
from metarobot.few_shot_diagnosis.tasks import TaskRows, TaskShape, TaskSource, few_shot_tasks
from metarobot.rollout.seeding import Phase, numpy_generator

_TASKS_AT_ONCE = 25

Predict = Callable[[TaskRows], np.ndarray]
"""Maps N tasks to the classes of their queries, (N, way Q)."""


class Row(NamedTuple):
    """A line of the table."""

    task: str
    split: str
    way: int
    shots: int
    learner: str
    accuracy: float
    accuracy_ci: list[float]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Which tasks are measured."""

    num_tasks: int = 600
    queries: int = 5
    way: int = 5
    seed: int = 0


def draw_tasks(split: Split, shots: int, what: Measurement) -> TaskRows:
    """Return the tasks of a split: the same for every learner."""
    shape = TaskShape(way=what.way, shots=shots, queries=what.queries)
    source = TaskSource(split.support, split.query, split.classes, shape)
    rng = numpy_generator(what.seed, shots, Phase.EVALUATION_TASKS)
    return source.draw(rng, what.num_tasks)


def by_learner(learner: Learner[Any], support: Tensor, query: Tensor) -> Predict:
    """Return how a learner predicts, given what it sees of both pools, (R, ...) each."""

    def predict(rows: TaskRows) -> np.ndarray:
        parts = []
        for first in range(0, len(rows.label), _TASKS_AT_ONCE):
            own = TaskRows(*(column[first : first + _TASKS_AT_ONCE] for column in rows))
            tasks = few_shot_tasks(own, support, query)
            logits = learner.adapt(tasks.support).predict(tasks.query.inputs)
            parts.append(logits.argmax(-1).numpy())
        return np.concatenate(parts)

    return predict


def by_features(fit: Fit, support: np.ndarray, query: np.ndarray) -> Predict:
    """Return how a reference predicts, given the features of both pools, (R, F) each."""

    def predict(rows: TaskRows) -> np.ndarray:
        parts = []
        for first in range(0, len(rows.label), _TASKS_AT_ONCE):
            part = slice(first, first + _TASKS_AT_ONCE)
            parts.append(predict_each(fit, support[rows.support[part]], query[rows.query[part]]))
        return np.concatenate(parts)

    return predict


def accuracies(predict: Predict, rows: TaskRows) -> np.ndarray:
    """Return the share of queries of each task that were diagnosed rightly, (N,)."""
    way, queries = rows.query.shape[1:]
    right = predict(rows) == np.repeat(np.arange(way), queries)
    return right.mean(1)


def measure(name: str, predict: Predict, split_name: str, rows: TaskRows) -> Row:
    """Return accuracy with its 95 % interval over tasks."""
    scores = accuracies(predict, rows)
    interval = bootstrap_mean(scores[None], np.random.default_rng(0))
    way, shots = rows.support.shape[1:]
    bounds = [round(interval.low, 4), round(interval.high, 4)]
    return Row("fault in joint", split_name, way, shots, name, round(interval.value, 4), bounds)
