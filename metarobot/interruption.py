"""Stopping politely: Ctrl-C and SIGTERM let the meta-iteration in progress finish."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedTrainingError(Exception):
    """Training was asked to stop, and left everything it needs to go on.

    Args:
        signal_number: The signal that asked.
        run: The run folder.
    """

    def __init__(self, signal_number: int, run: Path) -> None:
        self.signal_number = signal_number
        name = signal.Signals(signal_number).name
        super().__init__(f"interrupted by {name}: `metarobot train --resume {run}` goes on with it")


@dataclass
class StopRequest:
    """Whether the process has been asked to stop."""

    signal_number: int = 0
    """The signal that asked; 0 if none did."""


@contextmanager
def listen_for_stop() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; a second Ctrl-C interrupts at once.

    torchrun repeats the signals that it got itself, so processes that it has started ignore all but
    the first.  Outside the main thread signals cannot be caught, and none are.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        again = request.signal_number and "TORCHELASTIC_RUN_ID" not in os.environ
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal_number = request.signal_number or number

    previous = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
