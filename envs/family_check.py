"""What a class must declare before it is registered as a task family."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from metarobot.envs.task_family import ObservationElement, TaskFamily
from metarobot.envs.task_parameter import TaskError
from metarobot.envs.tasks import TaskDistribution
from metarobot.envs.vector_env import TaskVectorEnv

_ID = re.compile(r"[\w-]+/[\w-]+-v\d+", re.ASCII)
_METHODS = ("_bind", "_apply_tasks", "_start", "_command", "_observe", "_evaluate")
_DECLARATIONS = (
    *("family", "distribution", "heat_map_axes", "observation_elements", "action_elements"),
    *("default_horizon", "timestep_s", "substeps", "start_size"),
)


def check_family(env_id: Any, vector_class: Any) -> None:
    """Refuse a class that is no complete task family.

    Args:
        env_id: The Gymnasium id that it is to have.
        vector_class: Its native batch.

    Raises:
        TaskError: Something is missing or wrong; the message is one line that says what.
    """
    if not isinstance(env_id, str) or not _ID.fullmatch(env_id):
        raise TaskError(f"a family's id must have the form NAMESPACE/Name-vN, got {env_id!r}")
    if not isinstance(vector_class, type) or not issubclass(vector_class, TaskVectorEnv):
        name = getattr(vector_class, "__name__", repr(vector_class))
        raise TaskError(f"the class of {env_id!r} must be a subclass of TaskVectorEnv, got {name}")
    missing = [*_missing(vector_class)]
    if missing:
        raise TaskError(
            f"{vector_class.__name__} cannot be registered as {env_id!r}, it lacks: "
            f"{', '.join(missing)}; metarobot/envs/task_family.py describes each"
        )
    for problem in _mistakes(vector_class):
        raise TaskError(f"{vector_class.__name__} cannot be registered as {env_id!r}: {problem}")


def _missing(family: type[TaskVectorEnv]) -> Iterator[str]:
    """Name what a class does not declare, then what it does not implement."""
    for name in _DECLARATIONS:
        if not hasattr(family, name):
            yield name
    compiles_own = family.compile_own_scene.__func__ is not TaskFamily.compile_own_scene.__func__
    if not compiles_own and not hasattr(family, "scene_path"):
        yield "scene_path"
    for name in _METHODS:
        if getattr(family, name) is getattr(TaskFamily, name):
            yield f"{name}()"


def _mistakes(family: type[TaskVectorEnv]) -> Iterator[str]:
    """Say which declarations are not of their kind."""
    if not isinstance(family.family, str) or not family.family:
        yield f"family must be a name, got {family.family!r}"
    if not isinstance(family.distribution, TaskDistribution):
        yield f"distribution must be a TaskDistribution, got {family.distribution!r}"
        return
    for name, kind in (("observation_elements", ObservationElement), ("action_elements", str)):
        elements = getattr(family, name)
        of_kind = isinstance(elements, tuple) and all(isinstance(e, kind) for e in elements)
        if not of_kind or not elements:
            yield f"{name} must be a tuple of {kind.__name__}, at least one, got {elements!r}"
        elif kind is ObservationElement:
            yield from _unscalable(elements)
    scales = family.action_scales
    if scales and len(scales) != len(family.action_elements):
        yield f"action_scales must be () or one for each of action_elements, got {scales!r}"
    axes, names = family.heat_map_axes, family.distribution.names
    if axes != () and not (
        isinstance(axes, tuple) and len(axes) == len({*axes}) == 2 and {*axes} <= {*names}
    ):
        yield f"heat_map_axes must be () or two of {', '.join(names)}, got {axes!r}"
    yield from _wrong_numbers(family)


def _wrong_numbers(family: type[TaskVectorEnv]) -> Iterator[str]:
    """Say which numbers are not what they must be."""
    for name, least in (("default_horizon", 1), ("substeps", 1), ("start_size", 0)):
        value = getattr(family, name)
        if type(value) is not int or value < least:
            yield f"{name} must be an integer of at least {least}, got {value!r}"
    if not isinstance(family.timestep_s, float) or not 0 < family.timestep_s < 1:
        yield f"timestep_s must be the scene's time step in s, got {family.timestep_s!r}"


def _unscalable(elements: tuple[ObservationElement, ...]) -> Iterator[str]:
    """Say which elements have bounds that a policy cannot map to [-1, 1]."""
    for e in elements:
        if not -math.inf < e.low < e.high < math.inf:
            ends = f"got {e.low:g} and {e.high:g}"
            yield f"low and high of {e.quantity!r} must be finite, low < high, {ends}"
