"""One simulation as a ``gymnasium.Env``: a batch of one over the same code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from metarobot.envs.checks import read_numbers, read_options, read_start
from metarobot.envs.registration import find_family, find_native
from metarobot.envs.renderer import Window
from metarobot.envs.task_batch import GymnasiumMixin
from metarobot.envs.tasks import TaskDistribution, Tasks


class TaskEnv(GymnasiumMixin, gym.Env):
    """A task family with a single simulation, equal bit for bit to a row of the batch.

    A copy, also by ``pickle``, is a new environment with the same arguments and task, which must be
    reset before the first step.

    Args:
        env_id: Gymnasium id of the family; ``gym.make`` passes its own argument.
        render_mode: ``human`` shows every control step in a window, in the time of the world;
            ``rgb_array`` draws a frame when asked; None neither.
        **kwargs: As for the family's vector environment, without ``num_envs``.

    Raises:
        TaskError: No family has that id.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's own type
        "render_modes": ["human", "rgb_array"],
        "render_fps": 20,
    }

    def __init__(self, env_id: str, *, render_mode: str | None = None, **kwargs: Any) -> None:
        shown = render_mode == "human"
        family = find_native(env_id, "a window") if shown else find_family(env_id)
        self.vector_env = family(1, render_mode=None if shown else render_mode, **kwargs)
        self._window: Window | None = None
        self.observation_space = self.vector_env.single_observation_space
        self.action_space = self.vector_env.single_action_space
        self._action_shape = (len(self.vector_env.action_elements),)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self.vector_env.metadata["render_fps"]}

    @property
    def horizon(self) -> int:
        """Control steps per episode T."""
        return self.vector_env.horizon

    @property
    def distribution(self) -> TaskDistribution:
        """The family's task parameters."""
        return self.vector_env.distribution

    @property
    def tasks(self) -> Tasks:
        """The task held, as one row."""
        return self.vector_env.tasks

    def set_tasks(self, tasks: Tasks | Mapping[str, Any]) -> None:
        """Set the one task; it stays across resets until the next call.

        Behind the wrappers of ``gym.make`` it is ``env.unwrapped.set_tasks``.  A mapping of some
        task parameters to values leaves the others nominal; TaskError if it is not allowed.
        """
        self.vector_env.set_tasks(tasks)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode; the task stays.

        Args:
            seed: Seed of the starts from here on.
            options: ``{"start": array}`` of uniforms in [0, 1), (S,), fixes the initial state,
                independent of the seed.  ``{"tasks": tasks}`` calls ``set_tasks`` first: it reaches
                through wrappers, as in ``{"tasks": {"block_mass_kg": 1.5}}``.  Other options
                are refused.

        Returns:
            The observation (O,) and an empty info.

        Raises:
            ValueError: An option is unknown or not valid; nothing has changed.
            OpenGLError: With the render mode ``human``, there is no display.
        """
        given = read_options(options, ("start", "tasks"))
        start, start_shape = given.get("start"), (self.vector_env.start_size,)
        if start is not None:
            start = read_start(start, start_shape)
        if "tasks" in given:
            self.set_tasks(given["tasks"])
        super().reset(seed=seed)
        if start is None:
            start = self.np_random.random(start_shape)
        observations, _ = self.vector_env.reset(options={"start": start[None]})
        self._show()
        return observations[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one control step; ``info`` holds ``is_success`` and ``sim_unstable``."""
        action = read_numbers("actions", action, self._action_shape)
        results = self.vector_env.step(action[None])
        observations, rewards, terminated, truncated, infos = results
        self._show()
        info = {key: bool(value[0]) for key, value in infos.items()}
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def _show(self) -> None:
        """Show the state in the window, if there is to be one."""
        if self.render_mode == "human":
            batch: Any = self.vector_env
            if self._window is None:
                self._window = Window(batch.model, batch.control_dt_s)
            self._window.show(lambda model, data: batch.copy_drawn(0, model, data))

    def render(self) -> np.ndarray | None:
        """Return the current frame, (480, 640, 3) uint8; None but with the mode ``rgb_array``."""
        frames = self.vector_env.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Free the renderer or close the window; the environment can no longer be used."""
        if self._window is not None:
            self._window.close()
            self._window = None
        self.vector_env.close()
