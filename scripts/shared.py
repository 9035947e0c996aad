"""Helpers of the scripts: options, committed results and their rows, and Markdown tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from metarobot.cli.parsing import parse
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Evaluation
from metarobot.io import read_json, write_json

CommandT = TypeVar("CommandT")
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
Rows = Sequence[Mapping[str, Any]]
"""A table: each row has the same columns, by their headings."""
PENDING = "_No committed result yet: the commands on this page produce it._"


def takes_options(
    command: type[CommandT], program: str
) -> Callable[[Callable[[CommandT], int | None]], Callable[..., int]]:
    """Make the main function of a script from one that takes the parsed options.

    It takes command-line arguments, by default those of the process.  It returns the exit code of
    the work, 0 for None, or 2 after a one-line error on bad input.

    Args:
        command: The options.
        program: The script's name.
    """

    def main_of(work: Callable[[CommandT], int | None]) -> Callable[..., int]:
        def main(argv: Sequence[str] | None = None) -> int:
            try:
                return work(parse(command, sys.argv[1:] if argv is None else argv, program)) or 0
            except (ValueError, OSError) as error:
                print(f"{program}: error: {error}", file=sys.stderr)
                return 2

        return main

    return main_of


def check_names(kind: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Require that all names are allowed."""
    for name in given:
        if name not in allowed:
            raise ValueError(f"no {kind} {name!r}, allowed: {', '.join(allowed)}")


def read(name: str | Path) -> Any:
    """Return the content of a JSON file in docs/results, or None if it does not exist.

    Args:
        name: Path of the file, absolute or relative to docs/results.
    """
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def read_evaluation(name: str | Path) -> Evaluation:
    """Return an evaluation in docs/results."""
    return Evaluation.from_dict(read_json(RESULTS / name))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON file, empty if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def replace_rows(path: Path, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Put rows into a file, replace rows with the same key, and sort all of them.

    Args:
        path: File of rows; made if missing.
        rows: The new rows.
        names: Columns of a row's key, in the order of sorting.
    """

    def about(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in names)

    replaced = set(map(about, rows))
    kept = [row for row in read_rows(path) if about(row) not in replaced]
    write_json(path, sorted([*kept, *rows], key=about))


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(rows: Rows) -> str:
    """Return rows as a Markdown table."""
    return markdown_table([*rows[0]], [[*map(cell_text, row.values())] for row in rows])


def cell_text(value: Any) -> str:
    """Return a value as text for a table, an interval without its bounds."""
    if isinstance(value, Interval):
        value = value.value
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value or ""


def number_text(value: Any) -> str:
    """Return a number with four digits, or a pair as "low to high"."""
    if isinstance(value, tuple):
        return " to ".join(map(number_text, value))
    return f"{value:.4g}"


def ranges(pairs: Iterable[tuple[float, float]]) -> str:
    """Return ranges as text, "none" if empty."""
    return ", ".join(f"{number_text(low)} to {number_text(high)}" for low, high in pairs) or "none"


def with_interval(interval: Interval | None) -> str:
    """Return a value with its interval, a dash for None."""
    if interval is None:
        return "-"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
