"""Tasks, their parameters, and the distributions that they are drawn from.

A *task* is one setting of the physics: a payload, a friction, a miscalibrated frame.  Its
parameters are declared once per family, each as a `TaskParameter`: the range trained on, the gaps
in it that are held out (the interpolation split), and the ranges beyond (the extrapolation split).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from metarobot.envs.checks import after_number, is_number, nearest_name, show

Interval = tuple[float, float]
Split = Literal["train", "interpolation", "extrapolation-one", "extrapolation"]
SPLITS: tuple[Split, ...] = get_args(Split)
ONE_BEYOND: Split = "extrapolation-one"
MANY_PARAMETERS = 3
"""A family with values beyond for more parameters has the split extrapolation-one too."""
MOST_BEYOND = 5
"""Task parameters that a task of the extrapolation split puts beyond their range at once."""


class TaskError(ValueError):
    """A task, a task parameter or a split is not allowed by the family."""


def parameter_words(name: str, unit: str) -> str:
    """Return a task parameter's name for people, without its unit: "block_mass_kg" -> "block mass".

    A name ends in its unit, ``N m`` as ``_nm``, ``m/s`` as ``_m_per_s``; a ratio has none.
    """
    suffix = unit.replace(" ", "").replace("/", "_per_").lower()
    return (name.removesuffix(f"_{suffix}") if suffix else name).replace("_", " ")


def without_gaps(train: Interval, gaps: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return ``train`` without the disjoint gaps inside it, as intervals."""
    edges = [train[0], *(edge for gap in sorted(gaps) for edge in gap), train[1]]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((a, b) for a, b in pairs if a < b)


def _overlap(intervals: Iterable[Interval]) -> bool:
    ordered = sorted(intervals)
    return any(next_low < high for (_, high), (next_low, _) in pairwise(ordered))


def _is_interval(value: Any) -> bool:
    finite = isinstance(value, tuple | list) and [is_number(v, -_MOST, _MOST) for v in value]
    return finite == [True, True]


def _are_intervals(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(map(_is_interval, value))


_MOST = sys.float_info.max
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda value: isinstance(value, str) and value.isidentifier(), "an identifier"),
    "unit": (lambda value: isinstance(value, str), 'a text, such as "kg", or "1" for a ratio'),
    "description": (lambda value: isinstance(value, str), "a text"),
    "nominal": (lambda value: is_number(value, -_MOST, _MOST), "a finite number"),
    "train": (_is_interval, "(low, high)"),
    "allowed": (_is_interval, "(low, high)"),
    "gaps": (_are_intervals, "intervals ((low, high), ...)"),
    "extrapolation": (_are_intervals, "intervals ((low, high), ...)"),
}
"""Fields of a task parameter: check of a value, and description of the allowed values."""


@dataclass(frozen=True, kw_only=True)
class TaskParameter:
    """One physical quantity that differs between tasks."""

    name: str
    """Identifier that ends in its unit, such as ``payload_kg``; ratios carry no unit."""
    unit: str
    """Unit as written on an axis; ``1`` for a ratio."""
    description: str
    """Name for a table or an axis."""
    nominal: float
    """Value of the robot as built: the parameter's value where a task does not vary it."""
    train: Interval
    """Range trained on, without its gaps; both ends are the same where the value is fixed."""
    allowed: Interval
    """Values that make physical sense; anything else is refused."""
    gaps: tuple[Interval, ...] = ()
    """Intervals inside ``train`` never trained on: the interpolation split."""
    extrapolation: tuple[Interval, ...] = ()
    """Intervals beyond ``train``: the extrapolation split.  Of more than five parameters that have
    some, a task takes five beyond."""
    choices: tuple[float, ...] = ()
    """The only values there are, from the lowest to the highest, all equally likely; any value of
    the ranges where empty."""
    log_uniform: bool = False
    """Draw, normalise and plot on a logarithmic scale."""
    circular: bool = False
    """An angle: both ends of ``allowed``, a full turn apart, are the same task."""
    categorical: bool = False
    """The choices have no order: each has an element of the task code, 1 where chosen, else -1."""

    def __post_init__(self) -> None:
        """Check that gaps lie inside, extrapolation ranges outside, and all within ``allowed``."""
        for declared, (is_right, needed) in _KINDS.items():
            if not is_right(value := getattr(self, declared)):
                raise TaskError(f"{declared} of {self.name!r} must be {needed}, got {show(value)}")
        name, (low, high), (least, most) = self.name, self.train, self.allowed
        gaps, extrapolation, choices = self.gaps, self.extrapolation, self.choices
        inside = all(low <= a < b <= high for a, b in gaps)
        outside = all(a < b and (b <= low or a >= high) for a, b in extrapolation)
        within = all(
            least <= value <= most for value in (self.nominal, low, high, *np.ravel(extrapolation))
        )
        ranged = bool(gaps or extrapolation)
        rising = len(choices) > 1 and all(a < b for a, b in pairwise(choices))
        ends = rising and self.train == (min(choices), max(choices))
        turn = math.isclose(most - least, 2 * math.pi, rel_tol=1e-5)
        problems = {
            f"choices {choices} of {name!r} must rise from one end of train {self.train} to "
            f"the other and hold nominal {self.nominal:g}, without gaps or extrapolation": bool(
                choices and (not ends or ranged or self.nominal not in choices)
            ),
            f"ranges of {name!r} do not nest: allowed {self.allowed} must hold train {self.train} "
            f"and extrapolation {extrapolation}, train must hold gaps {gaps}": not (
                (low < high or (low == high and not ranged)) and inside and outside and within
            ),
            f"gaps {gaps} of {name!r} overlap: join them": _overlap(gaps),
            f"extrapolation {extrapolation} of {name!r} overlap: join them": _overlap(
                extrapolation
            ),
            f"gaps {gaps} of {name!r} leave nothing of train {self.train}: train on a part "
            "of it": low < high and not without_gaps(self.train, gaps),
            f"{name!r} is circular, so allowed {self.allowed} must be a full turn, 2 pi": (
                self.circular and not turn
            ),
            f"{name!r} is categorical: it needs choices, and is no angle and not log-uniform": (
                self.categorical and not self._is_plain_choice
            ),
            f"{name!r} is log-uniform, so allowed {self.allowed} must be positive": (
                self.log_uniform and least <= 0
            ),
        }
        for problem, there in problems.items():
            if there:
                raise TaskError(problem)

    @property
    def _is_plain_choice(self) -> bool:
        return bool(self.choices) and not (self.log_uniform or self.circular)

    @property
    def varies(self) -> bool:
        """Whether tasks differ in this parameter."""
        return self.train[0] < self.train[1]

    def trained_on(self, value: float) -> bool:
        """Whether a value lies between the ends of the training range; its gaps count as well."""
        return self.train[0] <= value <= self.train[1]

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
        return without_gaps(self.train, self.gaps)

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Map values onto the axis they are uniform on: the logarithm where log-uniform."""
        return np.log(values) if self.log_uniform else np.asarray(values, np.float64)

    def unscale(self, values: np.ndarray) -> np.ndarray:
        """Invert :meth:`scale`."""
        return np.exp(values) if self.log_uniform else values

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return the task code of values (N,), (N, C): the training range becomes [-1, 1].

        An angle becomes its cosine and sine, so that the two ends of a turn look alike; a
        categorical parameter one element for each choice.
        """
        if self.categorical:
            return np.where(np.asarray(values)[:, None] == np.asarray(self.choices), 1.0, -1.0)
        if self.circular:
            return np.stack([np.cos(values), np.sin(values)], axis=1)
        low, high = self.scale(np.asarray(self.train))
        width = high - low if self.varies else 1.0
        return (2 * (self.scale(values) - low) / width - 1)[:, None]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the values (N,) of task codes (N, C): the inverse of `encode`."""
        if self.categorical:
            return np.asarray(self.choices)[codes.argmax(axis=1)]
        if self.circular:
            return np.arctan2(codes[:, 1], codes[:, 0])
        low, high = self.scale(np.asarray(self.train))
        width = high - low if self.varies else 1.0
        return self.unscale(low + width * (codes[:, 0] + 1) / 2)

    @property
    def encoded_bounds(self) -> np.ndarray:
        """Lowest and highest of each encoded element, over all splits: (2, C)."""
        if self.circular:
            return np.array([[-1.0, -1.0], [1.0, 1.0]])
        if self.categorical:
            return np.repeat([[-1.0], [1.0]], len(self.choices), axis=1)
        edges = np.array([self.train, *self.extrapolation])
        return self.encode(np.array([edges.min(), edges.max()]))

    def spread(self, uniforms: np.ndarray) -> np.ndarray:
        """Map uniforms in [0, 1), (N,), onto the values of all splits, evenly as scaled."""
        if self.choices:
            return np.asarray(self.choices)[(uniforms * len(self.choices)).astype(int)]
        edges = np.array([self.train, *self.extrapolation])
        low, high = edges.min(), edges.max()
        ends = self.scale(np.array([low, high]))
        # Rounding must not carry a value out of the range: values beyond may not be allowed.
        return np.clip(self.unscale(ends[0] + uniforms * (ends[1] - ends[0])), low, high)

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


def _index(name: str, names: tuple[str, ...]) -> int:
    """Return the index of a task parameter."""
    if name not in names:
        allowed = ", ".join(names)
        raise TaskError(
            f"no task parameter {name!r}, allowed: {allowed}{nearest_name(name, names)}"
        )
    return names.index(name)


class Tasks:
    """N tasks as a struct of arrays: ``tasks["payload_kg"]`` is (N,).

    Args:
        columns: Name of each task parameter to its values, each (N,).
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
        return self.values[:, _index(name, self.names)]

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
    listed: Mapping[Split, Tasks] = field(default_factory=dict, hash=False)
    """Tasks of each split, if these are the only ones, as in a benchmark: then a split draws from
    them, each once before one comes again.  The ranges of the parameters must hold them."""

    def __post_init__(self) -> None:
        """Check the parameters, which need distinct names, and the tasks listed."""
        given = self.parameters
        is_tuple = isinstance(given, tuple) and given != ()
        if not is_tuple or not all(isinstance(p, TaskParameter) for p in given):
            raise TaskError(
                "parameters of a TaskDistribution must be a tuple of TaskParameter, at least one, "
                f"such as (payload,) with its comma, got {show(given)}"
            )
        for name in self.names:
            if self.names.count(name) > 1:
                raise TaskError(f"two task parameters are called {name!r}: rename one")
        for split, tasks in self.listed.items():
            if split not in SPLITS or not isinstance(tasks, Tasks) or not len(tasks):
                raise TaskError(
                    f"listed must hold Tasks by split, {', '.join(SPLITS)}, got {show(tasks)} "
                    f"as {split!r}"
                )
            self.validate(tasks)
        if self.listed and "train" not in self.listed:
            raise TaskError("listed must hold the tasks of the split 'train'")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the task parameters, in the order of a task's values."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits of the family: ``train``, and those with values never trained on."""
        if self.listed:
            return tuple(split for split in SPLITS if split in self.listed)
        num_beyond = sum(bool(parameter.extrapolation) for parameter in self.parameters)
        held_out = {
            "interpolation": any(parameter.gaps for parameter in self.parameters),
            ONE_BEYOND: num_beyond > MANY_PARAMETERS,
            "extrapolation": num_beyond > 0,
        }
        return tuple(split for split in SPLITS if held_out.get(split, True))

    def spans_map(self, axes: Any) -> bool:
        """Whether these are axes of a heat map: two of the names, or () for no map."""
        is_pair = isinstance(axes, tuple) and len(axes) == 2 and axes[0] != axes[1]
        return axes == () or (is_pair and all(axis in self.names for axis in axes))

    def __getitem__(self, name: str) -> TaskParameter:
        return self.parameters[_index(name, self.names)]

    def sample(self, rng: np.random.Generator, num_tasks: int, split: Split = "train") -> Tasks:
        """Draw N tasks of a split.

        In a held-out split every parameter that has held-out values takes one, so that no test
        task shares even one of these values with training.  Where more than `MOST_BEYOND`
        parameters have values beyond, each task draws which of them take one, so that the split is
        no farther from training the more parameters there are; the others are as trained on.  In
        the split extrapolation-one, one parameter takes a value beyond, each of them in as many
        tasks as the others.

        Args:
            rng: Source of randomness.
            num_tasks: Number of tasks N.
            split: ``train``, ``interpolation`` (the gaps), ``extrapolation`` (beyond), or
                ``extrapolation-one`` (one parameter beyond).

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
        if self.listed:
            listed = self.listed[split]
            rounds = -(-num_tasks // len(listed))
            order = [rng.permutation(len(listed)) for _ in range(rounds)]
            return listed.rows(np.concatenate([np.empty(0, int), *order])[:num_tasks])
        columns = {p.name: p.sample(rng, num_tasks, split) for p in self.parameters}
        beyond = [p for p in self.parameters if p.extrapolation]
        if split == "extrapolation" and len(beyond) > MOST_BEYOND:
            places = rng.random((len(beyond), num_tasks)).argsort(axis=0)  # a permutation each
            for p, place in zip(beyond, places, strict=True):
                trained = p.sample(rng, num_tasks, "train")
                columns[p.name] = np.where(place < MOST_BEYOND, columns[p.name], trained)
        if split == ONE_BEYOND:
            chosen = rng.permutation(np.arange(num_tasks) % len(beyond))
            for index, p in enumerate(beyond):
                values = p.sample(rng, num_tasks, "extrapolation")
                columns[p.name] = np.where(chosen == index, values, columns[p.name])
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
        """Return checked tasks, from tasks or from columns to be completed with nominal values."""
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
        """Return the task codes of tasks, (N, C): one element a parameter, two an angle.

        A categorical parameter has one for each choice.  The training range becomes [-1, 1];
        values beyond all splits saturate.
        """
        encoded = [p.encode(tasks[p.name]) for p in self.parameters]
        return np.clip(np.concatenate(encoded, axis=1), *self.encoded_bounds)

    def decode(self, codes: np.ndarray) -> Tasks:
        """Return the tasks that codes (N, C) stand for; of an angle, the one within half a turn."""
        columns = self.encoded_columns
        return Tasks({p.name: p.decode(codes[:, columns[p.name]]) for p in self.parameters})

    @property
    def encoded_columns(self) -> dict[str, slice]:
        """Slice of each parameter among the encoded elements, by its name."""
        ends = np.cumsum([p.encoded_bounds.shape[1] for p in self.parameters]).tolist()
        return dict(zip(self.names, map(slice, [0, *ends], ends), strict=True))

    @property
    def encoded_bounds(self) -> np.ndarray:
        """Lowest and highest value of each encoded element, (2, C)."""
        return np.concatenate([p.encoded_bounds for p in self.parameters], axis=1)

    @property
    def encoded_angles(self) -> tuple[int, ...]:
        """Indices of encoded elements at which an angle begins: its cosine, then its sine."""
        columns = self.encoded_columns
        return tuple(columns[p.name].start for p in self.parameters if p.circular)

    def validate(self, tasks: Tasks) -> None:
        """Raise a TaskError for task names or values that this family does not allow."""
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
