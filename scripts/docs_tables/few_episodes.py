"""Every learner and reference by the number of adaptation episodes, and which of them is best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from docs_tables.markdown import PENDING, captured_text, markdown_table, rate_text, with_interval
from docs_tables.results import WITHOUT_REWARDS, others_of, read_evaluation, read_joined
from metarobot.evaluation.table import FEW_EPISODES, Curve, Evaluation, MeasuredPolicy, Point
from metarobot.reporting.style import (
    after_episodes,
    algorithm_title,
    family_title,
)

FAMILIES = ("reach", "reach-hidden-goal", "grip", "slide", "push", "carry", "insert")
"""Presets whose tables these are."""
NUMBERS = (0, 1, 2, 5, 20)
"""Adaptation episodes that the tables tell of."""
LEARNER = "latent"
"""The learner that is compared with the best."""
AS_GOOD = 0.05
"""Difference of return, as a part of the headroom, below which two are called equally good."""
TOLD_THE_TASK = ("oracle",)
"""Who knows what all others must find out."""


def by_algorithm(preset: str) -> str:
    """Return the success of every algorithm after 0, 1, 2, .. episodes, split by split."""
    evaluation = read_with_latent(preset)
    if evaluation is None:
        return PENDING
    headings = ["success"]
    for split in evaluation.splits:
        headings += [f"{split}: {NUMBERS[0]}", *map(str, NUMBERS[1:])]
    rows = []
    for policy in evaluation.policies:
        curves = [evaluation.judged(policy.algorithm, split) for split in evaluation.splits]
        cells = [rate_text(_success(curve, number)) for curve in curves for number in NUMBERS]
        rows.append([algorithm_title(policy.algorithm), *cells])
    return markdown_table(headings, rows)


def seeds() -> str:
    """Return which trainings the tables rest on, family by family."""
    rows = [
        (
            family_title(found.family),
            *(
                ", ".join(map(str, each.seeds)) if each else ""
                for each in (found, *others_of(preset).values())
            ),
        )
        for preset in FAMILIES
        if (found := read_with_latent(preset))
    ]
    headings = ("family", "training seeds", "of the other learners", "of identification")
    return markdown_table(headings, rows) if rows else PENDING


def headline() -> str:
    """Return what few episodes are worth, family by family: success, and who is harmed."""
    rows = [
        [
            family_title(evaluation.family),
            split,
            *(rate_text(_success(evaluation.judged(name, split), n)) for _, name, n in _HEADLINE),
            *_captured_and_worse(evaluation, split),
        ]
        for evaluation in all_with_latent()
        for split in evaluation.splits
    ]
    headings = ["success", "split", *(title for title, *_ in _HEADLINE)]
    headings += [f"captured after {FEW_EPISODES}", f"worse after {FEW_EPISODES}"]
    return markdown_table(headings, rows) if rows else PENDING


_HEADLINE = (
    ("never adapting", "domain_randomisation", 0),
    ("memory of the episode", "recurrent_randomisation", 0),
    ("MAML: 5", "maml", 5),
    ("20", "maml", 20),
    ("latent: 0", LEARNER, 0),
    ("1", LEARNER, 1),
    ("5", LEARNER, 5),
    ("20", LEARNER, 20),
    ("told the task", "oracle", 0),
)
"""Heading, algorithm and adaptation episodes of each column of the first table."""


def _captured_and_worse(evaluation: Evaluation, split: str) -> tuple[str, str]:
    """Return the fraction that `latent` captures by few episodes, and who becomes worse."""
    point = _point(evaluation.judged(LEARNER, split), FEW_EPISODES)
    captured = evaluation.captured(point, split) if point else None
    return captured_text(captured), with_interval(point and point.harmed)


def without_rewards() -> str:
    """Return what `latent` and the references reach where nobody measures rewards."""
    found = [read_evaluation(f"{preset}/{WITHOUT_REWARDS}/evaluation.json") for preset in FAMILIES]
    rows = [
        _row_without_rewards(evaluation, policy, split)
        for evaluation in filter(None, found)
        for policy in evaluation.policies
        for split in evaluation.splits
    ]
    headings = ["success", "split", "algorithm", *map(str, NUMBERS)]
    headings.append(f"captured after {FEW_EPISODES}")
    return markdown_table(headings, rows) if rows else PENDING


def _row_without_rewards(
    evaluation: Evaluation, policy: MeasuredPolicy, split: str
) -> Sequence[str]:
    curve = evaluation.judged(policy.algorithm, split)
    few = _point(curve, FEW_EPISODES) if policy.adapts else None
    captured = captured_text(few and evaluation.captured(few, split))
    success = [rate_text(_success(curve, number)) for number in NUMBERS]
    name = algorithm_title(policy.algorithm)
    return [family_title(evaluation.family), split, name, *success, captured]


def best() -> str:
    """Return who is best after 0, 1, 2, .. episodes, family by family and split by split."""
    rows = []
    for evaluation in all_with_latent():
        for split in evaluation.splits:
            cells = [_titles(_as_good_as_best(evaluation, split, number)) for number in NUMBERS]
            rows.append([family_title(evaluation.family), split, *cells])
    headings = ["family", "split", *map(after_episodes, NUMBERS)]
    return markdown_table(headings, rows) if rows else PENDING


def behind() -> str:
    """Return where another one earns more than `latent` after as many episodes, and how much."""
    rows = [
        [family_title(evaluation.family), split, str(number), *ahead]
        for evaluation in all_with_latent()
        for split in evaluation.splits
        for number in NUMBERS
        if (ahead := _ahead(evaluation, split, number))
    ]
    headings = ["family", "split", "episodes", "best", "ahead, as a part of the headroom"]
    return markdown_table(headings, rows) if rows else PENDING


def _ahead(evaluation: Evaluation, split: str, number: int) -> list[str]:
    """Return who is ahead of `latent` and by how much; nothing where nobody is, or no headroom."""
    returns, gap = _returns(evaluation, split, number), _gap(evaluation, split)
    if LEARNER not in returns or gap is None:
        return []
    name = max(returns, key=lambda name: returns[name])
    missing = (returns[name] - returns[LEARNER]) / gap
    return [algorithm_title(name), f"{missing:.2f}"] if missing > AS_GOOD else []


def _titles(names: Sequence[str]) -> str:
    """Return the titles of a few algorithms, and how many more there are."""
    shown = [algorithm_title(name) for name in names[:_MOST_TITLES]]
    more = len(names) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown)


_MOST_TITLES = 4
"""Algorithms that a cell names."""


def _as_good_as_best(evaluation: Evaluation, split: str, number: int) -> list[str]:
    """Return who is within `AS_GOOD` of the best, the best first; it alone without headroom."""
    returns = _returns(evaluation, split, number)
    most, gap = max(returns.values()), _gap(evaluation, split) or 0.0
    best_first = sorted(returns, key=lambda name: -returns[name])
    return [name for name in best_first if most - returns[name] <= AS_GOOD * gap]


def _returns(evaluation: Evaluation, split: str, number: int) -> dict[str, float]:
    """Return the mean return of each policy that is not told the task, by its name."""
    points = {
        policy.algorithm: _point(evaluation.judged(policy.algorithm, split), number)
        for policy in evaluation.policies
        if policy.algorithm not in TOLD_THE_TASK
    }
    return {name: point.return_mean.value for name, point in points.items() if point}


def _gap(evaluation: Evaluation, split: str) -> float | None:
    """Return the headroom of a split, None where it says nothing."""
    entry = evaluation.headroom_of(split)
    return entry.gap.value if entry and entry.is_meaningful else None


def _point(curve: Curve | None, number: int) -> Point | None:
    """Return where a policy stands after so many episodes: one that never adapts, as before."""
    if curve is None:
        return None
    return curve.points[0] if len(curve.points) == 1 else curve.after_episodes(number)


def all_with_latent() -> list[Evaluation]:
    """Return the evaluations of all families that `latent` is part of."""
    return [each for each in map(read_with_latent, FAMILIES) if each]


def by_family(heading: str, cell: Callable[[Evaluation, str], str]) -> str:
    """Return a table with a line for each algorithm and a column for each family.

    Args:
        heading: What the table tells of.
        cell: Evaluation and algorithm -> what stands there; algorithms without a cell are left out.
    """
    evaluations = all_with_latent()
    names = dict.fromkeys(policy.algorithm for each in evaluations for policy in each.policies)
    lines = [(name, [cell(each, name) for each in evaluations]) for name in names]
    rows = [[algorithm_title(name), *cells] for name, cells in lines if any(cells)]
    headings = [heading, *(family_title(each.family) for each in evaluations)]
    return markdown_table(headings, rows) if rows else PENDING


def _success(curve: Curve | None, number: int) -> float | None:
    point = _point(curve, number)
    return point and point.success.value


def read_with_latent(preset: str) -> Evaluation | None:
    """Return all that was measured on a family, None where `latent` is not part of it yet."""
    evaluation = read_joined(preset)
    known = evaluation and any(policy.algorithm == LEARNER for policy in evaluation.policies)
    return evaluation if known else None
