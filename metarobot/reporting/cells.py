"""Cells of tables: a number, and its interval."""

from __future__ import annotations

from typing import NamedTuple

from metarobot.evaluation.statistics import Interval
from metarobot.reporting.style import interval, number, percent, percent_interval


class Cell(NamedTuple):
    """What a table shows of a number."""

    value: str
    """The number, a dash where there is none."""
    interval: str
    """Its bounds in brackets, nothing where there is none."""

    @classmethod
    def of(cls, found: Interval | None) -> Cell:
        """Write a number with two digits after the point."""
        return cls(number(found and found.value), interval(found))

    @classmethod
    def in_percent(cls, found: Interval | None) -> Cell:
        """Write a fraction in percent."""
        return cls(percent(found and found.value), percent_interval(found))
