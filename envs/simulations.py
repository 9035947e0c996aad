"""The simulations of a family: their scene, how a control step passes in them, their pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from gymnasium.error import ClosedEnvironmentError

from metarobot.envs.batch_renderer import BatchRenderer, Pictures
from metarobot.envs.disturbances import Disturber
from metarobot.envs.family_scene import load_family_scene, load_recorded_scene
from metarobot.envs.native_threads import NativeThreads
from metarobot.envs.scene import SceneRecord
from metarobot.envs.scene_files import SceneError
from metarobot.envs.task_family import TaskFamily

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

_BAD_STATE_WARNINGS = [
    _mj.mjtWarning.mjWARN_BADQPOS.value,
    _mj.mjtWarning.mjWARN_BADQVEL.value,
    _mj.mjtWarning.mjWARN_BADQACC.value,
    _mj.mjtWarning.mjWARN_BADCTRL.value,
]
SENSORS_CURRENT: int = _mj.mjtStage.mjSTAGE_VEL.value
"""Stage up to which positions, velocities and their sensors describe the new state."""


class Simulations(TaskFamily):
    """The native batch of `TaskVectorEnv`: loaded, commanded, stepped and drawn."""

    on_advance: Callable[[], None] | None = None
    """Called whenever a control step's time has passed: a film takes its pictures here."""

    pictures: Pictures = Pictures()
    """How the simulations are drawn; set before the first picture."""

    _commanded: list[np.ndarray]
    """Fields of the simulations that a command writes, live views (num_envs, .)."""
    closed: bool
    """Whether `close` was called."""
    _threads: NativeThreads
    """In which process the batch can be used."""
    _disturber: Disturber | None
    """What disturbs them; None if nothing does."""
    render_mode: str | None
    """``rgb_array`` or None."""
    _renderer: BatchRenderer | None
    """Made for the first picture."""

    def _load_model(self, scene_path: Path | str | SceneRecord | None) -> Any:
        """Compile the family's own scene, or load a user's and check it."""
        family: Any = type(self)  # type checkers see this file under two names
        if isinstance(scene_path, SceneRecord):
            return load_recorded_scene(family, scene_path)
        if scene_path is not None:
            return load_family_scene(family, scene_path)
        model = self.compile_own_scene()
        if model.opt.timestep != self.timestep_s:
            raise SceneError(
                f"{self.family} declares timestep_s {self.timestep_s:g}, "
                f"its scene has {model.opt.timestep:g}"
            )
        return model

    def _require_usable(self) -> None:
        """Refuse to go on after the end, or in a process that lacks the batch's threads."""
        if self.closed:
            raise ClosedEnvironmentError(f"this {self.family} environment is closed: make another")
        self._threads.require()

    def _command_except(self, held: np.ndarray, actions: np.ndarray) -> None:
        """Command the simulations that are not held, (num_envs,) bool."""
        if not held.any():
            self._command(actions)
            return
        before = [field[held] for field in self._commanded]
        self._command(actions)
        for field, values in zip(self._commanded, before, strict=True):
            field[held] = values

    def _simulate(self, running: np.ndarray) -> None:
        """Simulate a control step, and what follows the last one of an episode."""
        self._advance(running)
        if not self.settle_steps:
            return
        settling = running & (self._elapsed == self.horizon - 1)
        if settling.any():
            if self._disturber:
                self._disturber.release(settling)
            for _ in range(self.settle_steps):
                self._advance(settling)

    def _advance(self, chosen: np.ndarray) -> None:
        """Let a control step's time pass in the chosen simulations, (num_envs,) bool."""
        ids = None if chosen.all() else np.flatnonzero(chosen)
        self.batch.step(ids, nstep=self.substeps, stage=SENSORS_CURRENT)
        if self.on_advance is not None:
            self.on_advance()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw every simulation from its ``video`` camera, (height, width, 3) uint8 each.

        `pictures` can ask for another size.

        Returns:
            One frame a simulation, or None without a render mode.
        """
        if self.render_mode is None:
            return None
        return self._made_renderer().render(self._paint)

    def picture(self, sim: int, *, shadows: bool = True) -> np.ndarray:
        """Draw one simulation from its ``video`` camera, (height, width, 3) uint8.

        Args:
            sim: Its number.
            shadows: Whether lights cast shadows, which takes two thirds of the time without a GPU.
        """
        return self._made_renderer().picture(sim, self._paint, shadows=shadows)

    def _made_renderer(self) -> BatchRenderer:
        if self._renderer is None:
            self._renderer = BatchRenderer(
                self.model, self.batch, self.pictures, self.contact_force_m_per_n
            )
        return self._renderer

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer, which holds about 100 MB."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _find_unstable(self) -> np.ndarray:
        """Return which simulations have left the numbers that physics can continue from."""
        warned = self.batch.warning[:, _BAD_STATE_WARNINGS, 1].any(axis=1)
        return warned | ~np.isfinite(self.batch.state).all(axis=1)
