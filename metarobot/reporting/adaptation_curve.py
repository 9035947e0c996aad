"""The curves of an evaluation: return and success over adaptation episodes, as small multiples.

A row of panels for each policy that adapts and a column for each split, all on the same axes. In
every panel the references are thin grey lines. Where few adapt, rows of their success follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from metarobot.evaluation.curve import Point, headline_episodes
from metarobot.evaluation.references import NEVER_ADAPTS, ORACLE, RANDOM
from metarobot.evaluation.result import Evaluation
from metarobot.reporting.curve_panel import (
    Row,
    draw_curve,
    draw_references,
    further_blocks,
    mark_the_lowest,
    place,
    write_captured,
    write_one_captured,
)
from metarobot.reporting.style import (
    FAINT,
    INK,
    REFERENCE_DASHES,
    STYLE,
    after_episodes,
    algorithm_title,
    colours,
    evaluation_title,
    judged_by,
    light_grid,
    make_figure,
    panel_heading,
    png_bytes,
    split_note,
    split_title,
    write_title,
)

_ABOVE_PX, _BELOW_PX = 104, 58  # what stands above and below the panels
_FEW = 2
"""Policies that adapt, up to which there is room for fractions in the panels, and for success."""
_CLOSEST = 0.075
"""Part of the axis that two numbers of episodes must be apart for both to be written below it."""
_SUCCESS_LIMITS = (-0.07, 1.1)


def adaptation_curve(evaluation: Evaluation) -> bytes:
    """Draw return and success as judged, over the number of adaptation episodes.

    Bands are 95 % bootstrap intervals, thin grey lines the references, percentages the fraction of
    the headroom captured. Full dots are of one block of episodes, open ones of several blocks.
    Where nobody adapts, each policy has its row and a single point.

    Args:
        evaluation: The evaluation.

    Raises:
        ValueError: The evaluation has no curves of episodes as judged.
    """
    names = list(evaluation.learners) or [policy.algorithm for policy in evaluation.policies]
    names = [name for name in names if any(evaluation.curve(name, s) for s in evaluation.splits)]
    if not names:
        raise ValueError("the evaluation has no deterministic episodes to draw")
    rows = [Row(name, success=False) for name in names]
    rows += [Row(name, success=True) for name in names if len(names) <= _FEW]
    heights_px = [_height_px(row, len(names)) for row in rows]
    height_px = _ABOVE_PX + _BELOW_PX + sum(heights_px)
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px)
        grid = figure.subplots(
            len(rows),
            len(evaluation.splits),
            sharex=True,
            squeeze=False,
            height_ratios=heights_px,
        )
        figure.subplots_adjust(
            left=0.072,
            right=0.865,
            top=1 - _ABOVE_PX / height_px,
            bottom=_BELOW_PX / height_px,
            wspace=0.06,
            hspace=0.16,
        )
        _draw_panels(evaluation, grid, rows)
        _mark_axes(evaluation, grid, rows)
        _mark_what_leaves(evaluation, grid, rows)
        _write_words(evaluation, figure, names, height_px)
        return png_bytes(figure)


def _height_px(row: Row, num_policies: int) -> int:
    if num_policies > _FEW:
        return 104
    if num_policies > 1:
        return 90 if row.success else 140
    return 110 if row.success else 220


def _draw_panels(evaluation: Evaluation, grid: np.ndarray, rows: Sequence[Row]) -> None:
    colour_of = colours(dict.fromkeys(row.algorithm for row in rows))
    few = any(row.success for row in rows)
    told_of = _told_of(evaluation)
    for row, panels in zip(rows, grid, strict=True):
        colour = colour_of[row.algorithm]
        for split, axes in zip(evaluation.splits, panels, strict=True):
            draw_references(axes, evaluation, split, row)
            if curve := evaluation.curve(row.algorithm, split):
                draw_curve(axes, curve, row, colour)
                if few and not row.success:
                    write_captured(axes, evaluation, curve, colour)
                elif not few:
                    write_one_captured(axes, evaluation, curve, told_of)
        name = algorithm_title(row.algorithm).replace(" ", "\n")
        panels[-1].text(
            1.03,
            0.5,
            f"{name}\n{'success' if row.success else 'return'}" if few else name,
            transform=panels[-1].transAxes,
            color=colour,
            weight="bold",
            va="center",
            linespacing=1.1,
        )
    for split, axes in zip(evaluation.splits, grid[0], strict=True):
        panel_heading(axes, split_title(evaluation, split), split_note(evaluation, split), INK)


def _told_of(evaluation: Evaluation) -> int | None:
    """Return the number of adaptation episodes that the numbers in the corners are of."""
    curves = [c for c in evaluation.curves if c.algorithm in evaluation.learners]
    return headline_episodes(p.adaptation_episodes for curve in curves for p in curve.points)


def _return_limits(evaluation: Evaluation, rows: Iterable[Row]) -> tuple[float, float]:
    """Return y limits that hold the learners and their references.

    A point that is worse than random actions does not squash the others: the line leaves the panel,
    and the number of its lowest point is written there. The best point of a learner is always held.
    """
    learners = [row.algorithm for row in rows]
    curves = [
        [point.return_mean for point in _points(evaluation, name, split)]
        for name in (*learners, *REFERENCE_DASHES)
        for split in evaluation.splits
    ]
    random = [
        point.return_mean.value
        for split in evaluation.splits
        for point in _points(evaluation, RANDOM, split)
    ]
    floor = min(random, default=-np.inf)
    held = [mean for curve in curves for mean in curve if mean.value >= floor]
    of_learners = curves[: len(learners) * len(evaluation.splits)]
    held += [max(curve, key=lambda mean: mean.value) for curve in of_learners if curve]
    low, high = min(mean.low for mean in held), max(mean.high for mean in held)
    span = max(high - low, 1e-9)
    return low - 0.14 * span, high + 0.12 * span


def _points(evaluation: Evaluation, name: str, split: str) -> tuple[Point, ...]:
    curve = evaluation.judged(name, split)
    return (*curve.points, *curve.blocks) if curve else ()


def _mark_axes(evaluation: Evaluation, grid: np.ndarray, rows: Sequence[Row]) -> None:
    """Mark the adaptation episodes below the panels, and draw faint lines of equal height."""
    used = sorted(
        {
            point.adaptation_episodes
            for row in rows
            for split in evaluation.splits
            for point in _points(evaluation, row.algorithm, split)
        }
    )
    places, returns = [place(number) for number in used], _return_limits(evaluation, rows)
    for row, panels in zip(rows, grid, strict=True):
        for column, axes in enumerate(panels):
            light_grid(axes)
            axes.set_ylim(*(_SUCCESS_LIMITS if row.success else returns))
            axes.tick_params(labelleft=column == 0)
            if row.success:
                axes.set_yticks([0.0, 0.5, 1.0])
            axes.set_xticks(places, _labels(used))
            axes.set_xlim(-0.06 * places[-1] - 0.1, 1.08 * places[-1] + 0.1)


def _mark_what_leaves(evaluation: Evaluation, grid: np.ndarray, rows: Sequence[Row]) -> None:
    colour_of = colours(dict.fromkeys(row.algorithm for row in rows))
    for row, panels in zip(rows, grid, strict=True):
        for split, axes in zip(evaluation.splits, panels, strict=True):
            if curve := evaluation.curve(row.algorithm, split):
                mark_the_lowest(axes, curve, row, colour_of[row.algorithm])


def _labels(used: Sequence[int]) -> list[str]:
    """Return what is written below the axis: nothing for a number too close to the next one."""
    labels, next_place = [], np.inf
    for number in reversed(used):
        far = next_place - place(number) >= _CLOSEST * place(used[-1])
        labels.append(str(number) if far else "")
        next_place = place(number) if far else next_place
    return labels[::-1]


def _write_words(evaluation: Evaluation, figure: Figure, names: list[str], height_px: int) -> None:
    figure.text(0.47, 10 / height_px, "adaptation episodes used", color=FAINT, ha="center")
    if len(names) > _FEW:
        figure.supylabel("return", x=0.008, size="medium", color=FAINT)
    named = {NEVER_ADAPTS: "dashed", ORACLE: "dotted"}
    there = {policy.algorithm for policy in evaluation.policies}
    words = [f"{dash}: {algorithm_title(name)}" for name, dash in named.items() if name in there]
    told_of = _told_of(evaluation)
    where = "" if len(names) <= _FEW or told_of is None else f" {after_episodes(told_of)}"
    curves = [c for c in evaluation.curves if c.algorithm in evaluation.learners]
    if any(further_blocks(curve) for curve in curves if not curve.exploring):
        words.append(f"open dots: blocks of {evaluation.config.episodes_per_block}")
    if any(evaluation.captured(p, curve.split) for curve in curves for p in curve.points[1:]):
        words.append(f"percentages: headroom captured{where}")
    what = "return and success" if len(names) <= _FEW else "return"
    write_title(
        figure,
        f"{evaluation_title(evaluation)}: {what} over adaptation episodes",
        f"{judged_by(evaluation)}, 95 % intervals. "
        + "".join(f"{word[0].upper()}{word[1:]}. " for word in words),
    )
