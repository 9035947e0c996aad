"""What has changed, from trial episodes: what the package notices and names."""

from __future__ import annotations

from docs_tables.markdown import PENDING, markdown_table
from docs_tables.results import read


def recognised_changes() -> str:
    """Return a row for each change: how often it is noticed, and called by its name."""
    rows = read("recognised_changes.json")
    if rows is None:
        return PENDING
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
    return markdown_table(("task", "change", *columns.values()), lines)
