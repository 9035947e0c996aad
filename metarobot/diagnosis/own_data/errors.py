"""The one error of a folder of recordings, and what becomes one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metarobot.directory import FolderError
from metarobot.printable import printable

_LONGEST_REASON = 200
"""Characters that an error shows of what a library says."""


class OwnDataError(ValueError):
    """A folder of recordings is not what it must be; the message is one line with the way out."""


@contextmanager
def errors_of(folder: Path) -> Iterator[None]:
    """Let what the system, or the folder, refuses become an `OwnDataError`."""
    try:
        yield
    except OSError as error:
        raise OwnDataError(f"{error.filename or folder}: {error.strerror or error}") from error
    except FolderError as error:
        raise OwnDataError(str(error)) from error


def reason(error: Exception) -> str:
    """Return what a library says, in one line that is not too long."""
    first = str(error).strip().partition("\n")[0]
    return printable(first)[:_LONGEST_REASON] or type(error).__name__
