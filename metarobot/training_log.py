"""The log of a training run: curve.csv and TensorBoard, cut back to the checkpoint on resuming."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from metarobot.files import naming
from metarobot.meta_trainer import Metrics
from metarobot.run_folder import CURVE_COLUMNS, CURVE_FILE, RunError


class TrainingLog:
    """Adds the metrics of every meta-iteration to curve.csv and to TensorBoard.

    Args:
        folder: The agent's folder.
        num_bytes: Length of curve.csv at the checkpoint that training goes on from; what was
            written after it is cut off. 0 begins a new log.
        total_steps: Control steps simulated until then.

    Raises:
        RunError: curve.csv is missing or shorter than that.
    """

    def __init__(self, folder: Path, num_bytes: int, total_steps: int) -> None:
        self._folder = folder
        path = folder / CURVE_FILE
        if num_bytes and (not path.is_file() or path.stat().st_size < num_bytes):
            raise RunError(
                f"{path} has lost rows since the checkpoint: it must be {num_bytes} long"
            )
        self._file = path.open("r+b" if num_bytes else "wb")
        self._file.truncate(num_bytes)
        self._file.seek(num_bytes)
        self._board = SummaryWriter(str(folder), purge_step=total_steps + 1 if num_bytes else None)
        if not num_bytes:
            self._write_row(list(CURVE_COLUMNS))

    def __enter__(self) -> TrainingLog:
        # TensorBoard writes in a thread, and raises in this one what went wrong there.
        self._excepthook, threading.excepthook = threading.excepthook, self._hush
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
            self._board.close()
        except OSError as broken:
            if error is None:
                raise naming(self._folder, broken) from broken
        finally:
            threading.excepthook = self._excepthook

    def write(self, metrics: Metrics) -> None:
        """Add one meta-iteration.

        Raises:
            OSError: The disk is full; the message names the folder.
        """
        try:
            self._write_row([f"{metrics[name]:.9g}" for name in CURVE_COLUMNS.values()])
            for name, value in metrics.items():
                self._board.add_scalar(name, value, int(metrics["time/total_steps"]))
        except OSError as error:
            raise naming(self._folder, error) from error

    def flush(self) -> int:
        """Bring curve.csv to the disk, and return its length in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def _hush(self, arguments: threading.ExceptHookArgs) -> None:
        if not isinstance(arguments.exc_value, OSError):
            self._excepthook(arguments)

    def _write_row(self, cells: list[str]) -> None:
        self._file.write((",".join(cells) + "\n").encode())
        self._file.flush()
