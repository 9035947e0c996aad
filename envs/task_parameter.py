"""One task parameter: the range trained on, the values held out, and how they are drawn.

The gaps inside the range trained on are the interpolation split, the ranges beyond it the
extrapolation split.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from metarobot.envs.checked_numbers import is_number, show

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


def without_gaps(train: Interval, gaps: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return the intervals that gaps inside ``train``, which do not overlap, leave of it."""
    edges = [train[0], *(edge for gap in sorted(gaps) for edge in gap), train[1]]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((a, b) for a, b in pairs if a < b)


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

    def __post_init__(self) -> None:
        """Check that gaps lie inside, extrapolation ranges outside, and all within ``allowed``.

        Raises:
            TaskError: They do not, intervals overlap, or a field is not of its kind.
        """
        self._check_kinds()
        self._check_choices()
        if self.circular and not np.isclose(self.allowed[1] - self.allowed[0], 2 * np.pi):
            raise TaskError(
                f"{self.name!r} is circular, so allowed {self.allowed} must be a full turn, 2 pi"
            )
        self._check_ranges()
        if self.log_uniform and self.allowed[0] <= 0:
            raise TaskError(
                f"{self.name!r} is log-uniform, so allowed {self.allowed} must be positive"
            )

    @property
    def varies(self) -> bool:
        """Whether tasks differ in it."""
        return self.train[0] < self.train[1]

    def trained_on(self, value: float) -> bool:
        """Whether a value lies between the ends of the training range; its gaps count as well."""
        return self.train[0] <= value <= self.train[1]

    def _check_kinds(self) -> None:
        """Refuse fields that are no text, numbers or intervals, before they are compared."""
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise TaskError(f"a task parameter's name must be an identifier, got {show(self.name)}")
        for name in ("unit", "description"):
            value = getattr(self, name)
            if not isinstance(value, str):
                way_out = ', such as "kg", or "1" for a ratio' if name == "unit" else ""
                raise TaskError(
                    f"{name} of {self.name!r} must be a text{way_out}, got {show(value)}"
                )
        if not _is_finite(self.nominal):
            raise TaskError(
                f"nominal of {self.name!r} must be a finite number, got {show(self.nominal)}"
            )
        for name in ("train", "allowed"):
            if not _is_interval(value := getattr(self, name)):
                raise TaskError(f"{name} of {self.name!r} must be (low, high), got {show(value)}")
        for name in ("gaps", "extrapolation"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list) or not all(map(_is_interval, value)):
                raise TaskError(
                    f"{name} of {self.name!r} must be intervals ((low, high), ...), "
                    f"got {show(value)}"
                )

    def _check_ranges(self) -> None:
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
        for name in ("gaps", "extrapolation"):
            ordered = sorted(getattr(self, name))
            if any(next_low < high for (_, high), (next_low, _) in pairwise(ordered)):
                raise TaskError(
                    f"{name} {getattr(self, name)} of {self.name!r} overlap: join what overlaps"
                )
        if low < high and not without_gaps(self.train, self.gaps):
            raise TaskError(
                f"gaps {self.gaps} of {self.name!r} leave nothing of train {self.train}: "
                "train on a part of it"
            )

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
        return without_gaps(self.train, self.gaps)

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

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the values (N,) of what a policy is told, (N, C): the inverse of `encode`."""
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
        edges = np.array([self.train, *self.extrapolation])
        return self.encode(np.array([edges.min(), edges.max()]))

    def spread(self, uniforms: np.ndarray) -> np.ndarray:
        """Map uniforms in [0, 1), (N,), onto the values of all splits, evenly as scaled."""
        if self.choices:
            return np.asarray(self.choices)[(uniforms * len(self.choices)).astype(int)]
        edges = np.array([self.train, *self.extrapolation])
        low, high = edges.min(), edges.max()
        ends = self.scale(np.array([low, high]))
        # Rounding must not carry a value out of the range, which may be all that is allowed.
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


def _is_finite(value: Any) -> bool:
    return is_number(value, -math.inf, math.inf) and math.isfinite(value)


def _is_interval(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_finite, value))
