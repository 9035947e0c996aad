"""Checks of numbers in options and files, and their values in errors."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

LONGEST_VALUE = 60
"""Characters of a value that an error shows."""


def is_integer(value: Any, least: float, most: float) -> bool:
    """Whether a value is an integer in [least, most], also NumPy's; true and false are none."""
    return _is_integral(value) and least <= value <= most


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether a value is a number in [low, high]; NaN, true and false are none."""
    return (isinstance(value, float) or _is_integral(value)) and low <= value <= high


def _is_integral(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def show(value: Any) -> str:
    """Return a value for an error, in one line that is not too long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or a deep nest
        text = f"{type(value).__name__} that is too long to show"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def after_number(unit: str) -> str:
    """Return a unit as it stands after a number, with the space before; nothing for a ratio."""
    return "" if unit in ("", "1") else f" {unit}"


def keep_plain_integers(values: Any) -> None:
    """Turn NumPy's integers in a frozen dataclass and its tuples into Python's, as JSON needs."""
    for name, value in [*vars(values).items()]:
        plain = tuple(map(_plain, value)) if isinstance(value, tuple) else _plain(value)
        if plain is not value:
            object.__setattr__(values, name, plain)


def _plain(value: Any) -> Any:
    return int(value) if _is_integral(value) and not isinstance(value, int) else value


def require_integers(values: Any, bounds: Mapping[str, tuple[int, int]]) -> None:
    """Check attributes that are integers.

    Args:
        values: What holds them.
        bounds: Least and most of each, by its name.

    Raises:
        ValueError: One is no such integer; the message names it, what is allowed and its value.
    """
    for name, (least, most) in bounds.items():
        value = getattr(values, name)
        if not is_integer(value, least, most):
            raise ValueError(f"{name} must be an integer in [{least}, {most}], got {show(value)}")
