"""From what a family measures to what a policy sees: noise, the task, bounds, lost observations."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

from metarobot.envs.disturbances import Disturber


class Observer:
    """Makes the observations of a batch of simulations, and remembers the last ones.

    Args:
        num_envs: Number of simulations.
        bounds: Lowest and highest value of every element of an observation, (2, O), float32.
        task_size: C, elements of an encoded task, with which the observation ends; the O - C
            others are what the family measures.
        disturber: Adds noise and loses observations; None where nothing does.
    """

    def __init__(
        self,
        num_envs: int,
        bounds: np.ndarray,
        task_size: int,
        disturber: Disturber | None,
    ) -> None:
        self.space = Box(*bounds)
        self._disturber = disturber
        self._task = np.zeros((num_envs, task_size))
        self._last = np.zeros((num_envs, bounds.shape[1]), np.float32)

    def show_tasks(self, encoded: np.ndarray) -> None:
        """Show these encoded tasks, (num_envs, C), from now on."""
        self._task = encoded

    def observe(
        self, measured: np.ndarray, step: np.ndarray, held: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the observations (num_envs, O), float32.

        Args:
            measured: What the family measures, (num_envs, O - C).
            step: Control steps since the reset, (num_envs,).
            held: Simulations that show what they showed last, (num_envs,) bool; none when None.
        """
        if self._disturber:
            measured = self._disturber.distort(measured, step)
            lost = self._disturber.lost(step)
            held = lost if held is None else held | lost
        if self._task.size:
            measured = np.concatenate([measured, self._task], axis=1)
        observations = np.empty_like(self._last)
        np.clip(measured, self.space.low, self.space.high, out=observations, casting="same_kind")
        if held is not None:
            observations[held] = self._last[held]
        self._last = observations
        return observations.copy()
