"""`metarobot diagnose check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metarobot.cli.console import OK
from metarobot.cli.diagnose_options import DiagnoseCheck
from metarobot.cli.listing import make_console, make_table
from metarobot.diagnosis import Channel
from metarobot.diagnosis.own_data import (
    OwnRecordings,
    read_recordings,
    require_length,
    require_shots,
)
from metarobot.diagnosis.own_data.columns import column_name
from metarobot.diagnosis.own_data.found_files import recordings_in
from metarobot.diagnosis.own_data.label_table import LABELS_FILE
from metarobot.folder import Folder
from metarobot.printable import print_line

_MOST_COLUMNS = 6
"""Machines that have a column of their own."""
_MOST_NAMES = 8
"""Channels, or files, that a line names."""


def run(command: DiagnoseCheck) -> int:
    """Read a folder and print what is in it."""
    recordings = read_recordings(command.folder, window_s=command.window_s)
    if command.shots is not None or command.way is not None:
        require_shots(recordings, command.shots or 1, command.way or 2)
    require_length(recordings.signals.shape[1])
    console = make_console()
    headings, rows = count_by_label(recordings)
    console.print(make_table(headings, rows, console))
    for line in (*describe(recordings), *left_out(command.folder, recordings)):
        print_line(console, line)
    return OK


def count_by_label(recordings: OwnRecordings) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the headings and the rows of a table of recordings by label and machine."""
    machines = recordings.machines
    shown = machines if 1 < len(machines) <= _MOST_COLUMNS else ()
    whole = recordings.rows(recordings.window == 0)  # one row a file
    rows = []
    for label in recordings.labels:
        mine = whole.machine[whole.label == label]
        counts = [len(mine), len(np.unique(mine)), *(int((mine == name).sum()) for name in shown)]
        rows.append((label, *map(str, counts)))
    return ["label", "recordings", "machines", *shown], rows


def describe(recordings: OwnRecordings) -> list[str]:
    """Say what all recordings have in common."""
    samples, seconds = recordings.signals.shape[1], recordings.duration_s
    windows = len(recordings)
    files = len(np.unique(recordings.file))
    lines = [
        f"{files} recordings, {windows} windows of {seconds:.4g} s ({samples} samples)"
        if windows > files
        else f"{files} recordings of {seconds:.4g} s ({samples} samples)",
        f"{recordings.samples_per_s:g} samples a second",
        f"{len(recordings.channels)} channels: {_listed(recordings.channels)}",
    ]
    still = np.ptp(recordings.signals, axis=(0, 1)) == 0
    if still.any():
        constant = [recordings.channels[place] for place in np.flatnonzero(still)]
        lines.append(f"never changes within 7 digits: {_listed(constant)}")
    if recordings.machines == ("",):
        lines.append(
            "labels.csv has no column machine: how well a learner does on a machine that it never "
            "saw cannot be measured"
        )
    return lines


def left_out(folder: Path, recordings: OwnRecordings) -> list[str]:
    """Name what lies in a folder and is in no row of its table."""
    names = sorted({*recordings_in(Folder.named(folder))} - {*recordings.file.tolist()})
    return [f"not in {LABELS_FILE}: {_shortened(names)}"] if names else []


def _listed(channels: Sequence[Channel]) -> str:
    """Name the first of many channels."""
    return _shortened([column_name(channel) for channel in channels])


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
