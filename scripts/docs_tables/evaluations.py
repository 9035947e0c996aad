"""What `metarobot evaluate` measured, family by family and in all: tables of MAML's adaptation."""

from __future__ import annotations

from docs_tables.markdown import PENDING, captured_text, markdown_table, rate_text, with_interval
from docs_tables.results import read_evaluation
from metarobot.envs import file_name
from metarobot.evaluation.result import Curve, Evaluation, Headroom
from metarobot.presets import PRESETS
from metarobot.reporting.style import family_title

LEARNER = "maml"
"""Whose adaptation the tables show."""


def returns(name: str) -> str:
    """Return the deterministic returns of a committed evaluation, split by split."""
    evaluation = read_evaluation(f"{name}/evaluation.json")
    if evaluation is None:
        return PENDING
    steps = range(evaluation.config.num_adaptation_steps + 1)
    headings = ["split", "random", "domain randomisation"]
    headings += [f"adapted, {step} steps" for step in steps]
    headings += ["oracle", "headroom / (oracle - random)", "captured by 1 step", "each seed"]
    rows = []
    for headroom, curve in _adaptation(evaluation):
        rows.append(
            [
                headroom.split,
                f"{headroom.random:.2f}",
                f"{headroom.domain_randomisation:.2f}",
                *(f"{point.return_mean.value:.2f}" for point in curve.points),
                f"{headroom.oracle:.2f}",
                f"{headroom.over_random:.2f}",
                *_captured_by_one(evaluation, curve),
            ]
        )
    return markdown_table(headings, rows)


def success(name: str) -> str:
    """Return the success rates of a committed evaluation: deterministic (exploring)."""
    evaluation = read_evaluation(f"{name}/evaluation.json")
    if evaluation is None:
        return PENDING
    steps = range(evaluation.config.num_adaptation_steps + 1)
    stages = [("random", 0), ("domain_randomisation", 0)]
    stages += [*((LEARNER, step) for step in steps), ("oracle", 0)]
    rows = []
    for split in evaluation.splits:
        cells = [split]
        for algorithm, step in stages:
            sure, exploring = (
                _rate(evaluation, algorithm, split, step, exploring=flag) for flag in (False, True)
            )
            cells.append(
                rate_text(sure) + (f" ({rate_text(exploring)})" if exploring is not None else "")
            )
        rows.append(cells)
    names = [
        f"adapted, {step} steps" if algorithm == LEARNER else algorithm.replace("_", " ")
        for algorithm, step in stages
    ]
    return markdown_table(["split", *names], rows)


def headline() -> str:
    """Return what one adaptation step is worth, family by family and split by split."""
    rows = []
    for name in ("grip", "slide", "push", "reach", "reach-hidden-goal"):
        evaluation = read_evaluation(f"{name}/evaluation.json")
        if evaluation is None:
            continue
        stages = [("domain_randomisation", 0), (LEARNER, 0), (LEARNER, 1), ("oracle", 0)]
        for headroom, curve in _adaptation(evaluation):
            rates = [
                rate_text(_rate(evaluation, algorithm, headroom.split, step))
                for algorithm, step in stages
            ]
            captured, _ = _captured_by_one(evaluation, curve)
            rows.append([family_title(evaluation.family), headroom.split, *rates, captured])
    headings = ["success", "split", "never adapting", "before adapting", "after one step"]
    headings += ["told the task", "headroom captured"]
    return markdown_table(headings, rows) if rows else PENDING


def headroom() -> str:
    """Return the headroom of every family and split: interquartile means with intervals."""
    rows = []
    for preset in PRESETS:
        evaluation = read_evaluation(f"{preset}/evaluation.json")
        if evaluation is not None:
            rows += _headroom_rows(evaluation)
    headings = ["family", "split", "random", "domain randomisation", "adapted 1", "adapted 3"]
    headings += ["oracle", "headroom / (oracle - random)", "captured by 1 step", "each seed"]
    return markdown_table(headings, rows) if rows else PENDING


def _headroom_rows(evaluation: Evaluation) -> list[list[str]]:
    page = f"families/{file_name(evaluation.family)}.md"
    stages = [("random", 0), ("domain_randomisation", 0), (LEARNER, 1), (LEARNER, 3), ("oracle", 0)]
    rows = []
    for headroom, curve in _adaptation(evaluation):
        curves = [(evaluation.judged(name, headroom.split), step) for name, step in stages]
        points = [found and found.after(step) for found, step in curves]
        rows.append(
            [
                f"[{family_title(evaluation.family)}]({page})",
                headroom.split,
                *(with_interval(point and point.return_iqm) for point in points),
                f"{headroom.over_random:.2f}",
                *_captured_by_one(evaluation, curve),
            ]
        )
    return rows


def _adaptation(evaluation: Evaluation) -> list[tuple[Headroom, Curve]]:
    """Return the headroom of each split with MAML's curve, where there are both."""
    curves = [evaluation.curve(LEARNER, entry.split) for entry in evaluation.headroom]
    return [
        (entry, curve)
        for entry, curve in zip(evaluation.headroom, curves, strict=True)
        if curve is not None
    ]


def _captured_by_one(evaluation: Evaluation, curve: Curve) -> tuple[str, str]:
    """Return the fraction that one step captures, and that of each seed."""
    after = curve.after(1)
    share = evaluation.captured(after, curve.split) if after else None
    if after is None or share is None:
        return captured_text(None), "-"
    seeds = ("-" if each is None else f"{each:.2f}" for each in after.captured_per_seed)
    return captured_text(share), ", ".join(seeds)


def _rate(
    evaluation: Evaluation, algorithm: str, split: str, step: int, *, exploring: bool = False
) -> float | None:
    """Return a success rate, None where it was not measured."""
    curve = evaluation.curve(algorithm, split, exploring=exploring)
    point = curve.after(step) if curve else None
    return point.success.value if point else None
