"""One example for each recording, whether or not its file was cut into windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from metarobot.diagnosis.own_data import OwnDataError, OwnRecordings


def fewest_windows(recordings: OwnRecordings) -> int:
    """Return the windows W of the file that has the fewest."""
    _, counts = np.unique(recordings.file, return_counts=True)
    return int(counts.min())


def require_windows(recordings: OwnRecordings, windows: int, window_s: float | None) -> None:
    """Make sure that every file has as many windows as a learner reads.

    Raises:
        OwnDataError: A file has fewer.
    """
    for name, count in zip(*np.unique(recordings.file, return_counts=True), strict=True):
        if count < windows:
            raise OwnDataError(
                f"{name} has {count} windows of {window_s:g} s, the learner reads {windows} of "
                f"each recording: take it out, or record for {windows * (window_s or 0):g} s"
            )


def whole_recordings(recordings: OwnRecordings, windows: int) -> OwnRecordings:
    """Join the windows of every file again: W of each, spread evenly over it.

    So a recording never stands on both sides of a split, and recordings of unequal lengths can be
    compared.

    Args:
        recordings: Windows, or whole recordings.
        windows: W, at most `fewest_windows`.

    Returns:
        A row for each file, in the order of the table.
    """
    files, first = np.unique(recordings.file, return_index=True)
    order = np.argsort(first)
    files, first = files[order], first[order]
    counts = np.array([(recordings.file == name).sum() for name in files])
    places = np.floor((np.arange(windows) + 0.5) * counts[:, None] / windows).astype(int)
    rows = first[:, None] + places  # (files, W)
    signals = recordings.signals[rows]  # (files, W, T, C)
    joined = signals.reshape(len(files), -1, signals.shape[-1])
    return replace(recordings.rows(first), signals=joined)
