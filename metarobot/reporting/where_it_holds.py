"""Where a policy still works, in one sentence: how far its success reaches on the heat map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from metarobot.evaluation.curve import headline_episodes
from metarobot.evaluation.heat_map import Axis, GridMap, HeatMap
from metarobot.evaluation.references import in_order
from metarobot.evaluation.result import Evaluation
from metarobot.reporting.style import (
    after_episodes,
    algorithm_title,
    in_unit,
    parameter_words,
    percent,
)

ENOUGH = 0.5
"""Success that counts as working."""


def where_they_hold(evaluation: Evaluation) -> list[str]:
    """Say for every learner how far from the training range it works, as measured on the heat map.

    It works at a value of a parameter if half of the episodes succeed, over all values of the other
    parameter in the training range.

    Args:
        evaluation: The evaluation; without a heat map there is nothing to say.
    """
    heat_map = evaluation.heat_map
    if heat_map is None or not all(map(_in_training, (heat_map.x, heat_map.y))):
        return []  # no map, or one so coarse that it skips the training range
    sentences = []
    for name in in_order(evaluation.learners):
        maps = {m.adaptation_episodes: m for m in heat_map.maps if m.algorithm == name}
        number = headline_episodes(maps)
        if number is not None:
            sentences.append(_sentence(heat_map, maps[number]))
    return sentences


def _sentence(heat_map: HeatMap, drawn: GridMap) -> str:
    who = f"{after_episodes(drawn.adaptation_episodes).capitalize()}, "
    who += algorithm_title(drawn.algorithm)
    x, y, success = heat_map.x, heat_map.y, np.array(drawn.success, dtype=float)  # (Y, X)
    along_x = _works(x, success[_in_training(y)].mean(0))
    along_y = _works(y, success[:, _in_training(x)].mean(1))
    if not (along_x and along_y):
        return f"{who} fails in more than half of the episodes within the training range already."
    where = f"{_ends(x, along_x)} and {_ends(y, along_y)}"
    weak_spot = _weak_spot(heat_map, success, along_x, along_y)
    if len(along_x) == len(x.values) and len(along_y) == len(y.values):
        return f"{who} holds over all that was measured: {where}{weak_spot}."
    measured = " and ".join(_range(axis, axis.values) for axis in (x, y))
    return (
        f"{who} holds for {where}{weak_spot}. Measured were {measured}; beyond, less than half of "
        "the episodes succeed."
    )


def _works(axis: Axis, success: np.ndarray) -> list[int]:
    """Return the longest run of values with enough success that reaches into the training range."""
    edges = [-1, *np.flatnonzero(~(success >= ENOUGH)).tolist(), len(success)]
    runs = [[*range(before + 1, after)] for before, after in pairwise(edges)]
    trained = {*_in_training(axis)}
    return max((run for run in runs if trained & {*run}), key=len, default=[])


def _weak_spot(
    heat_map: HeatMap, success: np.ndarray, along_x: list[int], along_y: list[int]
) -> str:
    """Say where in this rectangle it works least, if there most episodes fail."""
    part = success[np.ix_(along_y, along_x)]
    row, column = np.unravel_index(part.argmin(), part.shape)
    if part[row, column] >= ENOUGH:
        return ""
    x, y = heat_map.x, heat_map.y
    place = f"{_ends(x, [along_x[column]])} and {_ends(y, [along_y[row]])}"
    return f"; weakest at {place}, where {percent(part[row, column])} of the episodes succeed"


def _in_training(axis: Axis) -> list[int]:
    """Return which values of an axis lie in the training range."""
    low, high = axis.train
    return [index for index, value in enumerate(axis.values) if low <= value <= high]


def _ends(axis: Axis, run: Sequence[int]) -> str:
    """Return a parameter with the ends of a run of its values."""
    values = [axis.values[run[0]], axis.values[run[-1]]][: len(run)]
    words = parameter_words(axis.name, axis.unit)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} of {_range(axis, values)}"


def _range(axis: Axis, values: Sequence[float]) -> str:
    ends = dict.fromkeys((f"{values[0]:.3g}", f"{values[-1]:.3g}"))
    return in_unit(" to ".join(ends).replace("-", "\N{MINUS SIGN}"), axis.unit)
