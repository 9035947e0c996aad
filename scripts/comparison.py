"""The comparison of algorithms: `metarobot compare` on several families, and all rows in one file.

One command trains whatever algorithms are missing, measures what is not measured yet, and writes
``comparison.json``, from which `scripts/update_docs.py` makes the tables in the documentation.
Interrupted, it goes on where it was.  Few trained policies are
committed, so it trains for hours; git ignores the run folders that it makes in docs/results.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarobot.algorithms import ALGORITHMS
from metarobot.cli.main import main as metarobot
from metarobot.cli.options import require_algorithms
from metarobot.cli.parsing import parse
from metarobot.files import read_json, replace_rows
from metarobot.presets import PRESETS


@dataclass(frozen=True, kw_only=True)
class ComparisonCommand:
    """Compare algorithms on several task families."""

    out: Path = Path("docs/results")
    """Folder that holds, or is to hold, FAMILY/FAMILY-seedSEED and comparison.json."""
    families: tuple[str, ...] = ("reach", "slide", "grip")
    """Presets of the families; comparison.json keeps its rows of the others."""
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    """Who is compared."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    total_steps: int | None = None
    """Simulated control steps of each training; the preset's if not given."""
    num_threads: int = 0
    """Threads of the simulator and of torch; 0 takes every processor."""

    def __post_init__(self) -> None:
        """Refuse unknown algorithms."""
        require_algorithms(self.algorithms)


def comparison_rows(preset: str, comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of one family, each with what its algorithm's training cost on average."""
    rows = []
    for row in comparison["rows"]:
        cost = comparison["costs"].get(row["algorithm"])
        means = {f"training_{name}": sum(v) / len(v) for name, v in (cost or {}).items()}
        rows.append({"family": comparison["family"], "preset": preset, **row, **means})
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; return 0, or the exit code of what went wrong."""
    try:
        command = parse(ComparisonCommand, sys.argv[1:] if argv is None else argv, "comparison.py")
    except ValueError as error:
        print(f"comparison.py: error: {error}", file=sys.stderr)
        return 2
    table = command.out / "comparison.json"
    for preset in command.families:
        folder = command.out / preset
        seeds, threads = map(str, command.seeds), str(command.num_threads)
        arguments = [
            "--algorithms",
            *command.algorithms,
            "--seeds",
            *seeds,
            "--num-threads",
            threads,
        ]
        if command.total_steps is not None:
            arguments += ["--total-steps", str(command.total_steps)]
        if code := metarobot(["compare", preset, *arguments, "--out", str(folder)]):
            return code
        rows = comparison_rows(preset, read_json(folder / "comparison.json"))
        replace_rows(table, preset, rows, list(PRESETS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
