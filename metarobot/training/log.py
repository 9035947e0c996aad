"""The log of a training run: curve.csv and TensorBoard, cut back to the checkpoint on resuming."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from metarobot.closable import Closable
from metarobot.io import Folder, errors_naming
from metarobot.training.curve import CURVE_COLUMNS
from metarobot.training.run_layout import CURVE_FILE, EVENTS_PREFIX, refusals_as_run_errors
from metarobot.training.trainer_state import Metrics

# Generated classes, which type checkers cannot see.
Event: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
SessionLog: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
Summary: Any = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]

_EVENTS_VERSION = "brain.Event:2"
"""What the first record of a file says to TensorBoard."""


class TrainingLog(Closable):
    """Adds the metrics of every meta-iteration to curve.csv and to a file of TensorBoard events.

    Args:
        folder: The algorithm's folder.
        num_bytes: Length of curve.csv at the checkpoint that training goes on from; what was
            written after it is cut off. 0 begins a new log.
        total_steps: Control steps simulated until then.

    Raises:
        RunError: curve.csv is missing, shorter than that, or no plain file.
    """

    def __init__(self, folder: Folder, num_bytes: int, total_steps: int) -> None:
        self._folder = folder
        with ExitStack() as stack, refusals_as_run_errors():
            self._file = stack.enter_context(folder.open_log(CURVE_FILE, num_bytes))
            self._events_file = stack.enter_context(folder.create(_events_name()))
            self._files = stack.pop_all()
        self._events = RecordWriter(self._events_file)
        with errors_naming(self._folder.path):
            self._write_event(Event(file_version=_EVENTS_VERSION))
            if num_bytes:  # TensorBoard forgets what an interrupted session wrote from here on
                start = SessionLog(status=SessionLog.START)
                self._write_event(Event(step=total_steps + 1, session_log=start))
            else:
                self._write_row(list(CURVE_COLUMNS))

    def close(self) -> None:
        """Close the files.

        Raises:
            OSError: The disk is full; the message names the folder.
        """
        with errors_naming(self._folder.path):
            self._files.close()

    def write(self, metrics: Metrics) -> None:
        """Add one meta-iteration.

        Raises:
            OSError: The disk is full; the message names the folder.
        """
        with errors_naming(self._folder.path):
            self._write_row([f"{metrics[name]:.9g}" for name in CURVE_COLUMNS.values()])
            values = [Summary.Value(tag=name, simple_value=v) for name, v in metrics.items()]
            step = int(metrics["time/total_steps"])
            self._write_event(Event(step=step, summary=Summary(value=values)))

    def flush(self) -> int:
        """Bring curve.csv to the disk, and return its length in bytes.

        Raises:
            OSError: The disk is full; the message names the folder.
        """
        with errors_naming(self._folder.path):
            os.fsync(self._file.fileno())
            return self._file.tell()

    def _write_event(self, event: Any) -> None:
        event.wall_time = time.time()
        self._events.write(event.SerializeToString())
        self._events.flush()

    def _write_row(self, cells: list[str]) -> None:
        self._file.write((",".join(cells) + "\n").encode())
        self._file.flush()


def _events_name() -> str:
    """Return a name that TensorBoard looks for, and that no other session takes."""
    return f"{EVENTS_PREFIX}{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
