"""Parameterised environments that define task distributions.

Importing `metarobot` registers its families, such as ``metarobot/Grip-v0``, with Gymnasium, for
``gym.make`` and, as one native batch, for ``gym.make_vec``.
"""

from metarobot.machine import import_mujoco, silence_mujoco

import_mujoco()  # first: its own import fails where the OpenGL of MUJOCO_GL is missing

# isort: split
from metarobot.envs.checks import nearest_name
from metarobot.envs.disturbances import Disturbances
from metarobot.envs.family import ActionScale, ObservationElement
from metarobot.envs.registration import (
    FAMILIES,
    file_name,
    find_family,
    import_package_families,
    make_env,
    register_family,
    short_names,
)
from metarobot.envs.scene import (
    SceneError,
    SceneLimits,
    SceneRecord,
    load_user_scene,
)
from metarobot.envs.single_env import TaskEnv
from metarobot.envs.tasks import (
    SPLITS,
    Split,
    TaskDistribution,
    TaskError,
    TaskParameter,
    Tasks,
    parameter_words,
)
from metarobot.envs.variants import (
    Variant,
    VariantError,
    find_variant,
    load_variant,
    shipped_variants,
)
from metarobot.envs.vector_env import TaskVectorEnv

import_package_families()

__all__ = [
    "FAMILIES",
    "SPLITS",
    "ActionScale",
    "Disturbances",
    "ObservationElement",
    "SceneError",
    "SceneLimits",
    "SceneRecord",
    "Split",
    "TaskDistribution",
    "TaskEnv",
    "TaskError",
    "TaskParameter",
    "TaskVectorEnv",
    "Tasks",
    "Variant",
    "VariantError",
    "file_name",
    "find_family",
    "find_variant",
    "load_user_scene",
    "load_variant",
    "make_env",
    "nearest_name",
    "parameter_words",
    "register_family",
    "shipped_variants",
    "short_names",
    "silence_mujoco",
]
