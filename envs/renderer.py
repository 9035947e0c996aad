"""Pictures of the simulations of a batch, and a window that shows one of them live."""

from __future__ import annotations

import copy
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from metarobot.machine import OpenGLError, import_mujoco, make_renderer, require_own_process

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


_NO_WINDOW = (
    "render_mode 'human' opens no window here ({}): use render_mode='rgb_array', or `metarobot "
    "play`, which needs a browser alone"
)
_CLOSING_S = 10.0
"""Longest wait for the thread that draws a window to end."""


class Window:
    """MuJoCo's own viewer, which shows one simulation in the time of the world.

    Mouse and keys are those of MuJoCo's viewer.  When its user closes it, simulation goes on
    unseen, as fast as it can.

    Args:
        model: Model of the simulation; the window has a copy.
        frame_s: Time of the world that a frame is shown for, in s.

    Raises:
        OpenGLError: There is no display, or MuJoCo's viewer does not work on it.
    """

    def __init__(self, model: Any, frame_s: float) -> None:
        self._model, self._frame_s, self._shown_s = copy.copy(model), frame_s, 0.0
        self._data = _mj.MjData(self._model)
        before = {*threading.enumerate()}
        try:
            import glfw
            import mujoco.viewer

            # The viewer starts GLFW in a thread, and would wait for ever where that fails.
            with warnings.catch_warnings(action="ignore"):
                if not glfw.init():
                    raise OpenGLError("there is no display")
            viewer: Any = mujoco.viewer
            self._viewer = viewer.launch_passive(
                self._model, self._data, show_left_ui=False, show_right_ui=False
            )
        except Exception as error:  # GLFW, MuJoCo and the loader each raise their own
            raise OpenGLError(_NO_WINDOW.format(str(error).splitlines()[0])) from error
        self._threads = {*threading.enumerate()} - before

    def show(self, copy_to: Callable[[Any, Any], None]) -> None:
        """Show the present state, once the time of the last one has passed.

        Args:
            copy_to: Copies the simulation into a model and its data.
        """
        if not self._viewer.is_running():
            return
        with self._viewer.lock():
            copy_to(self._model, self._data)
        if not self._shown_s:
            self._look_as_camera()
        self._viewer.sync()
        time.sleep(max(0.0, self._shown_s + self._frame_s - time.monotonic()))
        self._shown_s = time.monotonic()

    def _look_as_camera(self) -> None:
        """Begin where the ``video`` camera stands, free to be moved around the scene's middle."""
        camera, view = self._data.camera(VIDEO_CAMERA), self._viewer.cam
        ahead = -camera.xmat.reshape(3, 3)[:, 2]
        view.distance = ahead @ (self._model.stat.center - camera.xpos)
        view.lookat[:] = camera.xpos + view.distance * ahead
        view.azimuth = np.degrees(np.arctan2(ahead[1], ahead[0]))
        view.elevation = np.degrees(np.arcsin(ahead[2]))

    def close(self) -> None:
        """Close the window, and wait until its thread no longer draws."""
        self._viewer.close()
        for thread in self._threads:
            thread.join(_CLOSING_S)
