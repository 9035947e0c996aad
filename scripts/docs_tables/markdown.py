"""Markdown tables, and how numbers are written in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from metarobot.evaluation.statistics import Interval

PENDING = "_No committed result yet: the commands on this page make it._"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number_text(value: Any) -> str:
    """Return a number with four digits, or a pair as "low to high"."""
    if isinstance(value, tuple):
        return " to ".join(map(number_text, value))
    return f"{value:.4g}"


def ranges(pairs: Iterable[tuple[float, float]]) -> str:
    """Return ranges as text, "none" if there is none."""
    return ", ".join(f"{number_text(low)} to {number_text(high)}" for low, high in pairs) or "none"


def rate_text(rate: float | None) -> str:
    """Return a success rate, empty where it was not measured."""
    return "" if rate is None else f"{rate:.2f}"


def with_interval(interval: Interval | None) -> str:
    """Return a value with its interval, a dash where there is none."""
    if interval is None:
        return "-"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def captured_text(share: Interval | None) -> str:
    """Return the fraction captured, or a dash where it would say nothing."""
    if share is None:
        return "-"
    return f"**{share.value:.2f}** [{share.low:.2f}, {share.high:.2f}]"
