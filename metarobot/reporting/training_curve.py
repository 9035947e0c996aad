"""The training curves of an evaluation: return over simulation steps, a panel for each policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from metarobot.evaluation.references import in_order
from metarobot.reporting.style import (
    FAINT,
    GREY,
    REFERENCE_DASHES,
    STYLE,
    algorithm_title,
    colours,
    light_grid,
    make_figure,
    png_bytes,
    write_heading,
    write_title,
)

_MOST_COLUMNS = 4
_MOST_POINTS = 100
"""Points of a line: an algorithm with small meta-batches has thousands, which would make a band."""
_ABOVE_PX, _BELOW_PX = 92, 58  # what stands above and below the panels


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """The training of one algorithm and seed, one number for each of I meta-iterations."""

    algorithm: str
    """Who was trained."""
    simulation_steps: tuple[float, ...]
    """Control steps simulated until then, (I,)."""
    return_post: tuple[float, ...]
    """Return of post-update episodes, (I,): after adapting, for one that adapts in training."""
    return_pre: tuple[float, ...] | None = None
    """The same before adapting, (I,); None for one that does not adapt in training."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        for returns in (self.return_pre, self.return_post):
            if returns is not None and len(returns) != len(self.simulation_steps):
                raise ValueError(
                    f"a training curve has {len(returns)} numbers for "
                    f"{len(self.simulation_steps)} simulation steps"
                )


def training_curve(curves: Sequence[TrainingCurve]) -> bytes:
    """Draw the return against simulation steps, a panel for each algorithm that adapts.

    A thin line is a seed, the thick one their mean, dashed before adapting. The references are thin
    grey lines in every panel. Where nobody adapts, each algorithm has its panel. Of many
    meta-iterations several make one point, their mean.

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
    height_px = _ABOVE_PX + _BELOW_PX + (270 if num_rows == 1 else 165) * num_rows
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px)
        grid = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
        figure.subplots_adjust(
            left=0.075,
            right=0.97,
            top=1 - _ABOVE_PX / height_px,
            bottom=_BELOW_PX / height_px,
            wspace=0.08,
            hspace=0.3,
        )
        colour_of = colours(shown)
        for axes, name in zip(grid.flat, shown, strict=False):
            _draw_panel(axes, name, curves, colour_of[name])
        for place, axes in enumerate(grid.flat):
            axes.set_visible(place < len(shown))
            axes.tick_params(labelbottom=place + num_columns >= len(shown))
        _write_words(figure, height_px, names)
        return png_bytes(figure)


def _draw_panel(axes: Axes, name: str, curves: Sequence[TrainingCurve], colour: str) -> None:
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


def _write_words(figure: Figure, height_px: int, names: Sequence[str]) -> None:
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
