"""The curves of an evaluation: return over adaptation steps, and over training, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter

from metarobot.evaluation.statistics import captured_is_meaningful
from metarobot.reporting.style import (
    ALGORITHM_COLOURS,
    INK,
    SPLIT_TITLES,
    STYLE,
    adapting,
    algorithm_titles,
    colours,
    evaluation_title,
    judged_by,
    light_grid,
    make_figure,
    number,
    panel_heading,
    percent,
    png_bytes,
    split_notes,
    split_titles,
    write_title,
)


def adaptation_curve(evaluation: dict[str, Any]) -> bytes:
    """Draw the return after 0, 1, ..., K adaptation steps, one panel a split.

    Bands are 95 % bootstrap intervals, horizontal lines the references, percentages the
    fraction of the headroom captured. The returns are those of deterministic episodes.

    Args:
        evaluation: The evaluation, in the layout of evaluation.json.

    Raises:
        ValueError: The evaluation has no deterministic rows.
    """
    rows = [row for row in evaluation["rows"] if not row["exploration"]]
    splits = [split for split in SPLIT_TITLES if any(row["split"] == split for row in rows)]
    if not splits:
        raise ValueError("the evaluation has no rows of deterministic episodes to draw")
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px=410)
        panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(left=0.072, right=0.838, top=0.735, bottom=0.16, wspace=0.08)
        low, high = _return_limits(rows)
        learners = adapting(rows)
        colour_of = colours(learners)
        for axes, split in zip(panels, splits, strict=True):
            split_rows = [row for row in rows if row["split"] == split]
            _draw_references(axes, split_rows)
            for name in learners:
                line = [row for row in split_rows if row["algorithm"] == name]
                # Where several adapt, percentages would cover each other: the report has them.
                shares = _captured(evaluation, split, name) if len(learners) == 1 else []
                _draw_adapted(axes, line, colour_of[name], shares)
            _mark_steps(axes, split_rows)
            panel_heading(
                axes, split_titles(evaluation)[split], split_notes(evaluation)[split], INK
            )
        panels[0].set_ylim(low, high)
        panels[0].set_ylabel("return")
        last = [row for row in rows if row["split"] == splits[-1]]
        _label_ends(panels[-1], _end_labels(last, low, colour_of), 410)
        panels[len(splits) // 2].set_xlabel("adaptation steps (episodes used)")
        write_title(
            figure,
            f"{evaluation_title(evaluation)}: return after each adaptation step",
            f"{judged_by(evaluation)}, bands are 95 % intervals."
            + " Percentages: fraction of the headroom captured." * (len(learners) == 1),
        )
        return png_bytes(figure)


def training_curve(curves: Sequence[dict[str, Any]]) -> bytes:
    """Draw the return against simulation steps, a thin line a seed and a thick one their mean.

    Args:
        curves: One dict a training run: "algorithm", "simulation_steps" (I,), "return_pre" (I,),
            and for one that adapts "return_post" (I,); I iterations.

    Raises:
        ValueError: There is no curve, or a column's length differs from simulation_steps.
    """
    if not curves:
        raise ValueError("there is no training curve to draw")
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px=420)
        axes = figure.subplots()
        figure.subplots_adjust(left=0.072, right=0.80, top=0.82, bottom=0.13)
        ends = []
        for label, colour, dashes, lines in _curve_groups(curves):
            ends.append((_draw_curves(axes, lines, colour, dashes), label, colour))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("simulation steps")
        axes.set_ylabel("return of exploring episodes")
        axes.margins(x=0.0)
        light_grid(axes)
        _label_ends(axes, ends, 420)
        write_title(figure, "Training: return while learning", "Thin lines: single seeds.")
        return png_bytes(figure)


def _captured(evaluation: dict[str, Any], split: str, name: str) -> list[float | None]:
    for entry in evaluation["headroom"]:
        found = entry["split"] == split and entry["algorithm"] == name
        if found and captured_is_meaningful(entry):
            return entry["captured"]
    return []


def _return_limits(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the y limits: all algorithms, but random only where it does not squash the others."""
    bounds = [row["return_mean_ci"] for row in rows if row["algorithm"] != "random"]
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    span = max(high - low, 1e-9)
    random = [row["return_mean_ci"][0] for row in rows if row["algorithm"] == "random"]
    if random and min(random) > low - 0.5 * span:
        low = min(low, *random)
    return low - 0.14 * span, high + 0.12 * span


def _draw_references(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        colour = ALGORITHM_COLOURS.get(row["algorithm"])
        if colour is None:  # it adapts
            continue
        axes.axhspan(*row["return_mean_ci"], color=colour, alpha=0.13, linewidth=0)
        axes.axhline(row["return_mean"], color=colour, linewidth=1.6)


def _draw_adapted(
    axes: Axes, rows: list[dict[str, Any]], colour: str, captured: Sequence[float | None]
) -> None:
    rows = sorted(rows, key=lambda r: r["adaptation_steps"])
    steps = [row["adaptation_steps"] for row in rows]
    means = [row["return_mean"] for row in rows]
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


def _mark_steps(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Mark the adaptation steps, and below each the episodes used."""
    used = {row["adaptation_steps"]: row["episodes_used"] for row in rows}
    steps = sorted(used)
    axes.set_xticks(steps, [f"{step}\n({used[step]})" for step in steps])
    axes.set_xlim(-0.3, max(steps, default=0) + 0.42)
    light_grid(axes)


def _end_labels(
    rows: list[dict[str, Any]], low: float, colour_of: dict[str, str]
) -> list[tuple[float, str, str]]:
    """Return (height, text, colour) of the label of each algorithm's line at the right."""
    ends = []
    for row in rows:
        algorithm = row["algorithm"]
        later = [r for r in rows if r["algorithm"] == algorithm]
        if row["adaptation_steps"] < max(r["adaptation_steps"] for r in later):
            continue
        text, height = algorithm_titles()[algorithm].replace(" ", "\n"), row["return_mean"]
        if height < low:
            text, height = f"{text} {number(height, 1)} ↓", low
        ends.append((height, text, colour_of[algorithm]))
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


def _curve_groups(
    curves: Sequence[dict[str, Any]],
) -> list[tuple[str, str, str, list[tuple[np.ndarray, np.ndarray]]]]:
    """Return (label, colour, style, one (steps, returns) a seed) of each algorithm and phase."""
    learners = adapting(curves)
    colour_of, groups = colours(learners), []
    for algorithm in colour_of:
        for column, dashes in (("return_pre", "--"), ("return_post", "-")):
            chosen = [c for c in curves if c["algorithm"] == algorithm and column in c]
            lines = [_line(curve, column) for curve in chosen]
            if not lines:
                continue
            label = algorithm_titles()[algorithm].replace(" ", "\n")
            if column == "return_pre" and "return_post" in chosen[0]:
                if len(learners) > 1:
                    continue  # too many lines to tell apart
                label = "before adapting"
            else:
                dashes = "-"
            groups.append((label, colour_of[algorithm], dashes, lines))
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
