"""Trained learners of faults that come with the package, each by its name.

`scripts/ship_diagnosis.py` makes them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from metarobot.diagnosis_runs.results import DiagnosisResult
from metarobot.files import read_json

FOLDER = Path(__file__).resolve().parent / "trained"
"""Where they are: ``trained/arm`` is a run folder, with an evaluation and a card."""
EVALUATION_FILE = "evaluation.json"
"""What was measured of a learner when it was added to the package."""


def pretrained_names() -> tuple[str, ...]:
    """Return the names of the learners that come with the package."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob(f"*/{EVALUATION_FILE}")))


def find_run(path: Path) -> Path:
    """Return the folder of a run: what is there under this path, or a learner of the package."""
    name = str(path)
    return path if path.exists() or name not in pretrained_names() else FOLDER / name


def measured_of(name: str) -> DiagnosisResult:
    """Return what was measured of a learner that comes with the package."""
    return msgspec.convert(read_json(FOLDER / name / EVALUATION_FILE), DiagnosisResult)
