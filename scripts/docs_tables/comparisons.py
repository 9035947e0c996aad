"""Algorithms side by side, and beside the published numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docs_tables.markdown import PENDING, markdown_table, with_interval
from docs_tables.results import read
from metarobot.presets import PRESETS
from metarobot.reporting.style import algorithm_titles, family_title

PUBLISHED = {
    "half-cheetah-direction": ((-50.7, 293.2, 313.5, 315.7), 442.7),
    "half-cheetah-velocity": ((-129.5, -78.6, -66.6, -60.8), -54.5),
    "point-navigation": ((-40.4, -11.7, -3.3, -3.2), None),
}
"""Returns of MAML after 0 to 3 adaptation steps, means over 40 tasks, and of its oracle: from the
data that the authors of arXiv:1703.03400 have published with their code."""


def published() -> str:
    """Return MAML's published returns on the benchmark families beside those of this package."""
    measured = read("literature.json")
    if measured is None:
        return PENDING
    lines = []
    for preset, (returns_after, oracle) in PUBLISHED.items():
        rows = [row for row in measured if row["preset"] == preset]
        title = family_title(PRESETS[preset].env_id)
        theirs = [f"{value}" for value in returns_after]
        lines.append([title, "MAML, published", "", *theirs, "" if oracle is None else f"{oracle}"])
        for training_steps in sorted({row["training_steps"] for row in rows}):
            trained = [row for row in rows if row["training_steps"] == training_steps]
            lines += _lines_of_algorithms(title, trained, len(returns_after))
    stages = ["0 steps", "1 step", "2 steps", "3 steps"]
    return markdown_table(["family", "algorithm", "training steps", *stages, "oracle"], lines)


def _lines_of_algorithms(
    title: str, rows: list[dict[str, Any]], num_stages: int
) -> list[list[str]]:
    """Return a line for each algorithm but the oracle, which stands in the last column of all."""
    stages: dict[str, list[str]] = {}
    for row in rows:
        stages.setdefault(row["algorithm"], []).append(_return_with_interval(row))
    (oracle,) = stages.pop("oracle", [""])
    cost = f"{rows[0]['training_steps']:,}"
    return [
        [
            title,
            algorithm_titles()[algorithm],
            cost,
            *cells,
            *[""] * (num_stages - len(cells)),
            oracle,
        ]
        for algorithm, cells in stages.items()
    ]


def comparison(preset: str, folder: Path = Path()) -> str:
    """Return the comparison on a family, one line for each algorithm.

    Args:
        preset: The family's preset.
        folder: Folder of comparison.json, relative to docs/results.
    """
    rows = _comparison_rows(preset, folder)
    if not rows:
        return PENDING
    splits = list(dict.fromkeys(row["split"] for row in rows))
    headings = ["algorithm"]
    for split in splits:
        headings += [f"{split}: 0 steps", "1 step", "3 steps", "captured by 1"]
    headings += ["training steps", "seconds"]
    by_key = {(row["algorithm"], row["split"], row["adaptation_steps"]): row for row in rows}
    lines = []
    for algorithm in dict.fromkeys(row["algorithm"] for row in rows):
        cells = [algorithm_titles()[algorithm]]
        for split in splits:
            after = [by_key.get((algorithm, split, step)) for step in (0, 1, 3)]
            cells += map(_return_with_interval, after)
            share = after[1] and after[1]["captured"]
            cells.append("" if share is None else f"{share:.2f}")
        first = by_key[algorithm, splits[0], 0]
        steps, seconds = first.get("training_total_steps"), first.get("training_seconds")
        cells += ["" if cost is None else f"{cost:,.0f}" for cost in (steps, seconds)]
        lines.append(cells)
    return markdown_table(headings, lines)


def _comparison_rows(preset: str, folder: Path) -> list[dict[str, Any]]:
    return [row for row in read(folder / "comparison.json") or [] if row["preset"] == preset]


def _return_with_interval(row: dict[str, Any] | None) -> str:
    return with_interval(row["return_mean"], row["return_mean_ci"]) if row else ""
