"""Pictures of the simulations of a batch, one after the other with one renderer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from metarobot.envs.family_scene import VIDEO_CAMERA
from metarobot.opengl import make_renderer, require_own_process

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

_SHADOW: int = _mj.mjtRndFlag.mjRND_SHADOW.value

FRAME_HEIGHT_PX, FRAME_WIDTH_PX = 480, 640
FRAME_BYTES = FRAME_HEIGHT_PX * FRAME_WIDTH_PX * 3


class BatchRenderer:
    """Draws every simulation from its ``video`` camera; holds about 100 MB until it is closed.

    Args:
        model: The model that the batch was made of.
        batch: The simulations.

    Raises:
        OpenGLError: Nothing on this machine can render.
    """

    def __init__(self, model: Any, batch: Batch) -> None:
        self._batch = batch
        self._model = copy.copy(model)
        self._data = _mj.MjData(self._model)
        self._renderer = make_renderer(self._model, FRAME_HEIGHT_PX, FRAME_WIDTH_PX)

    def render(self, paint: Callable[[int, Any], None]) -> tuple[np.ndarray, ...]:
        """Draw all simulations.

        Args:
            paint: Called with a simulation's number and its model, before it is drawn: may change
                colours.

        Returns:
            One frame a simulation, (FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3) uint8.

        Raises:
            OpenGLError: The process was forked since the renderer was made.
        """
        return tuple(self.picture(sim, paint) for sim in range(self._batch.nsim))

    def picture(
        self, sim: int, paint: Callable[[int, Any], None], *, shadows: bool = True
    ) -> np.ndarray:
        """Draw one simulation.

        Args:
            sim: Its number.
            paint: As of `render`.
            shadows: Whether lights cast shadows, which takes two thirds of the time without a GPU.

        Returns:
            (FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3) uint8.

        Raises:
            OpenGLError: The process was forked since the renderer was made.
        """
        require_own_process()
        self._batch.get_model(sim, self._model)
        paint(sim, self._model)
        self._batch.get_data(sim, self._data)
        _mj.mj_forward(self._model, self._data)
        self._renderer.scene.flags[_SHADOW] = shadows
        self._renderer.update_scene(self._data, camera=VIDEO_CAMERA)
        return self._renderer.render()

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
