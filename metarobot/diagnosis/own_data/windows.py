"""Windows: long recordings cut into pieces of one length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metarobot.diagnosis.own_data.errors import OwnDataError

SHORTEST = 32
"""Samples of a recording, or of a window, that a learner needs."""


def cut(signals: np.ndarray, window_s: float, samples_per_s: float, path: Path) -> np.ndarray:
    """Return the windows of a recording one after the other, (windows, samples, C).

    Args:
        signals: The recording, (T, C).
        window_s: Length of a window.
        samples_per_s: Rate of the recording.
        path: Its file, for messages.

    Raises:
        OwnDataError: The recording is shorter than a window, or a window is too short.
    """
    if not 2 <= window_s * samples_per_s < math.inf:  # NaN compares false
        raise OwnDataError(
            f"window_s must hold at least 2 samples, {2 / samples_per_s:g} s, got {window_s:g}"
        )
    length = round(window_s * samples_per_s)
    count = len(signals) // length
    if count == 0:
        raise OwnDataError(
            f"{path} has {len(signals)} samples, {len(signals) / samples_per_s:g} s, and a window "
            f"{length}, {window_s:g} s: take a shorter window, or drop the recording"
        )
    return signals[: count * length].reshape(count, length, -1)


def require_length(samples: int) -> None:
    """Refuse recordings, or windows, that are too short for a network to see anything in.

    Raises:
        OwnDataError: They are.
    """
    if samples < SHORTEST:
        raise OwnDataError(
            f"recordings have {samples} samples each, a network needs at least {SHORTEST}: record "
            "longer, or take longer windows"
        )


def require_same_length(lengths: Sequence[tuple[Path, int]]) -> None:
    """Refuse recordings of mixed lengths.

    Args:
        lengths: File and number of samples of each recording.

    Raises:
        OwnDataError: They are not equally long.
    """
    first_path, first = lengths[0]
    for path, length in lengths:
        if length != first:
            raise OwnDataError(
                f"{path} has {length} samples, {first_path.name} {first}: cut all into windows "
                "(window_s, on the command line --window-s)"
            )
