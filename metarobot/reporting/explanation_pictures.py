"""Pictures of what adaptation has sensed and changed."""

from __future__ import annotations

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar

from metarobot.envs import TaskParameter, parameter_words
from metarobot.evaluation.explanation import Explanation
from metarobot.reporting.belief_picture import belief_picture
from metarobot.reporting.explanation_panels import (
    ABOVE_PX,
    BELOW_PX,
    SPLIT_COLOURS,
    make_panels,
    plain_numbers,
    scale_name,
    write_axes,
    write_explanation_title,
    write_splits,
)
from metarobot.reporting.figures import place
from metarobot.reporting.style import (
    ALGORITHM_COLOURS,
    FAINT,
    GREY,
    INK,
    STYLE,
    light_grid,
    make_figure,
    parameter_label,
    png_bytes,
    write_heading,
)

PICTURES = ("readings", "belief", "states", "actions", "updates")
"""Names of the pictures, in the order of the page."""
_LOWEST_R2 = -0.25
"""Where a panel ends below: a reading that is worse tells nothing more."""


def readings_picture(explanation: Explanation) -> bytes:
    """Draw how well each task parameter can be read, over the number of adaptation episodes."""
    parameters = explanation.varying
    with matplotlib.style.context(["default", STYLE]):
        figure, panels = make_panels(len(parameters), 250, sharey=True)
        for axes, parameter in zip(panels, parameters, strict=True):
            for split, colour in SPLIT_COLOURS.items():
                _draw_readings(axes, explanation, parameter.name, split, colour)
            write_heading(axes, parameter_words(parameter.name, parameter.unit), INK)
            axes.set_ylim(_LOWEST_R2, 1.05)
            _draw_identified(axes, explanation, parameter.name)
            light_grid(axes)
        numbers = sorted({reading.adaptation_episodes for reading in explanation.readings})
        for axes in panels:
            axes.set_xticks([place(number) for number in numbers], [str(n) for n in numbers])
        write_splits(figure, panels[0], [*dict.fromkeys(r.split for r in explanation.readings)])
        write_axes(figure, "adaptation episodes", "R² of the reading")
        write_explanation_title(
            figure,
            explanation,
            "what can be read from what adaptation has changed",
            "1: exactly. 0: not at all. A linear probe, fitted to other tasks; bands are 95 % "
            f"intervals.{_identified_note(explanation)}",
        )
        return png_bytes(figure)


def state_picture(explanation: Explanation) -> bytes | None:
    """Draw the adapted states of the tasks, coloured by each parameter; None if all are alike."""
    found = explanation.state_map
    if found is None:
        return None
    parameters = explanation.varying
    places, tasks = np.array(found.places), np.array(explanation.tasks)
    with matplotlib.style.context(["default", STYLE]):
        figure, panels = make_panels(len(parameters), 250, sharey=True)
        for column, (axes, parameter) in enumerate(zip(panels, parameters, strict=True)):
            dots = axes.scatter(
                *places.T,
                c=tasks[:, column],
                s=14,
                norm=scale_name(parameter),
                cmap=_map(parameter),
            )
            _write_bar(figure.colorbar(dots, ax=axes, pad=0.02, aspect=30), parameter)
            write_heading(axes, parameter_label(parameter.name, parameter.unit), INK)
            axes.set_xticks([])
            axes.set_yticks([])
        shares = [f"{100 * share:.0f} %" for share in found.shares]
        write_axes(figure, f"first direction, {shares[0]}", f"second, {shares[1]}")
        write_explanation_title(
            figure,
            explanation,
            f"adapted states after {found.adaptation_episodes} episodes",
            "A dot is a task. Tasks that lie together look alike to the policy.",
        )
        return png_bytes(figure)


def action_picture(explanation: Explanation) -> bytes:
    """Draw how much the action changes over the range of each task parameter."""
    rows, parameters = explanation.sensitivities, explanation.varying
    words = {each.name: parameter_words(each.name, each.unit) for each in parameters}
    height = ABOVE_PX + BELOW_PX + 34 * len(rows)
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height)
        axes = figure.subplots()
        figure.subplots_adjust(
            left=0.44, right=0.96, top=1 - ABOVE_PX / height, bottom=BELOW_PX / height
        )
        heights = np.arange(len(rows))[::-1]
        axes.barh(heights + 0.17, [row.change for row in rows], 0.3, color="#0072b2")
        told = [row.of_oracle or 0.0 for row in rows]
        axes.barh(heights - 0.17, told, 0.3, color=ALGORITHM_COLOURS["oracle"])
        axes.set_yticks(
            heights,
            [f"{words[row.parameter]} → {row.element}" for row in rows],
        )
        axes.axvline(0.0, color=GREY, linewidth=0.8)
        axes.grid(axis="x", color="#e7e9ee", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        figure.text(
            0.7, 14 / height, "change of the mean action, in half ranges", color=FAINT, ha="center"
        )
        write_explanation_title(
            figure,
            explanation,
            "how the action follows the task",
            "From the lowest to the highest value trained on. Blue: adapted. Green: told the task.",
        )
        return png_bytes(figure)


def update_picture(explanation: Explanation) -> bytes | None:
    """Draw how far adaptation moves each layer, and whether alike tasks move alike."""
    if not explanation.updates:
        return None
    with matplotlib.style.context(["default", STYLE]):
        figure, (layers, pairs) = make_panels(2, 250)
        figure.subplots_adjust(left=0.15)  # the names of layers stand there
        sizes = [100 * update.size for update in explanation.updates]
        heights = np.arange(len(sizes))[::-1]
        layers.barh(heights, sizes, 0.6, color="#0072b2")
        layers.set_yticks(heights, [update.layer for update in explanation.updates])
        layers.tick_params(length=0)
        write_heading(layers, "change of each layer, in % of its length", INK)
        distances, cosines = np.array(explanation.similarity).T
        pairs.scatter(distances, cosines, s=12, color="#0072b2", alpha=0.7, linewidths=0)
        pairs.axhline(0.0, color=GREY, linewidth=0.8)
        pairs.set_ylim(-1.05, 1.05)
        write_heading(pairs, "cosine of the updates of two tasks", INK)
        light_grid(pairs)
        figure.text(0.74, 0.04, "distance of the tasks, in ranges", color=FAINT, ha="center")
        write_explanation_title(
            figure,
            explanation,
            "what a step moves",
            "Right: a dot is a pair of tasks. 1: they move alike. 0: they have nothing in common.",
        )
        return png_bytes(figure)


def _write_bar(bar: Colorbar, parameter: TaskParameter) -> None:
    """Write plain numbers beside a colour bar."""
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    plain_numbers(bar.ax.yaxis, parameter)


def _draw_readings(
    axes: Axes, explanation: Explanation, parameter: str, split: str, colour: str
) -> None:
    rows = [r for r in explanation.readings if (r.parameter, r.split) == (parameter, split)]
    if not rows:
        return
    places = [place(row.adaptation_episodes) for row in rows]
    low, high = [row.low for row in rows], [row.high for row in rows]
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        places, [row.r2 for row in rows], color=colour, linewidth=2.0, marker="o", markersize=4.5
    )


def _draw_identified(axes: Axes, explanation: Explanation, parameter: str) -> None:
    """Draw what simulation reads from the same episodes; lines of one height share their dashes."""
    rows = [row for row in explanation.identified if row.parameter == parameter]
    for index, row in enumerate(rows):
        dashes = (3.0 * index, (3.0, 3.0 * len(rows) - 3.0)) if len(rows) > 1 else "--"
        height = max(row.r2, _LOWEST_R2 + 0.02)
        axes.axhline(height, color=SPLIT_COLOURS[row.split], linestyle=dashes, linewidth=1.6)


def _identified_note(explanation: Explanation) -> str:
    """Say what the dashed lines are, if there are any."""
    if not explanation.identified:
        return ""
    number = explanation.identified[0].adaptation_episodes
    return f" Dashed: simulation, fitted to the same {number} episodes."


def _map(parameter: TaskParameter) -> str:
    return "twilight" if parameter.circular else "viridis"


def pictures_of(explanation: Explanation) -> dict[str, bytes]:
    """Return all pictures that there are, by name."""
    draw = (readings_picture, belief_picture, state_picture, action_picture, update_picture)
    drawn = {name: each(explanation) for name, each in zip(PICTURES, draw, strict=True)}
    return {name: picture for name, picture in drawn.items() if picture is not None}
