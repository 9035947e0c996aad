"""docs/results/adaptation.json: what every policy reaches, by the number of adaptation episodes."""

from __future__ import annotations

from typing import Any

from docs_tables.results import RESULTS, WITHOUT_REWARDS, others_of, read_evaluation
from metarobot.config import PRESETS
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Curve, Evaluation, Point
from metarobot.io import rounded

ADAPTATION_FILE = RESULTS / "adaptation.json"


def adaptation_rows() -> list[dict[str, Any]]:
    """Return one row for every family, split, algorithm and number of adaptation episodes.

    A family's rows are of its evaluation, of those of who is not part of it, then of that in which
    ``rewards`` were hidden. Episodes are one block. ``return``, ``success``, ``captured`` (the
    fraction of the headroom) and ``harmed`` (the share of tasks that adapting made worse) have 95 %
    intervals (`*_ci`); all is null where it was not measured, or where there is no headroom to
    speak of.
    """
    rows = []
    for preset in PRESETS:
        own = _rows(read_evaluation(f"{preset}/evaluation.json"))
        known = {row["algorithm"] for row in own}
        others = [row for each in others_of(preset).values() for row in _rows(each)]
        hidden = _rows(read_evaluation(f"{preset}/{WITHOUT_REWARDS}/evaluation.json"))
        rows += own + [row for row in others if row["algorithm"] not in known] + hidden
    return rounded(rows)


def _rows(evaluation: Evaluation | None) -> list[dict[str, Any]]:
    if evaluation is None:
        return []
    return [
        _row(evaluation, curve, point)
        for split in evaluation.splits
        for policy in evaluation.policies
        if (curve := evaluation.judged(policy.algorithm, split)) is not None
        for point in curve.points
    ]


def _row(evaluation: Evaluation, curve: Curve, point: Point) -> dict[str, Any]:
    return {
        "family": evaluation.family,
        "rewards": evaluation.config.rewards,
        "split": curve.split,
        "algorithm": curve.algorithm,
        "episodes": point.adaptation_episodes,
        **_columns("return", point.return_mean),
        **_columns("success", point.success),
        **_columns("captured", evaluation.captured(point, curve.split)),
        **_columns("harmed", point.harmed),
        "seeds": list(evaluation.seeds),
    }


def _columns(name: str, value: Interval | None) -> dict[str, Any]:
    return {name: value and value.value, f"{name}_ci": value and [value.low, value.high]}
