"""Tasks: N ways, K shots, drawn by indexing arrays.

In each task the machines are parted anew: all examples (support) are of some machines, all that is
to be diagnosed (query) is of others.  So a machine, a recording or a window of it never stands on
both sides.  It is the case of a plant: a fault is known from K arms, and is to be found in another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarobot.few_shot import Examples, FewShotTasks
from metarobot.few_shot_diagnosis.classes import FaultClass
from metarobot.few_shot_diagnosis.pool import PoolSpec


@dataclass(frozen=True, kw_only=True)
class TaskShape:
    """How large tasks are."""

    way: int = 5
    """Classes of a task."""
    shots: int = 1
    """K, examples of each class."""
    queries: int = 3
    """Recordings of each class to be diagnosed."""


class TaskRows(NamedTuple):
    """N tasks as rows of recordings; the class of a row is its place in the task, 0 .. way - 1."""

    support: np.ndarray
    """Rows in the pool of the support, (N, way, K)."""
    query: np.ndarray
    """Rows in the pool of the queries, (N, way, Q)."""
    label: np.ndarray
    """Which classes the task holds: their places in the list of the split, (N, way)."""


class TaskSource:
    """Draws tasks from two pools of the same machines, or from one.

    Args:
        support: What the examples are from.
        query: What is to be diagnosed.
        classes: Classes that tasks are made of; both pools have them.
        shape: How large tasks are.

    Raises:
        ValueError: There are too few classes or machines for such tasks.
    """

    def __init__(
        self,
        support: PoolSpec,
        query: PoolSpec,
        classes: tuple[FaultClass, ...],
        shape: TaskShape,
    ) -> None:
        if (support.machines, support.num_machines, support.seed) != (
            query.machines,
            query.num_machines,
            query.seed,
        ):
            raise ValueError("support and query must be of the same machines, parted in each task")
        self._half = support.num_machines // 2
        self._support, self._query, self._shape = support, query, shape
        _require(len(classes), shape.way, "classes", "way")
        _require(self._half, shape.shots, "machines on a side", "shots")
        _require(self._half, shape.queries, "machines on a side", "queries")
        self._columns = tuple(
            np.array([pool.classes.index(own) for own in classes]) for pool in (support, query)
        )
        faults = [own.fault for own in classes]
        self._joints = np.array([faults.count(fault) for fault in faults], np.float64)

    def draw(self, rng: np.random.Generator, num_tasks: int) -> TaskRows:
        """Draw N tasks.

        All faults are equally likely, in whichever joint, so that a fault of the tool is not rarer
        than one that seven joints can have.
        """
        shape = self._shape
        # An exponential race: who rings first is drawn by weight, without putting back.
        rings = rng.exponential(size=(num_tasks, len(self._joints))) * self._joints
        label = rings.argsort(1)[:, : shape.way]
        machines = rng.random((num_tasks, self._support.num_machines)).argsort(1)
        own, others = machines[:, : self._half], machines[:, self._half :]
        support = _choose(rng, own, shape.way, shape.shots)
        query = _choose(rng, others, shape.way, shape.queries)
        columns = [column[label][:, :, None] for column in self._columns]
        return TaskRows(
            support * len(self._support.classes) + columns[0],
            query * len(self._query.classes) + columns[1],
            label,
        )


def few_shot_tasks(rows: TaskRows, support: Tensor, query: Tensor) -> FewShotTasks:
    """Return tasks as learners take them.

    Args:
        rows: Which recordings.
        support: What a network sees of the pool of the support, (R, ...).
        query: The same of the pool of the queries.
    """
    return FewShotTasks(_examples(rows.support, support), _examples(rows.query, query))


def _examples(rows: np.ndarray, inputs: Tensor) -> Examples:
    num_tasks, way, count = rows.shape
    chosen = inputs[torch.from_numpy(rows.reshape(num_tasks, -1))]
    targets = torch.arange(way).repeat_interleave(count).expand(num_tasks, -1)
    return Examples(chosen, targets)


def _choose(rng: np.random.Generator, machines: np.ndarray, way: int, count: int) -> np.ndarray:
    """Choose some machines (N, half) for every class of every task, (N, way, count)."""
    num_tasks, half = machines.shape
    places = rng.random((num_tasks, way, half)).argsort(2)[:, :, :count]
    return np.take_along_axis(machines[:, None], places, axis=2)


def _require(have: int, need: int, what: str, why: str) -> None:
    if have < need or need < 1:
        raise ValueError(f"{why} must be in [1, {have}], as there are {have} {what}: got {need}")
