"""Measure the accuracy of `what_changed`, on robots with parameters in the gaps.

Rows in docs/results/recognised_changes.json are replaced family by family.

    python scripts/changes.py
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared import PENDING, check_names, markdown_table, read_rows, takes_options

import metarobot as mr
from metarobot.diagnosis.changes import Recogniser, changes_of, run_trials
from metarobot.io import write_json

ROWS = Path(__file__).resolve().parent.parent / "docs/results/recognised_changes.json"
FAMILIES = {"grip": "Grip episodes", "reach": "Reach episodes"}
NUM_UNLISTED = 5
"""Number of last changes of each family that a second measurement leaves out of the list."""


@dataclass(frozen=True, kw_only=True)
class ChangesCommand:
    """Measure the rates at which changes are noticed and named."""

    families: tuple[str, ...] = tuple(FAMILIES)
    """Families; their `latent` policies run the trials."""
    robots: int = 100
    """Robots with each change."""
    seed: int = 7
    """Seed of the robots."""
    out: Path = ROWS
    """File of rows."""

    def __post_init__(self) -> None:
        """Check the families."""
        check_names("family", self.families, FAMILIES)


def measure(family: str, num_robots: int, seed: int) -> list[dict[str, Any]]:
    """Return a row for each change of a family."""
    policy = mr.load_policy(family, "latent")
    changes = changes_of(policy.config.env_id)
    listed = dict(list(changes.items())[:-NUM_UNLISTED])
    episodes = run_trials(policy, changes, num_robots, split="interpolation", seed=seed)
    judged, unlisted = (
        Recogniser(policy, changes=known).judge(episodes) for known in (changes, listed)
    )
    called, unlisted_called = (
        [each.is_changed or not each.is_known for each in answers] for answers in (judged, unlisted)
    )
    rows = []
    for place, name in enumerate(changes):
        own = slice(place, None, len(changes))
        answers = judged[own]
        row = {
            "task": FAMILIES[family],
            "change": name,
            "robots": num_robots,
            "called_changed": _mean(called[own]),
            "named": _mean([each.best == name for each in answers]),
            "like_none": _mean([not each.is_known for each in answers]),
            "mean_probability": _mean([each.probabilities[place] for each in answers]),
            "noticed_unlisted": None if name in listed else _mean(unlisted_called[own]),
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def _mean(values: list[Any]) -> float:
    return round(float(np.mean(values)), 3)


def table() -> str:
    """Return a table row for each change: the rates at which it is noticed and named."""
    rows = read_rows(ROWS)
    columns = {
        "called_changed": "called changed",
        "named": "named",
        "mean_probability": "mean probability",
        "noticed_unlisted": "called changed, not in the list",
    }
    lines = [
        [
            row["task"],
            row["change"].replace("_", " "),
            *("-" if row[name] is None else f"{row[name]:.2f}" for name in columns),
        ]
        for row in rows
    ]
    return markdown_table(("task", "change", *columns.values()), lines) if rows else PENDING


@takes_options(ChangesCommand, "changes.py")
def main(command: ChangesCommand) -> None:
    """Measure family by family, on one thread."""
    torch.set_num_threads(1)
    for family in command.families:
        rows = measure(family, command.robots, command.seed)
        kept = [row for row in read_rows(command.out) if row["task"] != FAMILIES[family]]
        write_json(command.out, [*kept, *rows])


if __name__ == "__main__":
    sys.exit(main())
