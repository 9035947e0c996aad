"""Where a policy still works, in a sentence: how far its success reaches on the heat map."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from metarobot.evaluation.curve import headline_episodes
from metarobot.evaluation.heat_map import Axis, GridMap, HeatMap
from metarobot.evaluation.references import in_order
from metarobot.evaluation.result import Evaluation
from metarobot.reporting.axis_words import axis_ends, axis_range
from metarobot.reporting.failing_places import ENOUGH, Part, exceptions
from metarobot.reporting.style import (
    after_episodes,
    algorithm_title,
)


def where_they_hold(evaluation: Evaluation) -> list[str]:
    """Say for every learner how far from the training range it works, as measured on the heat map.

    It works at a value of a parameter if half of the episodes succeed, over all values of the other
    parameter in the training range. Where both parameters together are too much for it, as in a
    corner of the map, is said besides.

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
    # Where nothing could be measured, nothing holds.
    x, y, success = heat_map.x, heat_map.y, np.nan_to_num(np.array(drawn.success, dtype=float))
    along_x = _works(x, success[_in_training(y)].mean(0))
    along_y = _works(y, success[:, _in_training(x)].mean(1))
    if not (along_x and along_y):
        return f"{who} fails in more than half of the episodes within the training range already."
    part = Part(x, y, along_x, along_y, success[np.ix_(along_y, along_x)])
    but = exceptions(part)
    where = f"{axis_ends(x, along_x)} and {axis_ends(y, along_y)}"
    if len(along_x) == len(x.values) and len(along_y) == len(y.values):
        everything = f"{who} holds over all that was measured"
        return f"{everything}{but}. Measured were {where}." if but else f"{everything}: {where}."
    measured = " and ".join(axis_range(axis, axis.values) for axis in (x, y))
    return (
        f"{who} holds for {where}{but}. Measured were {measured}; beyond, less than half of the "
        "episodes succeed on average."
    )


def _works(axis: Axis, success: np.ndarray) -> list[int]:
    """Return the longest run of values with enough success that reaches into the training range."""
    edges = [-1, *np.flatnonzero(~(success >= ENOUGH)).tolist(), len(success)]
    runs = [[*range(before + 1, after)] for before, after in pairwise(edges)]
    trained = {*_in_training(axis)}
    return max((run for run in runs if trained & {*run}), key=len, default=[])


def _in_training(axis: Axis) -> list[int]:
    """Return which values of an axis lie in the training range."""
    low, high = axis.train
    return [index for index, value in enumerate(axis.values) if low <= value <= high]
