"""Files that the user names: one that is only read may be a link, see `metarobot.folder`."""

from __future__ import annotations

import os
from errno import EACCES, ENOENT
from pathlib import Path

from metarobot.directory import FolderError, followed, naming
from metarobot.folder import MAX_FILE_BYTES, Folder


def read_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a file that the user names, which may be a link to one.

    Raises:
        OSError: It is missing or cannot be read.
        FolderError: It is no regular file, or longer than ``max_bytes``.
    """
    place = followed(path)
    try:
        return Folder.named(place.parent).read(place.name, max_bytes)
    except OSError as error:
        raise naming(path, error) from error
    except FolderError as error:
        raise FolderError(str(error).replace(str(place), str(path), 1)) from None


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the user names, in one piece.

    Raises:
        OSError: It cannot be written; the old file stays.
        FolderError: Something other than a regular file is in its place.
    """
    try:
        Folder.named(path.parent).write(path.name, data)
    except OSError as error:
        raise naming(path, error) from error


def require_writable(path: Path) -> None:
    """Make sure, before long work, that nothing is in the way of a file that the user names.

    Raises:
        OSError: Its folder is missing, or cannot be opened or written to.
        FolderError: Something other than a regular file is in its place, or something other than a
            folder in that of its folder.
    """
    folder = Folder.named(path.parent)
    if not folder.exists():
        raise FileNotFoundError(ENOENT, "there is no such folder: make it first", str(path.parent))
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), str(path.parent))
    folder.require_replaceable(path.name)


def require_absent(path: Path) -> None:
    """Make sure that a file that the user names replaces none.

    Raises:
        FolderError: Something is there already.
    """
    if Folder.named(path.parent).has(path.name):
        raise FolderError(f"{path} is there already: name another file, or pass --overwrite")
