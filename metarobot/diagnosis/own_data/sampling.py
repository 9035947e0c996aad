"""The times of a recording: they must increase, without gaps, at the rate of all others."""

from __future__ import annotations

import numpy as np

from metarobot.diagnosis.own_data.errors import OwnDataError
from metarobot.diagnosis.own_data.numbers_table import NumbersTable

_GAP = 1.5
_HURRY = 0.5
"""Longest and shortest step, over the median one: rounded times and jitter stay far within."""
_SAME_RATE = 0.01
"""Share by which rates may differ, of all but short recordings: clocks differ by less."""


def sample_rate(table: NumbersTable, time_s: np.ndarray) -> float:
    """Return the samples per second of a recording, to 6 digits.

    Args:
        table: Its file, for messages.
        time_s: Time of each sample, (T,).

    Raises:
        OwnDataError: Times do not increase, or leave gaps.
    """
    steps = np.diff(time_s)
    usual = float(np.median(steps))
    bad = (steps <= 0) | (steps > _GAP * usual) | (steps < _HURRY * usual)
    if bad.any():
        row = int(np.argmax(bad))
        raise OwnDataError(
            f"{table.place(row + 1)}: time_s goes from {time_s[row]:.10g} to "
            f"{time_s[row + 1]:.10g} where {usual:.6g} s is usual: {_way_out(steps[row], usual)}"
        )
    return float(f"{len(steps) / (time_s[-1] - time_s[0]):.6g}")


def _way_out(step: float, usual: float) -> str:
    """Say what is wrong with a step in time, and what to do."""
    if step <= 0:
        return "it must increase: sort the rows, or write times with more digits"
    if step > usual:
        return "a gap: cut the recording there, or resample it"
    return "uneven: resample it"


def require_same_rate(rate: float, first: float, table: NumbersTable, first_name: str) -> None:
    """Refuse a recording at another rate than that of the first one.

    Raises:
        OwnDataError: It is.
    """
    end = 0.5 / (len(table.values) - 1)  # by jitter of the first and the last time
    if abs(rate - first) > max(_SAME_RATE, end) * first:
        raise OwnDataError(
            f"{table.path} has {rate:g} samples a second, {first_name} {first:g}: resample one of "
            "them, all recordings need the same rate"
        )
