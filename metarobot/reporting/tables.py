"""The tables of the HTML report by blocks, and of task parameters: all numbers ready to print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from metarobot.evaluation.evaluate import ROBUSTNESS_EPISODES
from metarobot.evaluation.protocol import RANDOM
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import (
    Curve,
    Evaluation,
    Headroom,
    MeasuredParameter,
    Point,
    UnderVariant,
    WorstTask,
)
from metarobot.io import csv_table
from metarobot.reporting.style import (
    ALGORITHM_COLOURS,
    Cell,
    after_blocks,
    after_episodes,
    algorithm_title,
    number,
    parameter_label,
    percent,
    split_note,
    split_title,
)
from metarobot.reporting.video import describe_task


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table of returns."""

    algorithm: str
    """The CSS class of its colour."""
    label: str
    """Whose it is, and after how many blocks."""
    episodes_used: int
    """Adaptation episodes used."""
    mean: Cell
    iqm: Cell
    success: Cell
    bar: tuple[float, float, float]
    """Low, mean and high return on the split's own scale, from 0 (and below) to 100."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The lines of one split."""

    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class ReturnTable:
    """The table of deterministic or of exploring episodes."""

    title: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, kw_only=True)
class HeadroomRow:
    """One line of the headroom table."""

    split: str
    domain_randomisation: str
    oracle: str
    headroom: Cell
    captured: tuple[Cell, ...]
    """The fraction captured after each block."""


@dataclass(frozen=True, kw_only=True)
class ParameterRow:
    """One line of the table of task parameters."""

    label: str
    description: str
    train: str
    gaps: str
    extrapolation: str
    scale: str


def return_tables(evaluation: Evaluation) -> list[ReturnTable]:
    """Return one table for deterministic and one for exploring episodes, grouped by split.

    Args:
        evaluation: The evaluation.
    """
    tables = []
    for exploring, title in ((False, "Deterministic episodes"), (True, "Exploring episodes")):
        groups = []
        for split in evaluation.splits:
            curves = [
                curve
                for policy in evaluation.policies
                if (curve := evaluation.curve(policy.algorithm, split, exploring=exploring))
            ]
            if curves:
                note, rows = split_note(evaluation, split), _rows(evaluation, curves)
                groups.append(Group(title=split_title(evaluation, split), note=note, rows=rows))
        if groups:
            tables.append(ReturnTable(title=title, groups=tuple(groups)))
    return tables


def _rows(evaluation: Evaluation, curves: Sequence[Curve]) -> tuple[Row, ...]:
    # Random actions score so low that their place would squeeze all others together.
    shown = [curve for curve in curves if curve.algorithm != RANDOM] or curves
    means = [point.return_mean for curve in shown for point in curve.blocks]
    low = min(mean.low for mean in means)
    span = max(max(mean.high for mean in means) - low, 1e-9)

    def place(value: float) -> float:
        return round(100 * min(max((value - low) / span, 0.0), 1.0), 2)

    def bar(mean: Interval) -> tuple[float, float, float]:
        return place(mean.low), place(mean.value), place(mean.high)

    return tuple(
        Row(
            algorithm=curve.algorithm if curve.algorithm in ALGORITHM_COLOURS else "adapted",
            label=_label(evaluation, curve.algorithm, num_blocks),
            episodes_used=point.adaptation_episodes,
            mean=Cell.of(point.return_mean),
            iqm=Cell.of(point.return_iqm),
            success=Cell.in_percent(point.success),
            bar=bar(point.return_mean),
        )
        for curve in curves
        for num_blocks, point in enumerate(curve.blocks)
    )


def _label(evaluation: Evaluation, algorithm: str, num_blocks: int) -> str:
    name = algorithm_title(algorithm)
    if algorithm not in evaluation.learners:
        return name
    stage = after_blocks(num_blocks)
    return f"{name}, {stage}" if len(evaluation.learners) > 1 else stage


def headroom_table(evaluation: Evaluation) -> list[HeadroomRow]:
    """Return a line for each split and each policy that adapts.

    Args:
        evaluation: The evaluation.
    """
    return [
        _headroom_row(evaluation, entry, curve)
        for entry in evaluation.headroom
        for name in evaluation.learners
        if (curve := evaluation.curve(name, entry.split))
    ]


def _headroom_row(evaluation: Evaluation, headroom: Headroom, curve: Curve) -> HeadroomRow:
    name = f", {algorithm_title(curve.algorithm)}" * (len(evaluation.learners) > 1)
    return HeadroomRow(
        split=split_title(evaluation, headroom.split) + name,
        domain_randomisation=number(headroom.domain_randomisation),
        oracle=number(headroom.oracle),
        headroom=Cell.of(headroom.gap),
        captured=tuple(Cell.in_percent(point.captured) for point in curve.blocks),
    )


def parameter_table(evaluation: Evaluation) -> list[ParameterRow]:
    """Return a line for each task parameter.

    Args:
        evaluation: The evaluation.
    """
    return [_parameter_row(parameter) for parameter in evaluation.task_parameters]


def _parameter_row(parameter: MeasuredParameter) -> ParameterRow:
    choices = " or ".join(f"{value:g}" for value in parameter.choices)
    return ParameterRow(
        label=parameter_label(parameter.name, parameter.unit),
        description=parameter.description,
        train=choices or _ranges([parameter.train]),
        gaps=_ranges(parameter.gaps),
        extrapolation=_ranges(parameter.extrapolation),
        scale="log-uniform" if parameter.log_uniform else "uniform",
    )


def _ranges(pairs: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{low:g} to {high:g}" for low, high in pairs) or "–"


# The tables of the HTML report by adaptation episodes: all numbers ready to print.


@dataclass(frozen=True, kw_only=True)
class EpisodesRow:
    """What one policy reaches, over the number of adaptation episodes."""

    label: str
    cells: tuple[Cell, ...]
    """One for each number of episodes."""
    last: str
    """Episodes to 0.9 of the headroom, in the rows of what was captured; else nothing."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """The rows of one quantity."""

    title: str
    in_percent: bool
    rows: tuple[EpisodesRow, ...]


@dataclass(frozen=True, kw_only=True)
class EpisodesTable:
    """One split: all that was measured after one block of so many episodes."""

    title: str
    note: str
    numbers: tuple[int, ...]
    """Numbers of adaptation episodes, one a column."""
    quantities: tuple[Quantity, ...]


_OF_POINTS: dict[str, tuple[Callable[[Point], Interval | None], bool]] = {
    "Success": (lambda point: point.success, True),
    "Tasks that became worse": (lambda point: point.harmed, True),
    "Return": (lambda point: point.return_mean, False),
    "Change of return, worst tenth of the tasks": (lambda point: point.worst_tenth, False),
    "Return given up in each adaptation episode": (lambda point: point.trial_cost, False),
}
"""What is shown of points below the fraction captured, and whether in percent."""


def episode_tables(evaluation: Evaluation) -> list[EpisodesTable]:
    """Return a table for each split; none where nobody adapts.

    Args:
        evaluation: The evaluation.
    """
    tables = []
    for split in evaluation.splits:
        found = [evaluation.curve(name, split) for name in evaluation.learners]
        curves = [curve for curve in found if curve]
        if curves:
            tables.append(_table(evaluation, split, curves))
    return tables


def _table(evaluation: Evaluation, split: str, curves: Sequence[Curve]) -> EpisodesTable:
    numbers = sorted({p.adaptation_episodes for curve in curves for p in curve.points})
    captured = _quantity(
        "Headroom captured",
        curves,
        numbers,
        lambda point: evaluation.captured(point, split),
        in_percent=True,
        last=[episodes_to_90_text(evaluation, curve) for curve in curves],
    )
    others = [
        _quantity(title, curves, numbers, of, in_percent=in_percent)
        for title, (of, in_percent) in _OF_POINTS.items()
    ]
    return EpisodesTable(
        title=split_title(evaluation, split),
        note=split_note(evaluation, split),
        numbers=tuple(numbers),
        quantities=tuple(quantity for quantity in (captured, *others) if quantity),
    )


def _quantity(
    title: str,
    curves: Sequence[Curve],
    numbers: Sequence[int],
    of: Callable[[Point], Interval | None],
    *,
    in_percent: bool,
    last: Sequence[str] = (),
) -> Quantity | None:
    """Return the rows of a quantity, None where it was measured nowhere."""
    points = [[curve.after_episodes(n) for n in numbers] for curve in curves]
    values = [[point and of(point) for point in row] for row in points]
    write = Cell.in_percent if in_percent else Cell.of
    if not any(value for row in values for value in row):
        return None
    return Quantity(
        title=title,
        in_percent=in_percent,
        rows=tuple(
            EpisodesRow(
                label=algorithm_title(curve.algorithm),
                cells=tuple(map(write, row)),
                last=needed,
            )
            for curve, row, needed in zip(curves, values, last or [""] * len(curves), strict=True)
        ),
    )


def episodes_to_90_text(evaluation: Evaluation, curve: Curve) -> str:
    """Return how many episodes 0.9 of the headroom takes: "5", "> 40", or a dash without one."""
    last = curve.points[-1]
    if evaluation.captured(last, curve.split) is None:
        return "–"
    needed = evaluation.episodes_to_90(curve)
    return f"> {last.adaptation_episodes}" if needed is None else str(needed)


# The tables of the HTML report of what is hard: the worst tasks, and the shipped variants.


@dataclass(frozen=True)
class WorstRow:
    """One of the worst tasks."""

    place: int
    """In `Evaluation.worst_tasks`."""
    task: str
    where: str
    """Its split, and its training seed where there are several."""
    why: str
    """Why it is here."""
    returns: tuple[str, str]
    """Before and after adapting."""
    success: tuple[str, str]


@dataclass(frozen=True)
class WorstGroup:
    """The worst tasks of one policy."""

    title: str
    stage: str
    """When they were worst: "after 5 episodes"."""
    rows: Sequence[WorstRow]


@dataclass(frozen=True)
class VariantRow:
    """What one policy reaches under one variant."""

    label: str
    success: Sequence[Cell]
    """Before adapting and after each number of episodes; a dash where it never adapts."""
    returns: Sequence[Cell]


@dataclass(frozen=True)
class VariantGroup:
    """One variant."""

    title: str
    note: str
    rows: Sequence[VariantRow]


def worst_groups(evaluation: Evaluation) -> list[WorstGroup]:
    """Return the worst tasks of every policy that adapts.

    Args:
        evaluation: The evaluation.
    """
    groups = []
    for name in evaluation.learners:
        own = [(i, task) for i, task in enumerate(evaluation.worst_tasks) if task.algorithm == name]
        if own:
            stage = after_episodes(own[0][1].adaptation_episodes)
            rows = [_worst_row(evaluation, place, task) for place, task in own]
            groups.append(WorstGroup(algorithm_title(name), stage, rows))
    return groups


def _worst_row(evaluation: Evaluation, place: int, worst: WorstTask) -> WorstRow:
    units = {parameter.name: parameter.unit for parameter in evaluation.task_parameters}
    where = split_title(evaluation, worst.split).lower()
    return WorstRow(
        place=place,
        task=", ".join(describe_task(worst.task, units)).replace("-", "\N{MINUS SIGN}"),
        where=f"{where}, seed {worst.seed}" if len(evaluation.seeds) > 1 else where,
        why="became worse" if worst.harmed else "lowest return",
        returns=(number(worst.return_before), number(worst.return_after)),
        success=(percent(worst.success_before), percent(worst.success_after)),
    )


def robustness_groups(evaluation: Evaluation) -> list[VariantGroup]:
    """Return what policies reach on the family as it is, then under each variant measured.

    Args:
        evaluation: The evaluation.
    """
    by_variant: dict[str, list[UnderVariant]] = {}
    for entry in evaluation.robustness:
        by_variant.setdefault(entry.variant, []).append(entry)
    groups = [
        VariantGroup(
            title=name.replace("_", " "),
            note=entries[0].description + ", tasks of its own" * entries[0].other_tasks,
            rows=[_variant_row(entry.algorithm, entry.points) for entry in entries],
        )
        for name, entries in by_variant.items()
    ]
    return [*_as_it_is(evaluation, list(by_variant.values())), *groups]


def _as_it_is(
    evaluation: Evaluation, found: Sequence[Sequence[UnderVariant]]
) -> list[VariantGroup]:
    """Return the same policies without a variant, on the training range."""
    names = dict.fromkeys(entry.algorithm for entries in found for entry in entries)
    curves = [evaluation.curve(name, "train") for name in names]
    rows = [_variant_row(curve.algorithm, curve.points) for curve in curves if curve]
    return [VariantGroup("as it is", "no variant", rows)] if rows else []


def _variant_row(algorithm: str, points: Sequence[Point]) -> VariantRow:
    measured = {point.adaptation_episodes: point for point in points}
    shown = [measured.get(number) for number in (0, *ROBUSTNESS_EPISODES)]
    return VariantRow(
        label=algorithm_title(algorithm),
        success=[Cell.in_percent(point and point.success) for point in shown],
        returns=[Cell.of(point and point.return_mean) for point in shown],
    )


# The table of an evaluation: one row for each policy, split, kind of episodes and point.


def evaluation_csv(evaluation: Evaluation) -> str:
    """Return all points of an evaluation as CSV, with the bounds of their 95 % intervals.

    The column ``adaptation_blocks`` is empty where all adaptation episodes were one block, or none.

    Args:
        evaluation: The evaluation.
    """
    return csv_table(
        [
            {**_csv_row(curve, point, blocks), **_protocol(evaluation)}
            for curve in evaluation.curves
            for blocks, point in [
                *((None, point) for point in curve.points),
                *(enumerate(curve.blocks) if len(curve.blocks) > 1 else ()),
            ]
        ]
    )


def _csv_row(curve: Curve, point: Point, blocks: int | None) -> dict[str, Any]:
    return {
        "split": curve.split,
        "algorithm": curve.algorithm,
        "exploring": curve.exploring,
        "adaptation_episodes": point.adaptation_episodes,
        "adaptation_blocks": blocks,
        **_csv_columns("return_mean", point.return_mean),
        **_csv_columns("return_iqm", point.return_iqm),
        **_csv_columns("success", point.success),
        **_csv_columns("captured", point.captured),
        **_csv_columns("harmed", point.harmed),
        **_csv_columns("worst_tenth", point.worst_tenth),
        **_csv_columns("trial_cost", point.trial_cost),
    }


def _csv_columns(name: str, value: Interval | None) -> dict[str, Any]:
    bounds = (value.low, value.high) if value else (None, None)
    return {name: value and value.value, f"{name}_ci": bounds}


def _protocol(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "rewards": evaluation.config.rewards,
        "num_seeds": len(evaluation.seeds),
        "num_tasks": evaluation.config.num_tasks,
    }
