"""What can be read of the task after a few episodes, beside what was there to be read."""

from __future__ import annotations

from typing import Any

from docs_tables.markdown import PENDING, markdown_table, with_interval
from docs_tables.results import read
from metarobot.envs import find_family, parameter_words
from metarobot.evaluation.statistics import Interval
from metarobot.presets import PRESETS
from metarobot.reporting.style import family_title


def readings() -> str:
    """Return R² on held-out tasks, for every task parameter of the families that were measured."""
    measured = read("readings.json")
    if measured is None:
        return PENDING
    rows = [row for row in measured if row["split"] != "train"]
    seeds = sorted({row["seed"] for row in rows})
    table: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for row in rows:
        key = row["preset"], row["parameter"], row["split"]
        table.setdefault(key, {})[row["seed"]] = row
    headings = ("family", "task parameter", "split", *(f"`latent`, seed {s}" for s in seeds))
    return markdown_table(
        (*headings, "simulation"), [_row(*key, table[key], seeds) for key in table]
    )


def _row(
    preset: str, name: str, split: str, by_seed: dict[int, dict[str, Any]], seeds: list[int]
) -> list[str]:
    env_id = PRESETS[preset].env_id
    parameter = find_family(env_id).distribution[name]
    words = parameter_words(parameter.name, parameter.unit)
    latent = [_text(by_seed[seed]["latent"]) if seed in by_seed else "-" for seed in seeds]
    best = (row["identification"] for row in by_seed.values() if row["identification"])
    return [family_title(env_id), words, split, *latent, _text(next(best, None))]


def _text(three: list[float] | None) -> str:
    """Return R² with its interval; below 0 nothing is read, and how far below says no more."""
    if three is not None and three[0] < 0.0:
        return "nothing"
    return with_interval(None if three is None else Interval(*three))
