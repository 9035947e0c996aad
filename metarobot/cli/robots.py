"""The robot that a command adapts to."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Robot
from metarobot.cli.console import OK, say
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

    Returns:
        The family's simulation; or the environment, which is watched: `WatchedRobot`.

    Raises:
        ValueError: There is no such environment, it fails, or the family does not allow the task.
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
        return WatchedRobot(gym.make(env_id))
    except (ImportError, gym.error.Error) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"--env {env_id}: {line}") from error
    except Exception as error:  # whatever the user's robot raises
        raise ValueError(f"--env {env_id}: {_in_one_line(error)}") from error


class WatchedRobot(gym.Wrapper):
    """A robot of the user's, whose errors are one line that names the episode."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.num_begun = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self.num_begun += 1
        with self._naming_the_episode():
            return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step within an episode."""
        with self._naming_the_episode():
            return super().step(action)

    def close(self) -> None:
        """Let go of the robot: nothing is lost if that fails."""
        try:
            super().close()
        except Exception as error:
            say(f"note: the robot could not be closed: {_in_one_line(error)}", OK)

    @contextmanager
    def _naming_the_episode(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            where = f"adaptation episode {self.num_begun}"
            raise ValueError(f"the robot failed in {where}: {_in_one_line(error)}") from error


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
