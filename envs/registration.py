"""The task families and their Gymnasium ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym

from metarobot.envs.checks import nearest_name
from metarobot.envs.tasks import TaskError
from metarobot.machine import Registry

if TYPE_CHECKING:
    from metarobot.envs.vector_env import TaskVectorEnv


class Preset(Protocol):
    """Default configuration of a family: a `RunConfig`, which this package does not import."""

    @property
    def env_id(self) -> str:
        """Id of the family that it trains on."""
        ...


FAMILIES: Registry[type[TaskVectorEnv]] = Registry(
    "metarobot.envs",
    {
        "metarobot/Reach-v0": "reach:ReachVectorEnv",
        "metarobot/ReachHiddenGoal-v0": "reach_hidden_goal:ReachHiddenGoalVectorEnv",
        "metarobot/ReachFeedForward-v0": "reach_feed_forward:ReachFeedForwardVectorEnv",
        "metarobot/Grip-v0": "grip:GripVectorEnv",
        "metarobot/Slide-v0": "slide:SlideVectorEnv",
        "metarobot/Push-v0": "push:PushVectorEnv",
        "metarobot/Carry-v0": "carry:CarryVectorEnv",
        "metarobot/Insert-v0": "insert:InsertVectorEnv",
        "metarobot/Panda-v0": "panda:PandaVectorEnv",
        "metarobot/HalfCheetahDirection-v0": "half_cheetah:HalfCheetahDirectionVectorEnv",
        "metarobot/HalfCheetahVelocity-v0": "half_cheetah:HalfCheetahVelocityVectorEnv",
        "metarobot/PointNavigation-v0": "point_navigation:PointNavigationVectorEnv",
    },
)
"""Every registered family: its Gymnasium id, and its native batch, imported when it is used."""

OUTSIDE_PRESETS: dict[str, Preset] = {}
"""Presets of families from outside the package, by id."""


def register_family(
    env_id: str, vector_class: type[TaskVectorEnv], preset: Preset | None = None
) -> None:
    """Register a task family: ``gym.make``, ``gym.make_vec`` and every command then know it.

    Call it in the module that holds the family, so that importing the module registers it::

        register_family("my/Push-v0", PushVectorEnv)

    The first call runs a short episode, which takes milliseconds, and refuses a faulty class.
    On the command line, name that module: ``metarobot train my_package.my_family:my/Push-v0``.

    Args:
        env_id: Its Gymnasium id, ``NAMESPACE/Name-vN``.
        vector_class: Its native batch, which declares and implements all of `TaskFamily`.
        preset: The `RunConfig` that suits it; the defaults of `RunConfig` when None.

    Raises:
        TaskError: The id is taken or malformed, the class lacks something, or a short episode shows
            a mistake.  Registering the same class again changes nothing.
    """
    from metarobot.envs.trial import check_family, try_family  # and MuJoCo

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


def register_id(env_id: str) -> None:
    """Register a family with Gymnasium; ``gym.make`` and ``gym.make_vec`` import it on use.

    Args:
        env_id: Its Gymnasium id, ``NAMESPACE/Name-vN``.
    """
    gym.register(
        env_id,
        entry_point="metarobot.envs.single_env:TaskEnv",
        vector_entry_point="metarobot.envs.registration:make_env",
        kwargs={"env_id": env_id},
    )


def find_family(env_id: str) -> type[TaskVectorEnv]:
    """Return the native batch of a family; TaskError if none has that id."""
    if env_id not in FAMILIES:
        raise TaskError(
            f"no task family {env_id!r}, allowed: {', '.join(FAMILIES)}, or one of yours once "
            f"--module names its module (in Python: import it){nearest_name(env_id, FAMILIES)}"
        )
    return FAMILIES[env_id]


def short_names() -> dict[str, str]:
    """Return the id of every family by its short name, such as ``grip``.

    A family from outside never takes the name of one of the package.
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
        **kwargs: As for :class:`TaskVectorEnv`.

    Raises:
        TaskError: No family has that id.
        SceneError: The user's scene is not allowed or lacks elements that the family needs.
    """
    return find_family(env_id)(num_envs, **kwargs)
