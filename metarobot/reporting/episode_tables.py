"""The tables of the HTML report by adaptation episodes: all numbers ready to print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metarobot.evaluation.curve import Curve, Point
from metarobot.evaluation.result import Evaluation
from metarobot.evaluation.statistics import Interval
from metarobot.reporting.cells import Cell
from metarobot.reporting.style import algorithm_title, split_note, split_title


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
