"""The pictures of an evaluation: each a function of its table; `PICTURES` lists all.

The adaptation curve has a row of panels for each policy that adapts and a column for each split,
all on the same axes. In every panel the references are thin grey lines. Where few adapt, rows of
their success follow. The training curve has a panel for each policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from metarobot.evaluation.protocol import NEVER_ADAPTS, ORACLE, RANDOM, in_order
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Evaluation, Row
from metarobot.machine import extra
from metarobot.reporting.heat_map import heat_map
from metarobot.reporting.style import (
    FAINT,
    GREY,
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
    number,
    panel_heading,
    percent,
    png_bytes,
    split_note,
    split_title,
    write_heading,
    write_title,
)

with extra("train", "a figure"):
    import matplotlib.style
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import EngFormatter

_ABOVE_PX, _BELOW_PX = 104, 58  # space above and below the panels
_FEW = 2
"""Most policies that adapt with fractions in the panels, and with rows of success."""
_CLOSEST = 0.075
"""Smallest distance of two written numbers of episodes, as a part of the axis."""
_SUCCESS_LIMITS = (-0.07, 1.1)


def adaptation_curve(evaluation: Evaluation) -> Figure:
    """Draw return and success of test episodes, over the number of adaptation episodes.

    Bands are 95 % bootstrap intervals, thin grey lines the references, percentages the fraction of
    the headroom captured. Full dots are of one block of episodes, open ones of several blocks.
    Without a policy that adapts, each policy has its row and a single point.

    Args:
        evaluation: The evaluation.

    Raises:
        ValueError: The evaluation has no test episodes.
    """
    names = evaluation.learners or [policy.algorithm for policy in evaluation.policies]
    drawn = {name for name, _ in evaluation.curves} - {RANDOM}
    names = [name for name in names if name in drawn]
    if not names:
        raise ValueError("the evaluation has no deterministic episodes to draw")
    rows = [PanelRow(name, success=False) for name in names]
    rows += [PanelRow(name, success=True) for name in names if len(names) <= _FEW]
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
        _write_words(evaluation, figure, names, height_px)
        return figure


def _height_px(row: PanelRow, num_policies: int) -> int:
    if num_policies > _FEW:
        return 104
    if num_policies > 1:
        return 90 if row.success else 140
    return 110 if row.success else 220


def _draw_panels(evaluation: Evaluation, grid: np.ndarray, rows: Sequence[PanelRow]) -> None:
    colour_of = colours(dict.fromkeys(row.algorithm for row in rows))
    few, limits = any(row.success for row in rows), _return_limits(evaluation, rows)
    used = sorted(
        {
            point.episodes
            for row in rows
            for split in evaluation.splits
            for point in _points(evaluation, row.algorithm, split)
        }
    )
    places = [place(number) for number in used]
    for row, panels in zip(rows, grid, strict=True):
        colour = colour_of[row.algorithm]
        for column, (split, axes) in enumerate(zip(evaluation.splits, panels, strict=True)):
            _draw_references(axes, evaluation, split, row)
            curve = evaluation.curves.get((row.algorithm, split))
            if curve:
                further = further_blocks(evaluation, row.algorithm, split)
                draw_curve(axes, curve, further, row, colour)
                if few and not row.success:
                    blocks = evaluation.blocks[row.algorithm, split, False]
                    write_captured(axes, curve, blocks, colour)
                elif not few:
                    write_one_captured(axes, curve, evaluation.headline)
            light_grid(axes)
            axes.set_ylim(*(_SUCCESS_LIMITS if row.success else limits))
            axes.tick_params(labelleft=column == 0)
            if row.success:
                axes.set_yticks([0.0, 0.5, 1.0])
            axes.set_xticks(places, _labels(used))
            axes.set_xlim(-0.06 * places[-1] - 0.1, 1.08 * places[-1] + 0.1)
            if curve:
                mark_the_lowest(axes, curve, row, colour)
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


def _draw_references(axes: Axes, evaluation: Evaluation, split: str, row: PanelRow) -> None:
    for name, dashes in REFERENCE_DASHES.items():
        if curve := evaluation.curves.get((name, split)):
            height = row.value(curve[0]).value
            axes.axhline(height, color=GREY, linestyle=dashes, linewidth=1.0, zorder=1)


def _return_limits(evaluation: Evaluation, rows: Iterable[PanelRow]) -> tuple[float, float]:
    """Return y limits that hold the learners and their references.

    A point worse than random actions does not stretch the axis: its line leaves the panel, with the
    value of its lowest point written there. The best point of a learner is always inside.
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
    return low - 0.14 * span, high + 0.22 * span  # room for the fraction written at the best point


def _points(evaluation: Evaluation, name: str, split: str) -> tuple[Row, ...]:
    curve = evaluation.curves.get((name, split), ())
    return (*curve, *further_blocks(evaluation, name, split))


def _labels(used: Sequence[int]) -> list[str]:
    """Return the labels of the axis, "" for a number too close to the next one."""
    labels, next_place = [], np.inf
    for episodes in reversed(used):
        far = next_place - place(episodes) >= _CLOSEST * place(used[-1])
        labels.append(str(episodes) if far else "")
        next_place = place(episodes) if far else next_place
    return labels[::-1]


def _write_words(evaluation: Evaluation, figure: Figure, names: list[str], height_px: int) -> None:
    figure.text(0.47, 10 / height_px, "adaptation episodes used", color=FAINT, ha="center")
    if len(names) > _FEW:
        figure.supylabel("return", x=0.008, size="medium", color=FAINT)
    named = {NEVER_ADAPTS: "dashed", ORACLE: "dotted"}
    there = {policy.algorithm for policy in evaluation.policies}
    words = [f"{dash}: {algorithm_title(name)}" for name, dash in named.items() if name in there]
    few = evaluation.headline
    where = "" if len(names) <= _FEW or few is None else f" {after_episodes(few)}"
    pairs = [(name, split) for name in evaluation.learners for split in evaluation.splits]
    if any(further_blocks(evaluation, *pair) for pair in pairs):
        words.append(f"open dots: blocks of {evaluation.config.episodes_per_block}")
    if any(row.captured for pair in pairs for row in evaluation.curves.get(pair, ())[1:]):
        words.append(f"percentages: headroom captured{where}")
    what = "return and success" if len(names) <= _FEW else "return"
    write_title(
        figure,
        f"{evaluation_title(evaluation)}: {what} over adaptation episodes",
        f"{judged_by(evaluation)}, 95 % intervals. "
        + "".join(f"{word[0].upper()}{word[1:]}. " for word in words),
    )


_LABELLED = (1, 5, 20)
"""Adaptation episodes after which the fraction captured is written beside the point."""
_LEAST_CAPTURED, _MOST_CAPTURED = -2.0, 2.0
"""Fractions that are written: beyond them the headroom is no scale for the policy."""


@dataclass(frozen=True)
class PanelRow:
    """Content of a row of panels."""

    algorithm: str
    """Name of the algorithm or reference."""
    success: bool
    """Whether it shows success, not returns."""

    def value(self, point: Row) -> Interval:
        """Return the shown value of a point."""
        return point.success if self.success else point.return_mean


def further_blocks(evaluation: Evaluation, name: str, split: str) -> tuple[Row, ...]:
    """Return the rows after several blocks, from the first on; empty if at most one block."""
    blocks = evaluation.blocks.get((name, split, False), ())
    return blocks[1:] if len(blocks) > 2 else ()


def draw_curve(
    axes: Axes, curve: Sequence[Row], further: Sequence[Row], row: PanelRow, colour: str
) -> None:
    """Draw the curve of one block of episodes, and of further blocks with open dots."""
    for points, face in ((curve, colour), (further, "white")):
        if not points:
            continue
        places = [place(point.episodes) for point in points]
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


def mark_the_lowest(axes: Axes, curve: Sequence[Row], row: PanelRow, colour: str) -> None:
    """Write the lowest value of a curve that leaves the panel at the bottom."""
    lowest = min(curve, key=lambda point: row.value(point).value)
    value, floor = row.value(lowest).value, axes.get_ylim()[0]
    if value < floor:
        is_first = lowest is curve[0]  # at the edge of the panel
        axes.annotate(
            f"↓ {number(value)}",
            (place(lowest.episodes), floor),
            xytext=(-7 if is_first else 0, 3),
            textcoords="offset points",
            ha="left" if is_first else "center",
            size=8.5,
            color=colour,
            zorder=5,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def place(num_episodes: int) -> float:
    """Return the position of a number of episodes on the axis: doublings are about equally far."""
    return float(np.log2(1 + num_episodes))


def write_captured(axes: Axes, curve: Sequence[Row], blocks: Sequence[Row], colour: str) -> None:
    """Write the fraction captured beside some points of one block, and the last of the blocks."""
    means = [point.return_mean.value for point in curve]
    # A label is on the side away from the next point.
    slight = 0.1 * (max(means) - min(means))
    falls = [after < mean - slight for mean, after in pairwise(means)] + [False]
    labelled = [
        (point, fall or point in blocks[1:])
        for point, fall in zip(curve, falls, strict=True)
        if point.episodes in _LABELLED
    ]
    last = max((*curve, *blocks), key=lambda point: point.episodes)
    if blocks[2:]:
        labelled.append((last, True))
    for point, is_above in labelled:
        share = point.captured
        if share is None or not _LEAST_CAPTURED < share.value < _MOST_CAPTURED:
            continue
        axes.annotate(
            percent(share.value),
            (place(point.episodes), point.return_mean.value),
            xytext=(0 if point is last else -11 if is_above else 11, 8 if is_above else -8),
            textcoords="offset points",
            ha="center",
            va="bottom" if is_above else "top",
            weight="bold",
            color=colour,
            zorder=5,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def write_one_captured(axes: Axes, curve: Sequence[Row], num_episodes: int | None) -> None:
    """Write the fraction captured by some number of episodes into the corner of a panel."""
    share = next((row.captured for row in curve if row.episodes == num_episodes), None)
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


_MOST_COLUMNS = 4
_MOST_POINTS = 100
"""Points of a line: an algorithm with small meta-batches has thousands, which would make a band."""
_ABOVE_TRAINING_PX, _BELOW_TRAINING_PX = 92, 58  # space above and below the panels


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """The training of one algorithm and seed, one number for each of I meta-iterations."""

    algorithm: str
    """Name of the algorithm."""
    simulation_steps: tuple[float, ...]
    """Control steps simulated until then, (I,)."""
    return_post: tuple[float, ...]
    """Return of post-update episodes, (I,)."""
    return_pre: tuple[float, ...] | None = None
    """Return of pre-update episodes, (I,); None for an algorithm without an inner loop."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        for returns in (self.return_pre, self.return_post):
            if returns is not None and len(returns) != len(self.simulation_steps):
                raise ValueError(
                    f"a training curve has {len(returns)} numbers for "
                    f"{len(self.simulation_steps)} simulation steps"
                )


def training_curve(curves: Sequence[TrainingCurve]) -> Figure:
    """Draw the return against simulation steps, a panel for each algorithm that adapts.

    A thin line is a seed, the thick one their mean, dashed before adapting. The references are thin
    grey lines in every panel. Without an algorithm that adapts, each has its panel. Of many
    meta-iterations, each point is the mean of several.

    Args:
        curves: One for each training.

    Raises:
        ValueError: There is no curve.
    """
    if not curves:
        raise ValueError("there is no training curve to draw")
    names = in_order(dict.fromkeys(curve.algorithm for curve in curves))
    shown = [name for name in names if name not in REFERENCE_DASHES] or names
    num_columns = min(len(shown), _MOST_COLUMNS)
    num_rows = math.ceil(len(shown) / num_columns)
    height_px = _ABOVE_TRAINING_PX + _BELOW_TRAINING_PX + (270 if num_rows == 1 else 165) * num_rows
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px)
        grid = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
        figure.subplots_adjust(
            left=0.075,
            right=0.97,
            top=1 - _ABOVE_TRAINING_PX / height_px,
            bottom=_BELOW_TRAINING_PX / height_px,
            wspace=0.08,
            hspace=0.3,
        )
        colour_of = colours(shown)
        for axes, name in zip(grid.flat, shown, strict=False):
            _draw_training(axes, name, curves, colour_of[name])
        for place, axes in enumerate(grid.flat):
            axes.set_visible(place < len(shown))
            axes.tick_params(labelbottom=place + num_columns >= len(shown))
        _write_training_words(figure, height_px, names)
        return figure


def _draw_training(axes: Axes, name: str, curves: Sequence[TrainingCurve], colour: str) -> None:
    for reference, dashes in REFERENCE_DASHES.items():
        lines = [(c.simulation_steps, c.return_post) for c in curves if c.algorithm == reference]
        if lines and reference != name:
            axes.plot(*_mean(lines), color=GREY, linewidth=1.2, linestyle=dashes)
    own = [curve for curve in curves if curve.algorithm == name]
    before = [(c.simulation_steps, c.return_pre) for c in own if c.return_pre is not None]
    if before:
        axes.plot(*_mean(before), color=colour, linewidth=1.2, linestyle=(0, (4, 2)), alpha=0.8)
    lines = [(curve.simulation_steps, curve.return_post) for curve in own]
    if len(lines) > 1:
        for line in lines:
            axes.plot(*_mean([line]), color=colour, linewidth=0.7, alpha=0.4)
    axes.plot(*_mean(lines), color=colour, linewidth=2.2)
    write_heading(axes, algorithm_title(name), colour)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.0)
    light_grid(axes)


def _mean(
    lines: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and mean returns of several seeds, as far as the shortest goes."""
    shortest = min(len(steps) for steps, _ in lines)
    mean = np.mean([returns[:shortest] for _, returns in lines], axis=0)
    return _in_windows(np.array(lines[0][0][:shortest])), _in_windows(mean)


def _in_windows(values: np.ndarray) -> np.ndarray:
    """Return the means of windows of equal length, `_MOST_POINTS` at most; all values if fewer."""
    length = -(-len(values) // _MOST_POINTS)
    return np.array([values[at : at + length].mean() for at in range(0, len(values), length)])


def _write_training_words(figure: Figure, height_px: int, names: Sequence[str]) -> None:
    figure.text(0.53, 10 / height_px, "simulation steps", color=FAINT, ha="center")
    figure.supylabel("return of exploring episodes", x=0.008, size="medium", color=FAINT)
    kinds = {"--": "dashed", ":": "dotted"}
    greys = [
        f"{kinds[dashes]} {algorithm_title(name)}"
        for name, dashes in REFERENCE_DASHES.items()
        if name in names and set(names) - set(REFERENCE_DASHES)
    ]
    write_title(
        figure,
        "Training: return while learning",
        "Thick: mean of the seeds; dashed: before adapting."
        + (f" Grey: {', '.join(greys)}." if greys else ""),
    )


class Picture(NamedTuple):
    """A picture of an evaluation, with its words in the report."""

    name: str
    """Name of its file, without the ending."""
    draw: Callable[[Evaluation, Sequence[TrainingCurve]], Figure | None]
    """Function of the evaluation and its training curves; None without data."""
    heading: str = ""
    """Empty if the report does not show it."""
    alt: str = ""
    caption: str = ""

    def png(self, evaluation: Evaluation, curves: Sequence[TrainingCurve]) -> bytes | None:
        """Return the content of its file, None without data."""
        figure = self.draw(evaluation, curves)
        return figure and png_bytes(figure)


PICTURES = (
    Picture(
        "adaptation_curve",
        lambda evaluation, _: adaptation_curve(evaluation),
        "Adaptation, episode by episode",
        "Return against the number of adaptation episodes for each split; policies that do not "
        "adapt are horizontal lines. The numbers are in the tables below.",
        "Full dots: after one block of so many episodes of the new task. Open dots: after several "
        "blocks, each collected by the policy adapted so far. Domain randomisation never adapts; "
        "the oracle observes the task.",
    ),
    Picture(
        "heat_map",
        lambda evaluation, _: heat_map(evaluation) if evaluation.heat_map else None,
    ),
    Picture(
        "training_curve",
        lambda _, curves: training_curve(curves) if curves else None,
        "Training",
        "Return of exploring episodes against simulation steps while training, for each algorithm.",
        "Returns in training, against all simulation steps used so far. A policy that observes the "
        "task in training, such as latent, observes it in these episodes.",
    ),
)
"""All pictures: the first leads the report, the others follow its tables."""
