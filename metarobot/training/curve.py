"""The learning curve in curve.csv: its columns, and what is read of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metarobot.training.run_folder import algorithm_folder
from metarobot.training.run_layout import CURVE_FILE, MAX_CURVE_BYTES, RunError, as_run_error

CURVE_COLUMNS = {
    "iteration": "time/iteration",
    "total_steps": "time/total_steps",
    "pre_return": "meta/pre_return",
    "post_return": "meta/post_return",
    "gain": "meta/gain",
    "pre_success_rate": "meta/pre_success_rate",
    "post_success_rate": "meta/post_success_rate",
    "kl": "update/kl",
    "accepted": "update/accepted",
    "sampling_s": "time/sampling_s",
    "update_s": "time/update_s",
    "unstable_episodes": "sim/unstable_episodes",
    "rejected_tasks": "update/rejected_tasks",
}
"""Columns of curve.csv, and the metric of a meta-iteration that each holds."""
_LONGEST_HEADING = 10_000
_ALWAYS_FINITE = ("iteration", "total_steps", "sampling_s", "update_s")
"""Columns of a curve that count; whatever goes wrong in training, they are numbers."""
_GREATEST = 1e15


def load_curve(run: Path, algorithm: str, columns: Sequence[str]) -> dict[str, list[float]]:
    """Read columns of an algorithm's curve.csv, one number a meta-iteration each.

    Raises:
        RunError: The file is missing, or not such a table.
    """
    path = run / algorithm / CURVE_FILE
    with as_run_error(path):
        data = algorithm_folder(run, algorithm).read(CURVE_FILE, MAX_CURVE_BYTES)
        heading, _, rows = data.partition(b"\n")
        names = heading.decode().split(",") if len(heading) <= _LONGEST_HEADING else []
        if not data:
            return {column: [] for column in columns}
        if not {*columns} <= {*names}:
            raise RunError(f"{path} is not a training curve: it lacks columns")
        numbers = _numbers(rows, [names.index(column) for column in columns])
        for column, cells in zip(columns, numbers, strict=True):
            # Returns of a rejected task may be anything.
            if column in _ALWAYS_FINITE and not ((cells >= 0) & (cells <= _GREATEST)).all():
                raise RunError(f"{path}: {column} must be from 0 to {_GREATEST:g}")
        return {c: cells.tolist() for c, cells in zip(columns, numbers, strict=True)}


def _numbers(rows: bytes, columns: Sequence[int]) -> np.ndarray:
    """Return the numbers in columns of a table without its heading, (C, R)."""
    if not rows.strip():
        return np.empty((len(columns), 0))
    return np.loadtxt(
        io.BytesIO(rows), delimiter=",", comments=None, usecols=columns, ndmin=2, unpack=True
    )
