"""Files: folders without links, JSON, CSV, and sealed files of tensors.

A folder may come from a stranger.  No link in it is followed, only regular files are read, written,
replaced and removed, none is read beyond a limit, and each file is written whole or not at all.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, TypeVar
from unicodedata import normalize

import msgspec

from metarobot.console import printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_FILE_BYTES = 256 * 2**20
"""Longest file that is read or replaced; those of this package are much shorter."""
MAX_JSON_BYTES = 16 * 2**20

Kind = Literal["file", "folder", "link", "pipe, a socket or a device"]
"""Kind of an entry of a folder."""
T = TypeVar("T")


class FolderError(ValueError):
    """An entry of a folder is not valid; the message is one line that names it."""


class FolderInUseError(FolderError):
    """Another process holds a folder."""


@dataclass(frozen=True)
class Folder:
    """A folder: a root that the user has named, and the names that lead down from there.

    Neither the root nor anything below it may be a link.  The folder need not exist yet.  All
    methods raise `FolderError` where an entry is of a wrong kind, and `OSError` where the system
    refuses; the message names the path.
    """

    root: Path
    """Path that the user has named.  Its parents may be links."""
    parts: tuple[str, ...] = ()
    """Names of the folders from the root down."""

    @classmethod
    def named(cls, path: Path) -> Folder:
        """Return a folder that the user names to read from: it may be a link to one."""
        return cls(followed(path))

    @property
    def path(self) -> Path:
        """Its path."""
        return self.root.joinpath(*self.parts)

    def __truediv__(self, name: str) -> Folder:
        """Return a folder in it."""
        return Folder(self.root, (*self.parts, _checked_name(name)))

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """Whether it exists; an entry of another kind in its place is an error."""
        with suppress(FileNotFoundError):
            self._here()
            return True
        return False

    def has(self, name: str) -> bool:
        """Whether it holds a file of this name; an entry of another kind is an error."""
        with suppress(FileNotFoundError):
            return self._status(name) is not None
        return False

    def kinds(self) -> dict[str, Kind]:
        """Return the kind of each entry, in order of their names; none if the folder is missing."""
        with suppress(FileNotFoundError):
            here = self._here()
            return {name: _kind(os.lstat(here / name)) for name in sorted(os.listdir(here))}
        return {}

    def names(self) -> list[str]:
        """Return the names of its entries; as `kinds`."""
        return [*self.kinds()]

    def require_files(self, *names: str) -> None:
        """Check that files can be read or written: no entry of another kind has their names."""
        for name in names:
            if status := self._status(name):
                _require_length(self.path / name, status, MAX_FILE_BYTES)
            self._status(_partial(name))

    def open(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> BinaryIO:
        """Return a file, open for reading; one that is longer than ``max_bytes`` is an error."""
        path = self.path / name
        if status := self._status(name):
            _require_length(path, status, max_bytes)
        return path.open("rb")

    def read(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of a file; as `open`."""
        with errors_naming(self.path / name), self.open(name, max_bytes) as file:
            return file.read(max_bytes)

    def make(self) -> None:
        """Make the folder and its parents, unless they exist."""
        self.root.mkdir(parents=True, exist_ok=True)
        for depth, name in enumerate(self.parts):
            path = Folder(self.root, self.parts[:depth])._here() / name
            with suppress(FileExistsError):
                path.mkdir()
        self._here()

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file atomically: a reader sees the old file or the new one."""
        self.write_together({name: data})

    def write_together(self, files: Mapping[str, bytes | None]) -> None:
        """Write files of which the last one describes the others, and appears last.

        All are on the disk before the first one appears, so that a full disk changes nothing.  The
        old last one is removed first, so that it never describes files that it does not belong to.

        Args:
            files: Content by name; None removes the file.
        """
        self.require_files(*files)
        *others, last = files
        try:
            for name, data in files.items():
                if data is not None:
                    self._remove(_partial(name))
                    with errors_naming(self.path / name), self.create(_partial(name)) as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
            if others:
                self._remove(last)
            for name, data in files.items():
                with errors_naming(self.path / name):
                    if data is None:
                        self._remove(name)
                    else:
                        os.replace(self.path / _partial(name), self.path / name)
        finally:
            for name in files:
                self._remove(_partial(name))

    def create(self, name: str) -> BinaryIO:
        """Return a new file, open for writing; a name that is taken is an error."""
        self._status(name)
        return (self.path / name).open("xb")

    def open_log(self, name: str, keep_bytes: int) -> BinaryIO:
        """Return a file, open for writing at its end, which is made if it is missing.

        Args:
            name: Its name; another name elsewhere, as a hard link, is an error.
            keep_bytes: Bytes that are kept; the rest of it is cut off.
        """
        path, status = self.path / name, self._status(name)
        if status:
            if status.st_nlink > 1:  # a write would change that file too
                raise FolderError(f"{path} has another name elsewhere, as a hard link: copy it")
            _require_length(path, status, MAX_FILE_BYTES)
        if keep_bytes > (status.st_size if status else 0):
            raise FolderError(
                f"{path} has lost rows since the checkpoint: it must be {keep_bytes} long"
            )
        file = path.open("r+b" if status else "xb")
        file.truncate(keep_bytes)
        file.seek(keep_bytes)
        return file

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        if self.has(name):
            self._remove(name)

    def remove_tree(self) -> None:
        """Remove the folder and its content; targets of links stay."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._here())

    def remove_if_empty(self) -> None:
        """Remove the folder if it is empty."""
        if self.exists() and not self.names():
            self.path.rmdir()

    def move(self, name: str, target: Folder, new_name: str | None = None) -> None:
        """Move an entry to another folder: a file, which may replace one, or a folder."""
        new_name = name if new_name is None else new_name
        source = self._here() / _checked_name(name)
        kind: Kind = "folder" if _kind(os.lstat(source)) == "folder" else "file"
        self._status(name, kind)
        target._status(new_name, kind)
        os.replace(source, target.path / new_name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder against other processes; the lock ends with this process.

        Raises:
            FolderInUseError: Another process holds it.
        """
        here = self._here()
        if fcntl is None:
            yield
            return
        descriptor = os.open(here, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderInUseError(f"{self} is being trained by another process") from None
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether a process has locked the folder."""
        try:
            with self.lock():
                return False
        except FolderInUseError:
            return True

    def _here(self) -> Path:
        """Return its path; from the root down, no part of it may be a link."""
        path = self.root
        for name in ("", *self.parts):
            path = path / name
            try:
                kind = _kind(os.lstat(path))
            except ValueError as error:
                raise FolderError(f"{str(path)!r} is not a path: {error}") from None
            if kind == "link" and path == self.root:
                target = os.path.realpath(path)
                raise FolderError(f"{path} is a link: name the folder that it leads to, {target}")
            _require_kind(path, kind, "folder")
        return path

    def _status(self, name: str, kind: Kind = "file") -> os.stat_result | None:
        """Return the status of an entry that must be of a kind; None for no entry."""
        path = self._here() / _checked_name(name)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        _require_kind(path, _kind(status), kind)
        return status

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path / name)


def _partial(name: str) -> str:
    return f".{name}.partial"


def _checked_name(name: str) -> str:
    """Return the name of an entry, which must not be a path."""
    if name in ("", ".", "..") or not {os.sep, os.altsep, "\0"}.isdisjoint(name):
        raise FolderError(f"{name!r} is not the name of a file")
    return name


def _kind(status: os.stat_result) -> Kind:
    if stat.S_ISREG(status.st_mode):
        return "file"
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    return "link" if stat.S_ISLNK(status.st_mode) else "pipe, a socket or a device"


def _require_kind(path: Path, found: Kind, wanted: Kind) -> None:
    if found != wanted:
        way_out = ": nothing here leads out of its folder" if found == "link" else ""
        raise FolderError(f"{path} is a {found}, must be a {wanted}{way_out}")


def _require_length(path: Path, status: os.stat_result, most: int) -> None:
    if status.st_size > most:
        raise FolderError(f"{path} is {status.st_size:,} bytes long, at most {most:,} are allowed")


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Add the file's path to an error of the system; that of a full disk has none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


# Files that the user names: one that is only read may be a link.


def followed(path: Path) -> Path:
    """Return a path that the user names, or its target if it is a link."""
    try:
        return path.resolve() if path.is_symlink() else path
    except RuntimeError:
        raise FolderError(f"{path} is a link that leads in a circle") from None
    except ValueError as error:  # a null byte
        raise FolderError(f"{str(path)!r} is not a path: {error}") from None


def read_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a file that the user names, which may be a link to one.

    Raises:
        OSError: It is missing or cannot be read.
        FolderError: It is no regular file, or longer than ``max_bytes``.
    """
    place = followed(path)
    return Folder.named(place.parent).read(place.name, max_bytes)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the user names, in one piece; if that fails, the old file stays."""
    with errors_naming(path):
        Folder.named(path.parent).write(path.name, data)


def require_writable(path: Path) -> None:
    """Check, before long work, that a file that the user names can be written.

    Raises:
        OSError: Its folder is missing, or cannot be opened or written to.
        FolderError: Something else is in the place of the file or of its folder.
    """
    folder = Folder.named(path.parent)
    if not folder.exists():
        raise FileNotFoundError(
            errno.ENOENT, "there is no such folder: make it first", str(path.parent)
        )
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    folder.require_files(path.name)


def require_absent(path: Path) -> None:
    """Refuse to replace a file that the user names."""
    if Folder.named(path.parent).has(path.name):
        raise FolderError(f"{path} is there already: name another file, or pass --overwrite")


# JSON and CSV that every reader accepts.

Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
"""An integer in a file that counts something: more than a budget allows."""
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Word = Annotated[str, msgspec.Meta(max_length=200)]


def json_bytes(values: Mapping[str, Any] | Sequence[Any]) -> bytes:
    r"""Return values as the content of a JSON file; a number that is not finite becomes null.

    Rows of a table stand on one line each: lists, and objects in lists, that hold no other object.
    Bytes of a path that are not UTF-8 are written as Python holds them, as JSON escapes ``\udcff``.
    """
    text = _laid_out(_finite_or_none(values), "\n", in_list=False)
    return text.encode(errors="backslashreplace") + b"\n"


def _laid_out(value: Any, line: str, *, in_list: bool) -> str:
    """Return a value as JSON; ``line`` begins a line at its depth."""
    items = value.values() if isinstance(value, dict) else value
    is_plain = not isinstance(value, dict | list) or not value
    may_be_row = in_list or isinstance(value, list)
    if is_plain or (may_be_row and not any(map(_holds_object, items))):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    below = f"{line}  "
    parts = [_laid_out(item, below, in_list=isinstance(value, list)) for item in items]
    opened, closed = "[]"
    if isinstance(value, dict):
        opened, closed = "{}"
        keys = [json.dumps(key, ensure_ascii=False) for key in value]
        parts = [f"{key}: {part}" for key, part in zip(keys, parts, strict=True)]
    return f"{opened}{below}{f',{below}'.join(parts)}{line}{closed}"


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_object, value)))


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite_or_none(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rounded(value: Any) -> Any:
    """Return values for JSON with every fraction to 6 significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write_json(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a JSON file in one piece, see `json_bytes`; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json_bytes(values))


def _parse(text: bytes | str) -> Any:
    """Parse JSON without NaN and numbers beyond a float; any failure is a ValueError."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Parse the content of a file as a JSON object with finite numbers only.

    Args:
        data: Its content.
        path: Its path, for messages.

    Raises:
        ValueError: It is not JSON, or not an object.
    """
    try:
        values = _parse(data)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, not a {type(values).__name__}")
    return values


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that the user has named; as `read_file` and `parse_json`."""
    return parse_json(read_file(path, MAX_JSON_BYTES), path)


def typed(values: Any, kind: type[T], path: Path) -> T:
    """Return JSON values as a type with its bounds.

    Args:
        values: JSON values.
        kind: A type that msgspec knows.
        path: Their file, for messages.

    Raises:
        ValueError: They are of another type, or beyond its bounds.
    """
    try:
        return msgspec.convert(values, kind, str_keys=True)
    except (msgspec.ValidationError, RecursionError) as error:
        reason = printable(str(error))[:200]
        raise ValueError(f"{path} does not fit: {reason}") from None


def csv_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV; an interval becomes two columns, ``_low`` and ``_high``.

    Text that a spreadsheet would read as a formula gets a single quote before it, and characters
    that are not printable, a line break among them, are written out.

    Source: OWASP, https://owasp.org/www-community/attacks/CSV_Injection.
    """
    flat = []
    for row in rows:
        cells: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, list | tuple):
                cells[f"{name}_low"], cells[f"{name}_high"] = value
            else:
                cells[name] = value
        flat.append({_plain_text(name): _plain_text(cell) for name, cell in cells.items()})
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _plain_text(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    is_formula = normalize("NFKC", cell[:1]).startswith(tuple("=+-@\t\r\n"))  # or in wide letters
    return ("'" if is_formula else "") + printable(cell)


# Tensors and a few facts in one sealed safetensors file, checked before they are used.  The seal is
# the SHA-256 of the whole file, computed with zeros in its own place, and stored in the header.  A
# file that was cut, or in which one bit has turned, is refused; nothing is unpickled.

Shapes = Mapping[str, tuple[int, ...]]
Dtypes = Mapping[str, "torch.dtype"]

_CODES = {"torch.float32": "F32", "torch.float64": "F64"}
"""Names in safetensors of the dtypes that a file may hold."""
_ITEM_BYTES = {"F32": 4, "F64": 8}
_NOTES = "metarobot"
_NO_SEAL = "0" * 64
_MAX_HEADER_BYTES = 2**20
_LENGTH_BYTES = 8
"""safetensors begins with the length of its header, a little-endian integer."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """A tensor in a header."""

    dtype: Annotated[str, msgspec.Meta(max_length=8)]
    shape: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=0, le=2**40)], ...], msgspec.Meta(max_length=16)
    ]
    data_offsets: tuple[int, int]


class _Notes(msgspec.Struct, forbid_unknown_fields=True):
    """Metadata of a header."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    facts: dict[str, Any]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a sealed file that the user has named, in one piece; see `seal_tensors`."""
    write_file(path, seal_tensors(tensors, facts))


def seal_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """Return the content of a sealed file.

    Args:
        tensors: 32-bit or 64-bit floats by name.
        facts: JSON values that are stored beside them.

    Raises:
        ValueError: A tensor is of another type, which could not be read again.
    """
    for name, leaf in tensors.items():
        if str(leaf.dtype) not in _CODES:
            raise ValueError(f"{name} must be float32 or float64 to be saved: got {leaf.dtype}")
    plain = {name: leaf.detach().contiguous() for name, leaf in tensors.items()}
    # One entry: safetensors writes several in any order, and equal content must give equal bytes.
    notes = json.dumps({"sha256": _NO_SEAL, "facts": dict(facts)}, allow_nan=False)
    from safetensors.torch import save  # torch takes two seconds to import

    data = save(plain, metadata={_NOTES: notes})
    return data.replace(_NO_SEAL.encode(), hashlib.sha256(data).hexdigest().encode(), 1)


def open_tensors(path: Path, data: bytes) -> tuple[Shapes, dict[str, Any]]:
    """Check the seal of a file's content; return the shape of every tensor, and the facts.

    Raises:
        ValueError: It is damaged, or was not written by `save_tensors`.
    """
    entries, facts = _open_seal(path, data)
    return {name: entry.shape for name, entry in entries.items()}, facts


def parse_tensors(
    path: Path, data: bytes, shapes: Shapes, dtypes: Dtypes | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Check and unpack the content of a sealed file, which must hold just these tensors.

    Its seal is checked before it is parsed, its names and shapes before a tensor is made.

    Args:
        path: Its path, for messages.
        data: Its content, at most `most_bytes` long.
        shapes: Shape of every tensor by name; -1 for a length that is not known.
        dtypes: Type of every tensor by name; 32-bit floats where None.

    Returns:
        The tensors, in the order of ``shapes``, and the facts.

    Raises:
        ValueError: It is damaged, was not written by `save_tensors`, or holds other tensors, or
            numbers that are not finite.
    """
    entries, facts = _open_seal(path, data)
    misfit = f"{path} does not fit its configuration:"
    if missing := sorted({*shapes} - {*entries}):
        raise ValueError(f"{misfit} it lacks {missing[0]}")
    if extra := sorted({*entries} - {*shapes}):
        raise ValueError(f"{misfit} {extra[0][:60]!r} is too many")
    for name, shape in shapes.items():
        dtype, sizes, code = entries[name].dtype, entries[name].shape, _code(dtypes, name)
        fits = all(length in (-1, size) for size, length in zip(sizes, shape, strict=False))
        if dtype != code or len(sizes) != len(shape) or not fits:
            raise ValueError(f"{misfit} {name} is {dtype} {sizes}, must be {code} {shape}")
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    for name, leaf in tensors.items():
        if not bool(leaf.isfinite().all()):
            raise ValueError(f"{path} holds numbers that are not finite in {name}")
    return {name: tensors[name] for name in shapes}, facts


def most_bytes(shapes: Shapes | None = None, dtypes: Dtypes | None = None) -> int:
    """Return the greatest length of a file of these tensors, or of any, in bytes."""
    if shapes is None or any(-1 in shape for shape in shapes.values()):
        return MAX_FILE_BYTES
    sizes = [math.prod(shape) * _ITEM_BYTES[_code(dtypes, name)] for name, shape in shapes.items()]
    return _LENGTH_BYTES + _MAX_HEADER_BYTES + sum(sizes)


def _code(dtypes: Dtypes | None, name: str) -> str:
    return _CODES[str(dtypes[name])] if dtypes else "F32"


def _open_seal(path: Path, data: bytes) -> tuple[dict[str, _Entry], dict[str, Any]]:
    """Check the seal of a file's content; return the entry of every tensor, and the facts.

    Raises:
        ValueError: The seal is broken, or the header is not valid.
    """
    broken = f"{path} is damaged or not a file of metarobot: its seal is broken"
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    try:
        header = _parse(data[_LENGTH_BYTES : _LENGTH_BYTES + min(length, _MAX_HEADER_BYTES)])
        notes = typed(_parse(header.pop("__metadata__")[_NOTES]), _Notes, path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(broken) from error
    blank = data.replace(notes.sha256.encode(), _NO_SEAL.encode(), 1)
    if hashlib.sha256(blank).hexdigest() != notes.sha256:
        raise ValueError(broken)
    return typed(header, dict[str, _Entry], path), notes.facts
