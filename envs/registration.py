"""The task families and their Gymnasium ids."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym

from metarobot.envs.grip import GripEnv
from metarobot.envs.half_cheetah import HalfCheetahDirectionEnv, HalfCheetahVelocityEnv
from metarobot.envs.point_navigation import PointNavigationEnv
from metarobot.envs.reach import ReachEnv
from metarobot.envs.single_env import TaskEnv
from metarobot.envs.tasks import TaskError, nearest_name
from metarobot.envs.vector_env import TaskVectorEnv

FAMILIES: dict[str, type[TaskEnv]] = {
    "metarobot/Reach-v0": ReachEnv,
    "metarobot/Grip-v0": GripEnv,
    "metarobot/HalfCheetahDirection-v0": HalfCheetahDirectionEnv,
    "metarobot/HalfCheetahVelocity-v0": HalfCheetahVelocityEnv,
    "metarobot/PointNavigation-v0": PointNavigationEnv,
}
"""Gymnasium id to single environment; its ``vector_class`` is the native batch."""


def register_families() -> None:
    """Register every family with Gymnasium; a second call changes nothing."""
    for env_id, env_class in FAMILIES.items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=_import_path(env_class),
                vector_entry_point=_import_path(env_class.vector_class),
            )


def file_name(env_id: str) -> str:
    """Return a family's name for files and presets: "metarobot/GripSoft-v0" -> "grip-soft"."""
    family = env_id.rpartition("/")[2].partition("-v")[0]
    return re.sub(r"(?<!^)(?=[A-Z])", "-", family).lower()


def _import_path(env_class: type) -> str:
    """Return ``module:name``: unlike a class, Gymnasium can write it to JSON."""
    return f"{env_class.__module__}:{env_class.__name__}"


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
    if env_id not in FAMILIES:
        raise TaskError(
            f"no task family {env_id!r}, allowed: {', '.join(FAMILIES)}"
            + nearest_name(env_id, FAMILIES)
        )
    return FAMILIES[env_id].vector_class(num_envs, **kwargs)
