"""The tables of the HTML report by blocks, and of task parameters: all numbers ready to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metarobot.evaluation.curve import Curve
from metarobot.evaluation.references import RANDOM
from metarobot.evaluation.result import Evaluation, Headroom, MeasuredParameter
from metarobot.evaluation.statistics import Interval
from metarobot.reporting.cells import Cell
from metarobot.reporting.style import (
    ALGORITHM_COLOURS,
    after_blocks,
    algorithm_title,
    number,
    parameter_label,
    split_note,
    split_title,
)


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
