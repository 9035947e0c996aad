"""Which recordings lie in a folder, and in folders in it."""

from __future__ import annotations

from metarobot.diagnosis.own_data.errors import OwnDataError
from metarobot.diagnosis.own_data.label_table import LABELS_FILE, MOST_RECORDINGS, SUFFIXES
from metarobot.folder import Folder


def recordings_in(place: Folder) -> list[str]:
    """Return the names of all recordings, from the folder on, with / between folders, in order.

    Folders whose names begin with a dot belong to programs, and are left out.

    Raises:
        OwnDataError: There are too many.
        FolderError: A folder holds too many entries.
    """
    found: list[str] = []
    folders = [place]
    while folders:
        here = folders.pop()
        for name, kind in here.kinds().items():
            if kind == "folder":
                folders += [] if name.startswith(".") else [here / name]
            elif is_recording(name):
                found.append("/".join((*here.parts[len(place.parts) :], name)))
        if len(found) > MOST_RECORDINGS:
            raise OwnDataError(f"{place} holds more than {MOST_RECORDINGS:,} recordings: part them")
    return sorted(found)


def is_recording(name: str) -> bool:
    """Whether a file is a recording, by its name."""
    return name.lower().endswith(SUFFIXES) and name != LABELS_FILE
