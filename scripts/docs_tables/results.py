"""The committed results that tables are made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metarobot.evaluation.result import Evaluation
from metarobot.files import read_json

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
WITHOUT_REWARDS = "rewards-hidden"
"""Folder of a family's evaluation in which policies see no rewards."""


def read(name: str | Path) -> Any:
    """Return the content of a JSON file in docs/results, or None where there is no such file.

    Args:
        name: Path of the file relative to docs/results; an absolute path is taken as it is.
    """
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def read_evaluation(name: str | Path) -> Evaluation | None:
    """Return an evaluation in docs/results, or None where there is no such file.

    Args:
        name: Path of the file relative to docs/results; an absolute path is taken as it is.
    """
    path = RESULTS / name
    return Evaluation.from_dict(read_json(path)) if path.exists() else None
