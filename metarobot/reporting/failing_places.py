"""Where on a heat map a policy fails, as conditions on the two task parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from metarobot.evaluation.heat_map import Axis
from metarobot.reporting.axis_words import axis_ends, axis_name, axis_range
from metarobot.reporting.style import percent

ENOUGH = 0.5
"""Success that counts as working."""
_MOST_PLACES = 2
_MOST_OF_THE_MAP = 0.5
"""Part of the map that a place covers at most: a larger one would say nothing."""
_LEAST_FAILING = 0.5
"""Part of the tasks in a place that fail, at least: else the place is no place."""


class FailingPlace(NamedTuple):
    """Neighbouring tasks that fail, with the box around them."""

    rows: slice
    """Along y."""
    columns: slice
    """Along x."""
    num_failing: int
    """How many fail."""
    success: float
    """Mean success in the box."""


class Part(NamedTuple):
    """The part of a heat map where a policy holds on average over each parameter."""

    x: Axis
    """The axis that runs to the right."""
    y: Axis
    """The axis that runs upwards."""
    along_x: Sequence[int]
    """Which values of x, one after the other."""
    along_y: Sequence[int]
    """Which values of y."""
    success: np.ndarray
    """Success of each task, (len(along_y), len(along_x))."""


def exceptions(part: Part) -> str:
    """Say where in a part of a heat map a policy fails all the same; nothing if nowhere."""
    failing = part.success < ENOUGH
    places, total = _places(part.success, failing), int(failing.sum())
    rest = total - sum(place.num_failing for place in places)
    if total == 0:
        return ""
    if 2 * rest >= total:  # scattered: to name some places would hide the others
        return (
            f" on average, but fails at {total} of the {failing.size} tasks measured there, as "
            f"{_worst(part)}"
        )
    success = [f"{percent(place.success)} of the episodes succeed" for place in places[:1]]
    success += [percent(place.success) for place in places[1:]]
    told = [
        f"{_conditions(part, place)} ({words})"
        for place, words in zip(places, success, strict=True)
    ]
    besides = f", and at {rest} of {failing.size} tasks besides" if rest else ""
    return f", except where {' or where '.join(told)}{besides}"


def _places(success: np.ndarray, failing: np.ndarray) -> list[FailingPlace]:
    """Return the largest groups of neighbours that fail, each with the box around it.

    The box of a corner that is cut off obliquely holds some tasks that do not fail. To leave them
    out as well is on the safe side.
    """
    groups, found = np.zeros(failing.shape, np.int32), []
    ndimage.label(failing, structure=np.ones((3, 3)), output=groups)
    for number, box in enumerate(ndimage.find_objects(groups), start=1):
        size = int((groups == number).sum())
        if (
            failing[box].mean() >= _LEAST_FAILING
            and success[box].mean() < ENOUGH
            and failing[box].size <= _MOST_OF_THE_MAP * failing.size
        ):
            found.append(FailingPlace(box[0], box[1], size, float(success[box].mean())))
    return sorted(found, key=lambda place: -place.num_failing)[:_MOST_PLACES]


def _conditions(part: Part, place: FailingPlace) -> str:
    """Say where a place is: "the block mass is above 1.4 kg and the pad friction below 0.25"."""
    sides = (
        (part.x, _condition(part.x, part.along_x, place.columns)),
        (part.y, _condition(part.y, part.along_y, place.rows)),
    )
    told = [f"the {axis_name(axis)} {{}}{words}" for axis, words in sides if words]
    return " and ".join(told).replace("{}", "is ", 1).replace("{}", "")


def _condition(axis: Axis, along: Sequence[int], place: slice) -> str:
    """Say which values a place covers, by the nearest at which the policy holds."""
    below, above = (along[end] for end in (place.start, place.stop - 1))
    from_low, to_high = below == along[0], above == along[-1]
    low, high = (axis.values[max(below - 1, 0)], axis.values[min(above + 1, len(axis.values) - 1)])
    if from_low and to_high:
        return ""
    if from_low:
        return f"below {axis_range(axis, [high])}"
    if to_high:
        return f"above {axis_range(axis, [low])}"
    return f"between {axis_range(axis, [low, high], ' and ')}"


def _worst(part: Part) -> str:
    row, column = divmod(int(part.success.argmin()), part.success.shape[1])
    x, y = axis_ends(part.x, [part.along_x[column]]), axis_ends(part.y, [part.along_y[row]])
    return f"with {x} and {y}, where {percent(part.success[row, column])} of the episodes succeed"
