"""The task families and their Gymnasium ids."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym

from metarobot.envs.checks import nearest_name
from metarobot.envs.tasks import TaskError
from metarobot.machine import Later, Registry

if TYPE_CHECKING:
    from metarobot.envs.gymnasium_family import EnvironmentSource
    from metarobot.envs.task_batch import TaskBatch
    from metarobot.envs.vector_env import TaskVectorEnv


class Preset(Protocol):
    """Default configuration of a family: a `RunConfig`, which this package does not import."""

    @property
    def env_id(self) -> str:
        """Id of the family that it trains on."""
        ...


FAMILIES: Registry[type[TaskBatch]] = Registry(
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
"""Every registered family: its Gymnasium id, and its batch, imported when it is used."""

OUTSIDE_PRESETS: dict[str, Preset] = {}
"""Presets of families from outside the package, by id."""
_SOURCES: dict[str, EnvironmentSource] = {}
"""Environments of which families were made, by id."""


def register_family(
    env_id: str,
    vector_class: type[TaskVectorEnv] | None = None,
    preset: Preset | None = None,
    **source: Any,
) -> None:
    """Register a task family: ``gym.make``, ``gym.make_vec`` and every command then know it.

    Call it in the module that holds the family, so that importing the module registers it::

        register_family("my/Push-v0", PushVectorEnv)
        register_family("my/Door-v0", env=make_door, distribution=TaskDistribution(...))

    The first call runs a short episode, which takes milliseconds, and refuses a faulty class.
    Environments of Gymnasium are tried when the family is first used, which takes about a second.
    On the command line, name that module: ``metarobot train my_package.my_family:my/Push-v0``.

    Args:
        env_id: Its Gymnasium id, ``NAMESPACE/Name-vN``.
        vector_class: Its native batch, which declares and implements all of `MujocoFamily`.
        preset: The `RunConfig` that suits it; the defaults of `RunConfig` when None.
        **source: Instead of a native batch, environments of Gymnasium: the fields of
            `EnvironmentSource`.

    Raises:
        TaskError: The id is taken or malformed, the class lacks something, or a short episode shows
            a mistake.  Registering the same class again changes nothing.
    """
    from metarobot.envs.gymnasium_family import EnvironmentSource, make_family
    from metarobot.envs.trial import check_family, check_id, try_family  # and MuJoCo

    check_id(env_id)
    if source and vector_class is not None:
        raise TaskError(f"{env_id!r} needs a native batch or environments, not both")
    outside = EnvironmentSource(**source) if source else None
    if outside is None:
        check_family(env_id, vector_class)
    known = _SOURCES.get(env_id) if outside else FAMILIES.get(env_id)
    if env_id in FAMILIES and known == (outside or vector_class):
        return
    if env_id in FAMILIES or env_id in gym.registry:
        raise TaskError(f"the id {env_id!r} is registered already: choose another")
    if preset is not None and getattr(preset, "env_id", None) != env_id:
        of = getattr(preset, "env_id", preset)
        raise TaskError(f"the preset of {env_id!r} must be a RunConfig of it, got one of {of!r}")
    if outside is not None:
        FAMILIES[env_id] = Later(partial(make_family, env_id, outside))
        _SOURCES[env_id] = outside
    elif vector_class is not None:
        try_family(env_id, vector_class)
        FAMILIES[env_id] = vector_class
    register_id(env_id)
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


def find_family(env_id: str) -> type[TaskBatch]:
    """Return the batch of a family; TaskError if none has that id."""
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
    """Return a family's name for files and presets: "lab/GripML2-v0" -> "grip-ml2"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", family_name(env_id)).lower()


def family_name(env_id: str) -> str:
    """Return a family's name in its id: "metarobot/GripSoft-v0" -> "GripSoft"."""
    return env_id.rpartition("/")[2].partition("-v")[0]


def make_env(env_id: str, num_envs: int, **kwargs: Any) -> TaskBatch:
    """Make a family's batch.

    Args:
        env_id: Gymnasium id, such as ``metarobot/Grip-v0``.
        num_envs: Number of simulations.
        **kwargs: As for :class:`TaskVectorEnv`, or :class:`GymnasiumVectorEnv`.

    Raises:
        TaskError: No family has that id.
        SceneError: The user's scene is not allowed or lacks elements that the family needs.
    """
    return find_family(env_id)(num_envs, **kwargs)


def find_native(env_id: str, what: str) -> type[TaskVectorEnv]:
    """Return the native batch of a family, for what only MuJoCo's simulations can do.

    Args:
        env_id: Gymnasium id.
        what: What needs them, the subject of the message.

    Raises:
        TaskError: It is made of other environments, or none has that id.
    """
    from metarobot.envs.vector_env import TaskVectorEnv

    family = find_family(env_id)
    if not issubclass(family, TaskVectorEnv):
        raise not_native(env_id, f"{what} needs")
    return family


def not_native(env_id: str, needs: str) -> TaskError:
    """Return the error of what only MuJoCo's simulations can do, as "scenes need"."""
    return TaskError(f"{env_id} is made of Gymnasium environments: {needs} a native family")
