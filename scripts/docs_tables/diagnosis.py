"""Few-shot diagnosis: accuracy of learners and references by split and shots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from docs_tables.markdown import PENDING, markdown_table
from docs_tables.results import read

META_LEARNERS = {
    "prototypical_network": "**prototypical network**",
    "maml": "**MAML**",
    "first_order_maml": "**MAML**, first order",
    "anil": "**ANIL**",
    "meta_sgd": "**Meta-SGD**",
    "reptile": "**Reptile**",
}
"""Learners that adapt, as tables name them."""
_NAMES = {
    **META_LEARNERS,
    "fine_tuning": "fine-tuning: pretrained network, new head",
    "pretrained_nearest_mean": "pretrained network, nearest mean",
    "nearest_neighbour_catch22": "catch22, nearest neighbour",
    "random_forest_catch22": "catch22, random forest",
    "ridge_minirocket": "MiniRocket, ridge",
    "from_scratch": "the network from scratch",
}
_MANY_SHOTS = 15


def diagnosis() -> str:
    """Return a row for each learner, a column for each split and number of shots."""
    return _table(lambda shots: shots < _MANY_SHOTS)


def diagnosis_bound() -> str:
    """Return the same of those that were measured with many examples."""
    return _table(lambda shots: shots == _MANY_SHOTS)


def _table(wanted: Callable[[int], bool]) -> str:
    rows = read("diagnosis.json")
    if rows is None:
        return PENDING
    rows = [row for row in rows if wanted(row["shots"])]
    columns = list(dict.fromkeys((row["split"], row["shots"]) for row in rows))
    found: dict[str, dict[tuple[str, int], dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["learner"], {})[row["split"], row["shots"]] = row
    headings = ("", *(f"{split}, {shots}-shot" for split, shots in columns))
    lines = [
        [name, *(_text(found[learner].get(column)) for column in columns)]
        for learner, name in _NAMES.items()
        if learner in found
    ]
    return markdown_table(headings, lines)


def _text(row: dict[str, Any] | None) -> str:
    """Return per cent: many rates are near 1."""
    if row is None:
        return "-"
    value, low, high = (100 * number for number in (row["accuracy"], *row["accuracy_ci"]))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
