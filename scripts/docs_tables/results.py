"""The committed results that tables are made from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from metarobot.evaluation.protocol import in_order
from metarobot.evaluation.table import Evaluation
from metarobot.io import read_json

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
WITHOUT_REWARDS = "rewards-hidden"
"""Folder of a family's evaluation in which policies see no rewards."""
OTHERS = ("others", "identification")
"""Folders of a family's evaluations of those whom its own leaves out."""


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


def read_joined(preset: str) -> Evaluation | None:
    """Return the evaluation on a family, joined by those of `OTHERS`; None where it has none.

    Headroom and seeds are of the family's own evaluation, and so is whoever stands in several.
    """
    whole = read_evaluation(f"{preset}/evaluation.json")
    for more in filter(None, others_of(preset).values()):
        whole = whole and _joined(whole, more)
    return whole


def others_of(preset: str) -> dict[str, Evaluation | None]:
    """Return the evaluations of `OTHERS` on a family, by folder."""
    return {folder: read_evaluation(f"{preset}/{folder}/evaluation.json") for folder in OTHERS}


def _joined(whole: Evaluation, more: Evaluation) -> Evaluation:
    """Return an evaluation with the policies and curves of another one that it lacks."""
    known = {policy.algorithm for policy in whole.policies}
    policies = [*whole.policies, *(each for each in more.policies if each.algorithm not in known)]
    by_name = {policy.algorithm: policy for policy in policies}
    return replace(
        whole,
        policies=tuple(by_name[name] for name in in_order(by_name)),
        curves=(*whole.curves, *(curve for curve in more.curves if curve.algorithm not in known)),
    )
