"""Tensors and a few facts in one sealed safetensors file, checked before they are used.

The seal is the SHA-256 of the whole file, computed with zeros in its own place, and stored in the
header.  A file that was cut, or in which one bit has turned, is refused; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from metarobot.files import strict_json, typed
from metarobot.named_files import read_file, write_file

Shapes = Mapping[str, tuple[int, ...]]
Dtypes = Mapping[str, torch.dtype]

_CODES = {torch.float32: "F32", torch.float64: "F64"}
"""What safetensors calls the types of numbers that a file may hold."""

_NOTES = "metarobot"
_NO_SEAL = "0" * 64
_MAX_HEADER_BYTES = 2**20
_MAX_BYTES = 256 * 2**20
"""Of a file whose tensors have a length that is not known."""
_LENGTH_BYTES = 8
"""safetensors begins with the length of its header, a little-endian integer."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """What a header says of a tensor."""

    dtype: Annotated[str, msgspec.Meta(max_length=8)]
    shape: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=0, le=2**40)], ...], msgspec.Meta(max_length=16)
    ]
    data_offsets: tuple[int, int]


class _Notes(msgspec.Struct, forbid_unknown_fields=True):
    """What a header says of the whole file."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    facts: dict[str, Any]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a sealed file that the user has named, in one piece; see `seal_tensors`."""
    write_file(path, seal_tensors(tensors, facts))


def seal_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """Return the content of a sealed file.

    Args:
        tensors: 32-bit or 64-bit floats by name.
        facts: What else belongs to them; JSON values.

    Raises:
        ValueError: A tensor is of another type, which could not be read again.
    """
    for name, leaf in tensors.items():
        if leaf.dtype not in _CODES:
            raise ValueError(f"{name} must be float32 or float64 to be saved: got {leaf.dtype}")
    plain = {name: leaf.detach().contiguous() for name, leaf in tensors.items()}
    # One entry: safetensors writes several in any order, and equal content must give equal bytes.
    notes = json.dumps({"sha256": _NO_SEAL, "facts": dict(facts)}, allow_nan=False)
    data = tensors_to_bytes(plain, metadata={_NOTES: notes})
    return data.replace(_NO_SEAL.encode(), _digest(data).encode(), 1)


def load_tensors(
    path: Path, shapes: Shapes, dtypes: Dtypes | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a sealed file that the user has named, which must hold just these tensors.

    Its size is checked before it is read, its seal before it is parsed, its names and shapes before
    a tensor is made.

    Args:
        path: The file.
        shapes: Shape of every tensor by name; -1 for a length that is not known.
        dtypes: Type of every tensor by name; 32-bit floats where None.

    Returns:
        The tensors, in the order of ``shapes``, and the facts.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, was not written by `save_tensors`, or holds other tensors.
    """
    return parse_tensors(path, read_file(path, most_bytes(shapes, dtypes)), shapes, dtypes)


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
    """Check and unpack the content of a sealed file; as `load_tensors`."""
    entries, facts = _open_seal(path, data)
    _check_names(path, {*entries}, {*shapes})
    for name, shape in shapes.items():
        _check_tensor(path, name, entries[name], shape, dtypes[name] if dtypes else torch.float32)
    try:
        tensors = tensors_from_bytes(data)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return {name: tensors[name] for name in shapes}, facts


def most_bytes(shapes: Shapes | None = None, dtypes: Dtypes | None = None) -> int:
    """Return how long a file of these tensors, or of any, can be."""
    if shapes is None or any(-1 in shape for shape in shapes.values()):
        return _MAX_BYTES
    types = dtypes or dict.fromkeys(shapes, torch.float32)
    numbers = sum(prod(shape) * types[name].itemsize for name, shape in shapes.items())
    return _LENGTH_BYTES + _MAX_HEADER_BYTES + numbers


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _open_seal(path: Path, data: bytes) -> tuple[dict[str, _Entry], dict[str, Any]]:
    """Check the seal of a file's content; return what its header says of every tensor, and facts.

    Raises:
        ValueError: The seal is broken, or lies over a header that is none.
    """
    broken = f"{path} is damaged or not a file of metarobot: its seal is broken"
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    try:
        header = strict_json(data[_LENGTH_BYTES : _LENGTH_BYTES + min(length, _MAX_HEADER_BYTES)])
        notes = typed(strict_json(header.pop("__metadata__")[_NOTES]), _Notes, path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(broken) from error
    if _digest(data.replace(notes.sha256.encode(), _NO_SEAL.encode(), 1)) != notes.sha256:
        raise ValueError(broken)
    return typed(header, dict[str, _Entry], path), notes.facts


def _check_names(path: Path, found: set[str], wanted: set[str]) -> None:
    if missing := sorted(wanted - found):
        raise ValueError(f"{path} does not fit its configuration: it lacks {missing[0]}")
    if extra := sorted(found - wanted):
        raise ValueError(f"{path} does not fit its configuration: {extra[0][:60]!r} is too many")


def _check_tensor(
    path: Path, name: str, found: _Entry, shape: tuple[int, ...], wanted: torch.dtype
) -> None:
    dtype, sizes = found.dtype, found.shape
    fits = len(sizes) == len(shape) and all(b in (-1, a) for a, b in zip(sizes, shape, strict=True))
    if dtype != _CODES[wanted] or not fits:
        raise ValueError(
            f"{path} does not fit its configuration: {name} is {dtype} {sizes}, "
            f"must be {_CODES[wanted]} {shape}"
        )


def require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Make sure that a file's tensors hold numbers, all of them.

    Raises:
        ValueError: One holds an infinity or NaN; the message names it.
    """
    for name, leaf in tensors.items():
        if not bool(leaf.isfinite().all()):
            raise ValueError(f"{path} holds numbers that are not finite in {name}")
