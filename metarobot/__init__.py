"""metarobot: meta-learned robot policies that adapt to a new payload, surface or drive.

Example::

    import gymnasium as gym
    import metarobot as mr

    robot = gym.make("metarobot/Grip-v0")
    task = {"block_mass_kg": 1.5, "pad_friction": 0.25}
    observation, _ = robot.reset(options={"tasks": task})
    policy = mr.load_policy("grip", "latent")
    adapted = policy.adapt(robot, episodes=5)
    action = adapted.act(observation)
    mr.render(adapted, "after.mp4", task=task)
    mr.evaluate("grip", out="results/grip")

Importing the package registers the task families with Gymnasium; PyTorch, MuJoCo and the families
themselves are imported when they are used.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from metarobot.envs.registration import FAMILIES, register_id
from metarobot.machine import VERSION

# torch's threads wait for more work by spinning, on the cores that MuJoCo's threads then need: a
# rollout would take up to a third longer.  OpenMP reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = VERSION

for _env_id in FAMILIES:
    if _env_id not in gym.registry:
        register_id(_env_id)

if TYPE_CHECKING:
    from metarobot import envs
    from metarobot.api import (
        AdaptablePolicy,
        Episodes,
        Evaluation,
        Run,
        check_family,
        compare,
        evaluate,
        explain,
        export,
        list_families,
        load_policy,
        load_run,
        play,
        register_algorithm,
        render,
        resume,
        train,
    )
    from metarobot.envs import register_family
    from metarobot.reporting.video import Film

__all__ = [
    "AdaptablePolicy",
    "Episodes",
    "Evaluation",
    "Film",
    "Run",
    "__version__",
    "check_family",
    "compare",
    "envs",
    "evaluate",
    "explain",
    "export",
    "list_families",
    "load_policy",
    "load_run",
    "play",
    "register_algorithm",
    "register_family",
    "render",
    "resume",
    "train",
]


_ELSEWHERE = {
    "Film": "metarobot.reporting.video",
    "envs": "metarobot.envs",
    "register_family": "metarobot.envs.registration",
}
"""Modules of the public names that are not in `metarobot.api`."""


def _import(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__]
        )
    module = import_module(_ELSEWHERE.get(name, "metarobot.api"))
    value = module if name == "envs" else getattr(module, name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # else a type checker takes every name for a public one
    __getattr__ = _import


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
