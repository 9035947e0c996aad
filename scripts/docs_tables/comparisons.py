"""Algorithms side by side, and beside the published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from docs_tables.few_episodes import by_family
from docs_tables.markdown import PENDING, markdown_table, with_interval
from docs_tables.results import read_evaluation
from metarobot.config import PRESETS
from metarobot.evaluation.table import Curve, Evaluation, MeasuredPolicy
from metarobot.reporting.style import after_blocks, after_episodes, algorithm_title, family_title
from metarobot.reporting.tables import episodes_to_90_text

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
        means = [with_interval(point.return_mean) for point in curve.blocks] if curve else []
        cells[policy.algorithm] = means
    (oracle,) = cells.pop("oracle", [""])
    cost = f"{int(measured.policies[0].settings['total_steps']):,}"
    return [
        [title, algorithm_title(name), cost, *means, *[""] * (num_stages - len(means)), oracle]
        for name, means in cells.items()
    ]


def comparison(preset: str, folder: Path) -> str:
    """Return the comparison on a family: for each split a table, one line for each algorithm.

    Args:
        preset: The family's preset.
        folder: Folder that holds PRESET/comparison/evaluation.json, relative to docs/results.
    """
    measured = read_evaluation(folder / preset / "comparison" / "evaluation.json")
    if measured is None:
        return PENDING
    tables = [_comparison_on(measured, split) for split in measured.splits]
    costs = [
        [algorithm_title(policy.algorithm), *_costs(policy)]
        for policy in measured.policies
        if policy.total_steps
    ]
    tables.append(markdown_table(["training", "control steps", "seconds"], costs))
    return "\n\n".join(tables)


def _comparison_on(measured: Evaluation, split: str) -> str:
    """Return the table of one split."""
    curves = [measured.judged(policy.algorithm, split) for policy in measured.policies]
    found = [curve for curve in curves if curve]
    numbers = [n for n in _EPISODES if any(curve.after_episodes(n) for curve in found)]
    headings = [split, "before", *map(after_episodes, numbers), after_blocks(_BLOCKS)]
    headings += [f"captured {after_episodes(number)}" for number in numbers]
    harmed = [n for n in numbers if any(_harmed(curve, n) for curve in found)]
    headings += [f"worse {after_episodes(number)}" for number in harmed]
    rows = [
        [
            *_compared(measured, curve, numbers),
            *(_harmed(curve, number) for number in harmed),
            episodes_to_90_text(measured, curve) if curve.algorithm in measured.learners else "",
        ]
        for curve in found
    ]
    return markdown_table([*headings, "90 % captured after"], rows)


def _compared(measured: Evaluation, curve: Curve, numbers: Sequence[int]) -> list[str]:
    """Return name, returns and fractions of one algorithm, empty where it was not measured."""
    points = [curve.after_episodes(number) for number in numbers]
    returns = [curve.points[0], *points, curve.after_blocks(_BLOCKS)]
    shares = [point and measured.captured(point, curve.split) for point in points]
    return [
        algorithm_title(curve.algorithm),
        *(with_interval(point.return_mean) if point else "" for point in returns),
        *("" if share is None else f"{share.value:.2f}" for share in shares),
    ]


def _harmed(curve: Curve, num_episodes: int) -> str:
    """Return the share of tasks that became worse, empty where it was not measured."""
    point = curve.after_episodes(num_episodes)
    return f"{point.harmed.value:.2f}" if point and point.harmed else ""


def costs() -> str:
    """Return the mean seconds of a training, by algorithm and family."""
    return by_family("seconds", _seconds)


def _seconds(evaluation: Evaluation, name: str) -> str:
    found = [policy for policy in evaluation.policies if policy.algorithm == name]
    return _costs(found[0])[1] if found else ""


_EPISODES = (1, 5, 20)
"""Adaptation episodes that the tables tell of, where they were measured."""
_BLOCKS = 3
"""Blocks of adaptation episodes that they tell of besides."""


def _costs(policy: MeasuredPolicy) -> list[str]:
    """Return the mean control steps and seconds of a training, empty where there was none."""
    costs = [
        [each for each in cost if each is not None] for cost in (policy.total_steps, policy.seconds)
    ]
    return [f"{sum(cost) / len(cost):,.0f}" if cost else "" for cost in costs]
