"""Recordings of one's own machines: a folder with a label table and a file for each recording.

Nothing in a file is executed, and nothing outside the folder is read.  What is wrong is said in one
line that names the file, the place in it, the value and the way out.
"""

from metarobot.diagnosis.own_data.errors import OwnDataError
from metarobot.diagnosis.own_data.own_recordings import OwnRecordings
from metarobot.diagnosis.own_data.reading import read_recordings, read_unlabelled
from metarobot.diagnosis.own_data.shots import Shots, draw_shots, require_shots
from metarobot.diagnosis.own_data.windows import require_length
from metarobot.diagnosis.own_data.writing import require_new_folder, write_recordings

__all__ = [
    "OwnDataError",
    "OwnRecordings",
    "Shots",
    "draw_shots",
    "read_recordings",
    "read_unlabelled",
    "require_length",
    "require_new_folder",
    "require_shots",
    "write_recordings",
]
