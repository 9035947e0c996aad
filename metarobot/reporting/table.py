"""The table of an evaluation: one row for each policy, split, kind of episodes and point."""

from __future__ import annotations

from metarobot.evaluation.result import Evaluation
from metarobot.files import csv_table


def evaluation_csv(evaluation: Evaluation) -> str:
    """Return all points of an evaluation as CSV, with the bounds of their 95 % intervals.

    Args:
        evaluation: The evaluation.
    """
    return csv_table(
        [
            {
                "split": curve.split,
                "algorithm": curve.algorithm,
                "adaptation_steps": point.adaptation_steps,
                "adaptation_episodes": point.adaptation_episodes,
                "exploring": curve.exploring,
                "return_mean": point.return_mean.value,
                "return_mean_ci": (point.return_mean.low, point.return_mean.high),
                "return_iqm": point.return_iqm.value,
                "return_iqm_ci": (point.return_iqm.low, point.return_iqm.high),
                "success": point.success.value,
                "success_ci": (point.success.low, point.success.high),
                "captured": point.captured and point.captured.value,
                "captured_ci": (
                    (point.captured.low, point.captured.high) if point.captured else (None, None)
                ),
                "num_seeds": len(evaluation.seeds),
                "num_tasks": evaluation.config.num_tasks,
            }
            for curve in evaluation.curves
            for point in curve.points
        ]
    )
