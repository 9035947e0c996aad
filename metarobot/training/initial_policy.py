"""A policy from a file for algorithms to begin with, in place of random parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from metarobot.config import TrainConfig
from metarobot.io import (
    Shapes,
    most_bytes,
    open_tensors,
    parse_tensors,
    read_file,
    require_finite,
)
from metarobot.policies import MEASURED, Params
from metarobot.training.trainer_state import TrainerState


class InitialPolicy(NamedTuple):
    """What algorithms begin with, and where that comes from."""

    states: dict[str, TrainerState]
    """The trainer's state before the first meta-iteration, of every algorithm."""
    source: dict[str, str]
    """File and SHA-256, for the record."""


def load_initial_policy(path: Path, config: TrainConfig, fresh: Params) -> Params:
    """Read the parameters that an algorithm begins with.

    What a gradient learner has measured is taken if the file holds it and the algorithm has a place
    for it: how a policy acts does not depend on it.

    Args:
        path: A policy of any algorithm: policy.safetensors of a run, or an imported one.
        config: Who is to begin with it.
        fresh: Parameters of that algorithm's own, with the shapes of all leaves.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, of another task family, or has other layers than the algorithm.
    """
    data = read_file(path, most_bytes())
    shapes, facts = open_tensors(path, data)
    if facts.get("env_id") != config.env_id:
        raise ValueError(f"{path} is a policy of {facts.get('env_id')}, not of {config.env_id}")
    own = {name: tuple(leaf.shape) for name, leaf in fresh.items()}
    wanted = {name: shape for name, shape in own.items() if name not in MEASURED}
    wanted |= {name: own.get(name, shapes[name]) for name in MEASURED if name in shapes}
    if shapes != wanted:
        raise ValueError(
            f"{path} does not fit {config.algorithm}: {_misfit(shapes, wanted, config)}"
        )
    params, _ = parse_tensors(path, data, wanted)
    require_finite(path, params)
    return {name: params.get(name, leaf) for name, leaf in fresh.items()}


def file_source(path: Path) -> dict[str, str]:
    """Return a file's name and its SHA-256."""
    return {"file": str(path), "sha256": hashlib.sha256(read_file(path, most_bytes())).hexdigest()}


def _misfit(found: Shapes, wanted: Shapes, config: TrainConfig) -> str:
    """Say what differs, and the way out."""
    leave_out = f"leave {config.algorithm} out with --algorithms"
    sizes, wanted_sizes = _layer_sizes(found), _layer_sizes(wanted)
    if sizes == wanted_sizes or not sizes:
        name = min(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        if name not in wanted:
            return f"it holds {name}, for which there is no place; {leave_out}"
        return f"it lacks {name} of shape {wanted[name]}; {leave_out}"
    text = f"its layers are {'-'.join(map(str, sizes))}, not {'-'.join(map(str, wanted_sizes))}; "
    if (sizes[0], sizes[-1]) != (wanted_sizes[0], wanted_sizes[-1]):
        return text + leave_out
    return text + " ".join(["pass --hidden-sizes", *map(str, sizes[1:-1])])


def _layer_sizes(shapes: Shapes) -> list[int]:
    """Return the observation's size and that of every layer's output; none for no perceptron."""
    layers: Mapping[int, tuple[int, ...]] = {
        int(name.split(".")[1]): shape
        for name, shape in shapes.items()
        if name.startswith("layers.") and name.endswith(".weight") and len(shape) == 2
    }
    weights = [layers[index] for index in sorted(layers)]
    return [weights[0][1], *(shape[0] for shape in weights)] if weights else []
