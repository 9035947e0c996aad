"""Keeps recordings in a folder, in sealed tensor files: whole or not at all, and nothing unpickled.

A file's name is a hash of all that its recordings depend on: the orders, the source of this package
and of `ENVS_FILES`, and the versions of the libraries.  So what is found under that name is what
would be recorded.  What is damaged is recorded again.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from functools import cache as remembered
from pathlib import Path

import mujoco
import numpy as np
import torch

from metarobot import envs
from metarobot.diagnosis.channels import NUM_CHANNELS
from metarobot.diagnosis.health_check import NUM_SAMPLES
from metarobot.diagnosis.orders import Orders
from metarobot.directory import FolderError
from metarobot.folder import Folder
from metarobot.tensor_files import most_bytes, parse_tensors, seal_tensors

ENVS_FILES = (
    "arm.xml",
    "checked_numbers.py",
    "counter_based_random.py",
    "memory.py",
    "physics.py",
    "reach.xml",
    "reach_tool.xml",
    "scene.py",
    "task_parameter.py",
)
"""All that recordings read of envs; a change to any other file records nothing anew."""
_SIGNALS = "signals"


def keep(folder: Path, orders: Orders, signals: np.ndarray) -> None:
    """Write recordings, (R, C, T) float32, under the name of their orders.

    Raises:
        OSError: The folder cannot be written to.
    """
    place = Folder.named(folder)
    place.make()
    data = seal_tensors({_SIGNALS: torch.from_numpy(signals)}, {"content": content_hash(orders)})
    place.write(_name(orders), data)


def recall(folder: Path, orders: Orders) -> np.ndarray | None:
    """Return the recordings of these orders, (R, C, T); None where there are none, or damaged ones.

    Raises:
        FolderError: Something other than a file has their name.
    """
    place, name = Folder.named(folder), _name(orders)
    if not (place.exists() and place.has(name)):
        return None
    shapes = {_SIGNALS: (len(orders), NUM_CHANNELS, NUM_SAMPLES)}
    try:
        data = place.read(name, most_bytes(shapes))
        tensors, facts = parse_tensors(place.path / name, data, shapes)
    except (ValueError, FolderError):
        return None
    signals = tensors[_SIGNALS].numpy()
    whole = facts.get("content") == content_hash(orders) and np.isfinite(signals).all()
    return signals if whole else None


def content_hash(orders: Orders) -> str:
    """Return the SHA-256 of all that recordings of these orders depend on."""
    digest = hashlib.sha256(_source_hash().encode())
    for part in (orders.machines, orders):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, np.ndarray):
                # Strings are padded to the longest of the array, which says nothing of a row.
                text = value.tolist() if value.dtype.kind == "U" else value.tobytes()
                digest.update(f"{field.name}:{text!r};".encode())
    return digest.hexdigest()


def _name(orders: Orders) -> str:
    return f"recordings-{content_hash(orders)[:32]}.safetensors"


@remembered
def _source_hash() -> str:
    """Return the SHA-256 of what computes recordings: source, scenes and versions."""
    digest = hashlib.sha256(f"mujoco {mujoco.__version__}, numpy {np.__version__}".encode())
    own = sorted(Path(__file__).parent.glob("*.py"))
    for path in [*own, *(Path(envs.__file__).with_name(name) for name in ENVS_FILES)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
