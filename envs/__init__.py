"""Parameterised environments that define task distributions.

Importing `metarobot` registers its families, such as ``metarobot/Grip-v0``, with Gymnasium, for
``gym.make`` and, as one native batch, for ``gym.make_vec``.
"""

from typing import TYPE_CHECKING

from metarobot.machine import names_of, silence_mujoco

if TYPE_CHECKING:
    from metarobot.envs.checks import nearest_name
    from metarobot.envs.disturbances import Disturbances
    from metarobot.envs.family import ActionScale, ObservationElement, RepeatedMotion
    from metarobot.envs.gymnasium_family import EnvironmentSource, GymnasiumVectorEnv
    from metarobot.envs.registration import (
        FAMILIES,
        file_name,
        find_family,
        find_native,
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
    from metarobot.envs.task_batch import TaskBatch
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
    from metarobot.envs.workers import SimulatorError, keep_processes

__getattr__ = names_of(  # MuJoCo is imported when it is used
    __name__,
    {
        "checks": ("nearest_name",),
        "disturbances": ("Disturbances",),
        "family": (
            "ActionScale",
            "ObservationElement",
            "RepeatedMotion",
        ),
        "gymnasium_family": ("EnvironmentSource", "GymnasiumVectorEnv"),
        "registration": (
            "FAMILIES",
            "file_name",
            "find_family",
            "find_native",
            "make_env",
            "register_family",
            "short_names",
        ),
        "scene": (
            "SceneError",
            "SceneLimits",
            "SceneRecord",
            "load_user_scene",
        ),
        "single_env": ("TaskEnv",),
        "task_batch": ("TaskBatch",),
        "tasks": (
            "SPLITS",
            "Split",
            "TaskDistribution",
            "TaskError",
            "TaskParameter",
            "Tasks",
            "parameter_words",
        ),
        "variants": (
            "Variant",
            "VariantError",
            "find_variant",
            "load_variant",
            "shipped_variants",
        ),
        "vector_env": ("TaskVectorEnv",),
        "workers": ("SimulatorError", "keep_processes"),
    },
)
