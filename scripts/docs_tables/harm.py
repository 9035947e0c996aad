"""What adapting may spoil: tasks that become worse, returns that fall, later blocks."""

from __future__ import annotations

from docs_tables.few_episodes import all_with_latent
from docs_tables.markdown import PENDING, markdown_table, rate_text, with_interval
from metarobot.evaluation.curve import Curve
from metarobot.reporting.style import after_blocks, algorithm_title, family_title

NUMBERS = (1, 2, 5)
"""Adaptation episodes that the tables tell of."""
SHOWN = ("latent", "maml")
"""Learners whose later blocks are shown."""


def harm() -> str:
    """Return the share of tasks that became worse, learner by learner: the most of any family."""
    evaluations, rows = all_with_latent(), {}
    for evaluation in evaluations:
        for name in evaluation.learners:
            curves = [evaluation.curve(name, split) for split in evaluation.splits]
            rows.setdefault(name, {})[evaluation.family] = [_most(curves, n) for n in NUMBERS]
    lines = [
        [
            algorithm_title(name),
            *(_listed(shares.get(each.family, [])) for each in evaluations),
        ]
        for name, shares in rows.items()
    ]
    headings = ["became worse", *(family_title(each.family) for each in evaluations)]
    return markdown_table(headings, lines) if lines else PENDING


def _listed(shares: list[float | None]) -> str:
    return ", ".join(rate_text(share) or "-" for share in shares)


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


def costs() -> str:
    """Return the mean seconds of a training, by algorithm and family."""
    evaluations = all_with_latent()
    seconds: dict[str, dict[str, str]] = {}
    for evaluation in evaluations:
        for policy in evaluation.policies:
            known = [each for each in policy.seconds if each is not None]
            if known:
                mean = f"{sum(known) / len(known):,.0f}"
                seconds.setdefault(policy.algorithm, {})[evaluation.family] = mean
    rows = [
        [algorithm_title(name), *(found.get(each.family, "") for each in evaluations)]
        for name, found in seconds.items()
    ]
    headings = ["seconds", *(family_title(each.family) for each in evaluations)]
    return markdown_table(headings, rows) if rows else PENDING
