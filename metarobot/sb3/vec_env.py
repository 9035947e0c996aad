"""All simulations of a task family as a Stable-Baselines3 `VecEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from metarobot.envs import TaskVectorEnv
from metarobot.envs.checks import show


class SB3VecEnv(VecEnv):
    """A native batch, for the learners of Stable-Baselines3.

    A simulation whose episode has ended is reset in the same step, as they expect; its last
    observation is in its info. Everything stays in the batch's arrays: only the infos, of which
    they want a list, are written one by one, and only those of episodes that have ended.

    Tasks stay across resets. After ``set_tasks`` of the environment, call ``reset``.

    Args:
        env: The batch; closed with this.

    Raises:
        TypeError: It is no native batch.
    """

    def __init__(self, env: TaskVectorEnv) -> None:
        if not isinstance(getattr(env, "unwrapped", None), TaskVectorEnv):
            raise TypeError(
                "SB3VecEnv needs a native batch, as gym.make_vec or metarobot.envs.make_env makes "
                f"it, got {show(env)}"
            )
        self.env = env
        self._actions = np.zeros(env.action_space.shape or (), np.float32)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = env.metadata

    def reset(self) -> np.ndarray:
        """Start a new episode in every simulation, with the seeds and the ``start`` options set.

        Returns:
            Observations (num_envs, O), float32.
        """
        seeds = None if None in self._seeds else self._seeds
        starts = [options["start"] for options in self._options if "start" in options]
        options = {"start": np.stack(starts)} if starts else None
        observations, _ = self.env.reset(seed=seeds, options=options)
        self._reset_seeds()  # they count for one reset
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions (num_envs, A) of the next control step."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Advance every simulation by one control step.

        Returns:
            Observations (num_envs, O), the first of the next episode where one has ended; rewards
            (num_envs,), float32; whether an episode has ended (num_envs,); and the infos, empty
            but for those episodes: ``terminal_observation``, ``TimeLimit.truncated``,
            ``is_success`` and ``sim_unstable``.
        """
        observations, rewards, terminated, truncated, info = self.env.step(self._actions)
        ended = terminated | truncated
        infos: list[dict[str, Any]] = [{}] * self.num_envs
        if ended.any():
            for sim in np.flatnonzero(ended):
                infos[sim] = {
                    "terminal_observation": observations[sim],
                    "TimeLimit.truncated": bool(truncated[sim] and not terminated[sim]),
                    **{name: bool(values[sim]) for name, values in info.items()},
                }
            observations, _ = self.env.reset(options={"reset_mask": ended})
        return observations, rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Free the batch's renderer."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return one frame a simulation, (480, 640, 3) uint8."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the batch, once for every index."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the batch.

        Raises:
            ValueError: Some simulations are named: they share one batch.
        """
        self._require_all(attr_name, indices)
        setattr(self.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of the batch once; return its result once for every simulation.

        Raises:
            ValueError: Some simulations are named: they share one batch.
        """
        self._require_all(method_name, indices)
        return [getattr(self.env, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return False for every index: there is no wrapper around a simulation."""
        del wrapper_class
        return [False for _ in self._get_indices(indices)]

    def _require_all(self, name: str, indices: VecEnvIndices) -> None:
        if indices is not None and list(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(
                f"{name!r} is of all {self.num_envs} simulations, which share one batch: "
                f"indices must be None, got {indices!r}"
            )
