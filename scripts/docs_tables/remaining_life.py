"""Remaining life: errors, scores and coverage by the share of life seen."""

from __future__ import annotations

from typing import Any

from docs_tables.markdown import PENDING, markdown_table
from docs_tables.results import read


def errors(parts: str) -> str:
    """Return RMSE in cycles of every learner, on the first or second parts of the machines."""
    return _table(parts, lambda row: f"{row['rmse']:.1f} [{_ends(row['rmse_ci'], 1)}]")


def ratios(parts: str) -> str:
    """Return RMSE of MAML over that of every learner."""
    return _table(
        parts, lambda row: f"{row['maml_over'][0]:.2f} [{_ends(row['maml_over'][1:], 2)}]"
    )


def scores() -> str:
    """Return the score of PHM 2008, the mean over predictions for all parts."""
    return _table("both", lambda row: f"{row['phm_score']:.3g}")


def coverage() -> str:
    """Return how many 90 % intervals hold the truth, over all parts."""
    return _table("both", lambda row: f"{row['coverage']:.2f} [{_ends(row['coverage_ci'], 2)}]")


def _table(parts: str, text: Any) -> str:
    rows = read("remaining_life.json")
    if rows is None:
        return PENDING
    seen = sorted({row["seen"] for row in rows})
    table: dict[str, dict[float, str]] = {}
    for row in rows:
        if row["parts"] == parts:
            table.setdefault(row["learner"], {})[row["seen"]] = text(row)
    headings = ("share of life seen", *(f"{share:.0%}" for share in seen))
    return markdown_table(headings, [[name, *table[name].values()] for name in table])


def _ends(ends: list[float], digits: int) -> str:
    return f"{ends[0]:.{digits}f}, {ends[1]:.{digits}f}"
