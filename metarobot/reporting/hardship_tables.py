"""The tables of the HTML report of what is hard: the worst tasks, and the shipped variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metarobot.evaluation.curve import Point
from metarobot.evaluation.result import Evaluation, UnderVariant, WorstTask
from metarobot.evaluation.robustness import ROBUSTNESS_EPISODES
from metarobot.reporting.cells import Cell
from metarobot.reporting.style import (
    after_episodes,
    algorithm_title,
    number,
    percent,
    split_title,
)
from metarobot.reporting.video import describe_task


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
