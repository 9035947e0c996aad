"""Measure what can be read of the task after five episodes, beside what was there to be read.

Writes docs/results/readings.json, a run after the other: runs that it holds already are measured
again only where they are named.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from commands import takes_options
from rows import replace_rows

from metarobot.envs import file_name
from metarobot.evaluation.explaining import measure_readings
from metarobot.evaluation.explanation import ExplanationConfig, Reading
from metarobot.files import rounded
from metarobot.training.load import load_run

READINGS_FILE = Path(__file__).resolve().parents[1] / "docs/results/readings.json"
EPISODES = 5
ALGORITHM = "latent"


@dataclass(frozen=True, kw_only=True)
class ReadingsCommand:
    """Measure what can be read of the task after five episodes, for docs/results/readings.json."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...")]
    """Run folders, or names of runs that come with the package."""
    num_tasks: int = 200
    """Tasks that probes are fitted to, and tasks of each split."""
    num_identified: int = 6
    """Tasks of each held-out split that simulation is fitted to; 0 for none."""
    out: Path = READINGS_FILE
    """File to write; runs that it holds already are kept."""


def measure(path: Path, num_tasks: int, num_identified: int) -> list[dict[str, Any]]:
    """Return a row for every task parameter and split of a run."""
    run = load_run(path)
    config = ExplanationConfig(
        num_tasks=num_tasks, num_identified=num_identified, adaptation_episodes=(0, EPISODES)
    )
    readings, identified = measure_readings(run, ALGORITHM, config, _say)
    best = {(row.parameter, row.split): row for row in identified}
    return rounded(
        [
            {
                "preset": file_name(run.env_id),
                "seed": run.seed,
                "parameter": row.parameter,
                "split": row.split,
                "num_tasks": num_tasks,
                ALGORITHM: _three(row),
                "num_identified": num_identified,
                "identification": _three(best.get((row.parameter, row.split))),
            }
            for row in readings
            if row.adaptation_episodes == EPISODES
        ]
    )


def _three(row: Reading | None) -> list[float] | None:
    """Return R² and its interval; nothing where simulation was not fitted."""
    return None if row is None else [row.r2, row.low, row.high]


def _say(stage: str, share: float) -> None:
    print(f"  {100 * share:3.0f}%  {stage}", flush=True)


@takes_options(ReadingsCommand, "readings.py")
def main(command: ReadingsCommand) -> None:
    """Measure the runs that are named, and keep what is known of others."""
    for path in command.runs:
        print(path, flush=True)
        rows = measure(path, command.num_tasks, command.num_identified)
        replace_rows(command.out, rows, ("preset", "seed"))


if __name__ == "__main__":
    sys.exit(main())
