"""What may stand in the place of a file or a folder that came from a stranger."""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

GIANT_BYTES = 3 * 2**30


def snapshot(folder: Path) -> Mapping[str, bytes | None]:
    """Return all that is in a folder: content of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def _socket(path: Path, canary: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def _device(path: Path, canary: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except OSError:
        pytest.skip("only root makes devices")


def _giant(path: Path, canary: Path) -> None:
    with path.open("wb") as file:
        file.truncate(GIANT_BYTES)  # a hole, which takes no space


_SPECIAL: dict[str, Callable[[Path, Path], object]] = {
    "link to a file": lambda path, canary: path.symlink_to(canary / "folder" / "file"),
    "link to a folder": lambda path, canary: path.symlink_to(canary / "folder"),
    "link to nothing": lambda path, canary: path.symlink_to(canary / "missing"),
    "link to itself": lambda path, canary: path.symlink_to(path),
    "pipe": lambda path, canary: os.mkfifo(path),
    "device": _device,
    "socket": _socket,
}
IN_PLACE_OF_A_FILE = {
    **_SPECIAL,
    "folder": lambda path, canary: (path / "below").mkdir(parents=True),
    "giant": _giant,
}
IN_PLACE_OF_A_FOLDER = {**_SPECIAL, "file": lambda path, canary: path.write_text("no folder")}

needs_posix = pytest.mark.skipif(sys.platform != "linux", reason="needs pipes, links and /proc")


def make_canary(folder: Path) -> Path:
    """Make a folder that nothing may change."""
    (folder / "folder").mkdir(parents=True)
    (folder / "folder" / "file").write_text("precious")
    (folder / "folder" / "iteration-000001.safetensors").write_text("precious, too")
    return folder
