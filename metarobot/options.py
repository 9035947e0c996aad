"""Options: frozen dataclasses whose fields state their bounds beside their values."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from textwrap import dedent
from typing import Any, NamedTuple, Self

from metarobot.envs.checks import is_integer, is_number, keep_plain_integers, show

Value = bool | int | float | str
"""Of an option; JSON can hold it."""


class Bounds(NamedTuple):
    """What a field may hold."""

    allows: Callable[[Any], bool]
    meaning: str
    """What is allowed, for a message."""
    fixed: bool = False
    """Whether the algorithm always has this value, whatever a preset says."""


def number(default: float, low: float, high: float) -> Any:
    """Declare a field that holds a number in [low, high]."""
    return _field(
        default,
        Bounds(lambda value: is_number(value, low, high), f"a number in [{low:g}, {high:g}]"),
    )


def integer(default: int, least: int, most: int) -> Any:
    """Declare a field that holds an integer in [least, most]."""
    return _field(
        default,
        Bounds(lambda value: is_integer(value, least, most), f"an integer in [{least}, {most}]"),
    )


def switch(default: bool) -> Any:
    """Declare a field that is true or false."""
    return _field(default, Bounds(lambda value: isinstance(value, bool), "true or false"))


def choice(default: str, choices: tuple[str, ...]) -> Any:
    """Declare a field that holds one of several words."""
    return _field(default, Bounds(lambda value: value in choices, "one of " + ", ".join(choices)))


def fixed(value: Value) -> Any:
    """Declare a field with the only value that the algorithm has: written down, never chosen."""

    def allows(other: object) -> bool:
        return type(other) is type(value) and other == value

    return _field(value, Bounds(allows, f"{_as_json(value)}, as the algorithm has it", fixed=True))


def _field(default: Value, bounds: Bounds) -> Any:
    return dataclasses.field(default=default, metadata={"bounds": bounds})


def _is_fixed(field: dataclasses.Field[Any]) -> bool:
    bounds = field.metadata.get("bounds")
    return bounds is not None and bounds.fixed


def _as_json(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A dataclass that refuses values out of the bounds of its fields."""

    def __post_init__(self) -> None:
        """Check every field that states bounds.

        Raises:
            ValueError: A value is not allowed; the message names the field, the value and what is
                allowed.
        """
        keep_plain_integers(self)
        for field in fields(self):
            bounds = field.metadata.get("bounds")
            value = getattr(self, field.name)
            if bounds and not bounds.allows(value):
                raise ValueError(f"{field.name} must be {bounds.meaning}, got {show(value)}")


@dataclass(frozen=True, kw_only=True)
class AlgorithmOptions(Checked):
    """What one algorithm reads besides what all have in common; each has its own subclass."""

    @property
    def adaptation_steps(self) -> int:
        """Adaptation steps K before the post-update episodes of a meta-batch; none unless said."""
        return 0

    def num_episodes(self, episodes_per_task: int) -> int:
        """Return the episodes E on each task in one block of a meta-batch."""
        return episodes_per_task

    def check_episodes(self, episodes_per_task: int) -> None:
        """Refuse a number of episodes in a block that the algorithm cannot learn from.

        Raises:
            ValueError: It is too small; the message says what is needed.
        """

    @classmethod
    def names(cls, *, free: bool = False) -> tuple[str, ...]:
        """Return the names of all options, or of those alone that can be chosen."""
        return tuple(field.name for field in fields(cls) if not (free and _is_fixed(field)))

    @classmethod
    def chosen_from(cls, values: Mapping[str, Value]) -> Self:
        """Build options from those values that this algorithm lets one choose.

        Args:
            values: By name; what the algorithm does not read is left out.

        Raises:
            ValueError: A value is not allowed.
        """
        return cls(**{name: values[name] for name in cls.names(free=True) if name in values})


def require_known(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse a name that is not known, by naming the nearest.

    Raises:
        ValueError: A name is unknown.
    """
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name)[:100], known, n=1, cutoff=0.0)
            raise ValueError(f"unknown {what} {show(name)}: nearest is {near[0]!r}")


def require_count(name: str, value: int) -> None:
    """Refuse a number of times that is none.

    Raises:
        ValueError: It is no integer, or below 0.
    """
    if not is_integer(value, 0, sys.maxsize):
        raise ValueError(f"{name} must be an integer, at least 0: got {show(value)}")


def docstrings(cls: type) -> dict[str, str]:
    """Return the text below every field of a dataclass and of its bases, by name, in one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (node,) = ast.parse(dedent(inspect.getsource(base))).body
        body = node.body if isinstance(node, ast.ClassDef) else []
        for statement, below in pairwise(body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[statement.target.id] = " ".join(str(below.value.value).split())
    return found
