"""An open directory, whose entries are reached by its descriptor: no link leads elsewhere.

The system calls below ``folder.py``. Where there are no descriptors of directories (Windows), each
entry is checked and then reached by its path.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn, cast

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

Kind = Literal["file", "folder", "link", "special"]
"""What an entry is; special are pipes, sockets and devices."""

_HAS_DESCRIPTORS = os.open in os.supports_dir_fd
# Not to follow a link, not to wait for a pipe, not to take a terminal; O_BINARY is for Windows.
_CAREFULLY = sum(
    getattr(os, name, 0)
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
)
_WORDS = {
    "file": "a file",
    "folder": "a folder",
    "link": "a link",
    "special": "a pipe, a socket or a device",
}


class FolderError(ValueError):
    """An entry of a folder is not what it must be; the message is one line that names it."""


class Directory:
    """An open directory.

    Args:
        path: Where it is; used in messages, and on Windows to reach its entries.
        descriptor: Its descriptor, None on Windows.
    """

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self._path, self._descriptor = path, descriptor

    @classmethod
    def open_root(cls, path: Path) -> Directory:
        """Open a directory by its path.

        Raises:
            FileNotFoundError: There is none.
            FolderError: Something else is there, a link to a directory among others.
        """
        try:
            kind = kind_of(os.lstat(path))
            if kind == "folder":
                return cls(path, _open_directory(path, None))
        except OSError as error:
            raise naming(path, error) from error
        except ValueError as error:
            raise FolderError(f"{str(path)!r} is not a path: {error}") from None
        if kind == "link":
            target = os.path.realpath(path)
            raise FolderError(f"{path} is a link: name the folder that it leads to, {target}")
        raise FolderError(f"{path} is {_WORDS[kind]}, must be a folder")

    def enter(self, name: str) -> Directory:
        """Open a directory in it.

        Raises:
            FileNotFoundError: There is none.
            FolderError: Something else has the name.
        """
        self.require(name, "folder")
        place = self._place(name)
        try:
            return Directory(self._path / name, _open_directory(place, self._descriptor))
        except OSError as error:
            raise naming(self._path / name, error) from error

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)

    def names(self) -> list[str]:
        """Return the names of its entries."""
        return os.listdir(self._path if self._descriptor is None else self._descriptor)

    def status(self, name: str) -> os.stat_result | None:
        """Return what the system knows of an entry, None where there is none."""
        try:
            return os.stat(self._place(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def kind(self, name: str) -> Kind | None:
        """Return what an entry is, None where there is none."""
        status = self.status(name)
        return None if status is None else kind_of(status)

    def require(self, name: str, kind: Kind, *, or_nothing: bool = False) -> None:
        """Make sure of what an entry is.

        Raises:
            FileNotFoundError: There is none.
            FolderError: It is something else.
        """
        found = self.kind(name)
        if found is None and not or_nothing:
            path = str(self._path / name)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if found not in (kind, None):
            way_out = ": nothing here leads out of its folder" if found == "link" else ""
            raise FolderError(
                f"{self._path / name} is {_WORDS[found]}, must be {_WORDS[kind]}{way_out}"
            )

    def require_file(self, name: str, max_bytes: int) -> None:
        """Make sure that an entry is a regular file and not too long; as `require`."""
        self.require(name, "file")
        status = self.status(name)
        if status is not None and status.st_size > max_bytes:
            refuse_length(self._path / name, status.st_size, max_bytes)

    def open_file(self, name: str, flags: int) -> BinaryIO:
        """Open a regular file, and nothing else; ``flags`` are those of `os.open`."""
        self.require(name, "file", or_nothing=bool(flags & os.O_CREAT))
        descriptor = os.open(
            self._place(name), flags | _CAREFULLY, mode=0o666, dir_fd=self._descriptor
        )
        mode = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}
        file = cast(BinaryIO, os.fdopen(descriptor, mode[flags & (os.O_WRONLY | os.O_RDWR)]))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was replaced just now
            file.close()
            raise FolderError(f"{self._path / name} is no longer a file")
        return file

    def write_new(self, name: str, data: bytes) -> None:
        """Write a file that replaces one of this name, and bring it to the disk."""
        self.remove(name)
        with self.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, name: str, new_name: str, target: Directory) -> None:
        """Give an entry another name and place; a file there is replaced."""
        os.replace(
            self._place(name),
            target._place(new_name),
            src_dir_fd=self._descriptor,
            dst_dir_fd=target._descriptor,
        )

    def remove(self, name: str) -> None:
        """Remove a file, or a link and not what it leads to; nothing to remove is no error."""
        with suppress(FileNotFoundError):
            os.unlink(self._place(name), dir_fd=self._descriptor)

    def make_directory(self, name: str) -> None:
        """Make a directory unless it is there."""
        with suppress(FileExistsError):
            os.mkdir(self._place(name), dir_fd=self._descriptor)
        self.require(name, "folder")

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory."""
        os.rmdir(self._place(name), dir_fd=self._descriptor)

    def remove_tree(self, name: str) -> None:
        """Remove a directory and all in it; links are removed, not followed."""
        shutil.rmtree(self._place(name), dir_fd=self._descriptor)

    def sync(self) -> None:
        """Bring its entries to the disk: without, a file that was renamed may come back."""
        if self._descriptor is not None:  # Windows needs no such thing
            os.fsync(self._descriptor)

    def lock(self) -> None:
        """Hold it against others that lock it, until it is closed or this process ends.

        Raises:
            BlockingIOError: Another process holds it.
        """
        if fcntl is not None and self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _place(self, name: str) -> str | Path:
        """Return how the system is told of an entry."""
        checked_name(name)
        return name if self._descriptor is not None else self._path / name


def checked_name(name: str) -> str:
    """Return the name of an entry, which leads nowhere else.

    Raises:
        FolderError: It does.
    """
    if name in ("", ".", "..") or not {os.sep, os.altsep, "\0"}.isdisjoint(name):
        raise FolderError(f"{name!r} is not the name of a file")
    return name


def kind_of(status: os.stat_result) -> Kind:
    """Return what an entry is."""
    if stat.S_ISREG(status.st_mode):
        return "file"
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    return "link" if stat.S_ISLNK(status.st_mode) else "special"


def refuse_length(path: Path, length: int, most: int) -> NoReturn:
    """Say that a file is too long.

    Raises:
        FolderError: Always.
    """
    raise FolderError(f"{path} is {length:,} bytes long, at most {most:,} are allowed")


def require_log(path: Path, status: os.stat_result, keep_bytes: int, most: int) -> None:
    """Make sure that a file can be written on from ``keep_bytes``.

    Raises:
        FolderError: It is shorter, longer than ``most``, or has another name elsewhere.
    """
    if status.st_nlink > 1:  # what is written here would be written there
        raise FolderError(f"{path} has another name elsewhere, as a hard link: copy it")
    if status.st_size > most:
        refuse_length(path, status.st_size, most)
    if status.st_size < keep_bytes:
        raise FolderError(
            f"{path} has lost rows since the checkpoint: it must be {keep_bytes} long"
        )


def followed(path: Path) -> Path:
    """Return where a link of the user's leads.

    Raises:
        FolderError: In a circle, or it is no path.
    """
    try:
        return path.resolve() if path.is_symlink() else path
    except RuntimeError:
        raise FolderError(f"{path} is a link that leads in a circle") from None
    except ValueError as error:  # a null byte
        raise FolderError(f"{str(path)!r} is not a path: {error}") from None


def naming(path: Path, error: OSError) -> OSError:
    """Return an error of the same kind that names the file: that of a full disk does not."""
    return OSError(error.errno, error.strerror or str(error), str(path))


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Let an error of the system name a file; as `naming`."""
    try:
        yield
    except OSError as error:
        raise naming(path, error) from error


def _open_directory(place: str | Path, descriptor: int | None) -> int | None:
    if not _HAS_DESCRIPTORS:
        return None
    return os.open(place, os.O_RDONLY | os.O_DIRECTORY | _CAREFULLY, dir_fd=descriptor)
