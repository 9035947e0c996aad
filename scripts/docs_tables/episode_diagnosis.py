"""What has changed, from trial episodes: accuracy of learners, and what the package names."""

from __future__ import annotations

from typing import Any

from docs_tables.diagnosis import META_LEARNERS
from docs_tables.markdown import PENDING, markdown_table, with_interval
from docs_tables.results import read
from metarobot.evaluation.statistics import Interval

_NAMES = {
    **META_LEARNERS,
    "maml": "**MAML**, first order",
    "meta_sgd": "**Meta-SGD**, first order",
    "pretrained_nearest_mean": "pretrained network, nearest mean",
    "nearest_neighbour_summary": "mean, spread and maximum of each signal, nearest neighbour",
}


def changes_by_learner() -> str:
    """Return a row for each task and learner, a column for each split and number of shots."""
    rows = read("diagnosis_episodes.json")
    if rows is None:
        return PENDING
    columns = list(dict.fromkeys((row["split"], row["shots"]) for row in rows))
    found: dict[tuple[str, str], dict[tuple[str, int], dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["task"], row["learner"]), {})[row["split"], row["shots"]] = row
    headings = ("task", "learner", *(f"{split}, {shots}-shot" for split, shots in columns))
    lines = [
        [task, name, *(_accuracy(found[task, learner].get(column)) for column in columns)]
        for task in dict.fromkeys(row["task"] for row in rows)
        for learner, name in _NAMES.items()
        if (task, learner) in found
    ]
    return markdown_table(headings, lines)


def recognised_changes() -> str:
    """Return a row for each change: how often it is noticed, and called by its name."""
    rows = read("recognised_changes.json")
    if rows is None:
        return PENDING
    numbers = sorted({row["episodes"] for row in rows})
    found = {(row["task"], row["change"], row["episodes"]): row for row in rows}
    headings = ["task", "change"]
    for number in numbers:
        after = f"{number} episode{'s' * (number > 1)}"
        headings += [f"called changed, {after}", f"named, {after}"]
    lines = [
        [task, change.replace("_", " "), *_shares(found, task, change, numbers)]
        for task, change in dict.fromkeys((row["task"], row["change"]) for row in rows)
    ]
    return markdown_table(headings, lines)


def _shares(found: dict[Any, Any], task: str, change: str, numbers: list[int]) -> list[str]:
    cells = []
    for number in numbers:
        row = found.get((task, change, number))
        keys = ("called_changed", "named")
        cells += [f"{row[key]:.2f}" for key in keys] if row else ["-"] * len(keys)
    return cells


def _accuracy(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    return with_interval(Interval(row["accuracy"], *row["accuracy_ci"]))
