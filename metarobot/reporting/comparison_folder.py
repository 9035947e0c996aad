"""From runs to a comparison's folder: numbers, table and figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarobot.evaluation.comparison import compare
from metarobot.evaluation.evaluation import Progress
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.files import csv_table, json_bytes
from metarobot.folder import Folder
from metarobot.reporting.comparison_figure import draw_comparison
from metarobot.training.load import TrainedRun

PRODUCTS = ("comparison.csv", "comparison.png", "comparison.json")
"""Files of a comparison; the last one holds all that is in the others."""
_SCORES = "scores"
"""The folder with what was measured, which is not measured again."""


def prepare_comparison(out: Path) -> Folder:
    """Return the folder of a comparison, made if missing, after a look at all that may be there.

    Raises:
        FolderError: Something else is in the place of one of its files or folders.
        OSError: It cannot be made.
    """
    folder = Folder(out)
    scores = folder / _SCORES
    folder.make()
    folder.require_replaceable(*PRODUCTS)
    if scores.exists():
        scores.require_replaceable(*scores.names())
    return folder


def compare_to_folder(
    runs: Sequence[TrainedRun], config: EvaluationConfig, out: Path, progress: Progress
) -> dict[str, Any]:
    """Compare runs, and write the numbers, the table and the figure into a folder.

    Args:
        runs: As for `compare`.
        config: How much is measured.
        out: Folder for comparison.json, comparison.csv and comparison.png; measured scores are
            kept in its ``scores``.
        progress: Called as the work goes on.

    Returns:
        The comparison, in the layout of comparison.json.

    Raises:
        OSError: The folder cannot be written to.
    """
    folder = prepare_comparison(out)
    comparison = compare(runs, config, folder / _SCORES, progress)
    contents = (
        csv_table(comparison["rows"]).encode(),
        draw_comparison(comparison),
        json_bytes(comparison),
    )
    folder.write_together(dict(zip(PRODUCTS, contents, strict=True)))
    return comparison
