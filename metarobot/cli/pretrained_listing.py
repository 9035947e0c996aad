"""What comes with the package already trained, policies and learners, and what it reaches."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from metarobot.cli.listing import make_console, make_table
from metarobot.diagnosis_runs import pretrained as learners
from metarobot.diagnosis_runs.results import DiagnosisResult
from metarobot.evaluation.curve import FEW_EPISODES
from metarobot.evaluation.result import Evaluation
from metarobot.files import read_json
from metarobot.reporting.style import after_episodes, algorithm_title, percent
from metarobot.training.pretrained import EVALUATION_FILE, FOLDER, pretrained_names

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


def print_learners(console: Console | None = None) -> None:
    """Print the trained learners of faults, one line each."""
    console = console or make_console()
    rows = [_learner_row(name, learners.measured_of(name)) for name in learners.pretrained_names()]
    if rows:
        headings = ("trained diagnosis", "learner", f"after {_EXAMPLES} example of each fault")
        console.print(make_table(headings, rows, console))


def _learner_row(name: str, measured: DiagnosisResult) -> tuple[str, ...]:
    scores = [(split.name, split.score(measured.learner, _EXAMPLES)) for split in measured.splits]
    told = [f"{split} {percent(own.accuracy.value)}" for split, own in scores if own]
    return name, measured.learner, f"right: {', '.join(told)}"


def _row(name: str, measured: Evaluation) -> tuple[str, ...]:
    first = measured.learners[0]
    curves = {split: measured.judged(first, split) for split in measured.splits}
    points = {split: each and each.after_episodes(FEW_EPISODES) for split, each in curves.items()}
    success = [f"{split} {percent(each and each.success.value)}" for split, each in points.items()]
    algorithms = [policy.algorithm for policy in measured.policies if policy.total_steps]
    reached = f"success of {algorithm_title(first)}: {', '.join(success)}"
    return name, measured.family, ", ".join(algorithms), reached
