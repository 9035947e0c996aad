"""A folder whose content may come from a stranger: what is done in it stays in it.

No link is followed at any depth. Only regular files are read, written, replaced and removed. No
file is read beyond a limit, nothing waits for a pipe, and what is written appears whole or not at
all. Every call walks down from the root by descriptors, so nobody can put a link in its way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from metarobot.directory import (
    Directory,
    FolderError,
    Kind,
    checked_name,
    errors_naming,
    followed,
    refuse_length,
    require_log,
)

MAX_FILE_BYTES = 256 * 2**20
"""The longest file that is read or replaced; those of this package are much shorter."""
_MOST_ENTRIES = 100_000


@dataclass(frozen=True)
class Folder:
    """A folder: a root that the user has named, and the names that lead down from there.

    Neither the root nor anything below it may be a link. The folder need not exist yet.
    """

    root: Path
    """Where it begins. Links among its parents are the user's own."""
    parts: tuple[str, ...] = ()
    """Names of the folders from the root down."""

    @classmethod
    def named(cls, path: Path) -> Folder:
        """Return a folder that the user names to read from: it may be a link to one."""
        return cls(followed(path))

    @property
    def path(self) -> Path:
        """Where it is, for messages."""
        return self.root.joinpath(*self.parts)

    def __truediv__(self, name: str) -> Folder:
        """Return a folder in it."""
        return Folder(self.root, (*self.parts, checked_name(name)))

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """Whether it is there.

        Raises:
            FolderError: Something else is in its place.
        """
        with suppress(FileNotFoundError), self._held():
            return True
        return False

    def has(self, name: str) -> bool:
        """Whether a file of this name is in it.

        Raises:
            FolderError: The entry is something else.
        """
        with suppress(FileNotFoundError), self._held() as here:
            here.require(name, "file")
            return True
        return False

    def require_files(self, most_bytes: Mapping[str, int]) -> None:
        """Make sure that entries are regular files and not too long.

        Args:
            most_bytes: The greatest length by name.

        Raises:
            FileNotFoundError: One is missing.
            FolderError: One is something else, or longer.
        """
        with self._held() as here:
            for name, most in most_bytes.items():
                here.require_file(name, most)

    def kinds(self) -> dict[str, Kind]:
        """Return what each entry is, in order of their names; none where the folder is missing.

        Raises:
            FolderError: There are too many.
        """
        with suppress(FileNotFoundError), self._held() as here:
            names = sorted(here.names())
            if len(names) > _MOST_ENTRIES:
                raise FolderError(f"{self} holds {len(names):,} entries, which no run does")
            return {name: kind for name in names if (kind := here.kind(name))}
        return {}

    def names(self) -> list[str]:
        """Return the names of its entries; as `kinds`."""
        return [*self.kinds()]

    def open(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> BinaryIO:
        """Return a file that is open for reading.

        Raises:
            OSError: It is missing or cannot be read.
            FolderError: It is no regular file, or longer than ``max_bytes``.
        """
        path = self.path / name
        with errors_naming(path), self._held() as here:
            file = here.open_file(name, os.O_RDONLY)
            length = os.fstat(file.fileno()).st_size
            if length > max_bytes:
                file.close()
                refuse_length(path, length, max_bytes)
            return file

    def read(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of a file; as `open`."""
        with errors_naming(self.path / name), self.open(name, max_bytes) as file:
            return file.read(os.fstat(file.fileno()).st_size)  # which allocates no more

    def make(self) -> None:
        """Make the folder, and those that lead to it, unless they are there."""
        self.root.mkdir(parents=True, exist_ok=True)
        for depth, name in enumerate(self.parts):
            above = Folder(self.root, self.parts[:depth])
            with errors_naming(above.path / name), above._held() as here:
                here.make_directory(name)
        with self._held():  # nor is the root a link
            pass

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file in one piece: a reader, or a crash, sees the old or the new.

        Raises:
            OSError: The disk is full, or the folder cannot be written to; the old file stays.
            FolderError: Something other than a regular file has the name.
        """
        self.write_together({name: data})

    def write_together(self, files: Mapping[str, bytes | None]) -> None:
        """Write files of which the last tells of all others, and appears last.

        All are on the disk before the first one appears, so that a full disk changes nothing. The
        old last one is removed before, so that it is never seen beside others than its own.

        Args:
            files: Content by name; None removes a file, which does not belong to the others.

        Raises:
            OSError: The disk is full, or the folder cannot be written to.
            FolderError: Something other than a regular file has one of the names.
        """
        self.require_replaceable(*files)
        *others, last = files
        with self._held() as here:
            try:
                for name, data in files.items():
                    if data is not None:
                        with errors_naming(self.path / name):
                            here.write_new(_partial(name), data)
                if others:
                    here.remove(last)
                for name, data in files.items():
                    with errors_naming(self.path / name):
                        if data is None:
                            here.remove(name)
                        else:
                            here.rename(_partial(name), name, here)
                here.sync()
            finally:
                for name in files:
                    here.remove(_partial(name))

    def require_replaceable(self, *names: str) -> None:
        """Make sure that files can be written under these names.

        Raises:
            OSError: The folder is missing or cannot be opened.
            FolderError: A name is taken, by something other than a regular file or by a file that
                is longer than any of ours.
        """
        with self._held() as here:
            for name in names:
                if here.kind(name) is not None:
                    here.require_file(name, MAX_FILE_BYTES)
                here.require(_partial(name), "file", or_nothing=True)

    def create(self, name: str) -> BinaryIO:
        """Return a new file that is open for writing.

        Raises:
            OSError: The name is taken, or the folder cannot be written to.
        """
        with errors_naming(self.path / name), self._held() as here:
            return here.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def open_log(self, name: str, keep_bytes: int) -> BinaryIO:
        """Return a file that is open for writing at its end, and is made if it is missing.

        Args:
            name: Its name.
            keep_bytes: Bytes that are kept; the rest of it is cut off.

        Raises:
            OSError: It cannot be written to.
            FolderError: It is no regular file, is shorter, or has another name elsewhere.
        """
        with errors_naming(self.path / name), self._held() as here:
            file = here.open_file(name, os.O_RDWR | os.O_CREAT)
            try:
                status = os.fstat(file.fileno())
                require_log(self.path / name, status, keep_bytes, MAX_FILE_BYTES)
                file.truncate(keep_bytes)
                file.seek(keep_bytes)
            except BaseException:
                file.close()
                raise
            return file

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error.

        Raises:
            FolderError: Something other than a regular file has the name.
        """
        with suppress(FileNotFoundError), errors_naming(self.path / name), self._held() as here:
            here.require(name, "file", or_nothing=True)
            here.remove(name)

    def remove_tree(self) -> None:
        """Remove the folder and all that is in it; what links lead to stays."""
        with suppress(FileNotFoundError), errors_naming(self.path), self._above()._held() as above:
            above.require(self.path.name, "folder")
            above.remove_tree(self.path.name)

    def remove_if_empty(self) -> None:
        """Remove the folder if nothing is in it."""
        if self.exists() and not self.names():
            with errors_naming(self.path), self._above()._held() as above:
                above.remove_directory(self.path.name)

    def move(self, name: str, target: Folder, new_name: str | None = None) -> None:
        """Move an entry to another folder: a file, which may replace one, or a folder.

        Raises:
            OSError: It cannot be moved.
            FolderError: It is neither, or something else is in its place there.
        """
        new_name = name if new_name is None else new_name
        with errors_naming(self.path / name), self._held() as here, target._held() as there:
            if here.kind(name) == "folder":
                there.require(new_name, "folder", or_nothing=True)
            else:
                here.require(name, "file")
                there.require(new_name, "file", or_nothing=True)
            here.rename(name, new_name, there)
            there.sync()
            here.sync()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against other processes that lock it; if we die, it is free again.

        Raises:
            BlockingIOError: Another process holds it.
        """
        with self._held() as here:
            here.lock()
            yield

    def _above(self) -> Folder:
        if self.parts:
            return Folder(self.root, self.parts[:-1])
        return Folder.named(self.root.absolute().parent)

    @contextmanager
    def _held(self) -> Iterator[Directory]:
        """Open all folders from the root down, none of them through a link; hold the last one."""
        here = Directory.open_root(self.root)
        try:
            for name in self.parts:
                below = here.enter(name)
                here.close()
                here = below
            yield here
        finally:
            here.close()


def _partial(name: str) -> str:
    return f".{name}.partial"
