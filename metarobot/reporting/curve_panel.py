"""One panel of the adaptation curves: what a policy reaches on a split, beside the references."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from metarobot.evaluation.curve import Curve, Point
from metarobot.evaluation.result import Evaluation
from metarobot.evaluation.statistics import Interval
from metarobot.reporting.style import FAINT, GREY, REFERENCE_DASHES, number, percent

_TOLD = (1, 5, 20)
"""Adaptation episodes after which the fraction captured is written beside the point."""


@dataclass(frozen=True)
class Row:
    """What a row of panels shows."""

    algorithm: str
    """Whose it is."""
    success: bool
    """Whether it shows success, not returns."""

    def value(self, point: Point) -> Interval:
        """Return what is shown of a point."""
        return point.success if self.success else point.return_mean


def draw_references(axes: Axes, evaluation: Evaluation, split: str, row: Row) -> None:
    """Draw the references of a split as thin grey lines."""
    for name, dashes in REFERENCE_DASHES.items():
        if curve := evaluation.curve(name, split):
            height = row.value(curve.points[0]).value
            axes.axhline(height, color=GREY, linestyle=dashes, linewidth=1.0, zorder=1)


def further_blocks(curve: Curve) -> tuple[Point, ...]:
    """Return where several blocks lead, and where they begin; nothing if one block is the most."""
    blocks = curve.blocks
    if len(blocks) > 1 and curve.after_episodes(blocks[1].adaptation_episodes):
        blocks = blocks[1:]  # the first block stands in the curve already
    return blocks if len(blocks) > 1 else ()


def draw_curve(axes: Axes, curve: Curve, row: Row, colour: str) -> None:
    """Draw what one block of episodes leads to, and with open dots where further blocks lead."""
    for points, face in ((curve.points, colour), (further_blocks(curve), "white")):
        if not points:
            continue
        places = [place(point.adaptation_episodes) for point in points]
        shown = [row.value(point) for point in points]
        low, high = [each.low for each in shown], [each.high for each in shown]
        is_main = face == colour
        alpha, width = (0.2, 2.0) if is_main else (0.1, 1.2)
        axes.fill_between(places, low, high, color=colour, alpha=alpha, linewidth=0)
        axes.plot(
            places,
            [each.value for each in shown],
            color=colour,
            linewidth=width,
            marker="o",
            markersize=4.5,
            markerfacecolor=face,
            zorder=4 if is_main else 3,
        )


def mark_the_lowest(axes: Axes, curve: Curve, row: Row, colour: str) -> None:
    """Where the curve leaves the panel below, write how far down it goes."""
    lowest = min(curve.points, key=lambda point: row.value(point).value)
    value, floor = row.value(lowest).value, axes.get_ylim()[0]
    if value < floor:
        is_first = lowest is curve.points[0]  # which stands at the edge of the panel
        axes.annotate(
            f"↓ {number(value)}",
            (place(lowest.adaptation_episodes), floor),
            xytext=(-7 if is_first else 0, 3),
            textcoords="offset points",
            ha="left" if is_first else "center",
            size=8.5,
            color=colour,
            zorder=5,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def place(num_episodes: int) -> float:
    """Return where a number of episodes stands on the axis: doublings are about equally far."""
    return float(np.log2(1 + num_episodes))


def write_captured(axes: Axes, evaluation: Evaluation, curve: Curve, colour: str) -> None:
    """Write the fraction captured beside some points of one block, and the last of the blocks."""
    means = [point.return_mean.value for point in curve.points]
    # A label stands on the side that the line does not go to next.
    slight = 0.1 * (max(means) - min(means))
    falls = [after < mean - slight for mean, after in pairwise(means)] + [False]
    told = [
        (point, fall or point in curve.blocks[1:])
        for point, fall in zip(curve.points, falls, strict=True)
        if point.adaptation_episodes in _TOLD
    ]
    last = max(curve.points[-1], *curve.blocks, key=lambda point: point.adaptation_episodes)
    if curve.blocks[2:]:
        told.append((last, True))
    for point, is_above in told:
        share = evaluation.captured(point, curve.split)
        if share is None:
            continue
        axes.annotate(
            percent(share.value),
            (place(point.adaptation_episodes), point.return_mean.value),
            xytext=(0 if point is last else -11 if is_above else 11, 8 if is_above else -8),
            textcoords="offset points",
            ha="center",
            va="bottom" if is_above else "top",
            weight="bold",
            color=colour,
            zorder=5,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def write_one_captured(
    axes: Axes, evaluation: Evaluation, curve: Curve, num_episodes: int | None
) -> None:
    """Write the fraction captured by some number of episodes into the corner of a panel."""
    after = None if num_episodes is None else curve.after_episodes(num_episodes)
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
