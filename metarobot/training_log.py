"""The log of a training run: curve.csv and TensorBoard, cut back to the checkpoint on resuming."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

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
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._board.close()

    def write(self, metrics: Metrics) -> None:
        """Add one meta-iteration."""
        self._write_row([f"{metrics[name]:.9g}" for name in CURVE_COLUMNS.values()])
        for name, value in metrics.items():
            self._board.add_scalar(name, value, int(metrics["time/total_steps"]))

    def flush(self) -> int:
        """Bring curve.csv to the disk, and return its length in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def _write_row(self, cells: list[str]) -> None:
        self._file.write((",".join(cells) + "\n").encode())
        self._file.flush()
