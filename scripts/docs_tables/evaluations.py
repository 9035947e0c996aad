"""What `metarobot evaluate` measured, family by family and in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docs_tables.markdown import PENDING, captured_text, markdown_table, rate_text, with_interval
from docs_tables.results import read
from metarobot.envs import SPLITS
from metarobot.evaluation.statistics import captured_is_meaningful
from metarobot.reporting.style import family_title


def returns(name: str) -> str:
    """Return the deterministic returns of a committed evaluation, split by split."""
    evaluation = read(f"{name}/evaluation.json")
    if evaluation is None:
        return PENDING
    steps = range(evaluation["num_adaptation_steps"] + 1)
    headings = ["split", "random", "domain randomisation"]
    headings += [f"adapted, {step} steps" for step in steps]
    headings += ["oracle", "headroom / (oracle - random)", "captured by 1 step", "each seed"]
    rows = []
    for row in _of_maml(evaluation["headroom"]):
        seeds = ", ".join(f"{fraction:.2f}" for fraction in row["captured_per_seed"][1])
        rows.append(
            [
                row["split"],
                *(f"{row[algorithm]:.2f}" for algorithm in ("random", "domain_randomisation")),
                *(f"{value:.2f}" for value in row["adapted"]),
                f"{row['oracle']:.2f}",
                f"{row['headroom_over_random']:.2f}",
                captured_text(row),
                seeds if captured_is_meaningful(row) else "-",
            ]
        )
    return markdown_table(headings, rows)


def success(name: str) -> str:
    """Return the success rates of a committed evaluation: deterministic (exploring)."""
    evaluation = read(f"{name}/evaluation.json")
    if evaluation is None:
        return PENDING
    steps = range(evaluation["num_adaptation_steps"] + 1)
    stages = [("random", 0), ("domain_randomisation", 0)]
    stages += [*(("maml", step) for step in steps), ("oracle", 0)]
    rates = _success_rates(evaluation)
    rows = []
    for split in (split for split in SPLITS if any(key[0] == split for key in rates)):
        cells = [split]
        for algorithm, step in stages:
            sure, exploring = (rates.get((split, algorithm, step, flag)) for flag in (False, True))
            cells.append(
                rate_text(sure) + ("" if exploring is None else f" ({rate_text(exploring)})")
            )
        rows.append(cells)
    names = [
        f"adapted, {step} steps" if algorithm == "maml" else algorithm.replace("_", " ")
        for algorithm, step in stages
    ]
    return markdown_table(["split", *names], rows)


def headline() -> str:
    """Return what one adaptation step is worth, family by family and split by split."""
    rows = []
    for name in ("grip", "slide", "push", "reach", "reach-hidden-goal"):
        evaluation = read(f"{name}/evaluation.json")
        if evaluation is None:
            continue
        title = family_title(evaluation["family"])
        rates = _success_rates(evaluation)
        for entry in _of_maml(evaluation["headroom"]):
            stages = [("domain_randomisation", 0), ("maml", 0), ("maml", 1), ("oracle", 0)]
            success = [
                rate_text(rates.get((entry["split"], algorithm, k, False)))
                for algorithm, k in stages
            ]
            rows.append([title, entry["split"], *success, captured_text(entry)])
    headings = ["success", "split", "never adapting", "before adapting", "after one step"]
    headings += ["told the task", "headroom captured"]
    return markdown_table(headings, rows) if rows else PENDING


def headroom() -> str:
    """Return the committed headroom table: every family and split, with intervals."""
    rows = read("headroom.json")
    if rows is None:
        return PENDING
    stages = ("random", "domain_randomisation", "adapted_1", "adapted_3", "oracle")
    headings = ["family", "split", *(stage.replace("_", " ") for stage in stages)]
    headings += ["headroom / (oracle - random)", "captured by 1 step", "each seed"]
    cells = [
        [
            f"[{family_title(row['family'])}](families/{row['preset']}.md)",
            row["split"],
            *(with_interval(row[stage], row[f"{stage}_ci"]) for stage in stages),
            f"{row['headroom']:.2f}",
            f"**{row['captured_1']:.2f}** [{row['captured_1_ci'][0]:.2f}, "
            f"{row['captured_1_ci'][1]:.2f}]"
            if row["meaningful"]
            else "-",
            ", ".join(f"{fraction:.2f}" for fraction in row["captured_1_per_seed"])
            if row["meaningful"]
            else "-",
        ]
        for row in rows
    ]
    return markdown_table(headings, cells)


def _success_rates(evaluation: dict[str, Any]) -> dict[tuple[str, str, int, bool], float]:
    """Return success by split, algorithm, adaptation steps, and whether episodes explore."""
    keys = ("split", "algorithm", "adaptation_steps", "exploration")
    return {tuple(row[key] for key in keys): row["success"] for row in evaluation["rows"]}


def _of_maml(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what MAML captured, of an evaluation's headroom: the tables are its own."""
    return [entry for entry in entries if entry["algorithm"] == "maml"]
