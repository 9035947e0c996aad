"""Few-shot tasks: examples of some labels, and recordings to be diagnosed by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

QUERIES = 5
"""Greatest number of queries of each label in a task."""
MOST_FOLDS, BLOCKS = 5, 3
"""Parts that are held out in turn: of machines at most, and of the recordings of one machine."""


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs of learners for R recordings."""

    features: np.ndarray
    """Standardised, (R, F)."""
    kernels: np.ndarray
    """Features of random convolutions, (R, G); G is 0 without aeon."""
    label: np.ndarray
    """(R,) str."""
    machine: np.ndarray
    """(R,) str."""
    group: np.ndarray
    """Groups that no split may separate, such as the windows of a file: (R,) str."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def labels(self) -> np.ndarray:
        """Distinct labels in their order, (C,)."""
        return np.unique(self.label)

    def rows(self, index: Any) -> Data:
        """Return some recordings."""
        return Data(*(getattr(self, field.name)[index] for field in fields(self)))


class Task(NamedTuple):
    """Examples of some labels, and recordings to be diagnosed by them."""

    examples: Data
    queries: Data


def draw_tasks(data: Data, shots: int, way: int, count: int, seed: int) -> list[Task]:
    """Draw tasks with the same number of examples of each label.

    Examples and queries are of one machine, and never of one group.  Where no machine has two
    labels often enough, examples are of some machines and queries of others.

    Args:
        data: Recordings.
        shots: K, groups of each label that are examples.
        way: Labels of a task, at most.
        count: Number of tasks.
        seed: Seed of the draws.

    Returns:
        The tasks; none where there are too few recordings.
    """
    rng = np.random.default_rng((seed, shots))
    for units, parts in (
        (data.group, [data.machine == name for name in np.unique(data.machine)]),
        (data.machine, [np.ones(len(data), bool)]),
    ):
        names, place = np.unique(units, return_inverse=True)
        choices = [pools for part in parts if (pools := _pools(data.label, place, part, shots))]
        if choices:
            break
    else:
        return []
    tasks = []
    for _ in range(count):
        pools = choices[rng.integers(len(choices))]
        rank = rng.permutation(len(names))[place]
        examples, queries = [], []
        for rows in (pools[i] for i in rng.permutation(len(pools))[:way]):
            last = np.unique(rank[rows])[shots - 1]
            rest = rows[rank[rows] > last]
            examples.append(rows[rank[rows] <= last])  # those that rank first
            queries.append(rest[np.argsort(-rank[rest], kind="stable")][:QUERIES])
        tasks.append(Task(*(data.rows(np.concatenate(side)) for side in (examples, queries))))
    return tasks


def _pools(label: np.ndarray, unit: np.ndarray, part: np.ndarray, shots: int) -> list[np.ndarray]:
    """Return the rows of each label with more units than examples; none for fewer than two."""
    rows = [np.flatnonzero(part & (label == name)) for name in np.unique(label[part])]
    enough = [own for own in rows if len(np.unique(unit[own])) > shots]
    return enough if len(enough) > 1 else []


def without_labels(tasks: Sequence[Task]) -> list[Task]:
    """Return tasks with queries of their last label only, and without its examples.

    Those of two labels are left out.
    """
    found = []
    for examples, queries in tasks:
        *others, label = examples.labels
        if len(others) > 1:
            own = queries.rows(queries.label == label)
            found.append(Task(examples.rows(examples.label != label), own))
    return found


def leave_out_in_turn(examples: Data) -> list[Task]:
    """Return up to five tasks, each with some examples as queries and the others as examples."""
    turn = np.zeros(len(examples), int)
    for label in examples.labels:
        rows = np.flatnonzero(examples.label == label)
        turn[rows] = np.unique(examples.group[rows], return_inverse=True)[1]
    fewest = min(turn[examples.label == label].max() for label in examples.labels) + 1
    if fewest < 2:
        return []
    turn %= (number := min(fewest, MOST_FOLDS))
    return [
        Task(examples.rows(turn != each), examples.rows(turn == each)) for each in range(number)
    ]


def folds(data: Data) -> list[np.ndarray]:
    """Return the masks of recordings that are held out in turn, (R,) bool each.

    These are machines, in five parts at most.  Of one machine they are thirds of each label, of
    recordings that follow each other: neighbours are alike.
    """
    names = np.unique(data.machine)
    if len(names) > 1:
        number = min(MOST_FOLDS, len(names))
        part = np.searchsorted(names, data.machine) * number // len(names)
    else:
        number, part = BLOCKS, np.zeros(len(data), int)
        for label in data.labels:
            rows = np.flatnonzero(data.label == label)
            _, first, place = np.unique(data.group[rows], return_index=True, return_inverse=True)
            part[rows] = np.argsort(np.argsort(first))[place] * number // len(first)
    return [part == each for each in range(number)]
