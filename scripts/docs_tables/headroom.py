"""docs/results/headroom.json: what knowing the task is worth, and how much MAML captures of it."""

from __future__ import annotations

from typing import Any

from docs_tables.results import RESULTS, read_evaluation
from metarobot.config import PRESETS
from metarobot.evaluation.table import Curve, Evaluation, Headroom
from metarobot.io import rounded

HEADROOM_FILE = RESULTS / "headroom.json"
LEARNER = "maml"
"""Whose adaptation it tells of."""
_COLUMNS = {
    "random": ("random", 0, True),
    "domain_randomisation": ("domain_randomisation", 0, False),
    "adapted_1": (LEARNER, 1, False),
    "adapted_3": (LEARNER, 3, False),
    "oracle": ("oracle", 0, False),
}
"""Algorithm, blocks of adaptation episodes and whether it explores, by the name of the column."""


def headroom_rows() -> list[dict[str, Any]]:
    """Return one row for every family and split, from the committed evaluations.

    Columns of an algorithm are interquartile means with 95 % intervals (`*_ci`), and mean returns
    (`*_mean`); those of MAML are after 1 and 3 blocks of adaptation episodes. ``headroom`` is
    (oracle - domain randomisation) / (oracle - random), and ``captured_1`` (adapted_1 - domain
    randomisation) / (oracle - domain randomisation), both of the mean returns; where the oracle
    itself is lost, it is not ``meaningful``.
    """
    evaluations = {name: read_evaluation(f"{name}/evaluation.json") for name in PRESETS}
    rows = [
        _row(preset, evaluation, entry, curve)
        for preset, evaluation in evaluations.items()
        if evaluation is not None
        for entry in evaluation.headroom
        if (curve := evaluation.curve(LEARNER, entry.split)) is not None
    ]
    return rounded(rows)


def _row(preset: str, evaluation: Evaluation, entry: Headroom, curve: Curve) -> dict[str, Any]:
    row: dict[str, Any] = {"family": evaluation.family, "preset": preset, "split": entry.split}
    for column, (algorithm, num_blocks, exploring) in _COLUMNS.items():
        found = evaluation.curve(algorithm, entry.split, exploring=exploring)
        point = found and found.after_blocks(num_blocks)
        row[column] = point and point.return_iqm.value
        row[f"{column}_ci"] = point and [point.return_iqm.low, point.return_iqm.high]
        row[f"{column}_mean"] = point and point.return_mean.value
    after = curve.after_blocks(1)
    share = after and after.captured
    return {
        **row,
        "headroom": entry.over_random,
        "captured_1": share and share.value,
        "captured_1_ci": share and [share.low, share.high],
        "captured_1_per_seed": after and list(after.captured_per_seed),
        "meaningful": entry.is_meaningful,
        "seeds": list(evaluation.seeds),
    }
