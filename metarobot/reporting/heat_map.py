"""The heat map of an evaluation: return or success over two task parameters."""

from __future__ import annotations

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

from metarobot.reporting.style import (
    ALGORITHM_COLOURS,
    FAINT,
    INK,
    STYLE,
    algorithm_title,
    evaluation_title,
    make_figure,
    number,
    panel_heading,
    parameter_label,
    png_bytes,
    write_title,
)

_SUCCESS = "#d0003c"
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
        ValueError: quantity is neither, or no known algorithm has a map.
    """
    if quantity not in ("return", "success"):
        raise ValueError(f"quantity must be 'return' or 'success', got {quantity!r}")
    data = evaluation["heat_map"]
    algorithms = [
        algorithm
        for algorithm in _heat_map_algorithms(evaluation)
        if algorithm in data["algorithms"]
    ]
    if not algorithms:
        raise ValueError(
            f"no map of a known algorithm; the evaluation has {sorted(data['algorithms'])}"
        )
    maps = {algorithm: _matrix(data["algorithms"][algorithm][quantity]) for algorithm in algorithms}
    gaps = {p["name"]: p["gaps"] for p in evaluation["task_parameters"]}
    gaps |= {data[axis]["name"]: data[axis]["gaps"] for axis in "xy" if "gaps" in data[axis]}
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px=440)
        panels = figure.subplots(1, len(algorithms), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(left=_LEFT, right=_RIGHT, top=0.75, bottom=0.125, wspace=0.1)
        limits = (0.0, 1.0) if quantity == "success" else _colour_limits(list(maps.values()))
        meshes = []
        for axes, algorithm in zip(panels, algorithms, strict=True):
            meshes.append(_draw_map(axes, data, maps[algorithm], limits))
            _draw_success_line(axes, data, _matrix(data["algorithms"][algorithm]["success"]))
            _draw_training_box(axes, data["x"], data["y"], gaps)
            _algorithm_heading(
                axes, algorithm, maps[algorithm], evaluation["episodes_per_adaptation_step"]
            )
        panels[0].set_ylabel(parameter_label(data["y"]["name"], data["y"]["unit"]))
        figure.text(
            (_LEFT + _RIGHT) / 2,
            0.012,
            parameter_label(data["x"]["name"], data["x"]["unit"]),
            ha="center",
            color=FAINT,
        )
        clipped = quantity == "return" and min(np.nanmin(m) for m in maps.values()) < limits[0]
        bar = figure.colorbar(
            meshes[0],
            cax=figure.add_axes((_RIGHT + 0.014, 0.125, 0.014, 0.625)),
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


def _heat_map_algorithms(evaluation: dict[str, Any]) -> list[str]:
    steps = range(evaluation["num_adaptation_steps"] + 1)
    return ["domain_randomisation", *(f"adapted_{step}" for step in steps), "oracle"]


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


def _algorithm_heading(
    axes: Axes, algorithm: str, values: np.ndarray, episodes_per_step: int
) -> None:
    name, _, steps = (
        algorithm.partition("_") if algorithm.startswith("adapted_") else (algorithm, "", "")
    )
    notes = {"domain_randomisation": "never adapts", "oracle": "told the task"}
    note = notes.get(name, "")
    heading = algorithm_title(name)
    if steps:
        heading = (
            "before adapting" if steps == "0" else f"after {steps} step" + "s" * (steps != "1")
        )
        note = f"{int(steps) * episodes_per_step} episodes"
    note = f"{note} · mean {number(float(np.nanmean(values)))}"
    panel_heading(axes, heading, note, ALGORITHM_COLOURS[name])


def _heat_map_title(evaluation: dict[str, Any], maps: dict[str, np.ndarray], quantity: str) -> str:
    """Say what the picture shows: its mean is better, worse, or about the same."""
    family = evaluation_title(evaluation)
    if not {"domain_randomisation", "adapted_1"} <= maps.keys():
        return f"{family}: {quantity} over the task parameters"
    never = float(np.nanmean(maps["domain_randomisation"]))
    adapted = float(np.nanmean(maps["adapted_1"]))
    low, high = (bound(list(map(bound, maps.values()))) for bound in (np.nanmin, np.nanmax))
    verb = "beats" if adapted > never else "loses to"
    if abs(adapted - never) < _NO_DIFFERENCE * (high - low):
        verb = "equals"
    return (
        f"{family}: one adaptation step {verb} domain randomisation, "
        f"{number(adapted)} against {number(never)}"
    )
