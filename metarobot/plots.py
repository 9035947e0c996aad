"""The pictures of an evaluation: adaptation curve, heat map and training curve, as PNG files.

Every picture is 1800 pixels wide and meant to be shown at 900. The same evaluation gives the same
bytes: no date, path or version goes into the file, and matplotlib's global state is left alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

from metarobot.envs import parameter_words
from metarobot.statistics import captured_is_meaningful

SPLIT_TITLES = {
    "train": "Training",
    "interpolation": "Interpolation",
    "extrapolation": "Extrapolation",
}
SPLIT_NOTES = {
    "train": "new tasks from the training range",
    "interpolation": "gaps in it, never trained on",
    "extrapolation": "beyond it, never trained on",
}
AGENT_NAMES = {
    "random": "random",
    "domain_randomisation": "domain randomisation",
    "adapted": "adapted",
    "oracle": "oracle",
}
# Okabe and Ito's palette, which stays apart for colour-blind readers.
AGENT_COLOURS = {
    "random": "#7a7a7a",
    "domain_randomisation": "#c65400",
    "adapted": "#0072b2",
    "oracle": "#007f5f",
}
_INK, _FAINT = "#1d2433", "#68707f"
_SUCCESS = "#d0003c"
_DPI = 200
# Map means closer than this part of the map's whole range are called equal.
_NO_DIFFERENCE = 0.01
_LOG_TICKS = (1.0, 3.0)
_STYLE = {
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": "#9aa1ad",
    "axes.labelcolor": _FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": "#9aa1ad",
    "ytick.color": "#9aa1ad",
    "xtick.labelcolor": _FAINT,
    "ytick.labelcolor": _FAINT,
    "hatch.linewidth": 0.6,
}


def parameter_label(name: str, unit: str) -> str:
    """Return a task parameter's name for people: ("block_mass_kg", "kg") -> "block mass [kg]"."""
    words = parameter_words(name, unit)
    return f"{words} [{unit}]" if unit not in ("", "1", "-") else words


def family_title(family: str) -> str:
    """Return an environment id's name for people: "metarobot/Grip-v0" -> "Grip"."""
    return family.rpartition("/")[2].partition("-v")[0]


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with a real minus sign, or an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0.0 else text.replace("-", "−")


def percent(value: float | None) -> str:
    """Write a fraction as a percentage, or an en dash where there is none."""
    return (
        "–"
        if value is None or not math.isfinite(value)
        else f"{number(100 * value, 0)}\N{NO-BREAK SPACE}%"
    )


def adaptation_curve(evaluation: dict[str, Any], path: Path) -> None:
    """Draw the return after 0, 1, ..., K adaptation steps, one panel a split.

    Bands are 95 % bootstrap intervals, horizontal lines the reference agents, percentages the
    fraction of the headroom captured. The returns are those of deterministic episodes.

    Args:
        evaluation: The evaluation, in the layout of evaluation.json.
        path: The PNG to write.

    Raises:
        ValueError: The evaluation has no deterministic rows.
    """
    rows = [row for row in evaluation["rows"] if not row["exploration"]]
    splits = [split for split in SPLIT_TITLES if any(row["split"] == split for row in rows)]
    if not splits:
        raise ValueError("the evaluation has no rows of deterministic episodes to draw")
    with matplotlib.style.context(["default", _STYLE]):
        figure = _figure(height_px=410)
        panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(left=0.072, right=0.838, top=0.735, bottom=0.16, wspace=0.08)
        low, high = _return_limits(rows)
        for axes, split in zip(panels, splits, strict=True):
            split_rows = [row for row in rows if row["split"] == split]
            _draw_references(axes, split_rows)
            _draw_adapted(axes, split_rows, _captured(evaluation, split))
            _panel_heading(axes, SPLIT_TITLES[split], SPLIT_NOTES[split], _INK)
        panels[0].set_ylim(low, high)
        panels[0].set_ylabel("return")
        last = [row for row in rows if row["split"] == splits[-1]]
        _label_ends(panels[-1], _end_labels(last, low), 410)
        panels[len(splits) // 2].set_xlabel("adaptation steps (episodes used)")
        _title(
            figure,
            f"{family_title(evaluation['family'])}: return after each adaptation step",
            "Deterministic episodes, bands are 95 % intervals. "
            "Percentages: fraction of the headroom captured.",
        )
        _save(figure, path)


def heat_map(evaluation: dict[str, Any], path: Path, quantity: str = "return") -> None:
    """Draw the return (or success) over two task parameters, one panel an agent, one scale.

    The box is the training range, the hatched bands in it are held out of training, the red line
    surrounds the tasks in which at least half of the episodes succeed.

    Args:
        evaluation: The evaluation, in the layout of evaluation.json.
        path: The PNG to write.
        quantity: "return" or "success".

    Raises:
        ValueError: quantity is neither, or no known agent has a map.
    """
    if quantity not in ("return", "success"):
        raise ValueError(f"quantity must be 'return' or 'success', got {quantity!r}")
    data = evaluation["heat_map"]
    agents = [agent for agent in _heat_map_agents(evaluation) if agent in data["agents"]]
    if not agents:
        raise ValueError(f"no map of a known agent; the evaluation has {sorted(data['agents'])}")
    maps = {agent: _matrix(data["agents"][agent][quantity]) for agent in agents}
    gaps = {p["name"]: p["gaps"] for p in evaluation["task_parameters"]}
    with matplotlib.style.context(["default", _STYLE]):
        figure = _figure(height_px=440)
        panels = figure.subplots(1, len(agents), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(left=0.062, right=0.905, top=0.75, bottom=0.125, wspace=0.1)
        limits = (0.0, 1.0) if quantity == "success" else _colour_limits(list(maps.values()))
        meshes = []
        for axes, agent in zip(panels, agents, strict=True):
            meshes.append(_draw_map(axes, data, maps[agent], limits))
            _draw_success_line(axes, data, _matrix(data["agents"][agent]["success"]))
            _draw_training_box(axes, data["x"], data["y"], gaps)
            _agent_heading(axes, agent, maps[agent], evaluation["episodes_per_adaptation_step"])
        panels[0].set_ylabel(parameter_label(data["y"]["name"], data["y"]["unit"]))
        figure.text(
            (0.062 + 0.905) / 2,
            0.012,
            parameter_label(data["x"]["name"], data["x"]["unit"]),
            ha="center",
            color=_FAINT,
        )
        clipped = quantity == "return" and min(np.nanmin(m) for m in maps.values()) < limits[0]
        bar = figure.colorbar(
            meshes[0],
            cax=figure.add_axes((0.919, 0.125, 0.014, 0.625)),
            extend="min" if clipped else "neither",
        )
        bar.outline.set_visible(False)
        bar.set_label(quantity)
        _title(
            figure,
            _heat_map_title(evaluation, maps, quantity),
            "Box: training range, hatched bands in it held out. "
            "Red line: half of the episodes succeed.",
        )
        _save(figure, path)


def training_curve(curves: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the return against simulation steps, a thin line a seed and a thick one their mean.

    Args:
        curves: One dict a training run: "agent" (a key of AGENT_NAMES), "simulation_steps" (I,),
            "return_pre" (I,), and for the adapted agent "return_post" (I,); I iterations.
        path: The PNG to write.

    Raises:
        ValueError: There is no curve, or a column's length differs from simulation_steps.
    """
    if not curves:
        raise ValueError("there is no training curve to draw")
    with matplotlib.style.context(["default", _STYLE]):
        figure = _figure(height_px=420)
        axes = figure.subplots()
        figure.subplots_adjust(left=0.072, right=0.80, top=0.82, bottom=0.13)
        ends = []
        for label, colour, dashes, lines in _curve_groups(curves):
            ends.append((_draw_curves(axes, lines, colour, dashes), label, colour))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("simulation steps")
        axes.set_ylabel("return of exploring episodes")
        axes.margins(x=0.0)
        _light_grid(axes)
        _label_ends(axes, ends, 420)
        _title(figure, "Training: return while learning", "Thin lines: single seeds.")
        _save(figure, path)


def _figure(height_px: int, width_px: int = 900) -> Figure:
    """Return a figure to be shown at width_px: 100 of its pixels an inch, two stored for each."""
    figure = Figure(figsize=(width_px / 100, height_px / 100), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    """Write the PNG in one piece: a reader never sees half a picture."""
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png", dpi=_DPI, metadata={"Software": None})
    os.replace(partial, path)


def _title(figure: Figure, title: str, subtitle: str) -> None:
    top = 1.0 - 0.10 / figure.get_figheight()
    figure.text(0.012, top, title, size=13, weight="bold", va="top")
    below = top - 0.26 / figure.get_figheight()
    figure.text(0.012, below, subtitle, size=9.5, color=_FAINT, va="top")


def _light_grid(axes: Axes) -> None:
    axes.grid(axis="y", color="#e7e9ee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def _captured(evaluation: dict[str, Any], split: str) -> list[float | None]:
    for entry in evaluation["headroom"]:
        if entry["split"] == split and captured_is_meaningful(entry):
            return entry["captured"]
    return []


def _return_limits(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the y limits: all agents, but random only where it does not squash the others."""
    bounds = [row["return_mean_ci"] for row in rows if row["agent"] != "random"]
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    span = max(high - low, 1e-9)
    random = [row["return_mean_ci"][0] for row in rows if row["agent"] == "random"]
    if random and min(random) > low - 0.5 * span:
        low = min(low, *random)
    return low - 0.14 * span, high + 0.12 * span


def _draw_references(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["agent"] == "adapted":
            continue
        colour = AGENT_COLOURS[row["agent"]]
        axes.axhspan(*row["return_mean_ci"], color=colour, alpha=0.13, linewidth=0)
        axes.axhline(row["return_mean"], color=colour, linewidth=1.6)


def _draw_adapted(axes: Axes, rows: list[dict[str, Any]], captured: Sequence[float | None]) -> None:
    rows = sorted((r for r in rows if r["agent"] == "adapted"), key=lambda r: r["adaptation_steps"])
    steps = [row["adaptation_steps"] for row in rows]
    means = [row["return_mean"] for row in rows]
    colour = AGENT_COLOURS["adapted"]
    bounds = np.array([row["return_mean_ci"] for row in rows]).reshape(-1, 2)
    axes.fill_between(steps, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, means, color=colour, linewidth=2.2, marker="o", markersize=5.5, zorder=4)
    # A label stands on the side that the line does not go to next.
    slight = 0.1 * (max(means, default=0.0) - min(means, default=0.0))
    falls = [after < mean - slight for mean, after in pairwise(means)] + [False]
    for step, mean, fall in zip(steps, means, falls, strict=True):
        share = captured[step] if step < len(captured) else None
        if step and share is not None and math.isfinite(share):
            axes.annotate(
                percent(share),
                (step, mean),
                xytext=(9 if step == 1 and len(steps) > 2 else 0, 8 if fall else -8),
                textcoords="offset points",
                ha="center",
                va="bottom" if fall else "top",
                weight="bold",
                color=colour,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
    labels = [f"{row['adaptation_steps']}\n({row['episodes_used']})" for row in rows]
    axes.set_xticks(steps, labels)
    axes.set_xlim(-0.3, max(steps, default=0) + 0.42)
    _light_grid(axes)


def _end_labels(rows: list[dict[str, Any]], low: float) -> list[tuple[float, str, str]]:
    """Return (height, text, colour) of the label of each agent's line at the right."""
    ends = []
    for row in rows:
        agent = row["agent"]
        later = [r for r in rows if r["agent"] == agent]
        if row["adaptation_steps"] < max(r["adaptation_steps"] for r in later):
            continue
        text, height = AGENT_NAMES[agent].replace(" ", "\n"), row["return_mean"]
        if height < low:
            text, height = f"{text} {number(height, 1)} ↓", low
        ends.append((height, text, AGENT_COLOURS[agent]))
    return ends


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]], height_px: int) -> None:
    """Write labels right of the axes, pushed apart so that none covers another."""
    low, high = axes.get_ylim()
    line = 16.5 / (axes.get_position().height * height_px)
    ceiling = math.inf
    for height, text, colour in sorted(ends, reverse=True):
        lines = 1 + text.count("\n")
        centre = min((height - low) / (high - low), ceiling - line * lines / 2)
        ceiling = centre - line * lines / 2
        axes.text(
            1.03,
            centre,
            text,
            transform=axes.transAxes,
            color=colour,
            weight="bold",
            va="center",
            linespacing=1.1,
        )


def _heat_map_agents(evaluation: dict[str, Any]) -> list[str]:
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
                edgecolor=_INK,
                hatch="////",
                hatchcolor=(*to_rgb(_INK), 0.28),
                linestyle=(0, (3, 2)),
                linewidth=0.9,
            )
        )
    # Dark on white, so that the box shows on every colour of the map.
    box = Rectangle((x_low, y_low), x_high - x_low, y_high - y_low, fill=False)
    box.set(edgecolor=_INK, linewidth=1.8, zorder=4)
    box.set_path_effects([withStroke(linewidth=3.8, foreground="white")])
    axes.add_patch(box)


def _panel_heading(axes: Axes, heading: str, note: str, colour: str) -> None:
    """Write two lines above a panel: its name, and what that means."""
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(heading, (0, 1), (0, 19), weight="bold", size=10, color=colour, **style)
    axes.annotate(note, (0, 1), (0, 6), size=8.5, color=_FAINT, **style)


def _agent_heading(axes: Axes, agent: str, values: np.ndarray, episodes_per_step: int) -> None:
    name, _, steps = agent.partition("_") if agent.startswith("adapted_") else (agent, "", "")
    notes = {"domain_randomisation": "never adapts", "oracle": "told the task"}
    note = notes.get(name, "")
    heading = AGENT_NAMES[name]
    if steps:
        heading = (
            "before adapting" if steps == "0" else f"after {steps} step" + "s" * (steps != "1")
        )
        note = f"{int(steps) * episodes_per_step} episodes"
    note = f"{note} · mean {number(float(np.nanmean(values)))}"
    _panel_heading(axes, heading, note, AGENT_COLOURS[name])


def _heat_map_title(evaluation: dict[str, Any], maps: dict[str, np.ndarray], quantity: str) -> str:
    """Say what the picture shows: its mean is better, worse, or about the same."""
    family = family_title(evaluation["family"])
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


def _curve_groups(
    curves: Sequence[dict[str, Any]],
) -> list[tuple[str, str, str, list[tuple[np.ndarray, np.ndarray]]]]:
    """Return (label, colour, line style, one (steps, returns) a seed) of each agent and phase."""
    groups = []
    for agent in AGENT_NAMES:
        for column, dashes in (("return_pre", "--"), ("return_post", "-")):
            chosen = [c for c in curves if c["agent"] == agent and column in c]
            lines = [_line(curve, column) for curve in chosen]
            if not lines:
                continue
            label = AGENT_NAMES[agent].replace(" ", "\n")
            if agent == "adapted":
                label = "before adapting" if column == "return_pre" else "adapted"
            else:
                dashes = "-"
            groups.append((label, AGENT_COLOURS[agent], dashes, lines))
    return groups


def _line(curve: dict[str, Any], column: str) -> tuple[np.ndarray, np.ndarray]:
    steps, returns = (np.asarray(curve[key], dtype=float) for key in ("simulation_steps", column))
    if steps.shape != returns.shape:
        raise ValueError(f"{column} has {returns.size} numbers for {steps.size} simulation steps")
    return steps, returns


def _draw_curves(
    axes: Axes, lines: list[tuple[np.ndarray, np.ndarray]], colour: str, dashes: str
) -> float:
    """Draw seeds and their mean; return the height at which the drawn line ends."""
    if len(lines) > 1:
        for steps, returns in lines:
            axes.plot(steps, returns, color=colour, linewidth=0.7, alpha=0.4, linestyle=dashes)
    # Runs of different lengths have a common mean only as far as the shortest goes.
    shortest = min(len(steps) for steps, _ in lines)
    mean = np.mean([returns[:shortest] for _, returns in lines], axis=0)
    axes.plot(lines[0][0][:shortest], mean, color=colour, linewidth=2.2, linestyle=dashes)
    return float(mean[-1])
