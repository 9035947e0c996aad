"""The folder of an explanation: its numbers, its pictures, and a page with a sentence for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from metarobot.envs import TaskParameter, find_family, parameter_words
from metarobot.evaluation.explain import (
    ActionChange,
    BelievedTask,
    Estimate,
    Explanation,
    ExplanationConfig,
    Progress,
    Reading,
    Sensitivity,
    explain,
)
from metarobot.evaluation.statistics import Interval
from metarobot.io import Folder, json_bytes, rounded
from metarobot.reporting.figures import place
from metarobot.reporting.report import data_url, page_templates
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
from metarobot.training.load import TrainedRun

PAGE_FILE = "explanation.html"
NUMBERS_FILE = "explanation.json"


def explain_to_folder(
    run: TrainedRun,
    algorithm: str,
    out: Path,
    config: ExplanationConfig,
    *,
    task: Mapping[str, float] | None = None,
    command: str = "",
    progress: Progress,
) -> Explanation:
    """Measure what adaptation senses and changes, and write all there is to see into a folder.

    Args:
        run: The run that holds the policy.
        algorithm: Whose adaptation.
        out: Folder to write to; made if missing.
        config: How much is measured.
        task: Parameters of one task that is looked at more closely, all others nominal.
        command: Command line that makes it again.
        progress: Called with a stage and the share of the work done.

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
    files = (NUMBERS_FILE, *(f"{name}.png" for name in PICTURES), PAGE_FILE)
    folder.require_files(*files)
    explanation = explain(run, algorithm, config, progress, task)
    pictures = pictures_of(explanation)
    folder.write_together(
        {
            NUMBERS_FILE: json_bytes(rounded(msgspec.to_builtins(explanation))),
            **{f"{name}.png": pictures.get(name) for name in PICTURES},
            PAGE_FILE: _page(explanation, pictures, command).encode(),
        }
    )
    return explanation


def _page(explanation: Explanation, pictures: Mapping[str, bytes], command: str) -> str:
    """Return the page: every picture with a sentence, in one file that loads nothing."""
    return (
        page_templates()
        .get_template("explanation.html.j2")
        .render(
            title=explanation_title(explanation),
            family=explanation.family,
            one_task=one_task_sentences(explanation),
            sentences=sentences(explanation),
            pictures={name: data_url(data, "image/png") for name, data in pictures.items()},
            headings=reading_headings(explanation),
            groups=reading_groups(explanation),
            config=explanation.config,
            command=command,
        )
    )


# What adaptation has sensed and changed, in one plain sentence for each picture.


KNOWN, ROUGHLY_KNOWN = 0.8, 0.3
"""R² from which a parameter counts as known, and as roughly known."""
_SPLIT_WORDS = {"interpolation": "in the gaps held out", "extrapolation": "beyond that range"}
_HELD = 0.8
"""Share of true values below which a band of 90 % is called too sure."""
_SLIGHT = 0.05
"""Change of the action, in half ranges, below which it does not follow a parameter."""


def sentences(explanation: Explanation) -> dict[str, str]:
    """Return a sentence for each picture, by the picture's name."""
    words = {"readings": _readings(explanation), "actions": _actions(explanation)}
    if explanation.narrowing:
        words["belief"] = _belief(explanation)
    if explanation.state_map:
        words["states"] = _states(explanation)
    if explanation.updates:
        words["updates"] = _updates(explanation)
    return words


def one_task_sentences(explanation: Explanation) -> list[str]:
    """Say of one task what was sensed, how far it lies from training, and what has changed."""
    task = explanation.one_task
    if task is None:
        return []
    parameters = {each.name: each for each in explanation.parameters}
    told = [_estimate(each, parameters[each.parameter].unit) for each in task.estimates]
    lines = [f"{after_episodes(task.adaptation_episodes).capitalize()}: {'; '.join(told)}."]
    outside = [each for each in task.estimates if not each.is_trained]
    if outside:
        names = " and ".join(
            parameter_words(each.parameter, parameters[each.parameter].unit) for each in outside
        )
        lines.append(
            f"Warning: {names} lie{'s' * (len(outside) == 1)} beyond the training range, where "
            "nothing was promised: look at the heat map of the evaluation."
        )
    changes = change_words(explanation.family, task.changes)
    lines.append(f"Its mean action changes: {'; '.join(changes)}.")
    return lines


def change_words(family: str, changes: Sequence[ActionChange]) -> Iterator[str]:
    """Say how each element of the action changes, in its unit where the family has one."""
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


def _estimate(found: Estimate, unit: str) -> str:
    words, value = parameter_words(found.parameter, unit), in_unit(f"{found.value:.3g}", unit)
    return (
        f"the {words} is about {value} "
        f"[{found.low:.3g}, {found.high:.3g}] (in truth {found.true:.3g})"
    )


def _readings(explanation: Explanation) -> str:
    number_of_episodes = max(r.adaptation_episodes for r in explanation.readings)
    words = _words_of(explanation)
    last = [r for r in explanation.readings if r.adaptation_episodes == number_of_episodes]
    kinds: dict[str, list[str]] = {"knows": [], "knows roughly": [], "cannot tell": []}
    for reading in last:
        if reading.split == "train":
            kind = "knows" if reading.r2 >= KNOWN else "knows roughly"
            kind = kind if reading.r2 >= ROUGHLY_KNOWN else "cannot tell"
            kinds[kind].append(f"the {words[reading.parameter]} (R² {number(reading.r2)})")
    parts = [f"{kind} {' and '.join(names)}" for kind, names in kinds.items() if names]
    text = f"{after_episodes(number_of_episodes).capitalize()}, adaptation {', '.join(parts)}."
    return f"{text}{_elsewhere(last)}{_by_simulation(explanation)}"


def _elsewhere(last: Sequence[Reading]) -> str:
    """Say how well those are read on held-out tasks that can be read on others."""
    known = {r.parameter for r in last if r.split == "train" and r.r2 >= ROUGHLY_KNOWN}
    means = {
        split: [r.r2 for r in last if r.split == split and r.parameter in known]
        for split in _SPLIT_WORDS
    }
    told = [
        f"{number(float(np.mean(r2)))} {_SPLIT_WORDS[split]}" for split, r2 in means.items() if r2
    ]
    which = "Their mean" if len(known) > 1 else "Its"
    return f" {which} R² is {' and '.join(told)}." if told else ""


def _by_simulation(explanation: Explanation) -> str:
    """Say what simulation reads from the same episodes, if that was measured."""
    words, rows = _words_of(explanation), explanation.identified
    if not rows:
        return ""
    r2 = {name: [r.r2 for r in rows if r.parameter == name] for name in words}
    told = [f"{number(float(np.mean(each)))} for the {words[n]}" for n, each in r2.items() if each]
    fitted = f"simulation, fitted to the same {rows[0].adaptation_episodes} episodes"
    return f" Of {fitted} of held-out tasks, it is {', '.join(told)}."


def _belief(explanation: Explanation) -> str:
    words, told = _words_of(explanation), list[str]()
    for found in explanation.narrowing:
        width, holds = percent(found.width), percent(found.holds_truth)
        told += (
            [f"that of the {words[found.parameter]} {width} and {holds}"]
            if told
            else [
                f"{after_episodes(found.adaptation_episodes).capitalize()} the 90 % band of the "
                f"{words[found.parameter]} is {width} as wide as before and holds {holds} of the "
                "true values"
            ]
        )
    text = f"{', '.join(told)}, over all held-out tasks."
    if min(found.holds_truth for found in explanation.narrowing) >= _HELD:
        return text
    return f"{text} A band that holds fewer than 90 % is too sure of itself."


def _states(explanation: Explanation) -> str:
    found = explanation.state_map
    share = 0.0 if found is None else sum(found.shares)
    return (
        f"{100 * share:.0f} % of what differs between adapted tasks lies in this plane; where the "
        "colours are in order, the policy has sorted the tasks by that parameter."
    )


def _actions(explanation: Explanation) -> str:
    words = _words_of(explanation)
    most = max(explanation.sensitivities, key=lambda row: abs(row.change))
    if abs(most.change) < _SLIGHT:
        return "The adapted action hardly follows any task parameter."
    text = (
        f"The {most.element} follows the {words[most.parameter]} most: it changes by "
        f"{number(most.change)} half ranges from the lowest to the highest value trained on"
    )
    return f"{text}{_beside_the_oracle(most)}."


def _beside_the_oracle(row: Sensitivity) -> str:
    if row.of_oracle is None:
        return ""
    return f", and that of the policy which is told the task by {number(row.of_oracle)}"


def _updates(explanation: Explanation) -> str:
    most = max(explanation.updates, key=lambda update: update.size)
    distances, cosines = np.array(explanation.similarity).T
    near = distances <= np.median(distances)
    return (
        f"{most.layer} moves most, by {100 * most.size:.0f} % of its length. Updates of tasks that "
        f"are alike have a mean cosine of {number(float(cosines[near].mean()))}, of others "
        f"{number(float(cosines[~near].mean()))}."
    )


# The table of how well each task parameter can be read.


class ReadingRow(NamedTuple):
    """R² of one task parameter on one split."""

    split: str
    """Name of the split."""
    cells: tuple[Cell, ...]
    """By the number of adaptation episodes; then that of simulation, if it was fitted."""


class ReadingGroup(NamedTuple):
    """R² of one task parameter."""

    title: str
    """Its name with its unit."""
    rows: tuple[ReadingRow, ...]
    """By split."""


def reading_headings(explanation: Explanation) -> list[str]:
    """Return what stands above the columns of numbers."""
    numbers = dict.fromkeys(str(row.adaptation_episodes) for row in explanation.readings)
    fitted = [f"simulation, {row.adaptation_episodes}" for row in explanation.identified[:1]]
    return [*numbers, *fitted]


def reading_groups(explanation: Explanation) -> list[ReadingGroup]:
    """Return the rows, by task parameter."""
    splits = dict.fromkeys(row.split for row in explanation.readings)
    return [
        ReadingGroup(
            title=parameter_label(parameter.name, parameter.unit),
            rows=tuple(
                ReadingRow(SPLIT_TITLES[split], _cells(explanation, parameter.name, split))
                for split in splits
            ),
        )
        for parameter in explanation.varying
    ]


def _cells(explanation: Explanation, parameter: str, split: str) -> tuple[Cell, ...]:
    rows = (*explanation.readings, *explanation.identified)
    cells = [_cell(row) for row in rows if (row.parameter, row.split) == (parameter, split)]
    missing = len(reading_headings(explanation)) - len(cells)  # of simulation, in the range trained
    return (*cells, *[Cell.of(None)] * missing)


def _cell(row: Reading) -> Cell:
    return Cell.of(Interval(row.r2, row.low, row.high))


# What the pictures of an explanation share: panels, titles, the colours of splits.


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


# Pictures of what adaptation has sensed and changed.


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


# The picture of how a belief narrows: a row for each task parameter, a column for each task.


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
        for count, value in zip(numbers, median, strict=True):
            face = colour if task.is_used[count] else "white"
            axes.plot(count, value, "o", color=colour, markerfacecolor=face, markersize=4.5)
    axes.axhspan(*parameter.train, color=_TRAINED, linewidth=0, zorder=0)
    axes.axhline(task.true[row], color=INK, linewidth=1.3, zorder=1.5)
    axes.set_xticks(numbers)
    axes.tick_params(length=0, which="both")
    axes.spines["left"].set_visible(False)
