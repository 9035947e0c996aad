"""Progress of adaptation episodes on standard error, where a robot may take minutes for each."""

from __future__ import annotations

import sys
import time

import numpy as np

from metarobot.closable import Closable

PLAIN_INTERVAL_S = 1.0
"""Least time between two lines, in seconds; the last one always appears."""


class EpisodeDisplay(Closable):
    """Writes how many episodes have ended, and the last return; a context manager.

    Args:
        total: Episodes to come.
        shown: Whether to write anything.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total, self._shown = total, shown
        self._done, self._told_s = 0, float("-inf")

    def close(self) -> None:
        """End the line that is written over."""
        if self._shown and self._done and sys.stderr is not None and sys.stderr.isatty():
            print(file=sys.stderr)

    def add(self, returns: np.ndarray) -> None:
        """Count episodes that have ended, by their returns."""
        self._done += len(returns)
        now, last = time.monotonic(), self._done == self._total
        if not self._shown or sys.stderr is None:
            return
        if not last and now - self._told_s < PLAIN_INTERVAL_S:
            return
        self._told_s = now
        earned = "" if np.isnan(returns[-1]) else f", return {returns[-1]:.2f}"
        line = f"adapting: episode {self._done} of {self._total}{earned}"
        live = sys.stderr.isatty()
        print(f"\r{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)
