"""The heat map of an evaluation: return or success over two task parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from metarobot.algorithms import ALGORITHMS
from metarobot.reporting.style import (
    FAINT,
    INK,
    STYLE,
    adapting,
    algorithm_titles,
    colours,
    evaluation_title,
    make_figure,
    number,
    panel_heading,
    parameter_label,
    png_bytes,
    stage_name,
    write_title,
)

_SUCCESS = "#d0003c"
_MOST_COLUMNS = 4
# Map means closer than this part of the map's whole range are called equal.
_NO_DIFFERENCE = 0.01
_LOG_TICKS = (1.0, 3.0)

_LEFT, _RIGHT = 0.08, 0.89
"""Edges of the maps: numbers of three digits and a sign have room beside them."""


def heat_map(evaluation: dict[str, Any], quantity: str = "return") -> bytes:
    """Draw the return (or success) over two task parameters, one panel an algorithm, one scale.

    The box is the training range, the hatched bands in it are held out of training, the red line
    surrounds the tasks in which at least half of the episodes succeed.

    Args:
        evaluation: The evaluation, in the layout of evaluation.json.
        quantity: "return" or "success".

    Raises:
        ValueError: quantity is neither, or there is no map.
    """
    if quantity not in ("return", "success"):
        raise ValueError(f"quantity must be 'return' or 'success', got {quantity!r}")
    data = evaluation["heat_map"]
    panels_of = _panels(data["maps"])
    if not panels_of:
        raise ValueError("the evaluation has no map to draw")
    maps = {key: _matrix(entry[quantity]) for key, entry in panels_of.items()}
    num_rows = math.ceil(len(maps) / _MOST_COLUMNS)
    height_px = 110 + 330 * num_rows
    gaps = {p["name"]: p["gaps"] for p in evaluation["task_parameters"]}
    gaps |= {data[axis]["name"]: data[axis]["gaps"] for axis in "xy" if "gaps" in data[axis]}
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px)
        columns = min(len(maps), _MOST_COLUMNS)
        grid = figure.subplots(num_rows, columns, sharex=True, sharey=True, squeeze=False)
        top, bottom = 1 - 110 / height_px, 55 / height_px
        figure.subplots_adjust(
            left=_LEFT, right=_RIGHT, top=top, bottom=bottom, wspace=0.1, hspace=0.28
        )
        for place, axes in enumerate(grid.flat):
            axes.set_visible(place < len(maps))
            # The lowest panel of a column has the numbers, also above an empty place.
            axes.tick_params(labelbottom=place + columns >= len(maps))
        limits = (0.0, 1.0) if quantity == "success" else _colour_limits(list(maps.values()))
        meshes = []
        colour_of = colours(adapting(data["maps"]))
        for axes, (key, entry) in zip(grid.flat, panels_of.items(), strict=False):
            meshes.append(_draw_map(axes, data, maps[key], limits))
            _draw_success_line(axes, data, _matrix(entry["success"]))
            _draw_training_box(axes, data["x"], data["y"], gaps)
            heading, note = _heading(key, adapting(data["maps"]), evaluation)
            note += f"mean {number(float(np.nanmean(maps[key])))}"
            panel_heading(axes, heading, note, colour_of[key[0]])
        for axes in grid[:, 0]:
            axes.set_ylabel(parameter_label(data["y"]["name"], data["y"]["unit"]))
        figure.text(
            (_LEFT + _RIGHT) / 2,
            5 / height_px,
            parameter_label(data["x"]["name"], data["x"]["unit"]),
            ha="center",
            color=FAINT,
        )
        clipped = quantity == "return" and min(np.nanmin(m) for m in maps.values()) < limits[0]
        bar = figure.colorbar(
            meshes[0],
            cax=figure.add_axes((_RIGHT + 0.014, bottom, 0.014, top - bottom)),
            extend="min" if clipped else "neither",
        )
        bar.outline.set_visible(False)
        bar.set_label(quantity)
        write_title(
            figure,
            _heat_map_title(evaluation, maps, quantity),
            "Box: training range, hatched bands in it held out. "
            "Red line: half of the episodes succeed.",
        )
        return png_bytes(figure)


def _panels(maps: Sequence[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the maps that are drawn, by algorithm and adaptation steps.

    Where several adapt, each is shown after its last step alone.
    """
    learners = adapting(maps)
    last = max((entry["adaptation_steps"] for entry in maps), default=0)
    order = list(algorithm_titles())
    return {
        (entry["algorithm"], entry["adaptation_steps"]): entry
        for entry in sorted(maps, key=lambda entry: order.index(entry["algorithm"]))
        if len(learners) < 2
        or entry["algorithm"] not in learners
        or entry["adaptation_steps"] == last
    }


def _heading(
    key: tuple[str, int], learners: Sequence[str], evaluation: dict[str, Any]
) -> tuple[str, str]:
    """Return the heading of a panel and the beginning of what stands below it."""
    name, steps = key
    if name not in learners:
        note = "told the task" if ALGORITHMS[name].observes_task else "never adapts"
        return algorithm_titles()[name], f"{note} · "
    episodes = f"{steps * evaluation['episodes_per_adaptation_step']} episodes · "
    if len(learners) > 1:
        return algorithm_titles()[name], episodes
    return stage_name(steps), episodes


def _matrix(values: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Return a map (len(y), len(x)) with NaN where the evaluation has none."""
    return np.array(values, dtype=np.float64)


def _colour_limits(maps: list[np.ndarray]) -> tuple[float, float]:
    """Return one scale for all maps; the worst 2 % share its end, lest they use up the colours."""
    values = np.concatenate([m[np.isfinite(m)] for m in maps])
    if values.size == 0:
        raise ValueError("the maps hold no finite number")
    low, high = float(np.percentile(values, 2)), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _edges(values: Sequence[float], log: bool) -> np.ndarray:
    """Return the len(values) + 1 borders of the cells around the grid's values."""
    centres = np.log(values) if log else np.asarray(values, dtype=np.float64)
    if len(centres) < 2:
        raise ValueError(f"a heat map needs at least 2 values an axis, got {len(centres)}")
    middles = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - middles[0], 2 * centres[-1] - middles[-1]
    edges = np.concatenate([[first], middles, [last]])
    return np.exp(edges) if log else edges


def _draw_map(
    axes: Axes, data: dict[str, Any], values: np.ndarray, limits: tuple[float, float]
) -> QuadMesh:
    x, y = data["x"], data["y"]
    mesh = axes.pcolormesh(
        _edges(x["values"], x["log"]),
        _edges(y["values"], y["log"]),
        np.ma.masked_invalid(values),
        cmap="viridis",
        vmin=limits[0],
        vmax=limits[1],
        rasterized=True,
    )
    axes.set_facecolor("#d9dce1")  # where there is no number
    if x["log"]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=_LOG_TICKS))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if y["log"]:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=_LOG_TICKS))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    for spine in axes.spines.values():
        spine.set_visible(False)
    return mesh


def _draw_success_line(axes: Axes, data: dict[str, Any], success: np.ndarray) -> None:
    if np.nanmin(success) < 0.5 < np.nanmax(success):
        x, y = data["x"]["values"], data["y"]["values"]
        line = axes.contour(x, y, success, levels=[0.5], colors=[_SUCCESS], linewidths=2.0)
        line.set_path_effects([withStroke(linewidth=3.8, foreground="white")])


def _draw_training_box(
    axes: Axes, x: dict[str, Any], y: dict[str, Any], gaps: dict[str, Sequence[Sequence[float]]]
) -> None:
    """Outline the training range, with the bands in it that training leaves out dashed."""
    (x_low, x_high), (y_low, y_high) = x["train"], y["train"]
    bands = [(low, y_low, high - low, y_high - y_low) for low, high in gaps.get(x["name"], [])]
    bands += [(x_low, low, x_high - x_low, high - low) for low, high in gaps.get(y["name"], [])]
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


def _heat_map_title(
    evaluation: dict[str, Any], maps: dict[tuple[str, int], np.ndarray], quantity: str
) -> str:
    """Say what the picture shows: its mean is better, worse, or about the same."""
    family = evaluation_title(evaluation)
    stepped = [key for key in maps if key[1] == 1]
    if ("domain_randomisation", 0) not in maps or len(stepped) != 1:
        return f"{family}: {quantity} over the task parameters"
    never = float(np.nanmean(maps["domain_randomisation", 0]))
    adapted = float(np.nanmean(maps[stepped[0]]))
    low, high = (bound(list(map(bound, maps.values()))) for bound in (np.nanmin, np.nanmax))
    verb = "beats" if adapted > never else "loses to"
    if abs(adapted - never) < _NO_DIFFERENCE * (high - low):
        verb = "equals"
    return (
        f"{family}: one adaptation step {verb} domain randomisation, "
        f"{number(adapted)} against {number(never)}"
    )
