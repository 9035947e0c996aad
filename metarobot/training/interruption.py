"""Ctrl-C and SIGTERM: training ends its meta-iteration, all else unwinds and leaves no trace."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ENDING_SIGNALS = (*_SIGNALS, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
_UNWINDING_S = 10.0
"""Time in which a command that was asked to end cleans up, and does not listen."""
_IMPORT_S = 0.1
"""Time after which a signal that came during an import comes again."""


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


class InterruptedComparisonError(InterruptedTrainingError):
    """A comparison was asked to stop while it trained; its trainings can all go on.

    Args:
        signal_number: The signal that asked.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number, Path())
        name = signal.Signals(signal_number).name
        self.args = (f"interrupted by {name}: the same command goes on with it",)


class InterruptedCommandError(KeyboardInterrupt):
    """A signal ends the command; partial files are removed on the way out.

    Args:
        signal_number: The signal.
    """

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(f"interrupted by {signal.Signals(signal_number).name}")


@contextmanager
def comparison_interruptions() -> Iterator[None]:
    """Turn a signal's exception into one that says how the comparison goes on.

    Raises:
        InterruptedComparisonError: A signal has come.
    """
    try:
        yield
    except InterruptedCommandError as error:
        raise InterruptedComparisonError(error.signal_number) from None


class Unwinding:
    """A handler of signals that raises, so that every ``finally`` on the way out is run.

    What follows within the time for that is ignored: it would interrupt the cleaning up.  Imports
    are not interrupted, since libraries in C++ may abort the process then: the signal comes again.
    """

    signal_number = 0
    """The signal that asked the command to end; 0 if none did."""
    _began_s = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise, unless that has been done a moment ago."""
        if time.monotonic() - self._began_s < _UNWINDING_S:
            return
        if _is_importing(frame):
            again = threading.Timer(_IMPORT_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        self.begin(number)
        raise InterruptedCommandError(number)

    def begin(self, number: int) -> None:
        """Listen no more for a while: the command is on its way out."""
        self._began_s = time.monotonic()
        self.signal_number = self.signal_number or number


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def unwind_on_signals() -> Iterator[Unwinding]:
    """End the block by an exception when a signal asks for it, not by the death of the process.

    Signals that are ignored stay so (nohup).  torchrun ends its processes itself, as ever.
    """
    unwinding = Unwinding()
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or "TORCHELASTIC_RUN_ID" in os.environ:
        yield unwinding
        return
    heard = [s for s in _ENDING_SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, unwinding) for number in heard}
    try:
        yield unwinding
    finally:
        for number, handler in previous.items():
            # A process that was asked to end does so now, with the exit code of the first signal.
            signal.signal(number, signal.SIG_IGN if unwinding.signal_number else handler)


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
            if request.signal_number and isinstance(handler, Unwinding):
                handler.begin(request.signal_number)
