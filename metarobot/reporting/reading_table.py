"""The table of how well each task parameter can be read."""

from __future__ import annotations

from typing import NamedTuple

from metarobot.evaluation.explanation import Explanation, Reading
from metarobot.evaluation.statistics import Interval
from metarobot.reporting.style import SPLIT_TITLES, Cell, parameter_label


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
