"""One example for each recording, whether or not its file was cut into windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from metarobot.diagnosis.own_data import OwnRecordings


def fewest_windows(recordings: OwnRecordings) -> int:
    """Return the windows W of the file that has the fewest."""
    _, counts = np.unique(recordings.file, return_counts=True)
    return int(counts.min())


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
