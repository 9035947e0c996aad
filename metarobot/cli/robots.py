"""The robot that a command adapts to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import gymnasium as gym

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Robot
from metarobot.envs import make_env


def make_robot(
    policy: AdaptablePolicy,
    env_id: str | None,
    task: Mapping[str, float] | None,
    variant: str | None = None,
) -> Robot:
    """Make the environment that was named, or the simulation of the policy's own family.

    Args:
        policy: Says the family and the variant.
        env_id: Gymnasium id, with the module that registers it, which may lie in the working
            directory: ``my_module:my/Robot-v0``.  None for the family's simulation.
        task: Task parameters of the family's simulation; those not named are nominal.
        variant: Variant of the family's simulation; None for that of the policy.

    Raises:
        ValueError: There is no such environment, or the family does not allow the task.
    """
    if env_id is None:
        env = make_env(
            policy.config.env_id, 1, num_threads=1, variant=variant or policy.config.variant
        )
        env.set_tasks({name: [value] for name, value in (task or {}).items()})
        return env
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return gym.make(env_id)
    except (ImportError, gym.error.Error) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"--env {env_id}: {line}") from error
