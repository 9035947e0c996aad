"""Pictures of the simulations of a batch, one after the other with one renderer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from metarobot.machine import import_mujoco, make_renderer, require_own_process

_mj = import_mujoco()

VIDEO_CAMERA = "video"
"""The camera that every scene is drawn from."""

FRAME_HEIGHT_PX, FRAME_WIDTH_PX = 480, 640
SHADOW_PX, NUM_SLICES, NUM_STACKS = 512, 24, 8
"""Most pixels a side of the shadow map, and most slices of round bodies, in small pictures."""
_ARROW_WIDTH, _ARROW_RGBA = 0.06, (0.86, 0.07, 0.36, 1.0)
"""Width as a part of the mean size of a body, and colour."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Size and content of the pictures."""

    width_px: int = FRAME_WIDTH_PX
    height_px: int = FRAME_HEIGHT_PX
    contact_forces: bool = False
    """Whether contact forces are arrows, and bodies are transparent. The forces are those of the
    drawn state: where a film interpolates between two states, of the interpolated one."""


class BatchRenderer:
    """Draws every simulation from its ``video`` camera; holds about 100 MB until it is closed.

    Args:
        model: The model that the batch was made of.
        num_simulations: Number of simulations.
        pictures: Size and content of the pictures.
        contact_force_m_per_n: Length of the arrow that stands for a contact force of 1 N.

    Raises:
        OpenGLError: Nothing on this machine can render.
    """

    def __init__(
        self, model: Any, num_simulations: int, pictures: Pictures, contact_force_m_per_n: float
    ) -> None:
        self._num_simulations = num_simulations
        self._model = copy.copy(model)
        self._data = _mj.MjData(self._model)
        self._forces = pictures.contact_forces
        self._force_m_per_n = contact_force_m_per_n
        self._option = _mj.MjvOption()
        if self._forces:
            self._option.flags[_mj.mjtVisFlag.mjVIS_CONTACTFORCE] = True
            # Arrows begin between two bodies, which would hide most of them.
            self._option.flags[_mj.mjtVisFlag.mjVIS_TRANSPARENT] = True
        if pictures.width_px < 0.75 * FRAME_WIDTH_PX:
            # Shadows and triangles take most of the time; small pictures look the same with fewer.
            quality = self._model.vis.quality
            quality.shadowsize = min(quality.shadowsize, SHADOW_PX)
            quality.numslices = min(quality.numslices, NUM_SLICES)
            quality.numstacks = min(quality.numstacks, NUM_STACKS)
        self._renderer = make_renderer(self._model, pictures.height_px, pictures.width_px)

    def render(self, copy_to: Callable[[int, Any, Any], None]) -> tuple[np.ndarray, ...]:
        """Draw all simulations, (height, width, 3) uint8 each.

        Args:
            copy_to: Copies a simulation, by its number, into a model and its data.

        Raises:
            OpenGLError: The process was forked since the renderer was made.
        """
        require_own_process()
        visual, pictures = self._model.vis, []
        for sim in range(self._num_simulations):
            copy_to(sim, self._model, self._data)
            if self._forces:  # MuJoCo divides forces by the mean mass of a body
                visual.map.force = self._force_m_per_n * self._model.stat.meanmass
                visual.scale.forcewidth = _ARROW_WIDTH
                visual.rgba.contactforce = _ARROW_RGBA
            self._renderer.update_scene(self._data, VIDEO_CAMERA, self._option)
            pictures.append(self._renderer.render())
        return tuple(pictures)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
