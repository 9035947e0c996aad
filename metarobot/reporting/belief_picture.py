"""The picture of how a belief narrows: a row for each task parameter, a column for each task."""

from __future__ import annotations

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes

from metarobot.envs import TaskParameter
from metarobot.evaluation.explanation import BelievedTask, Explanation
from metarobot.reporting.explanation_panels import (
    BELOW_PX,
    SPLIT_COLOURS,
    plain_numbers,
    scale_name,
    write_axes,
    write_explanation_title,
)
from metarobot.reporting.style import (
    FAINT,
    INK,
    SPLIT_TITLES,
    STYLE,
    make_figure,
    parameter_label,
    png_bytes,
)

_ABOVE_PX, _ROW_PX = 78, 132
_TRAINED = "#eef0f4"
"""Behind the values that were trained on."""
_MARGIN = 0.04
"""Room beyond the outermost values, as a part of the whole axis."""


def belief_picture(explanation: Explanation) -> bytes | None:
    """Draw what is believed of held-out tasks, episode by episode; None if nothing weighs tasks."""
    tasks, parameters = explanation.believed, explanation.varying
    if not tasks:
        return None
    height = _ABOVE_PX + BELOW_PX + _ROW_PX * len(parameters)
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height)
        grid = figure.subplots(
            len(parameters), len(tasks), squeeze=False, sharex=True, sharey="row"
        )
        figure.subplots_adjust(
            left=0.115,
            right=0.985,
            top=1 - _ABOVE_PX / height,
            bottom=BELOW_PX / height,
            wspace=0.08,
            hspace=0.14,
        )
        for row, (axes_of_row, parameter) in enumerate(zip(grid, parameters, strict=True)):
            _lay_out(axes_of_row[0], explanation, row)
            for axes, task in zip(axes_of_row, tasks, strict=True):
                _draw_task(axes, parameter, task, row)
        for axes, task in zip(grid[0], tasks, strict=True):
            heading, colour = SPLIT_TITLES[task.split], SPLIT_COLOURS[task.split]
            axes.set_title(heading, size=10, color=colour, pad=5)
        figure.align_ylabels(grid[:, 0])
        write_axes(figure, "adaptation episodes", "")
        write_explanation_title(
            figure,
            explanation,
            "what it believes of held-out tasks",
            "Dots and band: median and 90 % of the belief; hollow where it does not act on it. "
            "Black: the truth. Grey: trained on.",
        )
        return png_bytes(figure)


def _lay_out(axes: Axes, explanation: Explanation, row: int) -> None:
    """Give the first panel of a row its scale, its numbers and its name; the others follow it."""
    parameter = explanation.varying[row]
    values = [value for pair in (parameter.train, *parameter.extrapolation) for value in pair]
    shown = [value for task in explanation.believed for value in _shown(task, row)]
    ends = values if parameter.circular else [*values, *shown]
    low, high = parameter.scale(np.array([min(ends), max(ends)]))
    room = _MARGIN * (high - low)
    axes.set_yscale(scale_name(parameter))
    axes.set_ylim(*parameter.unscale(np.array([low - room, high + room])))
    plain_numbers(axes.yaxis, parameter)
    label = parameter_label(parameter.name, parameter.unit)
    axes.set_ylabel(label.replace(" [", "\n["), size=9, color=FAINT)


def _shown(task: BelievedTask, row: int) -> list[float]:
    """Return the values of a panel that must be in view."""
    return [
        task.true[row],
        *(end for stage in task.bands for end in (stage[row].low, stage[row].high)),
    ]


def _draw_task(axes: Axes, parameter: TaskParameter, task: BelievedTask, row: int) -> None:
    """Draw what is believed of a parameter of a task, over the number of episodes."""
    colour, numbers = SPLIT_COLOURS[task.split], np.arange(len(task.bands))
    bands = np.array([[b.low, b.median, b.high] for b in (stage[row] for stage in task.bands)])
    # An angle is drawn a turn higher and lower as well, for bands across the end of the axis.
    for turn in (-2 * np.pi, 0.0, 2 * np.pi) if parameter.circular else (0.0,):
        low, median, high = bands.T + turn
        axes.fill_between(numbers, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(numbers, median, color=colour, linewidth=1.6)
        for number, value in zip(numbers, median, strict=True):
            face = colour if task.is_used[number] else "white"
            axes.plot(number, value, "o", color=colour, markerfacecolor=face, markersize=4.5)
    axes.axhspan(*parameter.train, color=_TRAINED, linewidth=0, zorder=0)
    axes.axhline(task.true[row], color=INK, linewidth=1.3, zorder=1.5)
    axes.set_xticks(numbers)
    axes.tick_params(length=0, which="both")
    axes.spines["left"].set_visible(False)
