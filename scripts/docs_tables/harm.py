"""What adapting may spoil: tasks that become worse, returns that fall, later blocks."""

from __future__ import annotations

from docs_tables.few_episodes import all_with_latent, by_family
from docs_tables.markdown import PENDING, markdown_table, rate_text, with_interval
from metarobot.evaluation.table import Curve, Evaluation
from metarobot.reporting.style import after_blocks, algorithm_title, family_title

NUMBERS = (1, 2, 5)
"""Adaptation episodes that the tables tell of."""
SHOWN = ("latent", "maml")
"""Learners whose later blocks are shown."""


def harm() -> str:
    """Return the share of tasks that became worse, learner by learner: the most of any split."""
    return by_family("became worse", _shares)


def _shares(evaluation: Evaluation, name: str) -> str:
    """Return the shares after each number of episodes, empty where the algorithm does not adapt."""
    if name not in evaluation.learners:
        return ""
    curves = [evaluation.curve(name, split) for split in evaluation.splits]
    return ", ".join(rate_text(_most(curves, number)) or "-" for number in NUMBERS)


def _most(curves: list[Curve | None], number: int) -> float | None:
    """Return the largest share of the splits, None where it was not measured."""
    points = [curve.after_episodes(number) for curve in curves if curve]
    return max((point.harmed.value for point in points if point and point.harmed), default=None)


def fallen() -> str:
    """Return where the mean return after few episodes lies below that before, interval and all."""
    rows = [
        [
            family_title(evaluation.family),
            split,
            algorithm_title(name),
            str(number),
            with_interval(before.return_mean),
            with_interval(after.return_mean),
        ]
        for evaluation in all_with_latent()
        for split in evaluation.splits
        for name in evaluation.learners
        if (curve := evaluation.curve(name, split))
        for number in NUMBERS
        if (after := curve.after_episodes(number))
        and after.return_mean.high < (before := curve.points[0]).return_mean.value
    ]
    headings = ["family", "split", "algorithm", "episodes", "return before", "return after"]
    return markdown_table(headings, rows) if rows else "_Nowhere._"


def later_blocks() -> str:
    """Return what block after block leads to, family by family and split by split."""
    evaluations = all_with_latent()
    rows = [
        [
            family_title(evaluation.family),
            split,
            algorithm_title(name),
            *(with_interval(point.return_mean) for point in curve.blocks),
        ]
        for evaluation in evaluations
        for split in evaluation.splits
        for name in SHOWN
        if (curve := evaluation.curve(name, split))
    ]
    if not rows:
        return PENDING
    stages = map(after_blocks, range(evaluations[0].config.num_blocks + 1))
    return markdown_table(["return", "split", "algorithm", *stages], rows)
