"""The folder of an explanation: its numbers, its pictures, and a page with a sentence for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from metarobot.envs import TaskParameter, find_family, parameter_words
from metarobot.evaluation.explain import (
    ActionChange,
    Estimate,
    Explanation,
    OneTask,
    Progress,
    TaskBelief,
    explain,
)
from metarobot.evaluation.protocol import ExplanationConfig
from metarobot.evaluation.statistics import Interval
from metarobot.io import Folder, json_bytes, rounded
from metarobot.machine import extra
from metarobot.reporting.figures import place
from metarobot.reporting.report import page_templates
from metarobot.reporting.style import (
    ALGORITHM_COLOURS,
    FAINT,
    GREY,
    INK,
    SPLIT_TITLES,
    STYLE,
    Cell,
    after_episodes,
    algorithm_title,
    family_title,
    in_unit,
    light_grid,
    make_figure,
    number,
    parameter_label,
    percent,
    png_bytes,
    write_heading,
    write_title,
)
from metarobot.reporting.video import data_url
from metarobot.training.load import TrainedRun

with extra("train", "a figure"):
    import matplotlib.style
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

PAGE_FILE = "explanation.html"
NUMBERS_FILE = "explanation.json"
PICTURES = ("readings", "belief", "states", "actions", "updates")
"""Names of the pictures, in the order of the page."""
KNOWN, ROUGHLY_KNOWN = 0.8, 0.3
"""R² from which a parameter counts as known, and as roughly known."""
SPLIT_COLOURS = {"train": "#0072b2", "interpolation": "#007f5f", "extrapolation": "#c65400"}
_SPLIT_WORDS = {"interpolation": "in the gaps held out", "extrapolation": "beyond that range"}
_HELD = 0.8
"""Share of true values below which a band of 90 % is called too sure."""
_SLIGHT = 0.05
"""Change of the action, in half ranges, below which it does not follow a parameter."""
_ABOVE_PX, _BELOW_PX = 104, 62
"""Space above and below the panels."""
_MOST_COLUMNS = 4
_LOWEST_R2 = -0.25
"""Lower limit of a panel: worse readings are not informative."""
_ABOVE_BELIEF_PX, _ROW_PX = 78, 132
_TRAINED = "#eef0f4"
"""Background of the training values."""
_MARGIN = 0.04
"""Margin beyond the outermost values, as a part of the whole axis."""


def explain_to_folder(
    run: TrainedRun,
    algorithm: str,
    out: Path,
    config: ExplanationConfig,
    *,
    task: Mapping[str, float] | None = None,
    command: str = "",
    progress: Progress,
    answer: Callable[[Sequence[str]], None],
) -> Explanation:
    """Measure how adaptation identifies tasks and changes actions, and write it into a folder.

    Args:
        run: The run that holds the policy.
        algorithm: Name of the policy's algorithm.
        out: Folder to write to; made if missing.
        config: Extent of the measurement.
        task: Parameters of one task to explain in detail, all others nominal.
        command: Command line that reproduces it.
        progress: Called with a stage and the share of the work done.
        answer: Called with sentences about the one task, as soon as they are known.

    Returns:
        The explanation, which explanation.json holds.

    Raises:
        TaskError: The family does not allow the task.
        FolderError: Something other than a file is in the place of a product.
        OSError: The folder cannot be written to.
    """
    run.distribution.with_values({name: [value] for name, value in (task or {}).items()})
    folder = Folder(out)
    folder.make()
    folder.require_files(NUMBERS_FILE, *(f"{name}.png" for name in PICTURES), PAGE_FILE)

    def say(found: OneTask) -> None:
        answer(one_task_sentences(found, run.env_id, run.distribution.parameters))

    explanation = explain(run, algorithm, config, progress, task, say)
    pictures = draw_pictures(explanation)
    page = (
        page_templates()
        .get_template("explanation.html.j2")
        .render(
            title=_title(explanation),
            family=explanation.family,
            one_task=explanation.one_task
            and one_task_sentences(
                explanation.one_task, explanation.family, explanation.parameters
            ),
            sentences=sentences(explanation),
            pictures={name: data_url(data, "image/png") for name, data in pictures.items()},
            config=explanation.config,
            command=command,
            **reading_table(explanation),
        )
    )
    folder.write_together(
        {
            NUMBERS_FILE: json_bytes(rounded(msgspec.to_builtins(explanation))),
            **{f"{name}.png": pictures.get(name) for name in PICTURES},
            PAGE_FILE: page.encode(),
        }
    )
    return explanation


def _title(explanation: Explanation) -> str:
    """Return family, variant and algorithm: "Grip, heavy blocks, latent"."""
    parts = (family_title(explanation.family), explanation.variant)
    return ", ".join(filter(None, (*parts, algorithm_title(explanation.algorithm))))


def reading_table(explanation: Explanation) -> dict[str, Any]:
    """Return the headings and the groups of rows of R² by task parameter and split."""
    numbers = dict.fromkeys(str(row.adaptation_episodes) for row in explanation.readings)
    fitted = [f"simulation, {row.adaptation_episodes}" for row in explanation.identified[:1]]
    headings, groups = [*numbers, *fitted], []
    for parameter in explanation.varying:
        rows = []
        for split in dict.fromkeys(row.split for row in explanation.readings):
            cells = [
                Cell.of(Interval(row.r2, row.low, row.high))
                for row in (*explanation.readings, *explanation.identified)
                if (row.parameter, row.split) == (parameter.name, split)
            ]
            # Simulation is not fitted in the training range.
            cells += [Cell.of(None)] * (len(headings) - len(cells))
            rows.append({"split": SPLIT_TITLES[split], "cells": cells})
        groups.append({"title": parameter_label(parameter.name, parameter.unit), "rows": rows})
    return {"headings": headings, "groups": groups}


# Sentences.


def sentences(explanation: Explanation) -> dict[str, str]:
    """Return a sentence for each picture, by the picture's name."""
    words = {"readings": _readings(explanation), "actions": _actions(explanation)}
    if explanation.narrowing:
        words["belief"] = _belief(explanation)
    if explanation.state_map:
        share = 100 * sum(explanation.state_map.shares)
        words["states"] = (
            f"{share:.0f} % of what differs between adapted tasks lies in this plane; where the "
            "colours are in order, the policy has sorted the tasks by that parameter."
        )
    if explanation.updates:
        words["updates"] = _updates(explanation)
    return words


def one_task_sentences(
    task: OneTask, family: str, parameters: Sequence[TaskParameter]
) -> list[str]:
    """Return estimates of one task, its distance from training, and the changes, if known."""
    of_name, lines = {each.name: each for each in parameters}, list[str]()
    stage = after_episodes(task.adaptation_episodes).capitalize()
    if task.estimates:
        sensed = [_estimate_words(each, of_name[each.parameter]) for each in task.estimates]
        lines.append(f"{stage}: {'; '.join(sensed)}.")
    if task.beyond:
        outside = [parameter_words(name, of_name[name].unit) for name in task.beyond]
        lines.append(
            f"Warning: {' and '.join(outside)} lie{'s' * (len(outside) == 1)} beyond the training "
            "range, where nothing was promised: look at the heat map of the evaluation."
        )
    if task.changes:
        changes = "; ".join(change_words(family, task.changes))
        lines.append(f"{stage}, its mean action changes: {changes}.")
    return lines


def _estimate_words(found: Estimate, parameter: TaskParameter) -> str:
    value = in_unit(f"{found.value:.3g}", parameter.unit)
    return (
        f"the {parameter_words(parameter.name, parameter.unit)} is about {value} "
        f"[{found.low:.3g}, {found.high:.3g}] (in truth {found.true:.3g})"
    )


def change_words(family: str, changes: Sequence[ActionChange]) -> Iterator[str]:
    """Yield the change of each element of the action, in its unit if the family has one."""
    scales = find_family(family).action_scales
    for index, change in enumerate(changes):
        if scales:
            scale = scales[index]
            before, after = scale.value(change.before), scale.value(change.after)
            yield f"{scale.quantity} from {before:.3g} to {after:.3g} {scale.unit}"
        else:
            before, after = number(change.before), number(change.after)
            yield f"{change.element} from {before} to {after} half ranges"


def _words_of(explanation: Explanation) -> dict[str, str]:
    """Return the names of the task parameters for people."""
    return {each.name: parameter_words(each.name, each.unit) for each in explanation.parameters}


def _readings(explanation: Explanation) -> str:
    """Return sentences on readings after the most episodes, held out, and by simulation."""
    most, words = max(r.adaptation_episodes for r in explanation.readings), _words_of(explanation)
    last = [r for r in explanation.readings if r.adaptation_episodes == most]
    trained = [r for r in last if r.split == "train"]
    kinds: dict[str, list[str]] = {"well": [], "roughly": [], "not": []}
    for r in trained:
        kind = "well" if r.r2 >= KNOWN else "roughly"
        kinds[kind if r.r2 >= ROUGHLY_KNOWN else "not"].append(
            f"the {words[r.parameter]} (R² {number(r.r2)})"
        )
    parts = [f"{kind}: {' and '.join(names)}" for kind, names in kinds.items() if names]
    text = f"{after_episodes(most).capitalize()}, readable {'; '.join(parts)}."
    known = {r.parameter for r in trained if r.r2 >= ROUGHLY_KNOWN}
    means = {
        split: [r.r2 for r in last if r.split == split and r.parameter in known]
        for split in _SPLIT_WORDS
    }
    if phrases := [f"{_mean(r2)} {_SPLIT_WORDS[split]}" for split, r2 in means.items() if r2]:
        which = "Their mean" if len(known) > 1 else "Its"
        text += f" {which} R² is {' and '.join(phrases)}."
    if rows := explanation.identified:
        r2 = {name: [r.r2 for r in rows if r.parameter == name] for name in words}
        phrases = [f"{_mean(each)} for the {words[name]}" for name, each in r2.items() if each]
        fitted = f"simulation, fitted to the same {rows[0].adaptation_episodes} episodes"
        text += f" Of {fitted} of held-out tasks, it is {', '.join(phrases)}."
    return text


def _mean(values: Sequence[float]) -> str:
    return number(float(np.mean(values)))


def _belief(explanation: Explanation) -> str:
    words, phrases = _words_of(explanation), list[str]()
    for found in explanation.narrowing:
        width, holds = percent(found.width), percent(found.holds_truth)
        phrases += (
            [f"that of the {words[found.parameter]} {width} and {holds}"]
            if phrases
            else [
                f"{after_episodes(found.adaptation_episodes).capitalize()} the 90 % band of the "
                f"{words[found.parameter]} is {width} as wide as before and contains "
                f"{holds} of the true values"
            ]
        )
    text = f"{', '.join(phrases)}, over all held-out tasks."
    if min(found.holds_truth for found in explanation.narrowing) >= _HELD:
        return text
    return f"{text} A band that contains fewer than 90 % is too narrow."


def _actions(explanation: Explanation) -> str:
    words = _words_of(explanation)
    most = max(explanation.sensitivities, key=lambda row: abs(row.change))
    if abs(most.change) < _SLIGHT:
        return "The adapted action hardly follows any task parameter."
    text = (
        f"The {most.element} follows the {words[most.parameter]} most: it changes by "
        f"{number(most.change)} half ranges from the lowest to the highest value trained on"
    )
    if most.of_oracle is not None:
        text += f", and that of the oracle, which observes the task, by {number(most.of_oracle)}"
    return f"{text}."


def _updates(explanation: Explanation) -> str:
    most = max(explanation.updates, key=lambda update: update.size)
    distances, cosines = np.array(explanation.similarity).T
    near = distances <= np.median(distances)
    return (
        f"{most.layer} moves most, by {100 * most.size:.0f} % of its length. Updates of tasks that "
        f"are alike have a mean cosine of {_mean(cosines[near])}, of others "
        f"{_mean(cosines[~near])}."
    )


# Pictures.


def draw_pictures(explanation: Explanation) -> dict[str, bytes]:
    """Return all pictures that there are, by name."""
    draw = (_draw_readings, _draw_belief, _draw_states, _draw_actions, _draw_updates)
    with matplotlib.style.context(["default", STYLE]):
        figures = {name: each(explanation) for name, each in zip(PICTURES, draw, strict=True)}
        return {name: png_bytes(figure) for name, figure in figures.items() if figure is not None}


def _draw_readings(explanation: Explanation) -> Figure:
    """Draw the R² of each task parameter's reading, over the number of adaptation episodes."""
    parameters, rows = explanation.varying, explanation.readings
    figure, panels = _make_panels(len(parameters), sharey=True)
    numbers = sorted({row.adaptation_episodes for row in rows})
    for axes, parameter in zip(panels, parameters, strict=True):
        for split, colour in SPLIT_COLOURS.items():
            own = [r for r in rows if (r.parameter, r.split) == (parameter.name, split)]
            places = [place(row.adaptation_episodes) for row in own]
            low, high = [row.low for row in own], [row.high for row in own]
            axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
            style = {"color": colour, "linewidth": 2.0, "marker": "o", "markersize": 4.5}
            axes.plot(places, [row.r2 for row in own], **style)
        write_heading(axes, parameter_words(parameter.name, parameter.unit), INK)
        axes.set_ylim(_LOWEST_R2, 1.05)
        # Readings of simulation on the same episodes; lines of one height share their dashes.
        fits = [row for row in explanation.identified if row.parameter == parameter.name]
        for index, row in enumerate(fits):
            dashes = (3.0 * index, (3.0, 3.0 * len(fits) - 3.0)) if len(fits) > 1 else "--"
            height = max(row.r2, _LOWEST_R2 + 0.02)
            axes.axhline(height, color=SPLIT_COLOURS[row.split], linestyle=dashes, linewidth=1.6)
        light_grid(axes)
        axes.set_xticks([place(number) for number in numbers], [str(n) for n in numbers])
    # The colours of the splits, named above the first panel.
    x, y = panels[0].get_position().x0, 1 - 66 / (100 * figure.get_figheight())
    for split in dict.fromkeys(row.split for row in rows):
        colour = SPLIT_COLOURS[split]
        text = figure.text(x, y, SPLIT_TITLES[split], color=colour, weight="bold", va="center")
        x += text.get_window_extent().width / figure.bbox.width + 0.02
    _write_axes(figure, "adaptation episodes", "R² of the reading")
    how = (
        "1: exactly. 0: not at all. A linear probe, fitted to other tasks; bands are 95 % "
        "intervals."
    )
    if fits := explanation.identified:
        how += f" Dashed: simulation, fitted to the same {fits[0].adaptation_episodes} episodes."
    what = "task parameters read from the adapted parameters"
    write_title(figure, f"{_title(explanation)}: {what}", how)
    return figure


def _draw_states(explanation: Explanation) -> Figure | None:
    """Draw the adapted states of the tasks, coloured by each parameter; None if all are alike."""
    found = explanation.state_map
    if found is None:
        return None
    parameters = explanation.varying
    figure, panels = _make_panels(len(parameters), sharey=True)
    places, tasks = np.array(found.places), np.array(explanation.tasks)
    for column, (axes, parameter) in enumerate(zip(panels, parameters, strict=True)):
        colours = "twilight" if parameter.circular else "viridis"
        style = {"s": 14, "norm": _scale(parameter), "cmap": colours}
        dots = axes.scatter(*places.T, c=tasks[:, column], **style)
        bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=30)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        _plain_numbers(bar.ax.yaxis, parameter)
        write_heading(axes, parameter_label(parameter.name, parameter.unit), INK)
        axes.set_xticks([])
        axes.set_yticks([])
    first, second = (f"{100 * share:.0f} %" for share in found.shares)
    _write_axes(figure, f"first direction, {first}", f"second, {second}")
    what = f"adapted states after {found.adaptation_episodes} episodes"
    how = "A dot is a task. Nearby dots are similar tasks for the policy."
    write_title(figure, f"{_title(explanation)}: {what}", how)
    return figure


def _draw_actions(explanation: Explanation) -> Figure:
    """Draw the change of the action over the range of each task parameter."""
    rows, words = explanation.sensitivities, _words_of(explanation)
    height = _ABOVE_PX + _BELOW_PX + 34 * len(rows)
    figure = make_figure(height)
    axes = figure.subplots()
    figure.subplots_adjust(
        left=0.44, right=0.96, top=1 - _ABOVE_PX / height, bottom=_BELOW_PX / height
    )
    heights = np.arange(len(rows))[::-1]
    axes.barh(heights + 0.17, [row.change for row in rows], 0.3, color="#0072b2")
    of_oracle = [row.of_oracle or 0.0 for row in rows]
    axes.barh(heights - 0.17, of_oracle, 0.3, color=ALGORITHM_COLOURS["oracle"])
    axes.set_yticks(heights, [f"{words[row.parameter]} → {row.element}" for row in rows])
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.grid(axis="x", color="#e7e9ee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    below = "change of the mean action, in half ranges"
    figure.text(0.7, 14 / height, below, color=FAINT, ha="center")
    how = "From the lowest to the highest value trained on. Blue: adapted. Green: oracle."
    write_title(figure, f"{_title(explanation)}: how the action follows the task", how)
    return figure


def _draw_updates(explanation: Explanation) -> Figure | None:
    """Draw the change of each layer, and the similarity of updates over that of tasks."""
    if not explanation.updates:
        return None
    figure, (layers, pairs) = _make_panels(2)
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
    how = "Right: a dot is a pair of tasks. 1: equal direction. 0: unrelated."
    write_title(figure, f"{_title(explanation)}: update of one step", how)
    return figure


def _draw_belief(explanation: Explanation) -> Figure | None:
    """Draw the beliefs about held-out tasks, episode by episode; None without beliefs.

    A row for each task parameter, a column for each task.
    """
    tasks, parameters = explanation.believed, explanation.varying
    if not tasks:
        return None
    height = _ABOVE_BELIEF_PX + _BELOW_PX + _ROW_PX * len(parameters)
    figure = make_figure(height)
    grid = figure.subplots(len(parameters), len(tasks), squeeze=False, sharex=True, sharey="row")
    figure.subplots_adjust(
        left=0.115,
        right=0.985,
        top=1 - _ABOVE_BELIEF_PX / height,
        bottom=_BELOW_PX / height,
        wspace=0.08,
        hspace=0.14,
    )
    for row, (axes_of_row, parameter) in enumerate(zip(grid, parameters, strict=True)):
        # The first panel has the scale, the numbers and the name; the others follow it.
        axes, pairs = axes_of_row[0], (parameter.train, *parameter.extrapolation)
        ends = [value for pair in pairs for value in pair]
        if not parameter.circular:
            ends += [value for task in tasks for value in values_in_view(task, row)]
        low, high = parameter.scale(np.array([min(ends), max(ends)]))
        room = _MARGIN * (high - low)
        axes.set_yscale(_scale(parameter))
        axes.set_ylim(*parameter.unscale(np.array([low - room, high + room])))
        _plain_numbers(axes.yaxis, parameter)
        label = parameter_label(parameter.name, parameter.unit)
        axes.set_ylabel(label.replace(" [", "\n["), size=9, color=FAINT)
        for axes, task in zip(axes_of_row, tasks, strict=True):
            draw_task_belief(axes, parameter, task, row)
    for axes, task in zip(grid[0], tasks, strict=True):
        axes.set_title(SPLIT_TITLES[task.split], size=10, color=SPLIT_COLOURS[task.split], pad=5)
    figure.align_ylabels(grid[:, 0])
    _write_axes(figure, "adaptation episodes", "")
    how = (
        "Dots and band: median and 90 % of the posterior; hollow: not acted on. "
        "Black: true value. Grey: trained on."
    )
    write_title(figure, f"{_title(explanation)}: posterior of held-out tasks", how)
    return figure


def values_in_view(task: TaskBelief, row: int) -> list[float]:
    """Return the values that a panel must show."""
    bands = [stage[row] for stage in task.bands]
    return [task.true[row], *(end for band in bands for end in (band.low, band.high))]


def draw_task_belief(axes: Axes, parameter: TaskParameter, task: TaskBelief, row: int) -> None:
    """Draw the belief about a parameter of a task, over the number of episodes."""
    colour, numbers = SPLIT_COLOURS[task.split], np.arange(len(task.bands))
    bands = np.array([[b.low, b.median, b.high] for b in (stage[row] for stage in task.bands)])
    # An angle is drawn a turn higher and lower as well, for bands across the end of the axis.
    for turn in (-2 * np.pi, 0.0, 2 * np.pi) if parameter.circular else (0.0,):
        low, median, high = bands.T + turn
        axes.fill_between(numbers, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(numbers, median, color=colour, linewidth=1.6)
        for count, value in zip(numbers, median, strict=True):
            face = colour if task.is_used[count] else "white"
            axes.plot(count, value, "o", color=colour, markerfacecolor=face, markersize=4.5)
    axes.axhspan(*parameter.train, color=_TRAINED, linewidth=0, zorder=0)
    axes.axhline(task.true[row], color=INK, linewidth=1.3, zorder=1.5)
    axes.set_xticks(numbers)
    axes.tick_params(length=0, which="both")
    axes.spines["left"].set_visible(False)


def _make_panels(count: int, *, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels in rows, as many as there are."""
    columns = min(count, _MOST_COLUMNS)
    rows = -(-count // columns)
    height = _ABOVE_PX + _BELOW_PX + 250 * rows
    figure = make_figure(height)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
    figure.subplots_adjust(
        left=0.09,
        right=0.975,
        top=1 - _ABOVE_PX / height,
        bottom=_BELOW_PX / height,
        wspace=0.22,
        hspace=0.42,
    )
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, grid[:count]


def _write_axes(figure: Figure, below: str, beside: str) -> None:
    """Write the labels of the axes of all panels."""
    figure.text(0.53, 0.02, below, color=FAINT, ha="center", va="bottom")
    figure.supylabel(beside, x=0.008, size="medium", color=FAINT)


def _scale(parameter: TaskParameter) -> str:
    return "log" if parameter.log_uniform else "linear"


def _plain_numbers(axis: Axis, parameter: TaskParameter) -> None:
    """Write the values of a task parameter beside an axis as plain numbers."""
    if parameter.log_uniform:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
