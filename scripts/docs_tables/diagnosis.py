"""Tables of learners of faults: accuracy beside references, and what probabilities are worth."""

from __future__ import annotations

from typing import Any

from docs_tables.markdown import PENDING, markdown_table
from docs_tables.results import read

ARMS = "simulated arms"


def accuracy(*, arms: bool) -> str:
    """Return accuracy in per cent with 1 and 5 examples, by what is diagnosed and by learner."""
    rows = _rows(arms)
    found = {(*_case(row), row["shots"], row["learner"]): row for row in rows}
    cases = list(dict.fromkeys(_case(row) for row in rows))
    learners = sorted(
        dict.fromkeys(row["learner"] for row in rows),
        key=lambda name: (_place(rows, name), name),
    )
    cells = []
    for case in cases:
        line = [f"{case[0]}, {case[1]} ({_way(rows, case)})"]
        for name in learners:
            own = [found.get((*case, shots, name)) for shots in (1, 5)]
            text = " / ".join(f"{100 * row['accuracy']:.1f}" for row in own if row)
            line.append(f"**{text}**" if own[0] and own[0]["chosen"] else text)
        cells.append(line)
    return markdown_table(("recordings", *learners), cells) if cells else PENDING


def calibration(*, arms: bool) -> str:
    """Return false alarms, calibration errors and noticed faults of what `train` chooses."""
    rows = [row for row in _rows(arms) if row["chosen"]]
    cells = [
        [
            f"{row['data']}, {row['split']}",
            str(row["shots"]),
            f"{100 * row['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
            f"{row['calibration_error']:.2f}",
            f"{100 * row['false_alarm']:.0f}",
            "" if row["noticed"] is None else f"{100 * row['noticed']:.0f}",
        ]
        for row in rows
        for low, high in [row["accuracy_ci"]]
    ]
    headings = ("recordings", "examples", "accuracy %", "calibration error")
    headings += ("falsely like none %", "unknown faults noticed %")
    return markdown_table(headings, cells) if cells else PENDING


def _rows(arms: bool) -> list[dict[str, Any]]:
    rows = read("diagnosis.json") or []
    return [row for row in rows if (row["data"] == ARMS) == arms]


def _case(row: dict[str, Any]) -> tuple[str, str]:
    return row["data"], row["split"]


def _way(rows: list[dict[str, Any]], case: tuple[str, str]) -> str:
    return f"{max(row['way'] for row in rows if _case(row) == case)} labels"


def _place(rows: list[dict[str, Any]], learner: str) -> bool:
    """Return whether a learner is a reference, which cannot be chosen: these come last."""
    return not any("validated" in row for row in rows if row["learner"] == learner)
