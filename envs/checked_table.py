"""Values read from a table that people write: what is wrong is said in one line, with its place."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn

from metarobot.envs.checked_numbers import (
    LONGEST_VALUE,
    after_number,
    is_integer,
    is_number,
    show,
)
from metarobot.envs.task_parameter import Interval, TaskError


class VariantError(TaskError):
    """A variant is not what its family, or the format, allows."""


class CheckedTable:
    """One table of a document; every value is checked as it is read.

    Args:
        values: The table.
        names: Keys allowed in it.
        source: What the document is called in errors.
        path: Keys that lead to the table.
        kind: What a key is called.

    Raises:
        VariantError: A key is not allowed.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        names: Sequence[str],
        source: str,
        path: tuple[str, ...] = (),
        kind: str = "key",
    ) -> None:
        self._values, self._names = values, names
        self._source, self._path = source, path
        for key in values:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, n=1, cutoff=0.0)
                nearest = f", nearest is {near[0]!r}" if near else ""
                self.refuse(key, f"unknown {kind}{nearest}, allowed are {', '.join(names)}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def refuse(self, key: str, why: str, value: Any = None) -> NoReturn:
        """Refuse what stands at a key, or one value of several there.

        Raises:
            VariantError: Always; the message is one line with the key's path and the value.
        """
        shown = self._values.get(key) if value is None else value
        text = f" = {show(shown)}" if key in self._values else ""
        raise VariantError(f"{self._source}: {_dotted((*self._path, key))}{text}: {why}")

    def table(self, key: str, names: Sequence[str], kind: str = "key") -> CheckedTable:
        """Return the table at a key, an empty one where there is none."""
        values = self._values.get(key, {})
        if not isinstance(values, Mapping):
            self.refuse(key, f"must be a table with some of {', '.join(names)}")
        return CheckedTable(values, names, self._source, (*self._path, key), kind)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text of one line."""
        value = self._require(key, default)
        if not isinstance(value, str) or not value.isprintable():
            self.refuse(key, "must be text of one line in quotes")
        return value

    def choice(
        self, key: str, allowed: Sequence[str], also: Iterable[str] = (), way_out: str = ""
    ) -> str:
        """Return one of the names allowed; the long forms of ``also`` go without saying.

        A refusal of another name ends with ``way_out``.
        """
        if key not in self:
            self.refuse(key, f"is missing, must be one of {', '.join(allowed)}")
        value = self._values[key]
        if value not in (*allowed, *also):
            near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.0)
            why = f"must be one of {', '.join(allowed)}, nearest is {near[0]!r}"
            self.refuse(key, why + way_out)
        return value

    def number(self, key: str, low: float, high: float, unit: str = "1") -> float:
        """Return a number in [low, high]."""
        return self._number(key, self._require(key, None), low, high, unit)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Return an integer in [low, high]."""
        return self._integer(key, self._require(key, default), low, high)

    def numbers(self, key: str, low: float, high: float, unit: str) -> tuple[float, ...]:
        """Return a list of numbers, each in [low, high]."""
        return tuple(self._number(key, value, low, high, unit) for value in self._list(key))

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """Return a list of integers, each in [low, high]."""
        return tuple(self._integer(key, value, low, high) for value in self._list(key))

    def interval(self, key: str, allowed: Interval, unit: str) -> Interval:
        """Return a range [low, high] of numbers, both allowed."""
        return self._interval(key, self._require(key, None), allowed, unit)

    def intervals(self, key: str, allowed: Interval, unit: str) -> tuple[Interval, ...]:
        """Return ranges [[low, high], ...] that do not overlap, in order; none if not given."""
        if key not in self:
            return ()
        pairs = sorted(self._interval(key, value, allowed, unit) for value in self._list(key))
        for (_, high), (low, _) in pairwise(pairs):
            if low < high:
                self.refuse(key, "ranges must not overlap")
        return tuple(pairs)

    def _require(self, key: str, default: Any) -> Any:
        if key not in self._values and default is None:
            self.refuse(key, "is missing")
        return self._values.get(key, default)

    def _list(self, key: str) -> list[Any]:
        value = self._values[key]
        if not isinstance(value, list | tuple):
            self.refuse(key, "must be a list in square brackets")
        return list(value)

    def _number(self, key: str, value: Any, low: float, high: float, unit: str) -> float:
        if not is_number(value, low, high):
            text = f"must be a number in [{low:g}, {high:g}]{after_number(unit)}"
            self.refuse(key, text, value)
        return float(value)

    def _integer(self, key: str, value: Any, low: int, high: int) -> int:
        if not is_integer(value, low, high):
            self.refuse(key, f"must be an integer in [{low}, {high}]", value)
        return value

    def _interval(self, key: str, value: Any, allowed: Interval, unit: str) -> Interval:
        if not isinstance(value, list | tuple) or len(value) != 2:
            self.refuse(key, "a range must be [low, high]", value)
        low, high = (self._number(key, end, *allowed, unit) for end in value)
        if not low < high:
            self.refuse(key, "a range must be [low, high] with low < high", value)
        return low, high


def _dotted(path: Sequence[Any]) -> str:
    """Return a path as TOML writes it; a part with odd characters stands in quotes."""
    parts = (str(part)[:LONGEST_VALUE] for part in path)
    return ".".join(p if re.fullmatch(r"[\w-]+", p, re.ASCII) else json.dumps(p) for p in parts)
