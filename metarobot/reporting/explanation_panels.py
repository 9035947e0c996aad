"""What the pictures of an explanation share: panels, titles, the colours of splits."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from metarobot.envs import TaskParameter
from metarobot.evaluation.explanation import Explanation
from metarobot.reporting.style import (
    FAINT,
    SPLIT_TITLES,
    algorithm_title,
    family_title,
    make_figure,
    write_title,
)

SPLIT_COLOURS = {"train": "#0072b2", "interpolation": "#007f5f", "extrapolation": "#c65400"}
ABOVE_PX, BELOW_PX = 104, 62
"""Room above and below the panels."""
_MOST_COLUMNS = 4


def explanation_title(explanation: Explanation) -> str:
    """Return whose adaptation was measured on what: "Grip, heavy blocks, latent"."""
    parts = (family_title(explanation.family), explanation.variant)
    return ", ".join(filter(None, (*parts, algorithm_title(explanation.algorithm))))


def make_panels(count: int, panel_px: int, *, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels in rows, as many as there are."""
    columns = min(count, _MOST_COLUMNS)
    rows = -(-count // columns)
    height = ABOVE_PX + BELOW_PX + panel_px * rows
    figure = make_figure(height)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
    figure.subplots_adjust(
        left=0.09,
        right=0.975,
        top=1 - ABOVE_PX / height,
        bottom=BELOW_PX / height,
        wspace=0.22,
        hspace=0.42,
    )
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, grid[:count]


def write_axes(figure: Figure, below: str, beside: str) -> None:
    """Write what the axes of all panels are."""
    figure.text(0.53, 0.02, below, color=FAINT, ha="center", va="bottom")
    figure.supylabel(beside, x=0.008, size="medium", color=FAINT)


def write_explanation_title(figure: Figure, explanation: Explanation, what: str, how: str) -> None:
    """Write what a picture shows, and in grey below how to read it."""
    write_title(figure, f"{explanation_title(explanation)}: {what}", how)


def scale_name(parameter: TaskParameter) -> str:
    """Return the name that matplotlib has for the scale of a task parameter."""
    return "log" if parameter.log_uniform else "linear"


def plain_numbers(axis: Axis, parameter: TaskParameter) -> None:
    """Write the values of a task parameter beside an axis as plain numbers."""
    if parameter.log_uniform:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def write_splits(figure: Figure, axes: Axes, splits: Sequence[str]) -> None:
    """Name the colours of the splits above the first panel."""
    x = axes.get_position().x0
    for split in splits:
        text = figure.text(
            x,
            1 - 66 / (100 * figure.get_figheight()),
            SPLIT_TITLES[split],
            color=SPLIT_COLOURS[split],
            weight="bold",
            va="center",
        )
        x += text.get_window_extent().width / figure.bbox.width + 0.02
