"""`write_recordings`: recordings of the simulated arm as a folder like that of one's own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from metarobot.diagnosis.channels import CHANNELS, SAMPLES_PER_S
from metarobot.diagnosis.own_data.columns import TIME, column_name
from metarobot.diagnosis.own_data.errors import OwnDataError, errors_of
from metarobot.diagnosis.own_data.label_table import LABELS_FILE
from metarobot.diagnosis.recordings import Recordings
from metarobot.files import csv_table
from metarobot.folder import Folder

_EXACT = "%.9g"
"""So many digits name one number of single precision, and no other."""


def write_recordings(recordings: Recordings, folder: Path | str) -> None:
    """Write a folder that `read_recordings` reads, with the same numbers bit for bit.

    The label table appears last: a folder that has one is complete. Where writing fails, such as on
    a full disk, nothing stays in the way of the next try.

    Args:
        recordings: What is written, a CSV file for each.
        folder: A new folder, or an empty one.

    Raises:
        OwnDataError: Something is in the folder, or it cannot be written to.
    """
    path = Path(folder)
    require_new_folder(path)
    with errors_of(path):
        place = Folder(path)
        place.make()
        try:
            for row, signals in enumerate(recordings.signals):
                place.write(_file_name(row), _csv_bytes(signals))
            place.write(LABELS_FILE, _label_table(recordings).encode())
        except BaseException:
            for row in range(len(recordings)):
                place.remove(_file_name(row))
            raise


def require_new_folder(path: Path) -> None:
    """Make sure, before long work, that nothing is in a folder that is to be written.

    Raises:
        OwnDataError: Something is in it, or in its place.
    """
    with errors_of(path):
        if Folder(path).names():
            raise OwnDataError(f"{path} is not empty: name a new folder")


def _file_name(row: int) -> str:
    return f"recording-{row:04d}.csv"


def _csv_bytes(signals: np.ndarray) -> bytes:
    """Return one recording, (C, T), as CSV."""
    time_s = np.arange(signals.shape[1]) / SAMPLES_PER_S
    names = [TIME, *map(column_name, CHANNELS)]
    text = io.StringIO()
    columns = np.column_stack([time_s, signals.T])
    np.savetxt(text, columns, fmt=_EXACT, delimiter=",", header=",".join(names), comments="")
    return text.getvalue().encode()


def _label_table(recordings: Recordings) -> str:
    return csv_table(
        [
            {
                "file": _file_name(row),
                "label": str(recordings.fault[row]),
                "machine": f"arm {recordings.machine[row]}",
                "joint": str(recordings.joint[row] or ""),
                "severity": repr(float(recordings.severity[row])),
                "condition": f"oil at {recordings.oil_temperature_c[row]:.1f} C",
            }
            for row in range(len(recordings))
        ]
    )
