"""Tasks from recordings of one's own: examples and queries are of one machine, never of one file.

It is the case of an engineer who has recorded a few faults of a machine, and wants to know which of
them a new recording of the same machine shows.  Where no machine has two labels with enough
recordings, all that have two labels are taken for one.  Machines with one label are left out then:
what tells their recordings apart may be the machines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarobot.diagnosis.own_data import OwnDataError
from metarobot.few_shot_diagnosis import TaskRows

DEFAULT_WAY = 5
"""Classes of a task, where there are so many."""


NO_TASKS = (
    "tasks need two labels with two recordings each, one to learn from and one to judge by, of a "
    "machine, or of machines that have both labels: record more, or keep less back"
)
_ALL = "all machines with two labels"


class _Bin(NamedTuple):
    """Recordings that a task can be made of."""

    rows: tuple[np.ndarray, ...]
    """Of every label that has enough, its rows."""
    codes: np.ndarray
    """Which label each is."""


class OwnTasks:
    """Draws tasks from recordings, one row for each.

    Args:
        label: Class of each recording, (R,) integers.
        machine: Its machine, (R,) strings.
        way: Most classes of a task.

    Raises:
        OwnDataError: `has_tasks` says that there are none.
    """

    def __init__(self, label: np.ndarray, machine: np.ndarray, way: int = DEFAULT_WAY) -> None:
        self._label = label
        self._machine = machine if machines_with_tasks(label, machine) else _joined(label, machine)
        counts = [len(own.codes) for own in self._bins(1)]
        if not counts:
            raise OwnDataError(NO_TASKS)
        self.way = min(way, max(counts))

    @property
    def most_shots(self) -> int:
        """Most examples of each class that tasks can have."""
        shots = 1
        while self._fitting(shots + 1):
            shots += 1
        return shots

    def draw(self, rng: np.random.Generator, num_tasks: int, shots: int) -> TaskRows:
        """Draw N tasks with K examples of each class, and one query."""
        bins = self._fitting(shots)
        drawn = [
            self._draw_one(rng, bins[place], shots)
            for place in rng.integers(len(bins), size=num_tasks)
        ]
        support, query, label = (np.stack(column) for column in zip(*drawn, strict=True))
        return TaskRows(support, query, label)

    def _draw_one(
        self, rng: np.random.Generator, own: _Bin, shots: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = rng.choice(len(own.codes), self.way, replace=False)
        rows = np.stack([rng.choice(own.rows[place], shots + 1, replace=False) for place in chosen])
        return rows[:, :shots], rows[:, shots:], own.codes[chosen]

    def _fitting(self, shots: int) -> list[_Bin]:
        return [own for own in self._bins(shots) if len(own.codes) >= self.way]

    def _bins(self, shots: int) -> list[_Bin]:
        """Return what every machine offers, if it is at least two labels."""
        found = []
        for name in np.unique(self._machine):
            here = self._machine == name
            codes = [
                code
                for code in np.unique(self._label[here])
                if (self._label[here] == code).sum() > shots
            ]
            rows = tuple(np.flatnonzero(here & (self._label == code)) for code in codes)
            if len(codes) > 1:
                found.append(_Bin(rows, np.array(codes)))
        return found


def has_tasks(label: np.ndarray, machine: np.ndarray) -> bool:
    """Return whether tasks can be drawn, of one machine each or of all that have two labels."""
    joined = _joined(label, machine)
    return bool(machines_with_tasks(label, machine) or machines_with_tasks(label, joined))


def machines_with_tasks(label: np.ndarray, machine: np.ndarray) -> tuple[str, ...]:
    """Return the machines that have two labels with two recordings each.

    Args:
        label: Class of each recording, (R,).
        machine: Its machine, (R,) strings.
    """
    return tuple(
        str(name)
        for name in np.unique(machine)
        if (np.unique(label[machine == name], return_counts=True)[1] > 1).sum() > 1
    )


def _joined(label: np.ndarray, machine: np.ndarray) -> np.ndarray:
    """Return one name for all machines that have two labels, (R,); the others keep theirs."""
    several = [name for name in np.unique(machine) if len(np.unique(label[machine == name])) > 1]
    return np.where(np.isin(machine, several), _ALL, machine)
