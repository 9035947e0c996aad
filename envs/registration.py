"""The task families and their Gymnasium ids, those of the package and those from outside."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, Protocol

import gymnasium as gym

from metarobot.envs.family_check import check_family, try_family
from metarobot.envs.task_parameter import TaskError, nearest_name
from metarobot.envs.vector_env import TaskVectorEnv
from metarobot.package_families import PACKAGE_FAMILIES, register_id


class Preset(Protocol):
    """The configuration that suits a family: a `RunConfig`, which this room does not know."""

    @property
    def env_id(self) -> str:
        """Id of the family that it trains on."""
        ...


FAMILIES: dict[str, type[TaskVectorEnv]] = {}
"""Every registered family: its Gymnasium id, and its native batch."""

OUTSIDE_PRESETS: dict[str, Preset] = {}
"""Presets of families from outside the package, by id."""


def register_family(
    env_id: str, vector_class: type[TaskVectorEnv], preset: Preset | None = None
) -> None:
    """Register a task family: ``gym.make``, ``gym.make_vec`` and every command then know it.

    Call it in the module that holds the family, as Gymnasium's own modules do, so that importing
    the module registers the family::

        register_family("my/Push-v0", PushVectorEnv)

    The first time it runs a short episode, which takes milliseconds, and refuses what is wrong.

    On the command line, name that module: ``metarobot train my_package.my_family:my/Push-v0``.

    Args:
        env_id: Its Gymnasium id, ``NAMESPACE/Name-vN``.
        vector_class: Its native batch, which declares and implements all that `TaskFamily` asks.
        preset: The `RunConfig` that suits it; the defaults of `RunConfig` when None.

    Raises:
        TaskError: The id is taken or malformed, the class lacks something, or a short episode shows
            a mistake; the message is one line that says what.  Registering the same class again
            changes nothing.
    """
    check_family(env_id, vector_class)
    if FAMILIES.get(env_id) is vector_class:
        return
    if env_id in FAMILIES or env_id in gym.registry:
        raise TaskError(f"the id {env_id!r} is registered already: choose another")
    if preset is not None and getattr(preset, "env_id", None) != env_id:
        of = getattr(preset, "env_id", preset)
        raise TaskError(f"the preset of {env_id!r} must be a RunConfig of it, got one of {of!r}")
    try_family(env_id, vector_class)
    register_id(env_id)
    FAMILIES[env_id] = vector_class
    if preset is not None:
        OUTSIDE_PRESETS[env_id] = preset


def import_package_families() -> None:
    """Import the families of this package, whose ids are registered already."""
    for env_id, place in PACKAGE_FAMILIES.items():
        module, name = place.split(":")
        FAMILIES[env_id] = getattr(import_module(f"metarobot.envs.{module}"), name)
        check_family(env_id, FAMILIES[env_id])


def find_family(env_id: str) -> type[TaskVectorEnv]:
    """Return the native batch of a family.

    Raises:
        TaskError: No family has that id.
    """
    if env_id not in FAMILIES:
        raise TaskError(
            f"no task family {env_id!r}, allowed: {', '.join(FAMILIES)}, or one of yours once "
            f"--module names its module (in Python: import it){nearest_name(env_id, FAMILIES)}"
        )
    return FAMILIES[env_id]


def short_names() -> dict[str, str]:
    """Return the id of every family by its short name, such as ``grip``.

    Where two families have the same short name, it means the one that was registered first: a
    family from outside never takes the name of one of the package.
    """
    names: dict[str, str] = {}
    for env_id in FAMILIES:
        names.setdefault(file_name(env_id), env_id)
    return names


def file_name(env_id: str) -> str:
    """Return a family's name for files and presets: "metarobot/GripSoft-v0" -> "grip-soft"."""
    family = env_id.rpartition("/")[2].partition("-v")[0]
    return re.sub(r"(?<!^)(?=[A-Z])", "-", family).lower()


def make_env(env_id: str, num_envs: int, **kwargs: Any) -> TaskVectorEnv:
    """Make a family's native batch.

    Args:
        env_id: Gymnasium id, such as ``metarobot/Grip-v0``.
        num_envs: Number of simulations.
        **kwargs: As for :class:`TaskVectorEnv`: ``scene_path`` puts a user's scene in the place of
            the family's own.

    Returns:
        The vector environment.

    Raises:
        TaskError: No family has that id.
        SceneError: The user's scene is not allowed or lacks what the family needs.
    """
    return find_family(env_id)(num_envs, **kwargs)
