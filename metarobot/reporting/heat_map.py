"""The heat map of an evaluation: return or success over two task parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from metarobot.evaluation.protocol import NEVER_ADAPTS
from metarobot.evaluation.table import Axis, Evaluation, GridMap, HeatMap
from metarobot.machine import extra
from metarobot.reporting.style import (
    FAINT,
    INK,
    REFERENCE_NOTES,
    STYLE,
    after_episodes,
    algorithm_title,
    colours,
    evaluation_title,
    in_unit,
    make_figure,
    number,
    panel_heading,
    parameter_label,
    parameter_words,
    percent,
    value_words,
    write_title,
)

with extra("train", "a figure"):
    import matplotlib as mpl
    import matplotlib.style
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import to_hex, to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

_SUCCESS = "#d0003c"
_MOST_COLUMNS = 4
_MOST_LEARNERS = 3
"""Most policies that adapt with a row of their own."""
# Map means closer than this part of the map's whole range are called equal.
_NO_DIFFERENCE = 0.01
_LOG_TICKS, _SHORT_LOG_TICKS, _SHORT_RATIO = (1.0, 3.0), (1.0, 1.5, 2.0, 3.0, 5.0), 5.0

_ABOVE_PX, _PANEL_PX, _BELOW_PX = 110, 150, 50  # header, a row with its words, footer
_ONLY_PANEL_PX = 230
_LEFT, _RIGHT = 0.09, 0.89
"""Edges of the maps: numbers of four digits and a sign have room beside them."""
_BETWEEN = 0.1
"""Room between two maps, in widths of a map."""


def heat_map(evaluation: Evaluation) -> Figure:
    """Draw the return over two task parameters, one panel an algorithm, one scale.

    The box is the training range, the hatched bands in it are held out of training, the red line
    surrounds the tasks in which at least half of the episodes succeed.

    Args:
        evaluation: The evaluation.

    Raises:
        ValueError: There is no map.
    """
    data = evaluation.heat_map
    if data is None or not data.maps:
        raise ValueError("the evaluation has no map to draw")
    rows = _rows(evaluation, data.maps)
    panels = [*chain.from_iterable(rows)]
    maps = [_matrix(panel.returns) for panel in panels]
    limits = colour_limits(maps)
    height_px = _ABOVE_PX + (_PANEL_PX * len(rows) if len(rows) > 1 else _ONLY_PANEL_PX)
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px)
        shape = len(rows), max(map(len, rows))
        grid = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
        top, bottom = 1 - _ABOVE_PX / height_px, _BELOW_PX / height_px
        figure.subplots_adjust(
            left=_LEFT, right=_RIGHT, top=top, bottom=bottom, wspace=_BETWEEN, hspace=0.6
        )
        gaps = {parameter.name: parameter.gaps for parameter in evaluation.task_parameters}
        gaps |= {axis.name: axis.gaps for axis in (data.x, data.y)}
        colour_of, mesh = colours(evaluation.learners), None
        for axes, panel, values in zip(_used_places(grid, rows), panels, maps, strict=True):
            mesh = _draw_map(axes, data, values, limits)
            _draw_success_line(axes, data, _matrix(panel.success))
            _draw_training_box(axes, data.x, data.y, gaps)
            heading, note = _heading(panel, evaluation, number(float(np.nanmean(values))))
            panel_heading(axes, heading, note, colour_of.get(panel.algorithm, INK))
        for axes in grid[:, 0]:
            axes.set_ylabel(parameter_label(data.y.name, data.y.unit))
        below = parameter_label(data.x.name, data.x.unit)
        figure.text((_LEFT + _RIGHT) / 2, 5 / height_px, below, ha="center", color=FAINT)
        assert mesh
        bar = figure.colorbar(
            mesh,
            cax=figure.add_axes((_RIGHT + 0.014, bottom, 0.014, top - bottom)),
            extend="min" if min(np.nanmin(m) for m in maps) < limits[0] else "neither",
        )
        bar.outline.set_visible(False)
        bar.set_label("return")
        keyed = {(p.algorithm, p.adaptation_episodes): m for p, m in zip(panels, maps, strict=True)}
        write_title(
            figure,
            _heat_map_title(evaluation, keyed),
            "Box: training range, hatched bands in it held out. "
            "Red line: half of the episodes succeed.",
        )
        return figure


def _rows(evaluation: Evaluation, maps: Sequence[GridMap]) -> list[list[GridMap]]:
    """Return the maps to draw, row by row.

    Several policies that adapt have a row each below that of the references; too many are drawn
    after the most episodes only.
    """
    order, learners = [policy.algorithm for policy in evaluation.policies], evaluation.learners
    maps = sorted(maps, key=lambda each: order.index(each.algorithm))
    if 1 < len(learners) <= _MOST_LEARNERS:
        references = [each for each in maps if each.algorithm not in learners]
        of_learners = [[each for each in maps if each.algorithm == name] for name in learners]
        rows = [row for row in [references, *of_learners] if row]
        return [part for row in rows for part in _rows_of(row, _MOST_COLUMNS)]
    if len(learners) > 1:
        most = max(each.adaptation_episodes for each in maps)
        maps = [m for m in maps if m.algorithm not in learners or m.adaptation_episodes == most]
    num_rows = math.ceil(len(maps) / _MOST_COLUMNS)
    return _rows_of(maps, math.ceil(len(maps) / num_rows))


def _rows_of(maps: Sequence[GridMap], num_columns: int) -> list[list[GridMap]]:
    """Return maps in rows of at most ``num_columns``."""
    starts = range(0, len(maps), num_columns)
    return [list(maps[start : start + num_columns]) for start in starts]


def _used_places(grid: np.ndarray, rows: Sequence[Sequence[GridMap]]) -> list[Axes]:
    """Return the places of all panels; hide the others, and number the lowest of each column."""
    for column in range(grid.shape[1]):
        used = [index for index, row in enumerate(rows) if column < len(row)]
        for index, axes in enumerate(grid[:, column]):
            axes.set_visible(index in used)
            axes.tick_params(labelbottom=index == used[-1])
    return [grid[i, j] for i, row in enumerate(rows) for j in range(len(row))]


def _heading(panel: GridMap, evaluation: Evaluation, mean: str) -> tuple[str, str]:
    """Return the heading of a panel and its note."""
    title = algorithm_title(panel.algorithm)
    if panel.algorithm not in evaluation.learners:
        note = REFERENCE_NOTES.get(panel.algorithm)
        return title, f"{note} · mean {mean}" if note else f"mean {mean}"
    stage = after_episodes(panel.adaptation_episodes)
    if len(evaluation.learners) > 1:
        return title, f"{stage}: {mean}"
    return stage, f"{title} · mean {mean}"


def _matrix(values: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Return a map (len(y), len(x)) with NaN where the evaluation has none."""
    return np.array(values, dtype=np.float64)


def colour_limits(maps: list[np.ndarray]) -> tuple[float, float]:
    """Return one scale for all maps; the worst 2 % share its end and do not stretch it."""
    values = np.concatenate([m[np.isfinite(m)] for m in maps])
    if values.size == 0:
        raise ValueError("the maps have no finite value")
    low, high = float(np.percentile(values, 2)), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def edges(values: Sequence[float], log: bool) -> np.ndarray:
    """Return the len(values) + 1 borders of the cells around the grid's values."""
    centres = np.log(values) if log else np.asarray(values, dtype=np.float64)
    if len(centres) < 2:
        raise ValueError(f"a heat map needs at least 2 values an axis, got {len(centres)}")
    middles = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - middles[0], 2 * centres[-1] - middles[-1]
    edges = np.concatenate([[first], middles, [last]])
    return np.exp(edges) if log else edges


def _draw_map(
    axes: Axes, data: HeatMap, values: np.ndarray, limits: tuple[float, float]
) -> QuadMesh:
    x, y = data.x, data.y
    mesh = axes.pcolormesh(
        edges(x.values, x.log),
        edges(y.values, y.log),
        np.ma.masked_invalid(values),
        cmap="viridis",
        vmin=limits[0],
        vmax=limits[1],
        rasterized=True,
    )
    axes.set_facecolor("#d9dce1")  # missing values
    for axis, side, name in ((axes.xaxis, x, "x"), (axes.yaxis, y, "y")):
        if side.log:
            axes.set(**{f"{name}scale": "log"})
            short = max(side.values) < _SHORT_RATIO * min(side.values)
            axis.set_major_locator(LogLocator(subs=_SHORT_LOG_TICKS if short else _LOG_TICKS))
            axis.set_minor_formatter(NullFormatter())
        else:
            axis.set_ticks(inner_ticks(*axis.get_view_interval()))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    for spine in axes.spines.values():
        spine.set_visible(False)
    return mesh


def _draw_success_line(axes: Axes, data: HeatMap, success: np.ndarray) -> None:
    if np.nanmin(success) < 0.5 < np.nanmax(success):
        x, y = data.x.values, data.y.values
        line = axes.contour(x, y, success, levels=[0.5], colors=[_SUCCESS], linewidths=2.0)
        line.set_path_effects([withStroke(linewidth=3.8, foreground="white")])


def _draw_training_box(
    axes: Axes, x: Axis, y: Axis, gaps: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    """Outline the training range, with its held-out bands dashed."""
    (x_low, x_high), (y_low, y_high) = x.train, y.train
    bands = [(low, y_low, high - low, y_high - y_low) for low, high in gaps.get(x.name, [])]
    bands += [(x_low, low, x_high - x_low, high - low) for low, high in gaps.get(y.name, [])]
    for left, bottom, width, height in bands:
        axes.add_patch(
            Rectangle(
                (left, bottom),
                width,
                height,
                facecolor="none",
                edgecolor=INK,
                hatch="////",
                hatchcolor=(*to_rgb(INK), 0.28),
                linestyle=(0, (3, 2)),
                linewidth=0.9,
            )
        )
    # Dark on white, so that the box shows on every colour of the map.
    box = Rectangle((x_low, y_low), x_high - x_low, y_high - y_low, fill=False)
    box.set(edgecolor=INK, linewidth=1.8, zorder=4)
    box.set_path_effects([withStroke(linewidth=3.8, foreground="white")])
    axes.add_patch(box)


def _heat_map_title(evaluation: Evaluation, maps: Mapping[tuple[str, int], np.ndarray]) -> str:
    """Return the picture's title: the adapted mean is better, worse, or about the same."""
    family = evaluation_title(evaluation)
    learners = {name for name, _ in maps if name in evaluation.learners}
    headline = evaluation.heat_map and evaluation.heat_map.headline
    if (NEVER_ADAPTS, 0) not in maps or len(learners) != 1 or headline is None:
        return f"{family}: return over the task parameters"
    (learner,) = learners
    never = float(np.nanmean(maps[NEVER_ADAPTS, 0]))
    adapted = float(np.nanmean(maps[learner, headline]))
    low, high = (bound(list(map(bound, maps.values()))) for bound in (np.nanmin, np.nanmax))
    title = algorithm_title(learner)
    verb = "beats" if adapted > never else "loses to"
    if abs(adapted - never) < _NO_DIFFERENCE * (high - low):
        verb = "equals"
    return (
        f"{family}: {title} {after_episodes(headline)} {verb} domain randomisation, "
        f"{number(adapted)} against {number(never)}"
    )


_LIGHT = 0.45
"""Luminance of a colour above which letters on it are dark."""
_NO_NUMBER = "#9aa1ad"


def page_heat_map(evaluation: Evaluation) -> dict[str, Any] | None:
    """Return the heat map for the report's template, None without one.

    Args:
        evaluation: The evaluation.
    """
    data = evaluation.heat_map
    if data is None or not data.maps:
        return None
    limits = colour_limits([_matrix(each.returns) for each in data.maps])
    order = [policy.algorithm for policy in evaluation.policies]
    x, y = data.x, data.y
    left, right = _inside(x, x.train)
    below, above = _inside(y, y.train)
    maps = []
    for each in sorted(data.maps, key=lambda each: order.index(each.algorithm)):
        learns = each.algorithm in evaluation.learners
        stage, note = after_episodes(each.adaptation_episodes), REFERENCE_NOTES.get(each.algorithm)
        rows = [  # from the highest value of y down
            [_cell(data, column, row, each, limits) for column in range(len(x.values))]
            for row in reversed(range(len(y.values)))
        ]
        title = algorithm_title(each.algorithm)
        maps.append({"title": title, "note": stage if learns else note or "", "rows": rows})
    return {
        "x_label": parameter_label(x.name, x.unit),
        "y_label": parameter_label(y.name, y.unit),
        "x_ticks": _ends(x),
        "y_ticks": _ends(y),
        # The training range in percent of a map: left, top, width, height.
        "box": (left, 100 - above, right - left, above - below),
        "gaps": " and ".join(filter(None, map(_gaps, (x, y)))),
        "scale": [_colour(share) for share in np.linspace(0, 1, 9).tolist()],
        "limits": [*map(number, limits)],
        "maps": maps,
    }


def _cell(
    data: HeatMap, column: int, row: int, drawn: GridMap, limits: tuple[float, float]
) -> dict[str, str]:
    """Return colours, success and figures of one task of a map."""
    values = ((data.x, column), (data.y, row))
    task = ", ".join(value_words(axis.name, axis.values[i], axis.unit) for axis, i in values)
    returned, success = drawn.returns[row][column], drawn.success[row][column]
    figures = f"{task}: success {percent(success)}, return {number(returned)}"
    if returned is None or success is None:
        return {"colour": _NO_NUMBER, "ink": "#000000", "success": "", "figures": figures}
    colour = _colour((returned - limits[0]) / (limits[1] - limits[0]))
    red, green, blue = to_rgb(colour)
    ink = "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > _LIGHT else "#ffffff"
    percentage = number(100 * success, 0)
    return {"colour": colour, "ink": ink, "success": percentage, "figures": figures}


def _colour(share: float) -> str:
    """Return the colour of a share of the scale, 0 to 1; lower shares are clipped."""
    return to_hex(mpl.colormaps["viridis"](min(max(share, 0.0), 1.0)))


def _inside(axis: Axis, values: Sequence[float]) -> list[float]:
    """Return the positions of values along an axis, in percent of its length."""
    ends = np.array(edges(axis.values, axis.log))[[0, -1]]
    scaled = [np.log(part) if axis.log else np.asarray(part) for part in (ends, values)]
    shares = (scaled[1] - scaled[0][0]) / (scaled[0][1] - scaled[0][0])
    return np.clip(100 * shares, 0, 100).round(2).tolist()


def _gaps(axis: Axis) -> str:
    ranges = [in_unit(f"{low:.3g} to {high:.3g}", axis.unit) for low, high in axis.gaps]
    return f"{parameter_words(axis.name, axis.unit)} {', '.join(ranges)}" if ranges else ""


def _ends(axis: Axis) -> tuple[str, str]:
    return f"{axis.values[0]:.3g}", f"{axis.values[-1]:.3g}"


_MOST_OFF_CENTRE = 0.44
"""Part of the axis at each end without ticks, where numbers of neighbouring panels would meet."""


def inner_ticks(low: float, high: float) -> np.ndarray:
    """Return about five round numbers between two ends, none of them near an end."""
    ticks = np.asarray(MaxNLocator(nbins=5, steps=(1, 2, 5, 10)).tick_values(low, high))
    return ticks[np.abs(ticks - (low + high) / 2) < _MOST_OFF_CENTRE * (high - low)]
