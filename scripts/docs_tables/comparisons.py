"""Algorithms side by side, and beside the published numbers."""

from __future__ import annotations

from pathlib import Path

from docs_tables.markdown import PENDING, markdown_table, with_interval
from docs_tables.results import read_evaluation
from metarobot.evaluation.result import Evaluation, MeasuredPolicy, Point
from metarobot.presets import PRESETS
from metarobot.reporting.style import algorithm_title, family_title

PUBLISHED = {
    "half-cheetah-direction": ((-50.7, 293.2, 313.5, 315.7), 442.7),
    "half-cheetah-velocity": ((-129.5, -78.6, -66.6, -60.8), -54.5),
    "point-navigation": ((-40.4, -11.7, -3.3, -3.2), None),
}
"""Returns of MAML after 0 to 3 adaptation steps, means over 40 tasks, and of its oracle: from the
data that the authors of arXiv:1703.03400 have published with their code."""


def published() -> str:
    """Return MAML's published returns on the benchmark families beside those of this package."""
    lines, found = [], False
    for preset, (returns_after, oracle) in PUBLISHED.items():
        title = family_title(PRESETS[preset].env_id)
        theirs = [f"{value}" for value in returns_after]
        lines.append([title, "MAML, published", "", *theirs, "" if oracle is None else f"{oracle}"])
        for folder in (Path(), Path("longer")):
            measured = read_evaluation(folder / preset / "literature.json")
            if measured is not None:
                lines += _lines_of_algorithms(title, measured, len(returns_after))
                found = True
    stages = ["0 steps", "1 step", "2 steps", "3 steps"]
    headings = ["family", "algorithm", "training steps", *stages, "oracle"]
    return markdown_table(headings, lines) if found else PENDING


def _lines_of_algorithms(title: str, measured: Evaluation, num_stages: int) -> list[list[str]]:
    """Return a line for each algorithm but the oracle, which stands in the last column of all."""
    cells = {}
    for policy in measured.policies:
        curve = measured.curve(policy.algorithm, "train")
        means = [with_interval(point.return_mean) for point in curve.points] if curve else []
        cells[policy.algorithm] = means
    (oracle,) = cells.pop("oracle", [""])
    cost = f"{int(measured.policies[0].settings['total_steps']):,}"
    return [
        [title, algorithm_title(name), cost, *means, *[""] * (num_stages - len(means)), oracle]
        for name, means in cells.items()
    ]


def comparison(preset: str, folder: Path = Path()) -> str:
    """Return the comparison on a family, one line for each algorithm.

    Args:
        preset: The family's preset.
        folder: Folder that holds PRESET/comparison/evaluation.json, relative to docs/results.
    """
    measured = read_evaluation(folder / preset / "comparison" / "evaluation.json")
    if measured is None:
        return PENDING
    headings = ["algorithm"]
    for split in measured.splits:
        headings += [f"{split}: 0 steps", "1 step", "3 steps", "captured by 1"]
    headings += ["training steps", "seconds"]
    lines = []
    for policy in measured.policies:
        cells = [algorithm_title(policy.algorithm)]
        for split in measured.splits:
            curve = measured.judged(policy.algorithm, split)
            after = [curve and curve.after(step) for step in (0, 1, 3)]
            cells += [_return_with_interval(point) for point in after]
            share = after[1] and measured.captured(after[1], split)
            cells.append("" if share is None else f"{share.value:.2f}")
        lines.append([*cells, *_costs(policy)])
    return markdown_table(headings, lines)


def _costs(policy: MeasuredPolicy) -> list[str]:
    """Return the mean control steps and seconds of a training, empty where there was none."""
    costs = [
        [each for each in cost if each is not None] for cost in (policy.total_steps, policy.seconds)
    ]
    return [f"{sum(cost) / len(cost):,.0f}" if cost else "" for cost in costs]


def _return_with_interval(point: Point | None) -> str:
    return with_interval(point.return_mean) if point else ""
