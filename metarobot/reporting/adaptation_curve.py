"""The curves of an evaluation: return over adaptation episodes, as small multiples.

A row of panels for each policy that adapts and a column for each split, all on the same axes. In
every panel the references are thin grey lines.
"""

from __future__ import annotations

import math
from itertools import pairwise

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from metarobot.evaluation.references import NEVER_ADAPTS, ORACLE, RANDOM
from metarobot.evaluation.result import Curve, Evaluation, Point
from metarobot.reporting.style import (
    FAINT,
    GREY,
    INK,
    REFERENCE_DASHES,
    STYLE,
    algorithm_title,
    colours,
    evaluation_title,
    judged_by,
    light_grid,
    make_figure,
    panel_heading,
    percent,
    png_bytes,
    split_note,
    split_title,
    write_title,
)

_ABOVE_PX, _BELOW_PX = 104, 58  # what stands above and below the panels
_FEW = 2
"""Policies that adapt, up to which there is room for the fraction captured at every point."""


def adaptation_curve(evaluation: Evaluation) -> bytes:
    """Draw the return as judged after 0, 1, ..., K adaptation steps.

    Bands are 95 % bootstrap intervals, thin grey lines the references, percentages the fraction of
    the headroom captured. Where nobody adapts, each policy has its row and a single point.

    Args:
        evaluation: The evaluation.

    Raises:
        ValueError: The evaluation has no curves of episodes as judged.
    """
    rows = list(evaluation.learners) or [policy.algorithm for policy in evaluation.policies]
    rows = [name for name in rows if any(evaluation.curve(name, s) for s in evaluation.splits)]
    if not rows:
        raise ValueError("the evaluation has no deterministic episodes to draw")
    row_px = 250 if len(rows) == 1 else 150 if len(rows) <= _FEW else 104
    height_px = _ABOVE_PX + _BELOW_PX + row_px * len(rows)
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px)
        grid = figure.subplots(
            len(rows), len(evaluation.splits), sharex=True, sharey=True, squeeze=False
        )
        figure.subplots_adjust(
            left=0.072,
            right=0.865,
            top=1 - _ABOVE_PX / height_px,
            bottom=_BELOW_PX / height_px,
            wspace=0.06,
            hspace=0.16,
        )
        grid[0, 0].set_ylim(*_return_limits(evaluation, rows))
        _draw_panels(evaluation, grid, rows)
        _mark_steps(evaluation, grid, rows)
        _write_words(evaluation, figure, rows, height_px)
        return png_bytes(figure)


def _draw_panels(evaluation: Evaluation, grid: np.ndarray, rows: list[str]) -> None:
    colour_of = colours(rows)
    for name, panels in zip(rows, grid, strict=True):
        for split, axes in zip(evaluation.splits, panels, strict=True):
            _draw_references(axes, evaluation, split)
            if curve := evaluation.curve(name, split):
                _draw_curve(axes, curve, colour_of[name])
                if len(rows) <= _FEW:
                    _write_captured(axes, evaluation, curve, colour_of[name])
                else:
                    _write_first_captured(axes, evaluation, curve)
        panels[-1].text(
            1.03,
            0.5,
            algorithm_title(name).replace(" ", "\n"),
            transform=panels[-1].transAxes,
            color=colour_of[name],
            weight="bold",
            va="center",
            linespacing=1.1,
        )
    for split, axes in zip(evaluation.splits, grid[0], strict=True):
        panel_heading(axes, split_title(evaluation, split), split_note(evaluation, split), INK)


def _draw_references(axes: Axes, evaluation: Evaluation, split: str) -> None:
    for name, dashes in REFERENCE_DASHES.items():
        if curve := evaluation.curve(name, split):
            height = curve.points[0].return_mean.value
            axes.axhline(height, color=GREY, linestyle=dashes, linewidth=1.0, zorder=1)


def _draw_curve(axes: Axes, curve: Curve, colour: str) -> None:
    steps = [point.adaptation_steps for point in curve.points]
    means = [point.return_mean for point in curve.points]
    low, high = [mean.low for mean in means], [mean.high for mean in means]
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    values = [mean.value for mean in means]
    axes.plot(steps, values, color=colour, linewidth=2.0, marker="o", markersize=4.5, zorder=4)


def _write_captured(axes: Axes, evaluation: Evaluation, curve: Curve, colour: str) -> None:
    """Write the fraction captured beside every point but the first."""
    means = [point.return_mean.value for point in curve.points]
    # A label stands on the side that the line does not go to next.
    slight = 0.1 * (max(means) - min(means))
    falls = [after < mean - slight for mean, after in pairwise(means)] + [False]
    for number, (point, fall) in enumerate(zip(curve.points, falls, strict=True)):
        share = evaluation.captured(point, curve.split)
        if not number or share is None:
            continue
        axes.annotate(
            percent(share.value),
            (point.adaptation_steps, point.return_mean.value),
            xytext=(9 if number == 1 and len(means) > 2 else 0, 8 if fall else -8),
            textcoords="offset points",
            ha="center",
            va="bottom" if fall else "top",
            weight="bold",
            color=colour,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _write_first_captured(axes: Axes, evaluation: Evaluation, curve: Curve) -> None:
    """Write the fraction captured by one step into the corner of a panel."""
    after = curve.after(1)
    share = evaluation.captured(after, curve.split) if after else None
    if share is not None:
        axes.text(
            0.985,
            0.06,
            percent(share.value),
            transform=axes.transAxes,
            color=FAINT,
            ha="right",
            zorder=5,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _return_limits(evaluation: Evaluation, rows: list[str]) -> tuple[float, float]:
    """Return y limits that hold the learners and their references.

    A policy that is worse than random actions, or than every reference by far, does not squash the
    others: its line leaves the panel.
    """
    shown = [*rows, *REFERENCE_DASHES]
    points = [
        point.return_mean
        for split in evaluation.splits
        for name in shown
        for point in _points(evaluation, name, split)
    ]
    random = [
        point.return_mean.value
        for split in evaluation.splits
        for point in _points(evaluation, RANDOM, split)
    ]
    floor = min(random, default=-math.inf)
    above = [mean for mean in points if mean.value >= floor] or points
    low, high = min(mean.low for mean in above), max(mean.high for mean in above)
    span = max(high - low, 1e-9)
    return low - 0.14 * span, high + 0.12 * span


def _points(evaluation: Evaluation, name: str, split: str) -> tuple[Point, ...]:
    curve = evaluation.judged(name, split)
    return curve.points if curve else ()


def _mark_steps(evaluation: Evaluation, grid: np.ndarray, rows: list[str]) -> None:
    """Mark the adaptation episodes below the panels, and draw faint lines of equal return."""
    used = {
        point.adaptation_steps: point.adaptation_episodes
        for name in rows
        for split in evaluation.splits
        for point in _points(evaluation, name, split)
    }
    for axes in grid.flat:
        light_grid(axes)
        axes.set_xticks(list(used), [str(episodes) for episodes in used.values()])
        axes.set_xlim(-0.3, max(used) + 0.42)


def _write_words(evaluation: Evaluation, figure: Figure, rows: list[str], height_px: int) -> None:
    figure.text(0.47, 10 / height_px, "adaptation episodes used", color=FAINT, ha="center")
    figure.supylabel("return", x=0.008, size="medium", color=FAINT)
    named = {NEVER_ADAPTS: "dashed", ORACLE: "dotted"}
    there = {policy.algorithm for policy in evaluation.policies}
    lines = [f"{dash}: {algorithm_title(name)}" for name, dash in named.items() if name in there]
    where = "" if len(rows) <= _FEW else " by one step"
    shares = f"Percentages: headroom captured{where}." if evaluation.learners else ""
    write_title(
        figure,
        f"{evaluation_title(evaluation)}: return while adapting",
        f"{judged_by(evaluation)}, 95 % intervals. "
        + (f"{', '.join(lines).capitalize()}. " if lines else "")
        + shares,
    )
