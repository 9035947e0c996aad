"""The task parameters as sliders: where they end, and which values were trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metarobot.envs import TaskDistribution, TaskError, TaskParameter, nearest_name, parameter_words
from metarobot.envs.task_parameter import Interval

Place = Literal["trained", "gap", "beyond"]
PLACE_WORDS: dict[Place, str] = {
    "trained": "trained on",
    "gap": "in a gap of training",
    "beyond": "beyond training",
}
"""Where a value lies, in words."""


@dataclass(frozen=True, kw_only=True)
class Slider:
    """One task parameter that a person can set."""

    name: str
    """Its identifier."""
    words: str
    """Its name for people."""
    unit: str
    """Unit in which values are shown; empty for a ratio."""
    shown_per_value: float
    """Factor by which a value is multiplied to be shown in that unit."""
    description: str
    """What it is."""
    low: float
    """Lowest value."""
    high: float
    """Highest value."""
    log: bool
    """Whether its way is even on a logarithmic scale."""
    choices: tuple[float, ...]
    """The only values there are; any value where empty."""
    trained: tuple[Interval, ...]
    """Intervals trained on."""

    def clip(self, value: float) -> float:
        """Return the nearest value that there is."""
        if self.choices:
            return min(self.choices, key=lambda choice: abs(choice - value))
        return min(max(value, self.low), self.high)

    def place(self, value: float) -> Place:
        """Return whether a value was trained on."""
        if any(low <= value <= high for low, high in self.trained):
            return "trained"
        inside = self.trained[0][0] < value < self.trained[-1][1]
        return "gap" if inside and not self.choices else "beyond"


def make_sliders(
    trained: TaskDistribution, played: TaskDistribution, task: Mapping[str, float]
) -> tuple[Slider, ...]:
    """Return a slider for every parameter that tasks differ in.

    Args:
        trained: What the policy was trained on.
        played: What it is played on: its own, or that of a variant.
        task: Where the sliders stand in the beginning.
    """
    pairs = ((trained[name], played[name]) for name in played.names)
    made = (_make(was, now, task[now.name]) for was, now in pairs)
    return tuple(slider for slider in made if slider.low < slider.high)


def _make(trained: TaskParameter, played: TaskParameter, value: float) -> Slider:
    edges = [value]
    for parameter in (trained, played):
        edges += [edge for pair in (parameter.train, *parameter.extrapolation) for edge in pair]
    low, high = max(min(edges), played.allowed[0]), min(max(edges), played.allowed[1])
    unit, shown_per_value = _shown_in(played.unit, max(abs(low), abs(high)))
    return Slider(
        name=played.name,
        words=parameter_words(played.name, played.unit),
        unit=unit,
        shown_per_value=shown_per_value,
        description=played.description,
        low=low,
        high=high,
        log=played.log_uniform,
        choices=played.choices,
        trained=tuple(sorted(trained.intervals("train"))),
    )


def _shown_in(unit: str, largest: float) -> tuple[str, float]:
    """Return the unit that people read a parameter in, and how many of it its own unit is."""
    if unit == "m" and largest < _SHORT_M:
        return "mm", 1000.0
    return "" if unit == "1" else unit, 1.0


_SHORT_M = 0.1
"""Length below which all lengths of a parameter are shown in millimetres."""


def read_values(sliders: tuple[Slider, ...], values: Any) -> dict[str, float]:
    """Return what somebody wants the sliders to be, each value clipped to its slider's.

    Raises:
        TaskError: It is no mapping of sliders' names to finite numbers.
    """
    if not isinstance(values, Mapping):
        raise TaskError(f"values must be a mapping of names to numbers, got {str(values)[:40]!r}")
    known = {slider.name: slider for slider in sliders}
    read = {}
    for name, value in values.items():
        if name not in known:
            raise TaskError(
                f"no slider {str(name)[:40]!r}, allowed: {', '.join(known)}"
                f"{nearest_name(name, known)}"
            )
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not abs(value) < math.inf:
            raise TaskError(f"{name} must be a finite number, got {str(value)[:40]!r}")
        read[name] = known[name].clip(float(value))
    return read
