"""The run folder of a diagnosis or of remaining life: config.json and one sealed file of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import torch

from metarobot.console import printable
from metarobot.io import (
    Folder,
    json_bytes,
    most_bytes,
    open_tensors,
    parse_json,
    parse_tensors,
    seal_tensors,
)

CONFIG_FILE = "config.json"
_MAX_CONFIG_BYTES = 16 * 2**20
_DAMAGES = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
ConfigT = TypeVar("ConfigT", bound=msgspec.Struct)
RunT = TypeVar("RunT")


def write_run(
    path: Path,
    config: msgspec.Struct,
    file: str,
    parts: Mapping[str, Mapping[str, np.ndarray]],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a run; config.json appears last, so that a folder that has one is whole.

    Args:
        path: Its folder.
        config: Its configuration.
        file: Name of the file of arrays.
        parts: Arrays by the name of their part, and their own.
        dtype: Of the arrays in the file.

    Raises:
        OSError: It cannot be written to.
    """
    tensors = {
        f"{part}.{name}": torch.tensor(np.array(array), dtype=dtype)
        for part, arrays in parts.items()
        for name, array in arrays.items()
    }
    folder = Folder(path)
    folder.make()
    files = {file: seal_tensors(tensors, {}), CONFIG_FILE: json_bytes(msgspec.to_builtins(config))}
    folder.write_together(files)


def read_run(
    path: Path,
    kind: type[ConfigT],
    file: str,
    build: Callable[[ConfigT, dict[str, dict[str, np.ndarray]]], RunT],
    dtype: torch.dtype = torch.float32,
) -> RunT:
    """Read a run as untrusted input.

    Args:
        path: Its folder, which has a config.json.
        kind: Class of the configuration.
        file: Name of the file of arrays.
        build: Builds the run from its configuration and the parts, as float64, and tests it.
        dtype: Of the arrays in the file.

    Raises:
        ValueError: It is damaged; the message is one line.
        OSError: It cannot be read.
    """
    folder = Folder.named(path)
    where = folder.path / file
    parts: dict[str, dict[str, np.ndarray]] = {}
    try:
        values = parse_json(folder.read(CONFIG_FILE, _MAX_CONFIG_BYTES), folder.path / CONFIG_FILE)
        data = folder.read(file, most_bytes())
        shapes, _ = open_tensors(where, data)
        tensors, _ = parse_tensors(where, data, shapes, dict.fromkeys(shapes, dtype))
        for key, leaf in tensors.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = leaf.numpy().astype(float)
        return build(msgspec.convert(values, kind), parts)
    except _DAMAGES as error:
        raise ValueError(printable(" ".join(str(error).split()))) from error
