"""Tasks, their parameters and the distributions they are drawn from.

A *task* is one setting of the physics: a payload, a friction, a miscalibrated frame.  Its
parameters are declared once per family as :class:`TaskParameter`, with the range trained on, the
gaps held out inside that range (interpolation) and the ranges beyond it (extrapolation).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

Interval = tuple[float, float]
Split = Literal["train", "interpolation", "extrapolation"]
SPLITS: tuple[Split, ...] = get_args(Split)


class TaskError(ValueError):
    """A task, a task parameter or a split is not what the family allows."""


def nearest_name(name: str, allowed: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest allowed name, or an empty string."""
    close = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def parameter_words(name: str, unit: str) -> str:
    """Return a task parameter's name for people, without its unit: "block_mass_kg" -> "block mass".

    Args:
        name: Identifier that ends in its unit, ``N m`` as ``_nm``, ``m/s`` as ``_m_per_s``.
        unit: Unit as written on an axis; ``1`` or nothing for a ratio.
    """
    suffix = unit.replace(" ", "").replace("/", "_per_").lower()
    return (name.removesuffix(f"_{suffix}") if suffix else name).replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class TaskParameter:
    """One physical quantity that differs between tasks."""

    name: str
    """Identifier that ends in its unit, such as ``payload_kg``; ratios carry no unit."""
    unit: str
    """Unit as written on an axis; ``1`` for a ratio."""
    description: str
    """What it is, for a table or an axis."""
    nominal: float
    """Value of the robot as built: the parameter's value where a task does not vary it."""
    train: Interval
    """Range trained on, without its gaps; both ends are the same where the value is fixed."""
    allowed: Interval
    """Values that make physical sense; anything else is refused."""
    gaps: tuple[Interval, ...] = ()
    """Intervals inside ``train`` never trained on: the interpolation split."""
    extrapolation: tuple[Interval, ...] = ()
    """Intervals beyond ``train``: the extrapolation split."""
    choices: tuple[float, ...] = ()
    """The only values there are, from the lowest to the highest, all equally likely; any value of
    the ranges where empty."""
    log_uniform: bool = False
    """Draw, normalise and plot on a logarithmic scale."""
    circular: bool = False
    """An angle: both ends of ``allowed``, a full turn apart, are the same task."""

    def __post_init__(self) -> None:
        """Check that gaps lie inside, extrapolation ranges outside, and all within ``allowed``."""
        self._check_choices()
        if self.circular and not np.isclose(self.allowed[1] - self.allowed[0], 2 * np.pi):
            raise TaskError(
                f"{self.name!r} is circular, so allowed {self.allowed} must be a full turn, 2 pi"
            )
        low, high = self.train
        inside = all(low <= a < b <= high for a, b in self.gaps)
        outside = all(a < b and (b <= low or a >= high) for a, b in self.extrapolation)
        bounds = [
            self.nominal,
            *self.train,
            *(edge for pair in self.extrapolation for edge in pair),
        ]
        within = all(self.allowed[0] <= value <= self.allowed[1] for value in bounds)
        fixed = low == high and not self.gaps and not self.extrapolation
        if not ((low < high or fixed) and inside and outside and within):
            raise TaskError(
                f"ranges of {self.name!r} do not nest: allowed {self.allowed} must hold train "
                f"{self.train} and extrapolation {self.extrapolation}, "
                f"train must hold gaps {self.gaps}"
            )
        if self.log_uniform and self.allowed[0] <= 0:
            raise TaskError(
                f"{self.name!r} is log-uniform, so allowed {self.allowed} must be positive"
            )

    @property
    def varies(self) -> bool:
        """Whether tasks differ in it."""
        return self.train[0] < self.train[1]

    def _check_choices(self) -> None:
        if not self.choices:
            return
        ordered = len(self.choices) > 1 and all(a < b for a, b in pairwise(self.choices))
        ranged = self.gaps or self.extrapolation
        ends = self.train == (min(self.choices), max(self.choices))
        if not (ordered and ends and self.nominal in self.choices) or ranged:
            raise TaskError(
                f"choices {self.choices} of {self.name!r} must rise from one end of train "
                f"{self.train} to the other and hold nominal {self.nominal:g}, "
                "without gaps or extrapolation"
            )

    def intervals(self, split: Split) -> tuple[Interval, ...]:
        """Return the disjoint intervals that ``split`` draws this parameter from."""
        if not self.varies:
            return (self.train,)
        if self.choices:
            return tuple((value, value) for value in self.choices)
        if split == "interpolation":
            return self.gaps or self.intervals("train")
        if split == "extrapolation":
            return self.extrapolation or self.intervals("train")
        edges = [self.train[0], *(edge for gap in sorted(self.gaps) for edge in gap), self.train[1]]
        pairs = zip(edges[::2], edges[1::2], strict=True)
        return tuple((a, b) for a, b in pairs if a < b)

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Map values onto the axis they are uniform on: the logarithm where log-uniform."""
        return np.log(values) if self.log_uniform else np.asarray(values, np.float64)

    def unscale(self, values: np.ndarray) -> np.ndarray:
        """Invert :meth:`scale`."""
        return np.exp(values) if self.log_uniform else values

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return values (N,) as a policy is told them, (N, C): the training range is [-1, 1].

        An angle is told as its cosine and sine, so that the two ends of a turn look alike.
        """
        if self.circular:
            return np.stack([np.cos(values), np.sin(values)], axis=1)
        low, high = self.scale(np.asarray(self.train))
        width = high - low if self.varies else 1.0
        return (2 * (self.scale(values) - low) / width - 1)[:, None]

    @property
    def encoded_bounds(self) -> np.ndarray:
        """Lowest and highest of each encoded element, over all splits: (2, C)."""
        if self.circular:
            return np.array([[-1.0, -1.0], [1.0, 1.0]])
        edges = np.array([self.train, *self.extrapolation])
        return self.encode(np.array([edges.min(), edges.max()]))

    def sample(self, rng: np.random.Generator, num_tasks: int, split: Split) -> np.ndarray:
        """Draw values uniformly (log-uniformly) over the union of the split's intervals, (N,).

        Where the split has none for this parameter, they are those trained on.
        """
        if self.choices:
            return rng.choice(self.choices, num_tasks)
        edges = self.scale(np.asarray(self.intervals(split)))  # (I, 2)
        ends = np.cumsum(edges[:, 1] - edges[:, 0])  # (I,)
        position = rng.random(num_tasks) * ends[-1]  # along the intervals laid end to end
        interval = np.minimum(np.searchsorted(ends, position, side="right"), len(ends) - 1)
        values = self.unscale(edges[interval, 1] - (ends[interval] - position))
        # Rounding must not carry a value across the edge of a held-out interval.
        return np.clip(values, *np.asarray(self.intervals(split))[interval].T)


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
        task shares even one of these values with training.

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
        return Tasks({p.name: p.sample(rng, num_tasks, split) for p in self.parameters})

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

    @property
    def encoded_bounds(self) -> np.ndarray:
        """Lowest and highest value of each encoded element, (2, C)."""
        return np.concatenate([p.encoded_bounds for p in self.parameters], axis=1)

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
                    f"{parameter.name} = {bad[0]:g} {parameter.unit} is not allowed: "
                    f"it must lie in [{low:g}, {high:g}]"
                )
            if parameter.choices and not (known := np.isin(values, parameter.choices)).all():
                raise TaskError(
                    f"{parameter.name} = {values[~known][0]:g} {parameter.unit} is not allowed: "
                    f"it must be one of {', '.join(f'{value:g}' for value in parameter.choices)}"
                )
