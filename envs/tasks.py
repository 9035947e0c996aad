"""Tasks, and the distributions they are drawn from.

A *task* is one setting of the physics: a payload, a friction, a miscalibrated frame.  Its
parameters are declared once per family, each as a `TaskParameter`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metarobot.envs.checked_numbers import after_number, show
from metarobot.envs.task_parameter import (
    SPLITS,
    Split,
    TaskError,
    TaskParameter,
    nearest_name,
)

MOST_BEYOND = 5
"""Task parameters that a task of the extrapolation split puts beyond their range at once."""


class Tasks:
    """N tasks as a struct of arrays: ``tasks["payload_kg"]`` is (N,).

    Args:
        columns: Name of each task parameter to its values, each (N,).

    Raises:
        TaskError: Columns differ in length, or there is none.
    """

    def __init__(self, columns: Mapping[str, Sequence[float] | np.ndarray]) -> None:
        self.names = tuple(columns)
        arrays = [np.atleast_1d(np.asarray(column, np.float64)) for column in columns.values()]
        if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
            lengths = {name: len(array) for name, array in zip(self.names, arrays, strict=True)}
            raise TaskError(f"task parameters must be columns of one length, got lengths {lengths}")
        self.values = np.stack(arrays, axis=1)  # (N, P)
        self.values.flags.writeable = False

    @classmethod
    def _from_values(cls, names: tuple[str, ...], values: np.ndarray) -> Tasks:
        return cls({name: values[:, column] for column, name in enumerate(names)})

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Tasks)
            and self.names == other.names
            and np.array_equal(self.values, other.values)
        )

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise TaskError(
                f"no task parameter {name!r}, allowed: {', '.join(self.names)}"
                + nearest_name(name, self.names)
            )
        return self.values[:, self.names.index(name)]

    def rows(self, indices: slice | Sequence[int] | np.ndarray) -> Tasks:
        """Return the tasks at ``indices``."""
        return self._from_values(self.names, self.values[indices])

    def repeat(self, count: int) -> Tasks:
        """Return every task ``count`` times in a row: (N * count) tasks."""
        return self._from_values(self.names, np.repeat(self.values, count, axis=0))

    def to_dicts(self) -> list[dict[str, float]]:
        """Return one ``{name: value}`` per task."""
        return [dict(zip(self.names, map(float, row), strict=True)) for row in self.values]

    def __repr__(self) -> str:
        return f"Tasks({len(self)} x {', '.join(self.names)})"


def _column(name: str, values: Any) -> np.ndarray:
    """Return the values of one task parameter, (N,)."""
    try:
        column = np.atleast_1d(np.asarray(values))
    except ValueError:  # rows of several lengths
        column = np.array(None, ndmin=1)
    if column.dtype.kind not in "fiub" or column.ndim != 1:
        raise TaskError(f"{name} must be a number or a column of numbers, got {str(values)[:40]!r}")
    return column


@dataclass(frozen=True)
class TaskDistribution:
    """The task parameters of one family, and how tasks are drawn from them."""

    parameters: tuple[TaskParameter, ...]

    def __post_init__(self) -> None:
        """Refuse what is no tuple of task parameters, each with a name of its own.

        Raises:
            TaskError: It is something else; the message is one line.
        """
        given = self.parameters
        if not isinstance(given, tuple) or not all(isinstance(p, TaskParameter) for p in given):
            raise TaskError(
                "parameters of a TaskDistribution must be a tuple of TaskParameter, such as "
                f"(payload,) with its comma, got {show(given)}"
            )
        if not given:
            raise TaskError("a TaskDistribution needs at least one TaskParameter, got none")
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise TaskError(f"two task parameters are called {twice[0]!r}: rename one")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the task parameters, in the order of a task's values."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits there are: ``train``, and those that hold values never trained on."""
        held_out = {
            "interpolation": any(parameter.gaps for parameter in self.parameters),
            "extrapolation": any(parameter.extrapolation for parameter in self.parameters),
        }
        return tuple(split for split in SPLITS if held_out.get(split, True))

    def __getitem__(self, name: str) -> TaskParameter:
        if name not in self.names:
            raise TaskError(
                f"no task parameter {name!r}, allowed: {', '.join(self.names)}"
                + nearest_name(name, self.names)
            )
        return self.parameters[self.names.index(name)]

    def sample(self, rng: np.random.Generator, num_tasks: int, split: Split = "train") -> Tasks:
        """Draw tasks of a split.

        In a held-out split every parameter that has held-out values takes one, so that no test
        task shares even one of these values with training.  Where more than `MOST_BEYOND`
        parameters have values beyond, each task draws which of them take one, so that the split is
        no farther from training the more parameters there are; the others are as trained on.

        Args:
            rng: Source of randomness.
            num_tasks: Number of tasks N.
            split: ``train``, ``interpolation`` (the gaps) or ``extrapolation`` (beyond).

        Returns:
            N tasks.

        Raises:
            TaskError: The split's name is unknown, or no parameter has such values.
        """
        if split not in SPLITS:
            raise TaskError(
                f"no split {split!r}, allowed: {', '.join(SPLITS)}" + nearest_name(split, SPLITS)
            )
        if split not in self.splits:
            raise TaskError(
                f"{', '.join(self.names)} has no {split} split, allowed: {', '.join(self.splits)}"
            )
        columns = {p.name: p.sample(rng, num_tasks, split) for p in self.parameters}
        beyond = [p for p in self.parameters if p.extrapolation]
        if split == "extrapolation" and len(beyond) > MOST_BEYOND:
            places = rng.random((len(beyond), num_tasks)).argsort(axis=0)  # a permutation each
            for p, place in zip(beyond, places, strict=True):
                trained = p.sample(rng, num_tasks, "train")
                columns[p.name] = np.where(place < MOST_BEYOND, columns[p.name], trained)
        return Tasks(columns)

    def spread(self, uniforms: np.ndarray) -> Tasks:
        """Return the tasks at uniforms in [0, 1), (N, P), of a box that holds all splits."""
        columns = zip(self.parameters, np.asarray(uniforms).T, strict=True)
        return Tasks({parameter.name: parameter.spread(column) for parameter, column in columns})

    def nominal(self, num_tasks: int = 1) -> Tasks:
        """Return the robot as built, ``num_tasks`` times."""
        return Tasks({p.name: np.full(num_tasks, p.nominal) for p in self.parameters})

    def with_values(self, columns: Mapping[str, Sequence[float] | np.ndarray]) -> Tasks:
        """Complete the given columns, each (N,), with nominal values and check the result."""
        for name in columns:
            self[name]  # raises on an unknown name
        num_tasks = max((len(np.atleast_1d(column)) for column in columns.values()), default=1)
        tasks = Tasks(
            {p.name: columns.get(p.name, np.full(num_tasks, p.nominal)) for p in self.parameters}
        )
        self.validate(tasks)
        return tasks

    def read(self, tasks: Tasks | Mapping[str, Any]) -> Tasks:
        """Return checked tasks, from tasks or from columns to be completed with nominal values.

        Raises:
            TaskError: They are neither, or not allowed.
        """
        if isinstance(tasks, Tasks):
            self.validate(tasks)
            return tasks
        if not isinstance(tasks, Mapping):
            raise TaskError(
                "tasks must be Tasks or a mapping of task parameters to numbers, "
                f"got a {type(tasks).__name__}"
            )
        return self.with_values({name: _column(name, tasks[name]) for name in tasks})

    def grid(self, x_name: str, x_values: np.ndarray, y_name: str, y_values: np.ndarray) -> Tasks:
        """Return the len(y) * len(x) tasks of a grid, row by row of y, all else nominal."""
        y, x = np.meshgrid(y_values, x_values, indexing="ij")
        return self.with_values({x_name: x.ravel(), y_name: y.ravel()})

    def encode(self, tasks: Tasks) -> np.ndarray:
        """Return tasks as a policy is told them, (N, C): one element a parameter, two an angle.

        The training range becomes [-1, 1]; what lies beyond all splits saturates.
        """
        encoded = [p.encode(tasks[p.name]) for p in self.parameters]
        return np.clip(np.concatenate(encoded, axis=1), *self.encoded_bounds)

    def decode(self, codes: np.ndarray) -> Tasks:
        """Return the tasks that codes (N, C) stand for; of an angle, the one within half a turn."""
        columns = self.encoded_columns
        return Tasks({p.name: p.decode(codes[:, columns[p.name]]) for p in self.parameters})

    @property
    def encoded_columns(self) -> dict[str, slice]:
        """Where each parameter stands among the encoded elements, by its name."""
        ends = np.cumsum([p.encoded_bounds.shape[1] for p in self.parameters]).tolist()
        return dict(zip(self.names, map(slice, [0, *ends], ends), strict=True))

    @property
    def encoded_bounds(self) -> np.ndarray:
        """Lowest and highest value of each encoded element, (2, C)."""
        return np.concatenate([p.encoded_bounds for p in self.parameters], axis=1)

    @property
    def encoded_angles(self) -> tuple[int, ...]:
        """Where an angle begins among the encoded elements: its cosine, and then its sine."""
        columns = self.encoded_columns
        return tuple(columns[p.name].start for p in self.parameters if p.circular)

    def validate(self, tasks: Tasks) -> None:
        """Refuse tasks whose names or values this family does not allow.

        Raises:
            TaskError: A name is unknown or missing, or a value is not finite or not allowed.
        """
        for name in tasks.names:
            self[name]
        missing = [name for name in self.names if name not in tasks.names]
        if missing:
            raise TaskError(
                f"no value for task parameter {missing[0]!r}: "
                f"a task needs all of {', '.join(self.names)}"
            )
        for parameter in self.parameters:
            values = tasks[parameter.name]
            low, high = parameter.allowed
            bad = values[~((values >= low) & (values <= high))]  # NaN compares false
            if bad.size:
                raise TaskError(
                    f"{parameter.name} = {bad[0]:g}{after_number(parameter.unit)} is not allowed: "
                    f"it must lie in [{low:g}, {high:g}]"
                )
            if parameter.choices and not (known := np.isin(values, parameter.choices)).all():
                raise TaskError(
                    f"{parameter.name} = {values[~known][0]:g}{after_number(parameter.unit)} "
                    "is not allowed: "
                    f"it must be one of {', '.join(f'{value:g}' for value in parameter.choices)}"
                )
