"""Shots: which recordings a learner adapts from, and which it is judged by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarobot.diagnosis.own_data.errors import OwnDataError
from metarobot.diagnosis.own_data.own_recordings import OwnRecordings


class Shots(NamedTuple):
    """Rows of `OwnRecordings`; no file is in both."""

    support: np.ndarray
    """Rows of K recordings of every label, all windows of each."""
    query: np.ndarray
    """All other rows."""


def draw_shots(recordings: OwnRecordings, shots: int, seed: int = 0) -> Shots:
    """Draw K recordings of every label to adapt from; the others are to judge by.

    A recording is on one side with all of its windows.

    Args:
        recordings: Of one machine, or of several that are alike.
        shots: K.
        seed: Which recordings are drawn.

    Raises:
        OwnDataError: A label has fewer than K + 1 recordings.
    """
    require_shots(recordings, shots)
    rng = np.random.default_rng(seed)
    drawn = [
        rng.choice(recordings.files_of(label), shots, replace=False) for label in recordings.labels
    ]
    is_support = np.isin(recordings.file, np.concatenate(drawn))
    return Shots(np.flatnonzero(is_support), np.flatnonzero(~is_support))


def require_shots(recordings: OwnRecordings, shots: int, way: int = 2) -> None:
    """Refuse recordings that are too few for tasks of N labels and K recordings of each.

    Args:
        recordings: All that there are.
        shots: K recordings of a label to adapt from; one more is needed to judge by.
        way: N labels of a task.

    Raises:
        OwnDataError: There are too few labels, or too few recordings of one.
    """
    if shots < 1 or way < 2:
        raise OwnDataError(f"shots must be at least 1 and way at least 2, got {shots} and {way}")
    if len(recordings.labels) < way:
        raise OwnDataError(
            f"{len(recordings.labels)} labels are too few for {way}-way tasks: "
            f"{', '.join(recordings.labels)}: record more faults, or lower the way"
        )
    for label in recordings.labels:
        count = len(recordings.files_of(label))
        if count < shots + 1:
            raise OwnDataError(
                f"{label!r} has {count} recordings, {shots} shots need {shots + 1}, one of them to "
                "judge by: record more, or ask for fewer shots"
            )
