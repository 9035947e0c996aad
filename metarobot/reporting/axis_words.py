"""Values along the axes of a heat map, in words."""

from __future__ import annotations

from collections.abc import Sequence

from metarobot.evaluation.heat_map import Axis
from metarobot.reporting.style import in_unit, parameter_words


def axis_name(axis: Axis) -> str:
    """Return the task parameter's name for people: "block mass"."""
    return parameter_words(axis.name, axis.unit)


def axis_range(axis: Axis, values: Sequence[float], between: str = " to ") -> str:
    """Return the ends of values with their unit, one if they are the same: "0.05 to 1.8 kg"."""
    ends = dict.fromkeys((f"{values[0]:.3g}", f"{values[-1]:.3g}"))
    return in_unit(between.join(ends).replace("-", "\N{MINUS SIGN}"), axis.unit)


def axis_ends(axis: Axis, run: Sequence[int]) -> str:
    """Return a parameter with the ends of a run of its values: "a block mass of 0.05 to 1.8 kg"."""
    values = [axis.values[run[0]], axis.values[run[-1]]]
    words = axis_name(axis)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} of {axis_range(axis, values)}"
