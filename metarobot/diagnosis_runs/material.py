"""`Material`: what networks see of recordings, and how tasks are drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarobot.few_shot import FewShotTasks
from metarobot.few_shot_diagnosis import TaskRows, few_shot_tasks

DrawRows = Callable[[np.random.Generator, int, int], TaskRows]
"""Draws N tasks with K examples of each class: (generator, N, K)."""
ENOUGH_MACHINES = 5
"""From so many on an interval says how much it depends on which machines there are."""


class Material(NamedTuple):
    """Recordings that tasks are drawn from."""

    name: str
    """What is special about them, such as "unseen machines"."""
    support: Tensor
    """What a network sees of the recordings that examples are taken from, (R, ...)."""
    query: Tensor
    """The same of those that are to be diagnosed."""
    classes: tuple[str, ...]
    """Names of all classes; `TaskRows.label` counts in them."""
    draw: DrawRows
    way: int
    """Classes of a task."""
    most_shots: int
    """Most examples of a class that there are."""
    machine: np.ndarray
    """Machine of each recording of `query`, (R,)."""
    num_recordings: int
    """Recordings of `query` that are of these classes."""

    @property
    def num_machines(self) -> int:
        """Machines of `query`."""
        return len(np.unique(self.machine))

    def clusters(self, rows: TaskRows) -> np.ndarray:
        """Return what each query tells of, (N, way Q): its machine, or itself if these are few."""
        own = rows.query.reshape(len(rows.query), -1)
        return own if self.num_machines < ENOUGH_MACHINES else self.machine[own]

    def tasks(self, rows: TaskRows, *, centred: bool) -> FewShotTasks:
        """Return tasks as a learner is trained on them.

        Args:
            rows: Which recordings.
            centred: As of `Adapter`.
        """
        tasks = few_shot_tasks(rows, self.support, self.query)
        if not centred:
            return tasks
        centre = tasks.support.inputs.mean(1, keepdim=True)  # as many examples of each class
        return FewShotTasks(
            type(tasks.support)(tasks.support.inputs - centre, tasks.support.targets),
            type(tasks.query)(tasks.query.inputs - centre, tasks.query.targets),
        )


def without_last(rows: TaskRows) -> TaskRows:
    """Return tasks that were given no examples of their last class; it is still asked about."""
    return TaskRows(rows.support[:, :-1], rows.query, rows.label)


def in_blocks(rows: TaskRows, tasks_at_once: int = 25) -> list[TaskRows]:
    """Cut many tasks into blocks of a few."""
    return [
        TaskRows(*(column[first : first + tasks_at_once] for column in rows))
        for first in range(0, len(rows.label), tasks_at_once)
    ]


def query_labels(rows: TaskRows) -> Tensor:
    """Return the class of every query of a task, (way Q,)."""
    way, count = rows.query.shape[1:]
    return torch.arange(way).repeat_interleave(count)
