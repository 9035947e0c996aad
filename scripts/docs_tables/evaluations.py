"""What `metarobot evaluate` measured: MAML's adaptation by blocks, and the headroom."""

from __future__ import annotations

from docs_tables.markdown import PENDING, captured_text, markdown_table, rate_text, with_interval
from docs_tables.results import read_evaluation
from metarobot.config import PRESETS
from metarobot.envs import file_name
from metarobot.evaluation.table import Curve, Evaluation, Headroom, Point
from metarobot.reporting.style import after_blocks, family_title

LEARNER = "maml"
"""Whose adaptation the tables show."""


def returns(name: str) -> str:
    """Return the deterministic returns of a committed evaluation by blocks, split by split."""
    evaluation = read_evaluation(f"{name}/evaluation.json")
    if evaluation is None:
        return PENDING
    headings = ["split", "random", "domain randomisation", *_stages_of_blocks(evaluation)]
    headings += ["oracle", "headroom / (oracle - random)", "captured by 1 block", "each seed"]
    rows = []
    for headroom, curve in _adaptation(evaluation):
        rows.append(
            [
                headroom.split,
                f"{headroom.random:.2f}",
                f"{headroom.domain_randomisation:.2f}",
                *(f"{point.return_mean.value:.2f}" for point in curve.blocks),
                f"{headroom.oracle:.2f}",
                f"{headroom.over_random:.2f}",
                *_captured_by_one(evaluation, curve),
            ]
        )
    return markdown_table(headings, rows)


def _stages_of_blocks(evaluation: Evaluation) -> list[str]:
    return [after_blocks(number) for number in range(evaluation.config.num_blocks + 1)]


def success(name: str) -> str:
    """Return the success rates of a committed evaluation by blocks: deterministic (exploring)."""
    evaluation = read_evaluation(f"{name}/evaluation.json")
    if evaluation is None:
        return PENDING
    after = _stages_of_blocks(evaluation)
    stages = [("random", 0), ("domain_randomisation", 0)]
    stages += [*((LEARNER, number) for number in range(len(after))), ("oracle", 0)]
    rows = []
    for split in evaluation.splits:
        cells = [split]
        for algorithm, num_blocks in stages:
            curves = [evaluation.curve(algorithm, split, exploring=flag) for flag in (False, True)]
            sure, exploring = (_rate(found and found.after_blocks(num_blocks)) for found in curves)
            cells.append(sure + (f" ({exploring})" if exploring else ""))
        rows.append(cells)
    return markdown_table(["split", "random", "domain randomisation", *after, "oracle"], rows)


def headroom() -> str:
    """Return the headroom of every family and split: interquartile means with intervals."""
    rows = []
    for preset in PRESETS:
        evaluation = read_evaluation(f"{preset}/evaluation.json")
        if evaluation is not None:
            rows += _headroom_rows(evaluation)
    headings = ["family", "split", "random", "domain randomisation", "1 block", "3 blocks"]
    headings += ["oracle", "headroom / (oracle - random)", "captured by 1 block", "each seed"]
    return markdown_table(headings, rows) if rows else PENDING


def _headroom_rows(evaluation: Evaluation) -> list[list[str]]:
    page = f"families/{file_name(evaluation.family)}.md"
    stages = [("random", 0), ("domain_randomisation", 0), (LEARNER, 1), (LEARNER, 3), ("oracle", 0)]
    rows = []
    for headroom, curve in _adaptation(evaluation):
        curves = [(evaluation.judged(name, headroom.split), blocks) for name, blocks in stages]
        points = [found and found.after_blocks(blocks) for found, blocks in curves]
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
    """Return the fraction that one block captures, and that of each seed."""
    after = curve.after_blocks(1)
    share = evaluation.captured(after, curve.split) if after else None
    if after is None or share is None:
        return captured_text(None), "-"
    seeds = ("-" if each is None else f"{each:.2f}" for each in after.captured_per_seed)
    return captured_text(share), ", ".join(seeds)


def _rate(point: Point | None) -> str:
    """Return a success rate, empty where it was not measured."""
    return rate_text(point and point.success.value)
