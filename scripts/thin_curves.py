"""Write docs/results/curves.json: learning curves, thinned, and what each training cost.

Run folders are too large to commit.  This file keeps what the documentation says about the
trainings; `scripts/update_docs.py` reads it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import takes_options
from rows import replace_rows

from metarobot.training.run_folder import algorithms_in, load_curve

_COLUMNS = ("total_steps", "pre_return", "post_return", "sampling_s", "update_s")
_AT_END = 10
"""Meta-iterations at the end of a training whose mean return is kept."""


@dataclass(frozen=True, kw_only=True)
class ThinCurvesCommand:
    """Thin the learning curves of finished runs into one JSON file."""

    runs: tuple[Path, ...]
    """Run folders."""
    preset: str
    """Preset of their family."""
    out: Path = Path("docs/results/curves.json")
    """File to write; it keeps what it has of other trainings."""
    num_points: int = 25
    """Points that are kept of each curve."""


def thin_curve(run: Path, algorithm: str, num_points: int) -> dict[str, Any]:
    """Return the cost and the thinned curve of one training.

    Args:
        run: Run folder.
        algorithm: Whose training.
        num_points: The curve's meta-iterations are joined into at most so many groups of equal
            size.  Of each group the last number of steps and the mean returns are kept.

    Raises:
        RunError: The curve cannot be read.
    """
    columns = load_curve(run, algorithm, _COLUMNS)
    done = json.loads((run / algorithm / "done.json").read_text(encoding="utf-8"))
    length = len(columns["total_steps"])
    size = -(-length // num_points)
    groups = [slice(start, start + size) for start in range(0, length, size)]
    after = columns["post_return"]
    return {
        "run": run.name,
        "algorithm": algorithm,
        **done,
        "sampling_s": round(sum(columns["sampling_s"]), 2),
        "update_s": round(sum(columns["update_s"]), 2),
        "post_return_best": max(after),
        "post_return_at_end": _mean(after[-_AT_END:]),
        "iterations_at_end": len(after[-_AT_END:]),
        "steps": [int(columns["total_steps"][group][-1]) for group in groups],
        "pre_return": [round(_mean(columns["pre_return"][group]), 3) for group in groups],
        "post_return": [round(_mean(after[group]), 3) for group in groups],
    }


def is_whole(run: Path, algorithm: str) -> bool:
    """Return whether a curve lacks no meta-iteration: those in the package are thinned already."""
    iterations = load_curve(run, algorithm, ("iteration",))["iteration"]
    return len(iterations) == iterations[-1]


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


@takes_options(ThinCurvesCommand, "thin_curves.py")
def main(command: ThinCurvesCommand) -> None:
    """Thin the curves."""
    rows = []
    for run in command.runs:
        for algorithm in algorithms_in(run):
            if is_whole(run, algorithm):
                thinned = thin_curve(run, algorithm, command.num_points)
                rows.append({"preset": command.preset, **thinned})
            else:
                print(f"{run.name}: the curve of {algorithm} lacks meta-iterations: left out")
    replace_rows(command.out, rows, ("preset", "run", "algorithm"))


if __name__ == "__main__":
    sys.exit(main())
