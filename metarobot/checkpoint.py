"""The parameters of a policy as a safetensors file, checked before they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_to_bytes

from metarobot.files import write_atomically
from metarobot.policies import Params

Shapes = Mapping[str, tuple[int, ...]]


def save_policy(path: Path, params: Params) -> None:
    """Replace a checkpoint in one piece."""
    tensors = {name: leaf.detach().contiguous() for name, leaf in params.items()}
    write_atomically(path, tensors_to_bytes(tensors))


def policy_shapes(
    observation_size: int, action_size: int, hidden_sizes: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of GaussianMLP's parameters, in its order, without building one."""
    sizes = (observation_size, *hidden_sizes, action_size)
    shapes: dict[str, tuple[int, ...]] = {"log_std": (action_size,)}
    for index, (size_in, size_out) in enumerate(pairwise(sizes)):
        shapes[f"layers.{index}.weight"] = (size_out, size_in)
        shapes[f"layers.{index}.bias"] = (size_out,)
    return shapes


def load_policy(path: Path, shapes: Shapes) -> Params:
    """Read parameters whose names, shapes, type and values are what a policy needs.

    The header is checked against ``shapes`` before any tensor is read.

    Args:
        path: The safetensors file.
        shapes: Shape of every parameter by name.

    Returns:
        The parameters, in the order of ``shapes``.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is no safetensors file, or does not hold just these parameters in finite
            32-bit floats.
    """
    try:
        with safe_open(path, framework="pt") as file:
            _check_names(path, set(file.keys()), set(shapes))
            for name, shape in shapes.items():
                part = file.get_slice(name)
                found = (part.get_dtype(), tuple(part.get_shape()))
                if found != ("F32", shape):
                    raise ValueError(
                        f"{path} does not fit its configuration: {name} is {found[0]} {found[1]}, "
                        f"must be F32 {shape}"
                    )
            params = {name: file.get_tensor(name) for name in shapes}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    for name, leaf in params.items():
        if not bool(leaf.isfinite().all()):
            raise ValueError(f"{path} holds numbers that are not finite in {name}")
    return params


def _check_names(path: Path, found: set[str], wanted: set[str]) -> None:
    if missing := sorted(wanted - found):
        raise ValueError(f"{path} does not fit its configuration: it lacks {missing[0]}")
    if extra := sorted(found - wanted):
        raise ValueError(f"{path} does not fit its configuration: {extra[0]!r} is too many")
