"""The table of an evaluation: one row for each policy, split, kind of episodes and point."""

from __future__ import annotations

from typing import Any

from metarobot.evaluation.curve import Curve, Point
from metarobot.evaluation.result import Evaluation
from metarobot.evaluation.statistics import Interval
from metarobot.io import csv_table


def evaluation_csv(evaluation: Evaluation) -> str:
    """Return all points of an evaluation as CSV, with the bounds of their 95 % intervals.

    The column ``adaptation_blocks`` is empty where all adaptation episodes were one block, or none.

    Args:
        evaluation: The evaluation.
    """
    return csv_table(
        [
            {**_row(curve, point, blocks), **_protocol(evaluation)}
            for curve in evaluation.curves
            for blocks, point in [
                *((None, point) for point in curve.points),
                *(enumerate(curve.blocks) if len(curve.blocks) > 1 else ()),
            ]
        ]
    )


def _row(curve: Curve, point: Point, blocks: int | None) -> dict[str, Any]:
    return {
        "split": curve.split,
        "algorithm": curve.algorithm,
        "exploring": curve.exploring,
        "adaptation_episodes": point.adaptation_episodes,
        "adaptation_blocks": blocks,
        **_columns("return_mean", point.return_mean),
        **_columns("return_iqm", point.return_iqm),
        **_columns("success", point.success),
        **_columns("captured", point.captured),
        **_columns("harmed", point.harmed),
        **_columns("worst_tenth", point.worst_tenth),
        **_columns("trial_cost", point.trial_cost),
    }


def _columns(name: str, value: Interval | None) -> dict[str, Any]:
    bounds = (value.low, value.high) if value else (None, None)
    return {name: value and value.value, f"{name}_ci": bounds}


def _protocol(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "rewards": evaluation.config.rewards,
        "num_seeds": len(evaluation.seeds),
        "num_tasks": evaluation.config.num_tasks,
    }
