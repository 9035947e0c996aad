"""The heat map of a page: figures show on hovering, tapping or by the arrow keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex

from metarobot.evaluation.heat_map import Axis, GridMap, HeatMap
from metarobot.evaluation.result import Evaluation
from metarobot.reporting.heat_map import colour_limits, edges
from metarobot.reporting.style import (
    REFERENCE_NOTES,
    after_episodes,
    algorithm_title,
    in_unit,
    number,
    parameter_label,
    parameter_words,
    percent,
    value_words,
)

_LIGHT = 0.45
"""Luminance of a colour above which letters on it are dark."""
_NO_NUMBER = "#9aa1ad"


@dataclass(frozen=True)
class MapCell:
    """One task of a map."""

    colour: str
    ink: str
    success: str
    """Success in percent, without the sign."""
    figures: str
    """The task and what was reached on it, in words."""


@dataclass(frozen=True)
class PageMap:
    """What one policy reaches over two task parameters."""

    title: str
    note: str
    rows: Sequence[Sequence[MapCell]]
    """From the highest value of the vertical parameter down."""


@dataclass(frozen=True)
class PageHeatMap:
    """All maps, on one scale of colours."""

    x_label: str
    y_label: str
    x_ticks: Sequence[str]
    """The lowest and the highest value."""
    y_ticks: Sequence[str]
    box: Sequence[float]
    """Where the training range is, in percent of a map: left, top, width, height."""
    gaps: str
    """What is held out of the training range, in words."""
    scale: Sequence[str]
    """Colours from the lowest to the highest return."""
    limits: Sequence[str]
    """The returns that they stand for."""
    maps: Sequence[PageMap]


def page_heat_map(evaluation: Evaluation) -> PageHeatMap | None:
    """Return the heat map for a page, None where there is none.

    Args:
        evaluation: The evaluation.
    """
    data = evaluation.heat_map
    if data is None or not data.maps:
        return None
    low, high = colour_limits([np.array(each.returns, dtype=np.float64) for each in data.maps])
    order = [policy.algorithm for policy in evaluation.policies]
    maps = sorted(data.maps, key=lambda each: order.index(each.algorithm))
    x, y = data.x, data.y
    left, right = _inside(x, x.train)
    below, above = _inside(y, y.train)
    return PageHeatMap(
        x_label=parameter_label(x.name, x.unit),
        y_label=parameter_label(y.name, y.unit),
        x_ticks=_ends(x),
        y_ticks=_ends(y),
        box=(left, 100 - above, right - left, above - below),
        gaps=" and ".join(filter(None, map(_gaps, (x, y)))),
        scale=[_colour(share) for share in np.linspace(0, 1, 9).tolist()],
        limits=(number(low), number(high)),
        maps=[_page_map(evaluation, data, each, low, high) for each in maps],
    )


def _page_map(
    evaluation: Evaluation, data: HeatMap, each: GridMap, low: float, high: float
) -> PageMap:
    learns = each.algorithm in evaluation.learners
    note = REFERENCE_NOTES.get(each.algorithm, "")
    rows = [
        [
            _cell(data, place, each.returns[row][column], each.success[row][column], low, high)
            for column in range(len(data.x.values))
            for place in [(column, row)]
        ]
        for row in reversed(range(len(data.y.values)))
    ]
    return PageMap(
        title=algorithm_title(each.algorithm),
        note=after_episodes(each.adaptation_episodes) if learns else note,
        rows=rows,
    )


def _cell(
    data: HeatMap,
    place: tuple[int, int],
    returned: float | None,
    success: float | None,
    low: float,
    high: float,
) -> MapCell:
    values = zip((data.x, data.y), place, strict=True)
    task = ", ".join(value_words(axis.name, axis.values[i], axis.unit) for axis, i in values)
    figures = f"{task}: success {percent(success)}, return {number(returned)}"
    if returned is None or success is None:
        return MapCell(_NO_NUMBER, "#000000", "", figures)
    colour = _colour((returned - low) / (high - low))
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    dark = 0.299 * red + 0.587 * green + 0.114 * blue > _LIGHT
    return MapCell(colour, "#000000" if dark else "#ffffff", number(100 * success, 0), figures)


def _colour(share: float) -> str:
    """Return the colour of a share of the scale, 0 to 1; lower ones have its end's."""
    return to_hex(mpl.colormaps["viridis"](min(max(share, 0.0), 1.0)))


def _inside(axis: Axis, values: Sequence[float]) -> list[float]:
    """Return where values lie along an axis, in percent of its length."""
    ends = np.array(edges(axis.values, axis.log))[[0, -1]]
    scaled = [np.log(part) if axis.log else np.asarray(part) for part in (ends, values)]
    shares = (scaled[1] - scaled[0][0]) / (scaled[0][1] - scaled[0][0])
    return np.clip(100 * shares, 0, 100).round(2).tolist()


def _gaps(axis: Axis) -> str:
    ranges = [in_unit(f"{low:.3g} to {high:.3g}", axis.unit) for low, high in axis.gaps]
    return f"{parameter_words(axis.name, axis.unit)} {', '.join(ranges)}" if ranges else ""


def _ends(axis: Axis) -> tuple[str, str]:
    return f"{axis.values[0]:.3g}", f"{axis.values[-1]:.3g}"
