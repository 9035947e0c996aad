"""What comes with the package already trained, policies and diagnoses, and what it reaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from metarobot.console import make_console, make_table
from metarobot.evaluation.table import FEW_EPISODES, Evaluation
from metarobot.io import read_json
from metarobot.reporting.style import after_episodes, algorithm_title, percent
from metarobot.training.load import EVALUATION_FILE, FOLDER, pretrained_names

DIAGNOSES = Path(__file__).parents[1] / "diagnosis/trained"
"""That of `metarobot.diagnosis.run`, which a list does not wait for."""
_EXAMPLES = 1
"""Of each fault."""


def measured_of(name: str) -> Evaluation:
    """Return what was measured of policies that come with the package."""
    return Evaluation.from_dict(read_json(FOLDER / name / EVALUATION_FILE))


def print_pretrained(env_ids: Iterable[str], console: Console | None = None) -> None:
    """Print the trained policies of families, one line for each family."""
    console = console or make_console()
    measured = {name: measured_of(name) for name in pretrained_names()}
    rows = [_row(name, each) for name, each in measured.items() if each.family in env_ids]
    if rows:
        headings = ("trained policies", "of", "algorithms", after_episodes(FEW_EPISODES))
        console.print(make_table(headings, rows, console))


def print_diagnoses(console: Console | None = None) -> None:
    """Print the trained diagnoses of faults, one line each."""
    console = console or make_console()
    found = {path.parent.name: read_json(path) for path in sorted(DIAGNOSES.glob("*/config.json"))}
    rows = [_diagnosis_row(name, config) for name, config in found.items()]
    if rows:
        headings = ("trained diagnosis", "learner", f"after {_EXAMPLES} example of each fault")
        console.print(make_table(headings, rows, console))


def _diagnosis_row(name: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    rows = {(row["known"], row["learner"], row["shots"]): row for row in config["rows"]}
    pairs = [(own, rows.get((own["known"], own["learner"], _EXAMPLES))) for own in config["chosen"]]
    right = [
        f"{'known' if own['known'] else 'new'} faults {percent(row['accuracy'])}"
        for own, row in pairs
        if row
    ]
    learners = dict.fromkeys(chosen["learner"] for chosen in config["chosen"])
    return name, "; ".join(learners), f"right: {', '.join(right)}"


def _row(name: str, measured: Evaluation) -> tuple[str, ...]:
    first = measured.learners[0]
    rows = {split: measured.after(first, split, FEW_EPISODES) for split in measured.splits}
    success = [f"{split} {percent(row and row.success.value)}" for split, row in rows.items()]
    algorithms = [policy.algorithm for policy in measured.policies if policy.total_steps]
    reached = f"success of {algorithm_title(first)}: {', '.join(success)}"
    return name, measured.family, ", ".join(algorithms), reached
